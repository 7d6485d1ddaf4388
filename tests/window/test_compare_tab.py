"""The Compare tab: maps in napari's grid, two of them swept or blinking, one fibre under all, and everything put back."""

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, Qt
from scipy.stats import spearmanr

from napari_mitoxai import simulate
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.store import MapGrid, create_store, open_maps
from napari_mitoxai.imc import write_labels, write_section
from napari_mitoxai.napari.aggregate_box import AggregateBox
from napari_mitoxai.napari.arrangement import (
    Arrangement,
    ShownLayer,
    read_arrangement,
    save_arrangement,
    without_missing,
)
from napari_mitoxai.napari.compare_cells import Contrast
from napari_mitoxai.napari.compare_panel import EACH, ComparePanel
from napari_mitoxai.napari.layers import METADATA_KEY, LayerFacts, fibre_layer, store_layers
from napari_mitoxai.napari.state import state_of
from napari_mitoxai.trust.recorded import RecordedScore, record_scores

SIZE, CHANNELS = 128, ["NDUFB8", "SDHA"]


def store_of(path, section, planes):
    """A finished store with one map a method."""
    methods = {
        name: {"channels": CHANNELS if len(values) > 1 else ["all channels"], "signed": bool(values.min() < 0), "title": name.upper()}
        for name, values in planes.items()
    }  # fmt: skip
    info = {
        "section": {"name": section.stem.split(".")[0], "path": str(section), "subject": "S", "shape": [10, SIZE, SIZE], "notes": []},
        "checkpoint": {"architecture": "none", "classes": ["control", "patient"], "panel": CHANNELS, "patch_size": SIZE},
        "target": "patient", "target_class": "patient", "use_of_subject": "test", "area": None, "fingerprint": "f",
    }  # fmt: skip
    side = SIZE // 2
    store = create_store(path, MapGrid((side, side), 2, 1.0), methods, info)
    for name, values in planes.items():
        store.write_block(name, (0, 0), values.astype(np.float32))
    store.note_patches({(0, 0): [0.2, 0.8]})
    store.complete({"call": "patient", "probability": {"patient": 0.8, "control": 0.2}, "patches": 1})
    return path


@pytest.fixture
def scene(viewer, workspace, tmp_path, qtbot):
    """A section with fibres and three maps, of which one tells channels apart and one fails the sanity check."""
    made = simulate.section("membrane_rim", True, size=SIZE, seed=8)
    path = write_section(tmp_path / "S.ome.tiff", made.counts, made.panel, pixel_size_um=1.0)
    rng, side = np.random.default_rng(0), SIZE // 2
    planes = {
        "lrp": rng.normal(size=(2, side, side)) * 3e-4,
        "cam": rng.random((1, side, side)) * 0.5,
        "grad": rng.normal(size=(1, side, side)),
    }
    maps = store_of(tmp_path / "M.ome.zarr", path, planes)
    record_scores(maps, "lrp", [RecordedScore("deletion", 0.31, 0.22, 0.4, 20, 0, "lower")])
    record_scores(maps, "cam", [RecordedScore("deletion", 0.5, 0.4, 0.6, 20, 0, "lower")], fails_sanity=True)
    viewer.open(path, plugin="napari-mitoxai")
    state = state_of(viewer)
    qtbot.wait(50)
    facts = LayerFacts("fibres", state.section.name, str(state.section.address), "fibres")
    state.add_layer(fibre_layer(made.fibres, facts, pixel_size_um=1.0))
    for layer in store_layers(open_maps(maps)):
        state.add_layer(layer)
    workspace.show_tab("Compare")
    qtbot.wait(50)
    return state, planes, made.fibres, maps


@pytest.fixture
def compare(scene, child, qtbot):
    def run():
        button = child("compare_panel/compare")
        assert button.isEnabled()
        button.click()
        qtbot.waitUntil(lambda: scene[0].comparison.complete, timeout=60_000)
        qtbot.wait(50)
        return scene[0].comparison

    return run


