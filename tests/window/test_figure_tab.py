"""The Figure tab: what is open becomes a figure, the same as the headless one."""

import numpy as np
import pytest
from PIL import Image

from napari_mitoxai import simulate
from napari_mitoxai.explain.store import MapGrid, create_store, open_maps
from napari_mitoxai.imc import write_labels, write_section
from napari_mitoxai.napari.figure_panel import PREVIEW_DPI, FigurePanel
from napari_mitoxai.napari.layers import LayerFacts, fibre_layer, store_layers
from napari_mitoxai.napari.state import state_of
from napari_mitoxai.tasks import figure
from napari_mitoxai.tasks.figure_files import read_spec, write_spec

SIZE = 192


def section_with_maps(folder, name, *, patient, seed):
    """A section, its fibres, and a store with two maps of it."""
    made = simulate.section("membrane_rim", patient, size=SIZE, seed=seed)
    path = folder / f"{name}.ome.tiff"
    write_section(path, made.counts, made.panel, pixel_size_um=1.0)
    side = SIZE // 2
    noise = np.random.default_rng(seed).normal(size=(1, side, side)).astype(np.float32)
    methods = {
        "lrp": {"channels": ["all channels"], "signed": True, "title": "LRP"},
        "cam": {"channels": ["all channels"], "signed": False, "title": "Grad-CAM"},
    }
    info = {
        "section": {"name": name, "path": str(path), "subject": name, "shape": [10, SIZE, SIZE], "notes": []},
        "checkpoint": {"architecture": "none", "classes": ["control", "patient"], "patch_size": SIZE},
        "target": "patient", "target_class": "patient", "use_of_subject": "test", "area": None, "fingerprint": "f",
    }  # fmt: skip
    store = create_store(folder / f"{name}.ome.zarr", MapGrid((side, side), 2, 1.0), methods, info)
    store.write_block("lrp", (0, 0), noise)
    store.write_block("cam", (0, 0), np.abs(noise))
    store.complete({"call": "patient", "probability": {"patient": 0.8, "control": 0.2}, "patches": 1})
    return path, made.fibres


@pytest.fixture
def scene(viewer, workspace, tmp_path, qtbot):
    """A section with fibres and two maps, and the tab in front."""
    path, fibres = section_with_maps(tmp_path, "S", patient=True, seed=8)
    write_labels(tmp_path / "fibres.tiff", fibres)
    viewer.open(path, plugin="napari-mitoxai")
    state = state_of(viewer)
    qtbot.wait(50)
    facts = LayerFacts(
        "fibres", state.section.name, str(state.section.address), "fibres", "", str(tmp_path / "fibres.tiff")
    )
    state.add_layer(fibre_layer(fibres, facts, pixel_size_um=1.0))
    for layer in store_layers(open_maps(tmp_path / "S.ome.zarr")):
        state.add_layer(layer)
    workspace.show_tab("Figure")
    qtbot.wait(50)
    return state, workspace.findChild(FigurePanel), tmp_path


@pytest.fixture
def settled(scene, qtbot):
    """Wait until the preview shows what is chosen now."""
    _, panel, _ = scene

    def wait():
        qtbot.waitUntil(lambda: panel.settled and panel.preview.pixels is not None, timeout=60_000)
        return panel.preview.pixels

    return wait


def headless(spec):
    """The pixels that a worker without a window draws at the preview's resolution."""
    made = figure.draw(spec)
    made.set_dpi(PREVIEW_DPI)
    made.canvas.draw()
    return np.asarray(made.canvas.buffer_rgba())


