"""mitocyto's steps and Cellpose."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.fibres import cellpose
from napari_mitoxai.fibres.cellpose import segment_cellpose
from napari_mitoxai.fibres.mitocyto import segment_mitocyto
from napari_mitoxai.imc import read_section


def _walls(size=300, pitch=60, radius=24):
    """Round holes in a bright membrane; mitocyto refuses squares, whose convexity is 1."""
    place = np.arange(size) % pitch - pitch // 2
    return np.where(place[:, None] ** 2 + place[None] ** 2 <= radius**2, 0.0, 8.0)


def test_mitocyto_finds_the_holes_in_a_membrane():
    pytest.importorskip("cv2")
    found = segment_mitocyto(_walls())
    assert len(found.area) == found.labels.max() == 25
    assert (np.abs(found.area / (np.pi * 24**2) - 1) < 0.1).all()
    x, y = found.centre.T
    assert_array_equal(found.labels[y, x], np.arange(1, 26))
    # whole pixels, which a published row is compared with
    assert (np.abs(found.centre % 60 - 30) <= 1).all()


@pytest.mark.parametrize("membrane", [np.zeros((50, 50)), np.full((60, 60), np.nan), np.ones((1, 1))])
def test_mitocyto_finds_nothing_where_nothing_is(membrane):
    pytest.importorskip("cv2")
    found = segment_mitocyto(membrane)
    # the outermost pixels count as membrane, so an empty picture of fibre size is one hole
    assert found.labels.shape == membrane.shape
    assert len(found.area) <= 1


def test_mitocyto_takes_one_plane_and_can_be_cancelled():
    pytest.importorskip("cv2")
    with pytest.raises(MitoxaiError, match="one plane"):
        segment_mitocyto(np.zeros((2, 5, 5)))
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        segment_mitocyto(_walls(), cancel=cancel)


def test_without_opencv_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MitoxaiError, match=r"napari-mitoxai\[mitocyto\]"):
        segment_mitocyto(_walls())


@pytest.mark.parametrize(("subject", "share"), [("P03", 0.88), ("P08", 0.90), ("P09", 0.88)])
def test_mitocyto_gives_the_published_rows(real_data, subject, share):
    pytest.importorskip("cv2")
    pd = pytest.importorskip("pandas")
    folder = real_data / "warren2020"
    stack = read_section(folder / "stacks" / f"{subject}.ome.tiff")
    found = segment_mitocyto(stack.read([stack.panel.index("Dystrophin")])[0])
    mine = {(*centre, area) for centre, area in zip(found.centre.tolist(), found.area.tolist(), strict=True)}
    table = pd.read_csv(folder / "fibres.csv").query("patient_id == @subject")
    rows = list(
        zip(
            table["xCoord"].astype(int), table["yCoord"].astype(int), table["Area"].astype(float), strict=True
        )
    )
    assert sum(row in mine for row in rows) >= share * len(rows)


class _Model:
    """Stands for Cellpose: notes what it was asked, finds what is bright."""

    asked: ClassVar[dict] = {}

    def __init__(self, **made):
        type(self).asked = made

    def eval(self, image, **more):
        type(self).asked |= more
        if more["diameter"] > 100:
            raise RuntimeError("a damaged model")
        return (image > image.mean()).astype(np.uint16), None, None


@pytest.fixture
def cellpose_stands_in(monkeypatch):
    monkeypatch.setattr(cellpose, "_cellpose_models", lambda: SimpleNamespace(CellposeModel=_Model))
    monkeypatch.setattr(cellpose, "_has_gpu", lambda: False)


def test_cellpose_gets_the_users_weights_and_dark_fibres_as_bright(cellpose_stands_in, tmp_path):
    weights = tmp_path / "model"
    weights.write_bytes(b"x")
    labels = segment_cellpose(_walls(), weights=weights, pixel_size_um=2.0, fibre_size_um=60.0)
    assert _Model.asked == {
        "gpu": False,
        "use_bfloat16": False,
        "pretrained_model": str(weights),
        "diameter": 30.0,
    }
    assert labels.dtype == np.int32
    assert labels[30, 30] == 1
    assert labels[0, 0] == 0


def test_cellpose_chooses_its_own_model_only_where_it_may_fetch_it(cellpose_stands_in):
    segment_cellpose(_walls(), weights=None, download=True)
    assert _Model.asked == {"gpu": False, "use_bfloat16": False, "diameter": 50.0}


def test_cellpose_fetches_nothing_unasked_and_fails_in_one_sentence(
    cellpose_stands_in, tmp_path, monkeypatch
):
    with pytest.raises(MitoxaiError, match="--weights"):
        segment_cellpose(_walls(), weights=None)
    with pytest.raises(MitoxaiError, match="is not there"):
        segment_cellpose(_walls(), weights=tmp_path / "none")
    with pytest.raises(MitoxaiError, match="a damaged model"):
        segment_cellpose(_walls(), weights=None, download=True, fibre_size_um=500.0)


def test_without_cellpose_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cellpose", None)
    with pytest.raises(MitoxaiError, match=r"napari-mitoxai\[cellpose\]"):
        segment_cellpose(_walls(), weights=None, download=True)
