"""Explaining and segmenting from the dock: layers that fill, pixels that change, reruns that replace."""

import numpy as np
import pytest

from napari_mitoxai.napari.explain_panel import ExplainPanel
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.runs import load_run
from napari_mitoxai.napari.state import state_of


@pytest.fixture
def state(viewer, workspace, section_path, run_folder, qtbot):
    """A window with a section and a model."""
    from napari_mitoxai.common import CancelToken, no_progress

    state = state_of(viewer)
    viewer.open(section_path, plugin="napari-mitoxai")
    state.set_run(load_run(run_folder, no_progress, CancelToken()))
    workspace.show_tab("Explain")
    qtbot.wait(50)
    return state


@pytest.fixture
def explain(state, child, workspace, qtbot, tmp_path):
    """Explain with some methods, through the button."""
    panel = workspace.findChild(ExplainPanel)

    def run(methods, out="maps.ome.zarr"):
        panel.form.set_values({"methods": methods, "out": tmp_path / out})
        assert child("explain").isEnabled()
        child("explain").click()
        qtbot.waitUntil(lambda: not state.runner.busy, timeout=120_000)
        qtbot.wait(100)

    return run


def test_maps_appear_and_change_the_picture(viewer, explain, child, qtbot, tmp_path, notifications):
    before = viewer.export_figure(flash=False)[..., :3].astype(int)
    explain(["grad_cam", "lrp_epsilon"])
    assert notifications == []
    cam, lrp = viewer.layers["P01 / grad_cam / patient"], viewer.layers["P01 / lrp_epsilon / patient"]
    assert not cam.visible
    assert lrp.visible
    assert lrp.contrast_limits[0] == -lrp.contrast_limits[1]
    assert cam.contrast_limits[0] == 0
    assert {str(unit) for unit in lrp.units} == {"micrometer"}
    facts = facts_of(lrp)
    assert facts.kind == "map"
    assert facts.source == str(tmp_path / "maps.ome.zarr")
    assert lrp.metadata["mitoxai"]["provenance"]["verdict"]["patches"] > 0
    after = viewer.export_figure(flash=False)[..., :3].astype(int)
    assert after.shape == before.shape
    changed = np.abs(after - before).max(-1) > 20
    assert 0.02 < changed.mean() < 0.98
    # where the map is strong the picture shows its colours: orange for the class, blue against it
    assert strongest_pixels_are_coloured(after, lrp)
    assert "P01 is called" in child("verdict").text()
    assert "P01 was" in child("panel_match").text() or "P01 is" in child("panel_match").text()


def strongest_pixels_are_coloured(picture, layer):
    size = round(float(layer.scale[0]))
    full = np.kron(np.asarray(layer.data), np.ones((size, size)))[: picture.shape[0], : picture.shape[1]]
    picture = picture[: full.shape[0], : full.shape[1]]
    high = layer.contrast_limits[1]
    for_, against = full > 0.7 * high, full < -0.7 * high
    fine = True
    if for_.sum() > 20:
        fine &= picture[for_][:, 0].mean() > picture[for_][:, 2].mean()
    if against.sum() > 20:
        fine &= picture[against][:, 2].mean() > picture[against][:, 0].mean()
    return fine and (for_ | against).sum() > 20


def test_an_overlay_fills_block_by_block(viewer, section_path, tmp_path, qtbot):
    from napari_mitoxai.explain.store import BLOCK, MapGrid, create_store
    from napari_mitoxai.napari.opening import open_section
    from napari_mitoxai.napari.overlay import LiveMaps

    described = {"lrp_epsilon": {"channels": ["SDHA", "COX4"], "signed": True, "parameters": {}}}
    store = create_store(
        tmp_path / "live.ome.zarr", MapGrid((2 * BLOCK, BLOCK), 1, 1.0), described, {"target": "patient"}
    )
    live = LiveMaps(state_of(viewer), open_section(section_path))
    live.refresh()
    assert len(viewer.layers) == 0  # nothing stands yet
    live.on_store(store)
    live.refresh()
    [layer] = viewer.layers
    for block in (0, 1):
        values = np.full((2, BLOCK, BLOCK), 1.0 + block, np.float32)
        region = (slice(block * BLOCK, (block + 1) * BLOCK), slice(0, BLOCK))
        live.on_block(region, {"lrp_epsilon": values}, finished=True)
        live.refresh(now=True)
        qtbot.wait(50)
        picture = viewer.export_figure(flash=False)[..., :3].astype(int)
        assert picture[block * BLOCK + 9, 9].max() > 150  # the sum over channels at the end of the scale
        assert (picture[BLOCK + 9, 9].max() > 50) == (block == 1)
    assert layer.contrast_limits == [-4.0, 4.0]


