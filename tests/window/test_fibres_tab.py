"""The Fibres tab: preview, correction by hand, classes, saving and importing."""

from types import SimpleNamespace

import numpy as np
import pytest
from app_model.types import KeyBinding
from numpy.testing import assert_array_equal

from napari_mitoxai.fibres import FibreClass, classes_path, read_classes
from napari_mitoxai.imc import read_labels, write_labels
from napari_mitoxai.napari.fibre_editor import FibreEditor, classes_by_hand
from napari_mitoxai.napari.fibres_panel import FibresPanel
from napari_mitoxai.napari.state import state_of


@pytest.fixture
def state(viewer, workspace, section_path):
    viewer.open(str(section_path), plugin="napari-mitoxai")
    return state_of(viewer)


@pytest.fixture
def idle(state, qtbot):
    def wait():
        qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)

    return wait


@pytest.fixture
def panel(state, workspace):
    workspace.show_tab("Fibres")
    return workspace.findChild(FibresPanel)


@pytest.fixture
def drawn(tmp_path, panel, idle, viewer):
    """Two fibres beside each other and one apart, imported; ids with a hole."""
    labels = np.zeros((256, 256), np.int32)
    labels[20:60, 20:60], labels[20:60, 66:110], labels[150:200, 150:200] = 1, 2, 9
    path = write_labels(tmp_path / "drawn.tiff", labels)
    panel.import_labels(path)
    idle()
    return viewer.layers["P01 / fibres"]


def _shift_click(layer, y, x):
    event = SimpleNamespace(modifiers=("Shift",), position=(y, x))
    for each in layer.mouse_drag_callbacks:
        if getattr(each, "__name__", "") == "_on_press":
            each(layer, event)


def test_found_fibres_are_kept_with_their_classes(panel, child, idle, viewer, tmp_path):
    panel.form.set_values({"out": tmp_path / "fibres.tiff", "fibre_size_um": 40.0})
    child("fibres_panel/segment").click()
    idle()
    layer = viewer.layers["P01 / fibres"]
    assert_array_equal(read_labels(tmp_path / "fibres.tiff"), layer.data)
    kinds, by_hand = read_classes(tmp_path / "fibres_classes.csv")
    assert sorted(kinds) == list(range(1, layer.data.max() + 1))
    assert not by_hand
    assert "analysable" in child("fibres_found").text()


def test_a_preview_follows_the_fibre_size_and_leaves_with_its_tick(panel, child, viewer, qtbot, state):
    before = list(viewer.layers)
    child("fibres_panel/live_preview").setChecked(True)
    qtbot.waitUntil(lambda: "P01 / preview" in viewer.layers, timeout=60_000)
    first = viewer.layers["P01 / preview"].data.max()
    assert first > 0
    panel.form.set_values({"fibre_size_um": 200.0})
    qtbot.waitUntil(lambda: viewer.layers["P01 / preview"].data.max() != first, timeout=60_000)
    child("fibres_panel/live_preview").setChecked(False)
    assert list(viewer.layers) == before


def test_selected_fibres_are_merged_deleted_and_brought_back(child, drawn, notifications):
    original = drawn.data.copy()
    child("fibre_editor/merge").click()
    assert "two or more" in notifications[-1][1]
    _shift_click(drawn, 40, 40)
    _shift_click(drawn, 40, 90)
    assert "1, 2" in child("selected_fibres").text()
    child("fibre_editor/merge").click()
    assert (drawn.data[25:55, 20:110] == 1).all()
    child("fibre_editor/undo").click()
    assert_array_equal(drawn.data, original)
    _shift_click(drawn, 170, 170)
    child("fibre_editor/delete").click()
    assert not (drawn.data == 9).any()
    drawn.undo()  # napari's own Ctrl+Z
    assert_array_equal(drawn.data, original)


def test_undo_takes_back_classes_too_in_the_order_of_the_changes(child, drawn, notifications):
    def kinds():
        return classes_by_hand(drawn)

    original = drawn.data.copy()
    _shift_click(drawn, 170, 170)
    child("fibre_class").setCurrentText("folded")
    child("fibre_editor/set_class").click()
    child("fibre_editor/delete").click()
    child("fibre_editor/undo").click()
    assert_array_equal(drawn.data, original)
    assert kinds() == {9: "folded"}
    drawn.paint((10, 10), 9)  # with napari's own tool
    drawn.keymap[KeyBinding.from_str("Ctrl+Z")](drawn)
    assert_array_equal(drawn.data, original)
    assert kinds() == {9: "folded"}
    child("fibre_editor/undo").click()
    assert kinds() == {}
    assert_array_equal(drawn.data, original)
    child("fibre_editor/undo").click()  # nothing is left
    assert_array_equal(drawn.data, original)