def test_the_window_and_the_command_line_draw_the_same(scene, settled, child, viewer, qtbot, notifications):
    """Data, contrast and labels, compared in pixels: in the preview, and in the file."""
    _, panel, folder = scene
    assert panel.columns.value() == ["composite", "lrp", "cam"]
    panel.form.set_values({"dpi": 150, "title": "From the window"})
    child("figure_panel/window_contrast").setChecked(True)
    shown = next(layer for layer in viewer.layers if "Dystrophin" in layer.name)
    shown.contrast_limits = (0.0, 3.0)
    preview = settled()
    assert panel.spec().rows[0].limits["Dystrophin"] == (0.0, 3.0)
    write_spec(panel.spec(), folder / "figure.yaml")
    kept = read_spec(folder / "figure.yaml").spec
    np.testing.assert_array_equal(preview, headless(kept))

    panel.out.set_value(folder / "out")
    for ending in ("svg", "tiff"):
        child(f"figure_panel/format_{ending}").setChecked(True)
    child("figure_panel/save_figure").click()
    qtbot.waitUntil(lambda: "Kept: " in child("figure_panel/figure_kept").text(), timeout=60_000)
    assert notifications == []
    assert {path.suffix for path in folder.glob("out.*")} == {".png", ".pdf", ".svg", ".tiff", ".json"}
    again = figure.run(figure.FigureParameters(section=folder / "out.json", out=folder / "again.png")).figure
    with Image.open(folder / "out.png") as ours, Image.open(again) as theirs:
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
        assert ours.width == round(180 / 25.4 * 150)
    assert "From the window</text>" in (folder / "out.svg").read_text()
    kept_png = (folder / "out.png").read_bytes()
    panel.form.set_values({"title": "Another"})
    panel.out.set_value(folder / "out")
    child("figure_panel/save_figure").click()
    qtbot.waitUntil(lambda: bool(notifications), timeout=60_000)
    told = notifications[0][1]
    assert "out.png exists already" in told
    assert "in the window, tick Replace" in told
    assert (folder / "out.png").read_bytes() == kept_png
    settled()
    child("figure_panel/replace_figure").setChecked(True)
    child("figure_panel/save_figure").click()
    qtbot.waitUntil(lambda: not child("figure_panel/replace_figure").isChecked(), timeout=60_000)
    assert "Another</text>" in (folder / "out.svg").read_text()