def seen(viewer):
    """All that a comparison changes."""
    grid, bar = viewer.canvas.grid, viewer.canvas.overlays.scale_bar
    return (
        [(layer.name, layer.visible) for layer in viewer.layers],
        (grid.enabled, grid.stride, tuple(grid.shape), grid.spacing),
        (bar.visible, bar.gridded, bar.box),
        (tuple(viewer.scene.camera.center), viewer.scene.camera.zoom),
        viewer.layers.selection.active,
    )


def test_a_cell_for_each_map_and_everything_as_it_was_afterwards(
    scene, compare, child, viewer, notifications
):
    viewer.scene.camera.zoom, viewer.scene.camera.center = 3.0, (0, 40, 50)
    viewer.layers.selection.active = viewer.layers[1]
    before = seen(viewer)
    comparison = compare()
    grid = viewer.canvas.grid
    cells = [
        [viewer.layers[index] for index in there] for _, there in grid.iter_viewboxes(viewer.layers) if there
    ]
    assert [len(cell) for cell in cells] == [3, 3, 3]
    assert [cell[0].rgb for cell in cells] == [True] * 3
    maps = {cell.choice.method: layers[1] for cell, layers in zip(comparison.cells, cells, strict=True)}
    # the value under the pointer, in the power of ten that the cell names
    assert maps["lrp"].name.splitlines() == ["LRP", "in 10⁻³", "deletion ↓ 0.31", "0.22 to 0.4", "20 patches"]
    expected = scene[1]["lrp"].sum(0) * 1000
    assert np.allclose(np.asarray(maps["lrp"].data[0]), expected, atol=1e-4)
    assert maps["lrp"].contrast_limits[0] == -maps["lrp"].contrast_limits[1]
    assert maps["cam"].contrast_limits[0] == 0
    assert maps["cam"].name.splitlines()[1] == "fails the sanity check"  # beside what it is said of
    assert all(layer.colorbar.visible and layer.name_overlay.visible for layer in maps.values())
    bar = viewer.canvas.overlays.scale_bar
    assert bar.visible
    assert bar.gridded
    assert viewer.screenshot(canvas_only=True, flash=False)[..., :3].any()
    child("compare_panel/leave_comparison").click()
    assert seen(viewer) == before
    assert not comparison.active
    assert notifications == []


def test_scores_that_are_made_meanwhile_are_told(scene, compare, child, qtbot):
    state, _, _, maps = scene
    comparison = compare()
    record_scores(maps, "grad", [RecordedScore("deletion", 0.2, 0.1, 0.3, 8, 0, "lower")], fails_sanity=True)
    state.runner.run("Judging maps", lambda progress, cancel: None)
    grad = next(cell for cell in comparison.cells if cell.choice.method == "grad")
    assert "deletion" not in grad.name
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=10_000)
    qtbot.wait(50)
    grad = next(cell for cell in comparison.cells if cell.choice.method == "grad")
    assert grad.name.splitlines()[-3:] == ["deletion ↓ 0.2", "0.1 to 0.3", "8 patches"]
    assert "fails the sanity check" in grad.name
    assert grad.name in [layer.name for layer in state.viewer.layers]


def test_colour_scales_are_own_or_common(scene, compare, child, viewer):
    comparison = compare()
    box = child("compare_panel/contrast")
    own = [cell.limit for cell in comparison.cells]
    assert len(set(own)) == 3
    box.setCurrentText(Contrast.SHARED.value)
    box.activated.emit(box.currentIndex())
    assert {cell.limit for cell in comparison.cells} == {max(own)}
    shown = [
        layer
        for layer in viewer.layers
        if layer.name.startswith(("LRP", "CAM", "GRAD")) and "/" not in layer.name
    ]
    assert {layer.contrast_limits[1] for layer in shown} == {max(own)}
    box.setCurrentText(Contrast.METHOD.value)
    box.activated.emit(box.currentIndex())
    assert [cell.limit for cell in comparison.cells] == own


