"""The blend over the section: what the network reads, to the number, computed where one looks."""

import numpy as np
import pytest
import torch

from napari_mitoxai.cohort import PatchGeometry, Scaling, read_patches
from napari_mitoxai.imc import read_section
from napari_mitoxai.models import Checkpoint, create, save_checkpoint
from napari_mitoxai.napari.blend import blend_layers
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.runs import load_run
from napari_mitoxai.napari.state import state_of

pytestmark = pytest.mark.usefixtures("one_thread")


def mixed_run(section, folder, images=1, patch_size=128, input_size=32):
    """A run of a network that was never trained, with a blend of random weights."""
    channels = len(section.panel)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network = create("resnet18", channels, 2, mixing=images)
    torch.nn.init.normal_(network.mixing.weight)
    scaling = Scaling(tuple(rng.uniform(0, 1, channels)), tuple(rng.uniform(0.5, 2, channels)))
    checkpoint = Checkpoint(
        "resnet18", ["control", "patient"], section.panel, scaling, PatchGeometry(patch_size, input_size),
        {"train": [], "validation": [], "test": []}, {}, {}, network.state_dict(), mixing=images,
    )  # fmt: skip
    save_checkpoint(checkpoint, folder)
    return checkpoint


@pytest.mark.parametrize("input_size", [32, 128])
def test_the_layer_is_what_the_network_reads(section_path, tmp_path, input_size):
    section = read_section(section_path)
    checkpoint = mixed_run(section, tmp_path / "run", images=2, input_size=input_size)
    mixing = checkpoint.model().mixing
    layers = blend_layers(section, checkpoint, mixing.blend.numpy(), tmp_path / "run")
    assert [keywords["name"].split(" / ")[1] for _, keywords, _ in layers] == ["blend 1", "blend 2"]
    corner, reduction = (64, 96), checkpoint.geometry.reduction
    (counts,) = read_patches(section, checkpoint.channels_in(section), [corner], checkpoint.geometry)
    expected = mixing(torch.from_numpy(checkpoint.scaling(counts[None])))[0].numpy()
    for image, (data, keywords, _) in enumerate(layers):
        finest = data[0] if isinstance(data, list) else data
        y, x = (start // reduction for start in corner)
        shown = np.asarray(finest[y : y + input_size, x : x + input_size])
        assert shown == pytest.approx(expected[image], abs=1e-4)
        side = section.pixel_size_um
        assert keywords["scale"] == (reduction * side,) * 2
        assert keywords["translate"] == ((reduction - 1) / 2 * side,) * 2
    shares = layers[0][1]["metadata"]["mitoxai"]["provenance"]["share"]
    assert sum(shares.values()) == pytest.approx(1)


def test_it_is_shown_for_a_model_that_mixes(
    workspace, viewer, child, qtbot, section_path, tmp_path, notifications
):
    state = state_of(viewer)
    viewer.open(str(section_path), plugin="napari-mitoxai")
    mixed_run(state.section, tmp_path / "run")
    workspace.show_tab("Explain")
    assert not child("show_blend").isVisible()
    loaded = []
    state.runner.run(
        "Loading",
        lambda progress, cancel: load_run(tmp_path / "run", progress, cancel),
        on_done=loaded.append,
    )
    qtbot.waitUntil(lambda: bool(loaded), timeout=300_000)
    state.set_run(loaded[0])
    assert child("show_blend").isVisible()
    for _ in range(2):  # a second time takes the place of the first
        child("show_blend").click()
        qtbot.waitUntil(lambda: not state.runner.busy, timeout=300_000)
    assert [text for severity, text in notifications if severity == "error"] == []
    blends = [
        layer for layer in viewer.layers if (facts := facts_of(layer)) is not None and facts.kind == "blend"
    ]
    assert len(blends) == 1
    assert "Largest shares" in child("blend_shares").text()
    state.set_run(None)
    assert not child("show_blend").isVisible()
