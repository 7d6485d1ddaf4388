"""Maps of several checkpoints in one: scaled as stated, channel by channel, with all that made them."""

import re

import numpy as np
import pytest

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain.store import MapGrid, create_store, open_maps
from napari_mitoxai.tasks.aggregate import AggregateParameters, run
from napari_mitoxai.tasks.fibre_relevance import explained_pixels
from napari_mitoxai.tasks.figure_rows import verdict_line

SHAPE, PATCH, REDUCTION = (150, 140), 64, 4


def store_of(path, channels, planes, *, corners=((0, 0), (536, 496)), signed=True, **more):
    """A finished store of 600 x 560 section pixels whose map `lrp` has the given planes; 0 outside of its patches."""
    info = {
        "section": {"name": "S", "path": "S.ome.tiff", "subject": "S", "shape": [10, 600, 560], "notes": []},
        "checkpoint": {
            "architecture": "resnet18", "weights_sha256": path.name, "classes": ["control", "patient"], "panel": channels,
            "patch_size": PATCH,
        },
        "use_of_subject": "test", "target": "patient", "target_class": "patient", "area": None, "fingerprint": path.name, **more,
    }  # fmt: skip
    names = channels if len(planes) == len(channels) else ["all channels"]
    entry = {"channels": names, "signed": signed, "title": "LRP", "method": "lrp", "parameters": {}}
    store = create_store(path, MapGrid(SHAPE, REDUCTION, 1.0), {"lrp": entry}, info)
    for row in range(2):
        for column in range(2):
            part = np.s_[:, row * 128 : row * 128 + 128, column * 128 : column * 128 + 128]
            if planes[part].any():
                store.write_block("lrp", (row, column), planes[part].astype(np.float32))
                store.mark_finished((row, column))
    store.note_patches({corner: [0.25, 0.75] for corner in corners})
    store.complete({"call": "patient", "probability": {"control": 0.25, "patient": 0.75}, "patches": 2})
    return path


@pytest.fixture
def planes():
    """Values under the two patches, three channels."""
    values = np.random.default_rng(0).normal(size=(3, *SHAPE))
    inside = np.zeros(SHAPE, bool)
    inside[:16, :16] = inside[134:150, 124:140] = True
    return values * inside, inside


def combine(folder, maps, **more):
    return run(AggregateParameters(maps=maps, out=folder / "COMBINED.ome.zarr", **more))


@pytest.mark.parametrize("scaled_by", ["max", "positive", "rms", "none"])
def test_single_channel_networks_make_one_picture_a_channel(tmp_path, planes, scaled_by):
    values, inside = planes
    maps = [
        store_of(tmp_path / f"{name}.ome.zarr", [name], 10.0**place * values[place : place + 1])
        for place, name in enumerate("ABC")
    ]
    result = combine(tmp_path, maps, scaled_by=scaled_by)
    assert result.channels == ["A", "B", "C"]
    store = open_maps(result.maps)
    for place in range(3):
        own = 10.0**place * values[place][inside]
        scale = {
            "max": np.abs(own).max(),
            "positive": own[own > 0].sum() / inside.sum(),
            "rms": np.sqrt((own**2).mean()),
            "none": 1,
        }
        got = store.read("lrp")[place]
        assert np.allclose(got[inside], own / scale[scaled_by], rtol=1e-5)
        assert not got[~inside].any()
        kept = store.info["combined"]["from"][place]
        assert kept["divided_by"]["lrp"] == pytest.approx(scale[scaled_by], rel=1e-5)
        assert kept["checkpoint"]["weights_sha256"] == f"{'ABC'[place]}.ome.zarr"
    assert store.info["combined"]["scaled_by"] == scaled_by
    assert store.info["verdict"] == {"call": "patient", "probability": {"control": 0.25, "patient": 0.75}, "patches": 2}  # fmt: skip
    assert re.match(
        r"3 models \(\w+\) together call \w+ patient: probability of patient 0.75", verdict_line(store)
    )
    assert np.array_equal(explained_pixels(store), inside)


