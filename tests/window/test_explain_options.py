"""What the Explain tab offers beside methods and class: parts of the section, settings, the channel that is shown."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLineEdit, QListWidget

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import open_maps
from napari_mitoxai.explain.planted_truth import ranking, short_hint
from napari_mitoxai.napari.area_chooser import FIBRES, SHAPE, VIEW, AreaChooser
from napari_mitoxai.napari.explain_panel import ExplainPanel
from napari_mitoxai.napari.layers import LayerFacts, facts_of, fibre_layer
from napari_mitoxai.napari.method_settings import MethodSettings
from napari_mitoxai.napari.overlay import on_screen
from napari_mitoxai.napari.shown_channel import ALL
from napari_mitoxai.napari.state import state_of


@pytest.fixture
def state(viewer, workspace, section_path, qtbot):
    """A window with a section."""
    viewer.open(section_path, plugin="napari-mitoxai")
    workspace.show_tab("Explain")
    qtbot.wait(50)
    return state_of(viewer)


@pytest.fixture
def chooser(state, workspace):
    return workspace.findChild(AreaChooser)


def choose(box, value):
    box.setCurrentIndex(box.findData(value))


def test_what_is_on_the_screen(state, chooser, viewer, qtbot):
    section = state.section
    assert chooser.area(section) is None
    choose(chooser.kind, VIEW)
    whole = chooser.area(section).describe()
    assert whole["rows"] == [0, section.shape[1]]
    viewer.scene.camera.zoom *= 4
    qtbot.wait(200)
    rows, _ = on_screen(viewer, section)
    part = chooser.area(section).describe()
    assert part["rows"] == [rows.start, min(rows.stop, section.shape[1])]
    assert part["rows"][1] - part["rows"][0] < section.shape[1] / 2
    for layer in viewer.layers:
        layer.visible = False
    with pytest.raises(MitoxaiError, match="is not on the screen"):
        chooser.area(section)


def test_drawn_shapes(state, chooser, viewer):
    choose(chooser.kind, SHAPE)
    with pytest.raises(MitoxaiError, match="Nothing is drawn"):
        chooser.area(state.section)
    chooser._draw.click()
    layer = viewer.layers.selection.active
    assert layer.mode == "add_polygon"
    layer.add_rectangles([[10, 20], [10, 60], [40, 60], [40, 20]])
    layer.add_ellipses([[100, 100], [100, 140], [120, 140], [120, 100]])
    area = chooser.area(state.section)
    mask = np.zeros(state.section.shape[1:], bool)
    y, x = area.origin
    mask[y : y + area.mask.shape[0], x : x + area.mask.shape[1]] = area.mask
    assert mask[25, 40]
    assert mask[110, 120]
    assert not mask[102, 102]  # the corner of the ellipse's box
    assert mask.sum() == pytest.approx(30 * 40 + np.pi * 10 * 20, rel=0.05)
    layer.add_lines([[0, 0], [5, 5]])
    with pytest.raises(MitoxaiError, match="A line has no inside"):
        chooser.area(state.section)


def test_fibres_by_number(state, chooser, viewer):
    choose(chooser.kind, FIBRES)
    with pytest.raises(MitoxaiError, match="has no fibres yet"):
        chooser.area(state.section)
    labels = np.zeros(state.section.shape[1:], np.int32)
    labels[10:20, 10:20], labels[30:50, 60:70] = 3, 8
    facts = LayerFacts("fibres", state.section.name, str(state.section.path), "fibres")
    layer = state.add_layer(fibre_layer(labels, facts, pixel_size_um=state.section.pixel_size_um))
    assert chooser.area(state.section).mask.sum() == 300
    layer.selected_label = 8
    chooser._add.click()
    assert chooser.findChild(QLineEdit, "fibre_ids").text() == "8"
    assert chooser.area(state.section).mask.sum() == 200
    chooser.findChild(QLineEdit, "fibre_ids").setText("eight")
    with pytest.raises(MitoxaiError, match="not 'eight'"):
        chooser.area(state.section)


def test_settings_of_methods(state, workspace):
    panel = workspace.findChild(ExplainPanel)
    settings = workspace.findChild(MethodSettings)
    panel.form.set_values({"methods": ["gradient", "lrp_epsilon"]})
    names = ["gradient", "lrp_epsilon"]
    assert settings.labels(names) == names
    assert settings.settings(names) == []
    choose(settings.findChild(QComboBox, "method_to_set"), "lrp_epsilon")
    settings._form.field("epsilon").set_value(0.25)
    assert settings.settings(names) == ["lrp_epsilon.epsilon=0.25"]
    preset = settings.findChild(QComboBox, "preset")
    choose(preset, "seed-exact")
    preset.activated.emit(preset.currentIndex())
    assert settings._form.values()["epsilon"] == 1.0
    assert settings.labels(names) == ["gradient", "lrp_epsilon@seed-exact"]
    assert settings.settings(names) == []
    choose(settings.findChild(QComboBox, "method_to_set"), "gradient")  # what was set is kept
    assert settings.labels(names) == ["gradient", "lrp_epsilon@seed-exact"]
    panel.form.set_values({"methods": ["gradient"]})
    assert settings.settings(["gradient"]) == []


def test_the_relevance_of_one_protein(
    state, viewer, workspace, run_folder, child, qtbot, tmp_path, notifications
):
    from napari_mitoxai.common import CancelToken, no_progress
    from napari_mitoxai.napari.runs import load_run

    state.set_run(load_run(run_folder, no_progress, CancelToken()))
    panel = workspace.findChild(ExplainPanel)
    panel.form.set_values({"methods": ["grad_cam", "gradient"], "out": tmp_path / "maps.ome.zarr"})
    choose(child("area"), VIEW)
    child("explain").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=120_000)
    qtbot.wait(100)
    assert notifications == []
    store = open_maps(tmp_path / "maps.ome.zarr")
    assert store.info["area"]["kind"] == "rectangle"
    assert "This part of" in child("verdict").text()
    (layer,) = [one for one in viewer.layers if facts_of(one) and facts_of(one).what == "gradient"]
    box = child("shown_channel")
    assert [box.itemText(index) for index in range(box.count())] == [ALL, *store.channels("gradient")]
    box.setCurrentIndex(2)
    box.activated.emit(2)
    np.testing.assert_allclose(np.asarray(layer.data), store.read("gradient")[1], atol=1e-12)
    box.setCurrentIndex(0)
    box.activated.emit(0)
    np.testing.assert_allclose(np.asarray(layer.data), store.read("gradient").sum(0), rtol=1e-5, atol=1e-9)


def test_methods_say_how_well_they_found_a_planted_truth(state, workspace):
    best = next(iter(ranking()))
    listed = workspace.findChild(ExplainPanel).form.field("methods").findChild(QListWidget)
    items = {
        listed.item(row).data(Qt.ItemDataRole.UserRole): listed.item(row) for row in range(listed.count())
    }
    assert items[best].text().endswith(short_hint(best))
    assert items["random"].text() == "Random"
    assert "Complex I loss" in items[best].toolTip()
    assert listed.sizeHintForColumn(0) <= listed.viewport().width()  # the words are not cut off