def test_what_was_taken_back_is_done_again_and_old_changes_are_forgotten(child, drawn):
    original = drawn.data.copy()
    redo = drawn.keymap[KeyBinding.from_str("Ctrl+Shift+Z")]
    _shift_click(drawn, 170, 170)
    child("fibre_class").setCurrentText("folded")
    child("fibre_editor/set_class").click()
    _shift_click(drawn, 40, 40)
    _shift_click(drawn, 170, 170)
    child("fibre_editor/delete").click()
    without = drawn.data.copy()
    for _ in range(2):
        child("fibre_editor/undo").click()
    assert classes_by_hand(drawn) == {}
    assert_array_equal(drawn.data, original)
    for _ in range(3):  # one more than there is
        redo(drawn)
    assert classes_by_hand(drawn) == {9: "folded"}
    assert_array_equal(drawn.data, without)
    # napari keeps a hundred changes of pixels; a class that was given before them stays
    for place in range(120):
        drawn.paint((10, place), 5)
    for _ in range(130):
        child("fibre_editor/undo").click()
    assert classes_by_hand(drawn) == {9: "folded"}
    assert (drawn.data == 5).any()


def test_a_drawn_line_splits_what_it_crosses_and_is_gone(child, drawn, viewer, workspace, notifications):
    child("fibre_editor/split").click()
    line = viewer.layers["cut"]
    assert line.mode == "add_line"
    line.add_lines([[[10, 40], [70, 40]]])
    workspace.findChild(FibreEditor).cut(line)
    assert "cut" not in viewer.layers
    assert len(np.unique(drawn.data[20:60, 20:60])) == 2
    child("fibre_editor/split").click()
    viewer.layers["cut"].add_lines([[[100, 10], [100, 200]]])
    workspace.findChild(FibreEditor).cut(viewer.layers["cut"])
    assert "from side to side" in notifications[-1][1]


def test_changes_and_classes_are_saved_and_come_back_and_nothing_is_overwritten(
    child, drawn, panel, idle, tmp_path, notifications, workspace, viewer
):
    editor = workspace.findChild(FibreEditor)
    assert not editor.unsaved
    _shift_click(drawn, 170, 170)
    child("fibre_class").setCurrentText("folded")
    child("fibre_editor/set_class").click()
    drawn.data_setitem((np.array([0]), np.array([0])), 4)
    assert editor.unsaved
    panel.form.set_values({"out": tmp_path / "drawn.tiff"})
    child("fibres_panel/save_fibres").click()
    assert "exists already" in notifications[-1][1]
    child("fibres_panel/segment").click()
    assert "exists already" in notifications[-1][1] or "not saved" in notifications[-1][1]
    assert viewer.layers["P01 / fibres"] is drawn
    out = tmp_path / "mine.tiff"
    panel.form.set_values({"out": out})
    child("fibres_panel/save_fibres").click()
    idle()
    assert not editor.unsaved
    assert panel.form.field("out").value() == str(tmp_path / "mine_2.tiff")
    assert read_labels(out)[0, 0] == 4
    kinds, by_hand = read_classes(classes_path(out))
    assert kinds[9] is FibreClass.FOLDED
    assert by_hand == {9}
    panel.import_labels(out)
    idle()
    _shift_click(viewer.layers["P01 / fibres"], 170, 170)
    assert "folded" in child("selected_fibres").text()
    _shift_click(viewer.layers["P01 / fibres"], 40, 40)
    assert "1 (analysable)" in child("selected_fibres").text()


def test_labels_of_another_section_are_refused(panel, idle, tmp_path, viewer, notifications):
    panel.import_labels(write_labels(tmp_path / "small.tiff", np.ones((9, 12), np.int32)))
    idle()
    assert "12 x 9 px" in notifications[-1][1]
    assert "P01 / fibres" not in viewer.layers