def test_one_plane_of_a_network_with_one_channel_is_that_channels(tmp_path, planes):
    cam = np.abs(planes[0])
    maps = [
        store_of(tmp_path / "A.ome.zarr", ["A"], cam[:1], signed=False),
        store_of(tmp_path / "B.ome.zarr", ["B"], cam[1:2], signed=False),
    ]
    result = combine(tmp_path, maps)
    assert open_maps(result.maps).channels("lrp") == ["A", "B"]
    assert not open_maps(result.maps).signed("lrp")


def test_folds_are_averaged_and_channels_keep_their_proportions(tmp_path, planes):
    values, inside = planes
    maps = [
        store_of(tmp_path / f"{n}.ome.zarr", ["A", "B", "C"], values * factor)
        for n, factor in enumerate((1, 50))
    ]
    result = combine(tmp_path, maps, scaled_by="rms")
    got = open_maps(result.maps).read("lrp")
    assert np.allclose(got, values / np.sqrt((values[:, inside] ** 2).mean()), rtol=1e-5, atol=1e-7)


def test_only_what_all_checkpoints_explained(tmp_path, planes):
    values, _ = planes
    near = values.copy()
    near[:, 100:] = 0
    maps = [
        store_of(tmp_path / "A.ome.zarr", ["A"], values[:1]),
        store_of(tmp_path / "B.ome.zarr", ["B"], near[1:2], corners=[(0, 0)]),
    ]
    result = combine(tmp_path, maps)
    assert "1 patches in common" in result.notes[0]
    got = open_maps(result.maps).read("lrp")
    assert got[:, :16, :16].any(0).all()
    assert not got[:, 100:].any()


def test_what_does_not_go_together_is_refused(tmp_path, planes):
    values, _ = planes
    first = store_of(tmp_path / "A.ome.zarr", ["A"], values[:1])
    with pytest.raises(MitoxaiError, match="combine maps of one class"):
        combine(tmp_path, [first, store_of(tmp_path / "B.ome.zarr", ["B"], values[1:2], target="control")])
    pooled = store_of(tmp_path / "P.ome.zarr", ["A", "B"], values[:1])
    with pytest.raises(MitoxaiError, match="combine like with like"):
        combine(tmp_path, [first, pooled])
    empty = store_of(tmp_path / "E.ome.zarr", ["E"], np.zeros((1, *SHAPE)))
    with pytest.raises(MitoxaiError, match="no positive relevance"):
        combine(tmp_path, [first, empty])
    with pytest.raises(MitoxaiError, match="given twice"):
        combine(tmp_path, [first, first])
    with pytest.raises(MitoxaiError, match="would replace"):
        run(AggregateParameters(maps=[first, empty], out=first, overwrite=True))
    assert not list(tmp_path.glob("*COMBINED*"))


def test_what_is_combined_of_other_maps_is_told_from_it(tmp_path, planes):
    values, _ = planes
    found = []
    for made in ("first", "again"):  # the same networks, asked otherwise
        folder = tmp_path / made
        folder.mkdir()
        maps = [
            store_of(folder / f"{name}.ome.zarr", [name], values[:1], fingerprint=f"{name} {made}")
            for name in "AB"
        ]
        found.append(open_maps(combine(folder, maps).maps).info["fingerprint"])
    assert found[0] != found[1]


def test_cancelling_leaves_nothing(tmp_path, planes):
    maps = [store_of(tmp_path / f"{name}.ome.zarr", [name], planes[0][:1]) for name in "AB"]
    cancel = CancelToken()

    def progress(step):
        if step.stage == "Combining maps":
            cancel.cancel()

    with pytest.raises(Cancelled):
        run(AggregateParameters(maps=maps, out=tmp_path / "C.ome.zarr"), progress, cancel)
    assert {path.name for path in tmp_path.iterdir()} == {"A.ome.zarr", "B.ome.zarr"}
