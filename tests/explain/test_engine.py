"""The section engine: whole maps from patches, the same however they were computed."""

import dataclasses
import errno
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from small_sections import METHODS, TARGETS, Blocks, checkpoint_of, explain_section, same, section_of, tissue

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain import attribute, open_maps
from napari_mitoxai.explain.store import BLOCK, MapStore
from napari_mitoxai.imc import read_section, write_section
from napari_mitoxai.models import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def checkpoint():
    return checkpoint_of()


@pytest.fixture(scope="module")
def reference(checkpoint, tmp_path_factory):
    """An uninterrupted run on a section."""
    out = tmp_path_factory.mktemp("maps") / "m.ome.zarr"
    return explain_section(section_of(tissue()), checkpoint, METHODS, out, batch_size=4)


def test_the_store_says_what_it_is(reference):
    assert reference.path.name == "m.ome.zarr"
    assert reference.methods == METHODS
    assert reference.grid.reduction == 2
    assert reference.read("grad_cam").shape == (1, 80, 112)
    assert reference.read("input_x_gradient").shape == (3, 80, 112)
    assert reference.channels("input_x_gradient") == list(TARGETS)
    info = reference.info
    assert info["target"] == "patient"
    assert info["use_of_subject"] == "new"
    assert info["checkpoint"]["weights_sha256"] == "w" * 64
    assert info["verdict"]["patches"] == len(reference.patch_probabilities()) > 10
    assert sum(info["verdict"]["probability"].values()) == pytest.approx(1, abs=1e-3)
    assert [path.name for path in reference.path.parent.iterdir()] == ["m.ome.zarr"]


