"""The task of segmenting: modes, tiles, classes, and sections that have little to offer."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.fibres import match, read_classes
from napari_mitoxai.imc import Panel, parse_channel, read_labels, read_section, write_section
from napari_mitoxai.simulate import section as simulated
from napari_mitoxai.tasks.segment import Mode, SegmentParameters, WindowReader, preview, run

NAMES = ("153Eu_SDHA", "166Er_VDAC1", "176Yb_Dystrophin")


@pytest.fixture(scope="module")
def made():
    return simulated(size=400, seed=4)


def _written(path, counts, names=NAMES):
    return write_section(path, counts, Panel([parse_channel(name) for name in names]))


@pytest.fixture
def path(made, tmp_path):
    return _written(tmp_path / "P01.ome.tiff", made.counts[[0, 6, 9]])


def test_labels_and_classes_are_written_and_say_how_many(path, made, tmp_path):
    done = run(SegmentParameters(section=path, out=tmp_path / "new" / "f.tiff"))
    labels = read_labels(done.labels)
    assert match(labels, made.fibres).f1 > 0.85
    kinds, by_hand = read_classes(done.classes)
    assert done.fibres == len(kinds) == labels.max()
    assert done.analysable == sum(kind == "analysable" for kind in kinds.values()) > 10
    assert not by_hand


def test_an_existing_table_of_classes_is_not_replaced_either(path, tmp_path):
    (tmp_path / "f_classes.csv").write_text("mine")
    with pytest.raises(MitoxaiError, match=r"f_classes.csv exists already"):
        run(SegmentParameters(section=path, out=tmp_path / "f.tiff"))
    assert not (tmp_path / "f.tiff").exists()


@pytest.mark.parametrize("names", [NAMES, NAMES[2:]], ids=["three channels", "membrane alone"])
def test_an_empty_section_has_no_fibres_and_says_so_with_zero(tmp_path, names):
    empty = _written(tmp_path / "empty.ome.tiff", np.zeros((len(names), 90, 110), np.uint16), names)
    done = run(SegmentParameters(section=empty, out=tmp_path / "f.tiff"))
    assert (done.fibres, done.analysable) == (0, 0)
    assert not read_labels(done.labels).any()


def test_one_fibre_is_one_fibre(tmp_path):
    y, x = np.ogrid[:200, :200]
    far = np.hypot(y - 100, x - 100)
    counts = np.stack([10.0 * (far < 30), 10.0 * (far < 30), 20.0 * (np.abs(far - 30) < 3)]).astype(np.uint16)
    one = _written(tmp_path / "one.ome.tiff", counts)
    done = run(SegmentParameters(section=one, out=tmp_path / "f.tiff"))
    labels = read_labels(done.labels)
    assert done.fibres == done.analysable == 1
    assert labels[100, 100] == 1
    assert 25**2 * np.pi < (labels == 1).sum() < 33**2 * np.pi


def test_the_sum_of_chosen_channels_outlines_the_fibres(path, made, tmp_path):
    done = run(SegmentParameters(section=path, out=tmp_path / "f.tiff", channels=["SDHA", "Dystrophin"]))
    other = run(SegmentParameters(section=path, out=tmp_path / "g.tiff"))
    assert (read_labels(done.labels) != read_labels(other.labels)).any()


def test_modes_that_need_more_say_what(path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for mode, said in ((Mode.MITOCYTO, r"\[mitocyto\]"), (Mode.CELLPOSE, "--weights")):
        with pytest.raises(MitoxaiError, match=said):
            run(SegmentParameters(section=path, out=tmp_path / "f.tiff", mode=mode))
    assert not (tmp_path / "f.tiff").exists()


def test_mitocyto_writes_labels_too(path, made, tmp_path):
    pytest.importorskip("cv2")
    done = run(SegmentParameters(section=path, out=tmp_path / "f.tiff", mode=Mode.MITOCYTO))
    assert done.fibres == read_labels(done.labels).max() > 5


def test_a_preview_of_a_window_finds_what_the_whole_finds_there(path):
    section = read_section(path)
    reader = WindowReader(section, [2])
    part = slice(100, 350), slice(50, 300)
    sizes = {"pixel_size_um": 1.0, "fibre_size_um": 50.0}
    whole = preview(reader, (slice(0, 400), slice(0, 400)), **sizes)[part]
    seen = preview(reader, part, **sizes)
    middle = np.s_[80:-80, 80:-80]
    assert ((seen > 0) == (whole > 0))[middle].mean() > 0.95
    assert_array_equal(seen.shape, (250, 250))


def test_cancelling_leaves_nothing(path, tmp_path):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        run(SegmentParameters(section=path, out=tmp_path / "f.tiff"), cancel=cancel)
    assert not (tmp_path / "f.tiff").exists()