def test_a_method_that_two_stores_have_is_drawn_from_the_one_that_is_shown(scene, settled, viewer, qtbot):
    """A store of one method, by another network, is dropped: its map takes the other's place in the window."""
    _, panel, folder = scene
    other = open_maps(folder / "S.ome.zarr")
    store = create_store(
        folder / "other.ome.zarr", other.grid, {"cam": other.info["methods"]["cam"]}, dict(other.info)
    )
    store.write_block("cam", (0, 0), np.ones((1, SIZE // 2, SIZE // 2), np.float32))
    store.complete({"call": "patient", "probability": {"patient": 0.7, "control": 0.3}, "patches": 1})
    viewer.open(folder / "other.ome.zarr", plugin="napari-mitoxai")
    qtbot.waitUntil(lambda: sum("cam" in layer.name for layer in viewer.layers) == 1)
    panel.columns.set_value(["cam", "lrp"])
    settled()
    assert [path.name for path in panel.spec().rows[0].maps] == ["other.ome.zarr", "S.ome.zarr"]
    viewer.open(folder / "S.ome.zarr", plugin="napari-mitoxai")
    qtbot.waitUntil(lambda: [path.name for path in panel.spec().rows[0].maps] == ["S.ome.zarr"])


def test_rows_of_subjects_and_a_drawn_crop_are_the_same_without_a_window(
    scene, settled, child, viewer, qtbot, notifications
):
    """Two subjects by two methods; of one a shape that was drawn: preview and file, in pixels, to scale."""
    state, panel, folder = scene
    path, _ = section_with_maps(folder, "C", patient=False, seed=9)
    viewer.open(path, plugin="napari-mitoxai")
    viewer.open(folder / "C.ome.zarr", plugin="napari-mitoxai")
    qtbot.wait(100)
    assert state.section.name == "C"
    viewer.add_shapes([[[20, 30], [20, 130], [95, 130], [95, 30]]])
    state.section_changed.emit(state.section)
    child("figure_panel/crop_shape").click()
    panel.form.set_values({"dpi": 254, "width_mm": 100, "scale_bar_um": 25})
    panel.columns.set_value(["composite", "lrp", "cam"])
    preview = settled()
    spec = panel.spec()
    assert [row.section.name for row in spec.rows] == ["S.ome.tiff", "C.ome.tiff"]
    assert [row.crop_um for row in spec.rows] == [None, (30.0, 20.0, 130.0, 95.0)]
    write_spec(spec, folder / "figure.yaml")
    kept = read_spec(folder / "figure.yaml").spec
    np.testing.assert_array_equal(preview, headless(kept))
    made = figure.draw(kept)
    titles = [text.get_text() for axes in made.axes for text in [axes.title, *axes.texts]] + [
        text.get_text() for text in made.texts
    ]
    for told in ("LRP", "Grad-CAM", "25 µm"):
        assert any(told in text for text in titles), titles
    panel.out.set_value(folder / "rows")
    child("figure_panel/save_figure").click()
    qtbot.waitUntil(lambda: "Kept: " in child("figure_panel/figure_kept").text(), timeout=60_000)
    again = figure.run(figure.FigureParameters(section=folder / "rows.json", out=folder / "again.png")).figure
    with Image.open(folder / "rows.png") as ours, Image.open(again) as theirs:
        assert ours.width == 1000  # 100 mm at 10 dots a mm
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert [text for kind, text in notifications if kind == "error"] == []


def test_what_is_hidden_unticked_or_cropped_changes_the_preview(scene, settled, child, viewer, qtbot):
    state, panel, _ = scene
    panel.form.set_values({"width_mm": 90})
    first = settled().copy()
    panel.columns.set_value(["composite"])
    assert settled().shape != first.shape
    child("figure_panel/figure_columns")
    next(layer for layer in viewer.layers if "Dystrophin" in layer.name).visible = False
    settled()
    assert "Dystrophin" not in panel.spec().panels[0].channels
    shapes = viewer.add_shapes([[[20, 30], [20, 90], [70, 90], [70, 30]]])
    state.section_changed.emit(state.section)
    child("figure_panel/crop_shape").click()
    assert panel.spec().rows[0].crop_um == (30.0, 20.0, 90.0, 70.0)
    assert "60 × 50 µm" in child("figure_panel/crop_told").text()
    viewer.layers.remove(shapes)
    viewer.scene.camera.zoom *= 4
    qtbot.wait(300)
    child("figure_panel/crop_view").click()
    left, top, right, bottom = panel.spec().rows[0].crop_um
    assert 0 < right - left < SIZE
    assert 0 < bottom - top < SIZE
    np.testing.assert_array_equal(settled(), headless(panel.spec()))
    child("figure_panel/crop_none").click()
    assert panel.spec().rows[0].crop_um is None


def test_a_problem_is_told_below_the_preview_and_a_file_is_opened(
    scene, settled, child, qtbot, notifications
):
    _, panel, folder = scene
    settled()
    panel.form.set_values({"font": "Nonesuch"})
    qtbot.waitUntil(lambda: "not installed" in child("figure_panel/figure_problem").text(), timeout=30_000)
    assert notifications == []
    panel.form.set_values({"font": "DejaVu Sans"})
    panel.columns.set_value([])
    qtbot.waitUntil(lambda: "tick something" in child("figure_panel/figure_problem").text(), timeout=30_000)
    (folder / "kept.yaml").write_text(
        "rows: [{section: S.ome.tiff, maps: S.ome.zarr, title: Given}]\nwidth_mm: 60\n"
        "panels: [{show: map, method: cam, title: My map}]\n"
    )
    panel.open_spec(folder / "kept.yaml")
    np.testing.assert_array_equal(settled(), headless(read_spec(folder / "kept.yaml").spec))
    assert panel.spec() == read_spec(folder / "kept.yaml").spec
    # a crop of the file is told, and can be taken back
    (folder / "cropped.yaml").write_text(
        "rows: [{section: S.ome.tiff, maps: S.ome.zarr, crop_um: [10, 20, 70, 60]}]\npanels: [composite]\n"
    )
    panel.open_spec(folder / "cropped.yaml")
    assert "60 × 40 µm" in child("figure_panel/crop_told").text()
    child("figure_panel/crop_none").click()
    assert panel.spec().rows[0].crop_um is None
    assert "whole" in child("figure_panel/crop_told").text()
    assert child("figure_panel/save_figure").isEnabled()
    panel.rows.set_value([])
    assert not child("figure_panel/save_figure").isEnabled()