def test_one_patch_is_what_the_method_says_of_it(checkpoint, tmp_path):
    counts = tissue(64, 64)
    store = explain_section(section_of(counts), checkpoint, METHODS, tmp_path / "m.ome.zarr")
    reduced = counts.reshape(3, 32, 2, 32, 2).mean((2, 4), dtype=np.float32)
    inputs = torch.from_numpy(checkpoint.scaling(reduced))[None]
    for name in METHODS:
        expected = attribute(checkpoint.model(), inputs, name, target=1)[0].numpy()
        np.testing.assert_allclose(store.read(name), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    with torch.no_grad():
        probabilities = checkpoint.model()(inputs).softmax(1)[0]
    assert store.patch_probabilities()[0, 0] == pytest.approx(probabilities.tolist(), abs=1e-4)


def test_the_class_asked_for_is_explained(checkpoint, reference, tmp_path):
    store = explain_section(
        section_of(tissue()), checkpoint, METHODS, tmp_path / "m.ome.zarr", target="control"
    )
    assert store.info["target"] == "control"
    assert not np.allclose(store.read("input_x_gradient"), reference.read("input_x_gradient"))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_changes_nothing(checkpoint, reference, tmp_path, batch_size):
    store = explain_section(
        section_of(tissue()), checkpoint, METHODS, tmp_path / "m.ome.zarr", batch_size=batch_size
    )
    same(reference, store)
    assert store.info["verdict"]["call"] == reference.info["verdict"]["call"]


def test_channels_in_another_order_give_the_same_map(checkpoint, reference, tmp_path):
    order = [2, 0, 1]
    section = section_of(tissue()[order], [TARGETS[index] for index in order])
    store = explain_section(section, checkpoint, METHODS, tmp_path / "m.ome.zarr", batch_size=4)
    same(reference, store, exactly=True)
    assert store.channels("input_x_gradient") == list(TARGETS)


def test_channels_the_model_does_not_know_change_nothing(checkpoint, reference, tmp_path):
    counts = np.concatenate([np.full((1, 160, 224), 90, np.uint16), tissue()])
    section = section_of(counts, ["CD163", *TARGETS])
    same(
        reference, explain_section(section, checkpoint, METHODS, tmp_path / "m.ome.zarr", batch_size=4), True
    )


def test_a_whole_factor_is_not_needed(tmp_path):
    checkpoint = checkpoint_of(patch=64, target=40)
    store = explain_section(section_of(tissue(96, 96)), checkpoint, METHODS, tmp_path / "m.ome.zarr")
    assert store.grid.reduction == 1
    assert store.read("grad_cam").shape == (1, 96, 96)


def test_background_stays_zero_and_unstored_and_tissue_does_not(tmp_path):
    checkpoint = checkpoint_of(patch=64, target=64)
    counts = np.zeros((3, 128, 3 * BLOCK), np.uint16)
    counts[:, :, :200] = tissue(128, 200)
    store = explain_section(section_of(counts), checkpoint, ["input_x_gradient"], tmp_path / "m.ome.zarr")
    values = store.read("input_x_gradient")
    assert np.abs(values[:, :, :190]).max() > 0
    assert not values[:, :, 300:].any()
    files = (store.path / "input_x_gradient" / "0").rglob("*")
    chunks = [path for path in files if path.is_file() and path.name != "zarr.json"]
    assert 1 <= len(chunks) <= 2  # of 3


# --- stopping and going on ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large():
    """A section of several blocks, and the classifier that reads it at full size."""
    return section_of(tissue(96, 2 * BLOCK + 64, seed=2)), checkpoint_of(patch=64, target=64)


def test_a_cancelled_run_goes_on_and_ends_as_if_it_had_not_stopped(large, tmp_path):
    section, checkpoint = large
    computed = {"whole": 0, "resumed": 0}

    def explain(out, name, cancel=None, watcher=None):
        def count(report):
            if report.stage == "Explaining":
                computed[name] += 1

        return explain_section(
            section, checkpoint, METHODS, out, batch_size=2, cancel=cancel, progress=count, watcher=watcher
        )

    whole = explain(tmp_path / "whole.ome.zarr", "whole")
    token = CancelToken()
    first = Blocks(lambda region: token.cancel())
    out = tmp_path / "part.ome.zarr"
    with pytest.raises(Cancelled):
        explain(out, "resumed", token, first)
    assert first.regions
    assert not out.exists()
    assert any(path.name.startswith(".part.partial") for path in tmp_path.iterdir())
    first_part, computed["resumed"] = computed["resumed"], 0
    second = Blocks()
    resumed = explain(out, "resumed", watcher=second)
    assert 0 < computed["resumed"] < computed["whole"]
    assert first_part < computed["whole"]
    regions = [str(region) for region, _ in first.regions + second.regions]
    assert len(regions) == len(set(regions)) == 3  # none computed again
    same(whole, resumed, exactly=True)
    assert resumed.info["verdict"] == whole.info["verdict"]
    assert resumed.patch_probabilities() == whole.patch_probabilities()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.ome.zarr", "whole.ome.zarr"]


@pytest.mark.parametrize("change", ["methods", "target", "overlap", "weights"])
def test_a_part_of_another_request_is_not_used(large, tmp_path, change):
    section, checkpoint = large
    token, out = CancelToken(), tmp_path / "m.ome.zarr"
    with pytest.raises(Cancelled):
        explain_section(
            section, checkpoint, ["grad_cam"], out, batch_size=2, cancel=token,
            watcher=Blocks(lambda region: token.cancel()),
        )  # fmt: skip
    asked = {"methods": ["grad_cam"]}
    if change == "weights":
        checkpoint = dataclasses.replace(checkpoint, weights_sha256="v" * 64)
    else:
        asked[change] = {"methods": ["gradient"], "target": "control", "overlap": 0.25}[change]
    methods, watcher = asked.pop("methods"), Blocks()
    store = explain_section(section, checkpoint, methods, out, batch_size=2, watcher=watcher, **asked)
    assert len(watcher.regions) == 3  # all of them
    assert store.methods == methods


def test_cancelling_at_once_leaves_nothing_under_the_final_name(checkpoint, tmp_path):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        explain_section(section_of(tissue()), checkpoint, METHODS, tmp_path / "m.ome.zarr", cancel=token)
    assert not (tmp_path / "m.ome.zarr").exists()


def test_a_viewer_sees_the_store_and_every_block(large, tmp_path):
    section, checkpoint = large
    watcher = Blocks()
    store = explain_section(
        section, checkpoint, ["grad_cam"], tmp_path / "m.ome.zarr", watcher=watcher, batch_size=1
    )
    assert len(watcher.stores) == 1
    whole, seen = store.read("grad_cam"), np.zeros((96, 2 * BLOCK + 64), bool)
    for region, maps in watcher.regions:
        np.testing.assert_array_equal(maps["grad_cam"], whole[(slice(None), *region)])
        seen[region] = True
    assert seen.all()
    assert watcher.previews
    region, maps = watcher.previews[0]
    came = maps["grad_cam"][0] != 0  # where the first patch lies, the map is that patch's
    assert 0 < came.mean() < 1


# --- sentences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "targets", "options", "sentence"),
    [
        (tissue(channels=2), ("SDHA", "Dystrophin"), {}, "has no channel NDUFB8"),
        (tissue(60, 200), TARGETS, {}, "S is 200 x 60 px, smaller than a patch of 64 px"),
        (np.zeros((3, 100, 100), np.uint16), TARGETS, {}, "S has no tissue"),
        (tissue(), TARGETS, {"methods": ["crystal_ball"]}, "no explanation method 'crystal_ball'"),
        (tissue(), TARGETS, {"methods": []}, "No method was chosen"),
        (tissue(), TARGETS, {"target": "alien"}, "no class 'alien': choose control or patient"),
    ],
)
def test_what_cannot_be_explained(checkpoint, tmp_path, counts, targets, options, sentence):
    options = {"methods": ["grad_cam"], **options}
    with pytest.raises(MitoxaiError, match=sentence):
        explain_section(section_of(counts, targets), checkpoint, out=tmp_path / "m.ome.zarr", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_store_is_kept_unless_it_may_be_replaced(checkpoint, tmp_path):
    out, section = tmp_path / "m.ome.zarr", section_of(tissue(64, 64))
    explain_section(section, checkpoint, ["grad_cam"], out)
    with pytest.raises(MitoxaiError, match="exists already"):
        explain_section(section, checkpoint, ["gradient"], out)
    assert open_maps(out).methods == ["grad_cam"]
    explain_section(section, checkpoint, ["gradient"], out, overwrite=True)
    assert open_maps(out).methods == ["gradient"]
    assert [path.name for path in tmp_path.iterdir()] == ["m.ome.zarr"]


def test_overwriting_spares_a_folder_that_holds_other_things(checkpoint, tmp_path):
    out = tmp_path / "image.ome.zarr"
    out.mkdir()
    (out / "zarr.json").write_text("{}")
    with pytest.raises(MitoxaiError, match="is not a store of maps and is not replaced"):
        explain_section(section_of(tissue(64, 64)), checkpoint, ["grad_cam"], out, overwrite=True)
    assert (out / "zarr.json").read_text() == "{}"


def test_a_section_with_values_that_are_no_numbers(checkpoint, tmp_path):
    counts = tissue().astype(np.float32)
    counts[1, 70, 70] = np.nan
    with pytest.raises(MitoxaiError, match="values that are not numbers"):
        explain_section(section_of(counts), checkpoint, ["grad_cam"], tmp_path / "m.ome.zarr")
    assert not (tmp_path / "m.ome.zarr").exists()


def test_a_full_disk_is_said_and_the_same_call_goes_on(large, tmp_path, monkeypatch):
    section, checkpoint = large
    write, written = MapStore.write_block, []

    def full(self, method, block, values):
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(block)
        write(self, method, block, values)

    monkeypatch.setattr(MapStore, "write_block", full)
    with pytest.raises(MitoxaiError, match=r"cannot be written \(No space left on device\): free the disk"):
        explain_section(section, checkpoint, METHODS, tmp_path / "m.ome.zarr", batch_size=2)
    monkeypatch.setattr(MapStore, "write_block", write)
    watcher = Blocks()
    store = explain_section(
        section, checkpoint, METHODS, tmp_path / "m.ome.zarr", batch_size=2, watcher=watcher
    )
    assert len(watcher.regions) == 2  # the first one of three was whole
    same(explain_section(section, checkpoint, METHODS, tmp_path / "n.ome.zarr", batch_size=2), store)


KILLED = """
import sys
from pathlib import Path
from napari_mitoxai.explain import Request, explain_section
from napari_mitoxai.imc import read_section
from napari_mitoxai.models import load_checkpoint
run, section, out = map(Path, sys.argv[1:])
explain_section(read_section(section), load_checkpoint(run), Request(["grad_cam", "input_x_gradient"]), out, batch_size=1)
"""


def test_killed_in_the_middle_and_asked_again(large, tmp_path):
    _, checkpoint = large
    path = write_section(tmp_path / "S.ome.tiff", tissue(96, 2 * BLOCK + 64, seed=2), checkpoint.panel)
    save_checkpoint(checkpoint, tmp_path / "run")
    saved, section = load_checkpoint(tmp_path / "run"), read_section(path)
    out = tmp_path / "m.ome.zarr"
    finished = tmp_path / ".m.partial.ome.zarr" / "finished.jsonl"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "run"), str(path), str(out)])
    try:
        while process.poll() is None and not finished.exists():
            time.sleep(0.005)
    finally:
        process.kill()  # SIGKILL: nothing can be tidied up
        process.wait()
    assert not out.exists()
    assert finished.exists()
    watcher = Blocks()
    store = explain_section(section, saved, METHODS, out, batch_size=1, watcher=watcher)
    assert len(watcher.regions) < 3
    same(explain_section(section, saved, METHODS, tmp_path / "n.ome.zarr", batch_size=1), store)
    assert not finished.parent.exists()
