import json

import numpy as np
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import MapGrid, open_maps
from napari_mitoxai.explain.store import BLOCK, create_store, is_map_store

METHODS = {
    "grad_cam": {"channels": ["all channels"], "signed": False},
    "lrp_epsilon": {"channels": ["SDHA", "COX4"], "signed": True},
}


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path / "m.ome.zarr", MapGrid((600, 700), 4, 0.5), METHODS, {"fingerprint": "f"})


def test_map_pixels_lie_centred_on_the_section_pixels_they_stand_for():
    grid = MapGrid((10, 10), 4, 0.5)
    assert grid.scale_um == 2
    assert grid.translate_um == (4 - 1) / 2 * 0.5
    assert MapGrid((10, 10), 1, 1.0).translate_um == 0


def test_the_metadata_are_ome_zarr_with_a_pyramid_aligned_at_its_centres(store):
    store.write_block("lrp_epsilon", (0, 0), np.ones((2, BLOCK, BLOCK), np.float32))
    store.mark_finished((0, 0))
    store.complete({"call": "patient"})
    document = json.loads((store.path / "lrp_epsilon" / "zarr.json").read_text())
    assert document["zarr_format"] == 3
    ome = document["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["c", "y", "x"]
    assert [axis["type"] for axis in multiscale["axes"]] == ["channel", "space", "space"]
    assert {axis["unit"] for axis in multiscale["axes"][1:]} == {"micrometer"}
    levels = store.levels("lrp_epsilon")
    assert [level.shape for level in levels] == [(2, 600, 700), (2, 300, 350)]
    assert len(multiscale["datasets"]) == len(levels)
    for number, dataset in enumerate(multiscale["datasets"]):
        scale, translation = dataset["coordinateTransformations"]
        factor = 4 * 2**number
        assert scale == {"type": "scale", "scale": [1.0, factor * 0.5, factor * 0.5]}
        offset = (factor - 1) / 2 * 0.5
        assert translation == {"type": "translation", "translation": [0.0, offset, offset]}
        array = json.loads((store.path / "lrp_epsilon" / dataset["path"] / "zarr.json").read_text())
        assert array["dimension_names"] == ["c", "y", "x"]


def test_a_coarser_level_is_the_mean_of_the_finer_one(store):
    values = np.random.default_rng(0).normal(size=(2, BLOCK, BLOCK)).astype(np.float32)
    store.write_block("lrp_epsilon", (1, 1), values)
    store.mark_finished((1, 1))
    store.complete({})
    coarse = store.levels("lrp_epsilon")[1].compute()
    expected = values.reshape(2, BLOCK // 2, 2, BLOCK // 2, 2).mean((2, 4))
    half = BLOCK // 2
    np.testing.assert_allclose(coarse[:, half : 2 * half, half : 2 * half], expected, rtol=1e-5, atol=1e-6)
    assert not coarse[:, :half].any()


def test_empty_chunks_are_not_stored(store):
    store.write_block("grad_cam", (0, 0), np.zeros((1, BLOCK, BLOCK), np.float32))
    store.write_block("grad_cam", (1, 2), np.ones((1, BLOCK, BLOCK), np.float32))
    chunks = [
        path
        for path in (store.path / "grad_cam" / "0").rglob("*")
        if path.is_file() and path.name != "zarr.json"
    ]
    assert len(chunks) == 1


def test_what_is_in_it(store):
    opened = open_maps(str(store.path))
    assert opened.methods == ["grad_cam", "lrp_epsilon"]
    assert opened.channels("lrp_epsilon") == ["SDHA", "COX4"]
    assert (opened.signed("lrp_epsilon"), opened.signed("grad_cam")) == (True, False)
    assert opened.grid == MapGrid((600, 700), 4, 0.5)
    assert opened.read("grad_cam").shape == (1, 600, 700)
    with pytest.raises(MitoxaiError, match=r"no map by lrp_z \(it has grad_cam, lrp_epsilon\)"):
        opened.read("lrp_z")


def test_what_is_no_store(tmp_path):
    with pytest.raises(MitoxaiError, match="is not there"):
        open_maps(tmp_path / "none")
    with pytest.raises(MitoxaiError, match="holds no explanation maps"):
        open_maps(tmp_path)
    (tmp_path / "zarr.json").write_text('{"attributes": {}}')
    assert not is_map_store(tmp_path)
    (tmp_path / "zarr.json").write_text("{")
    assert not is_map_store(tmp_path)


def test_a_line_cut_by_a_crash_costs_that_line_only(store):
    store.note_patches({(0, 0): [0.25, 0.75]})
    store.mark_finished((0, 0))
    for name in ("patches.jsonl", "finished.jsonl"):
        with (store.path / name).open("a") as file:
            file.write("[64, 0, 0.5")
    again = open_maps(store.path, writable=True)
    again.note_patches({(64, 0): [0.5, 0.5], (128, 0): [1.0, 0.0]})
    again.mark_finished((1, 0))
    assert again.patch_probabilities() == {(0, 0): [0.25, 0.75], (64, 0): [0.5, 0.5], (128, 0): [1.0, 0.0]}
    assert again.finished_blocks() == {(0, 0), (1, 0)}