def test_channels_get_cells_of_their_own(scene, compare, child, workspace):
    child("compare_panel/compared_channel").setCurrentText(EACH)
    comparison = compare()
    assert [cell.title for cell in comparison.cells] == ["LRP, NDUFB8", "LRP, SDHA", "CAM", "GRAD"]
    assert np.allclose(np.asarray(comparison.cells[1].levels[0]), scene[1]["lrp"][1])
    panel = workspace.findChild(ComparePanel)
    panel.maps.choose([(str(scene[3]), "lrp")])
    child("compare_panel/compared_channel").setCurrentText("SDHA")
    assert [choice.channel for choice in panel.choices()] == ["SDHA"]


def test_two_maps_under_a_curtain_and_in_turn(scene, compare, child, viewer, qtbot):
    comparison = compare()
    child("compare_panel/second_map").setCurrentIndex(2)
    child("compare_panel/mode_swipe").click()
    assert not viewer.canvas.grid.enabled
    child("compare_panel/curtain").setValue(250)
    shown = [layer for layer in viewer.layers if layer.visible]
    left, right = (
        shown[1],
        next(layer for layer in shown if layer.name.startswith("GRAD") and "/" not in layer.name),
    )
    side = SIZE // 2
    assert np.asarray(left.data[0])[:, : side // 4].all()
    assert not np.asarray(left.data[0])[:, side // 4 :].any()
    assert not np.asarray(right.data[0])[:, : side // 4].any()
    child("compare_panel/mode_blink").click()
    first = {layer.name for layer in viewer.layers if layer.visible}
    comparison.flip()
    second = {layer.name for layer in viewer.layers if layer.visible}
    assert first
    assert second
    assert not first & second
    child("compare_panel/mode_side_by_side").click()
    assert viewer.canvas.grid.enabled
    assert np.allclose(np.asarray(left.data[0]) / 1e3, scene[1]["lrp"].sum(0), atol=1e-7)
    comparison._on_swipe_key()
    assert comparison.mode == "swipe"
    assert child("compare_panel/mode_swipe").isChecked()
    comparison._on_swipe_key()
    assert comparison.mode == "side by side"


def test_a_click_on_a_fibre_reads_it_under_every_map(scene, compare, child, workspace, viewer, qtbot):
    state, planes, fibres, _ = scene
    comparison = compare()
    panel = workspace.findChild(ComparePanel)
    fibre = int(np.bincount(fibres[fibres > 0]).argmax())
    y, x = np.argwhere(fibres == fibre)[len(np.argwhere(fibres == fibre)) // 2]
    panel.readout.read(comparison.cells[1], (float(y), float(x)))
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=30_000)
    table = panel.readout.table
    assert table.isVisible()
    assert table.rowCount() == 3
    assert f"fibre {fibre}" in child("compare_panel/fibre_clicked").text()
    share = (fibres == fibre).reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
    for row, name in enumerate(("lrp", "cam", "grad")):
        values = planes[name].sum(0)
        mean = (values * share).sum() / share.sum()
        assert float(table.item(row, 1).text()) == pytest.approx(mean, rel=0.06)
        positive = np.maximum(values, 0)
        even = (positive * share).sum() / positive.sum() / (share.sum() / share.size)
        assert float(table.item(row, 2).text()) == pytest.approx(even, abs=0.006)
    panel.readout.read(comparison.cells[1], (-50.0, 0.0))
    assert "no fibre" in child("compare_panel/fibre_clicked").text()


def test_a_layer_taken_away_ends_the_comparison(scene, compare, viewer, qtbot):
    before = seen(viewer)
    comparison = compare()
    viewer.layers.remove(viewer.layers[1])
    qtbot.waitUntil(lambda: not comparison.active, timeout=5_000)
    assert seen(viewer)[:3] == before[:3]


def test_without_maps_the_way_is_told(viewer, workspace, child):
    workspace.show_tab("Compare")
    assert "Explain a section first" in child("compare_panel/what_is_missing").text()
    assert not child("compare_panel/compare").isEnabled()
    assert not child("compare_panel/leave_comparison").isEnabled()


def test_agreement_in_numbers_and_its_cells_under_a_curtain(
    scene, child, workspace, tmp_path, qtbot, notifications
):
    state, planes, _, _ = scene
    panel = workspace.findChild(ComparePanel)
    panel.agreement.form.set_values({"out": tmp_path / "A.csv"})
    child("compare_panel/agree").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    qtbot.wait(100)
    canvas = child("compare_panel/agreement_plot")
    assert sorted(canvas.methods) == ["cam", "grad", "lrp"]
    table = pd.read_csv(tmp_path / "A.csv")
    own = table[
        (table["method_a"] == "lrp")
        & (table["method_b"] == "cam")
        & (table["measure"] == "rank_correlation_pixels")
    ]
    expected = spearmanr(planes["lrp"].sum(0).ravel(), planes["cam"][0].ravel()).statistic
    assert own["value"].iloc[0] == pytest.approx(expected, abs=1e-4)
    row, column = canvas.methods.index("grad"), canvas.methods.index("cam")
    # a real click on the cell, from figure to widget pixels
    x, y = canvas.figure.axes[1].transData.transform((column, row)) / canvas.device_pixel_ratio
    place = QPoint(round(x), round(canvas.height() - y))
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: state.comparison.mode == "swipe", timeout=60_000)
    assert [cell.choice.method for cell in state.comparison.cells] == ["grad", "cam"]
    assert notifications == []


def test_only_ticked_maps_are_measured_and_fibres_get_how_far_they_agree(
    scene, child, workspace, tmp_path, qtbot
):
    state, planes, labels, maps = scene
    panel = workspace.findChild(ComparePanel)
    layer = state.fibres
    write_labels(tmp_path / "L.tiff", labels)
    layer.metadata[METADATA_KEY]["source"] = str(tmp_path / "L.tiff")
    every = np.unique(labels)[1:]
    layer.features = {"index": every, "area_um2": np.arange(len(every)), "agreement old": 0.0}
    panel.maps.choose([(str(maps), "lrp"), (str(maps), "grad")])
    panel.agreement.form.set_values({"out": tmp_path / "A.csv"})
    child("compare_panel/agree").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    qtbot.wait(100)
    assert sorted(child("compare_panel/agreement_plot").methods) == ["grad", "lrp"]
    features = layer.features.set_index("index")
    assert features.index.tolist() == every.tolist()
    assert features["area_um2"].tolist() == list(range(len(every)))
    assert "agreement old" not in features
    table = pd.read_csv(tmp_path / "A_fibres.csv").set_index("fibre")
    fibre = int(table["pixels"].idxmax())
    assert features.loc[fibre, "agreement"] == pytest.approx(table.loc[fibre, "agreement"])
    # map pixels of which three or four section pixels are the fibre's
    inside = (labels == fibre).reshape(SIZE // 2, 2, SIZE // 2, 2).sum((1, 3)) > 2
    expected = spearmanr(planes["lrp"].sum(0)[inside], planes["grad"][0][inside]).statistic
    assert features.loc[fibre, "agreement"] == pytest.approx(expected, abs=1e-3)
    assert "agreement" in child("compare_panel/agreement_says").text()


def test_an_arrangement_is_kept_and_opened_again(scene, compare, child, workspace, viewer, tmp_path, qtbot):
    state = scene[0]
    panel = workspace.findChild(ComparePanel)
    before = [(layer.name, layer.visible) for layer in viewer.layers if "fibres" not in layer.name]
    viewer.layers[0].contrast_limits = (1, 7)
    compare()
    child("compare_panel/second_map").setCurrentIndex(2)
    child("compare_panel/mode_swipe").click()
    state.comparison.move_curtain(0.3)
    viewer.scene.camera.zoom = 2.5
    path = tmp_path / "kept" / "window.json"
    panel.arrangement.save(path)
    with pytest.raises(MitoxaiError, match="exists already"):
        panel.arrangement.save(path)
    state.comparison.end()
    qtbot.wait(200)  # napari draws between two steps of a user: without it, the driver was seen to crash
    viewer.layers.clear()
    qtbot.wait(200)
    workspace.show_tab("Section")
    drawn = viewer.add_image(np.zeros((4, 4)), name="my own")
    panel.arrangement.open(path)
    qtbot.waitUntil(lambda: state.comparison.mode == "swipe", timeout=60_000)
    qtbot.wait(50)
    assert (state.comparison.pair, state.comparison.curtain) == ((0, 2), 0.3)
    assert viewer.scene.camera.zoom == pytest.approx(2.5)
    assert workspace.tab == "Compare"
    assert drawn in viewer.layers
    state.comparison.end()
    assert [(layer.name, layer.visible) for layer in viewer.layers if layer is not drawn] == before
    assert next(layer for layer in viewer.layers if layer.name == before[0][0]).contrast_limits == [1, 7]


def test_files_that_are_gone_are_told_in_a_sentence(scene, workspace, viewer, tmp_path, qtbot, notifications):
    maps = scene[3]
    panel = workspace.findChild(ComparePanel)
    panel.arrangement.save(tmp_path / "window.json")
    viewer.layers.clear()
    maps.rename(tmp_path / "moved.ome.zarr")
    panel.arrangement.open(tmp_path / "window.json")
    qtbot.waitUntil(lambda: len(notifications) > 1, timeout=30_000)
    told = notifications[-1][1]
    assert "M.ome.zarr" in told
    assert "opened without them" in told
    assert {layer.metadata["mitoxai"]["kind"] for layer in viewer.layers} == {"channel"}
    # the sections may lie elsewhere with the file
    with pytest.raises(MitoxaiError, match="no arrangement"):
        panel.arrangement.open(tmp_path / "moved.ome.zarr" / "zarr.json")


def test_an_arrangement_moves_with_its_files(tmp_path):
    (tmp_path / "a").mkdir()
    section = tmp_path / "a" / "slide.mcd"
    section.touch()
    layer = ShownLayer(kind="channel", section=f"{section}#2", what="SDHA", limits=(0, 3))
    save_arrangement(tmp_path / "a" / "w.json", Arrangement(layers=[layer], run=str(tmp_path / "run")))
    (tmp_path / "a").rename(tmp_path / "b")
    read = read_arrangement(tmp_path / "b" / "w.json")
    assert read.layers[0].section == str(tmp_path / "b" / "slide.mcd#2")
    kept, missing = without_missing(read)
    assert len(kept.layers) == 1
    assert (kept.run, missing) == ("", [str(tmp_path / "run")])


def test_checkpoints_are_combined_and_what_comes_out_is_ticked(scene, child, workspace, tmp_path, qtbot):
    state, planes, _, maps = scene
    other = store_of(tmp_path / "N.ome.zarr", state.section.path, {"lrp": 3 * planes["lrp"]})
    panel = workspace.findChild(ComparePanel)
    panel.maps.add(other)
    assert panel.maps.stores() == [str(maps), str(other)]
    panel.maps.choose([(str(maps), "lrp"), (str(maps), "cam"), (str(other), "lrp")])
    box = workspace.findChild(AggregateBox)
    box.form.set_values({"out": tmp_path / "both.ome.zarr", "scaled_by": "max"})
    child("compare_panel/aggregate").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    assert panel.maps.chosen() == [(str(tmp_path / "both.ome.zarr"), "lrp")]
    assert state.recorder.last("aggregate").parameters.maps == [maps, other]
    values = planes["lrp"]
    expected = values / np.abs(values).max()
    assert np.allclose(open_maps(tmp_path / "both.ome.zarr").read("lrp"), expected, atol=1e-5)