def test_an_empty_map_is_shown_without_complaint(viewer, section_path, tmp_path):
    from napari_mitoxai.napari.layers import robust_limit

    assert robust_limit(np.zeros((4, 4))) > 0


def test_a_map_lies_exactly_over_its_section(viewer, explain):
    explain(["grad_cam"])
    section, cam = viewer.layers["P01 / Dystrophin"], viewer.layers["P01 / grad_cam / patient"]
    for corner in (0, 1):
        edge = (-0.5, 0.5)[corner] * cam.scale
        assert np.allclose(
            cam.extent.world[corner] + edge, section.extent.world[corner] + (-0.5, 0.5)[corner]
        )


def test_after_a_cancel_it_goes_on(state, explain, child, workspace, qtbot, tmp_path):
    panel = workspace.findChild(ExplainPanel)
    panel.form.set_values({"methods": ["integrated_gradients"], "out": tmp_path / "on.ome.zarr"})
    child("explain").click()
    child("cancel").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    assert "goes on from there" in child("verdict").text()
    explain(["integrated_gradients"], "on.ome.zarr")
    assert "P01 is called" in child("verdict").text()


def test_a_rerun_replaces(viewer, explain):
    explain(["grad_cam"])
    explain(["grad_cam"], "again.ome.zarr")
    maps = [layer.name for layer in viewer.layers if facts_of(layer).kind == "map"]
    assert maps == ["P01 / grad_cam / patient"]


def test_maps_open_again_from_their_store(viewer, explain, tmp_path):
    explain(["grad_cam"])
    shown = np.asarray(viewer.layers["P01 / grad_cam / patient"].data)
    viewer.layers.clear()
    [layer] = viewer.open(tmp_path / "maps.ome.zarr", plugin="napari-mitoxai")
    assert layer.name == "P01 / grad_cam / patient"
    data = layer.data[0] if layer.multiscale else layer.data
    assert np.allclose(np.asarray(data), shown, atol=1e-6)


def test_what_is_missing_is_said(viewer, workspace, child):
    assert "Open a section first" in child("explain_panel/what_is_missing").text()
    assert not child("explain").isEnabled()


def test_a_section_without_a_channel_of_the_model_cannot_be_explained(state, viewer, child, tmp_path):
    from napari_mitoxai.imc import Panel, parse_channel, write_section

    panel = Panel(tuple(parse_channel(target) for target in ("SDHA", "Dystrophin")))
    counts = np.random.default_rng(0).poisson(3, (2, 128, 128)).astype(np.uint16)
    viewer.open(write_section(tmp_path / "small.ome.tiff", counts, panel), plugin="napari-mitoxai")
    assert "small has no channel" in child("explain_panel/what_is_missing").text()
    assert not child("explain").isEnabled()


def test_fibres_lie_beside_the_channels(viewer, state, workspace, child, qtbot, tmp_path, cohort):
    from napari_mitoxai.napari.fibres_panel import FibresPanel

    workspace.findChild(FibresPanel).form.set_values({"out": tmp_path / "fibres.tiff"})
    child("segment").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    layer = viewer.layers["P01 / fibres"]
    assert layer is viewer.layers[-1]
    assert layer.contour == 1
    assert layer.data.max() > 5
    assert f"{layer.data.max()} fibres" in child("fibres_found").text()
    picture = viewer.export_figure(flash=False)[..., :3].astype(int)
    edge = np.zeros(layer.data.shape, bool)
    edge[:, 1:] = layer.data[:, 1:] != layer.data[:, :-1]
    assert (picture[edge].min(-1) > 120).mean() > 0.3  # white outlines
