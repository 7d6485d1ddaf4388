"""The tutorial, walked with a mouse: from the sample to a figure with three methods compared in ten clicks or fewer."""

import json

import pytest

SAMPLE = "Simulated cohort (a patient who lost complex I)"


class Mouse:
    """Clicks on what is seen and enabled, as a user does, and counts."""

    def __init__(self, qtbot, child, state):
        self._qtbot, self._child, self._state = qtbot, child, state
        self.clicks = 0

    def click(self, path):
        from qtpy.QtCore import Qt

        button = self._child(path)
        self._qtbot.waitUntil(lambda: button.isVisible() and button.isEnabled(), timeout=60_000)
        self._qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.clicks += 1

    def choose(self, menu, *titles):
        """Open a menu, go through its submenus, and take an entry: two clicks, as submenus open by themselves."""
        for title in titles:
            menu.aboutToShow.emit()  # napari fills a menu when it is shown
            there = {action.text().replace("&", ""): action for action in menu.actions()}
            assert title in there, sorted(there)
            entry = there[title]
            assert entry.isEnabled()
            menu = entry.menu()
        entry.trigger()
        self.clicks += 2

    def wait(self):
        self._qtbot.waitUntil(lambda: not self._state.runner.busy, timeout=600_000)
        self._qtbot.wait(300)


def walk(qtbot, viewer, notifications):
    """All steps of docs/tutorial.md; gives the mouse and the folder of the section."""
    from qtpy.QtWidgets import QWidget

    from napari_mitoxai.napari.docks import Workspace
    from napari_mitoxai.napari.state import state_of

    state = state_of(viewer)

    def child(path):
        found = workspace
        for name in path.split("/"):
            found = found.findChild(QWidget, name)
            assert found is not None, path
        return found

    mouse = Mouse(qtbot, child, state)
    mouse.choose(viewer.window.file_menu, "Open Sample", "MitoXAI", SAMPLE)
    workspace = viewer.window._qt_window.findChild(Workspace, "mitoxai_workspace")
    assert workspace is not None, "the sample opens the workspace"
    mouse.wait()
    mouse.click("tab_Train")
    mouse.click("train_panel/train")
    mouse.wait()
    assert state.run is not None
    mouse.click("tab_Explain")
    mouse.click("explain_panel/explain")
    mouse.wait()
    mouse.click("tab_Compare")
    mouse.click("compare_panel/compare")
    mouse.wait()
    qtbot.waitUntil(lambda: workspace.findChild(QWidget, "compare_panel").comparison.complete, timeout=60_000)  # fmt: skip
    assert len(workspace.findChild(QWidget, "compare_panel").comparison.cells) == 3
    mouse.click("tab_Figure")
    panel = workspace.findChild(QWidget, "figure_panel")
    qtbot.waitUntil(lambda: panel.preview.pixels is not None and not state.runner.busy, timeout=60_000)
    mouse.click("figure_panel/save_figure")
    mouse.wait()
    assert not [text for severity, text in notifications if severity == "error"]
    return mouse, state.section.path.parent


def checked(mouse, folder):
    assert mouse.clicks <= 10
    sidecar = json.loads((folder / "P99_figure.json").read_text())
    shown = [panel.get("method") for panel in sidecar["spec"]["panels"]]
    assert {"grad_cam", "guided_backprop", "lrp_epsilon"} <= set(shown)
    assert (folder / "P99_figure.png").stat().st_size > 10_000
    assert (folder / "P99_figure.pdf").is_file()


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MITOXAI_CACHE", str(tmp_path / "cache"))


def test_from_the_sample_to_a_figure_in_ten_clicks(qtbot, viewer, notifications, fresh_cache, monkeypatch):
    """With a smaller cohort and one epoch, which changes no click."""
    from napari_mitoxai.napari import sample_data

    monkeypatch.setattr(sample_data, "_SIZE", 256)
    monkeypatch.setitem(sample_data._SUGGESTIONS, "epochs", 1)
    checked(*walk(qtbot, viewer, notifications))


@pytest.mark.slow
def test_the_tutorial_as_it_stands(qtbot, viewer, notifications, fresh_cache):
    """With the sample's own cohort and epochs; the network calls the new patient a patient."""
    mouse, folder = walk(qtbot, viewer, notifications)
    checked(mouse, folder)
    sidecar = json.loads((folder / "P99_figure.json").read_text())
    assert "P99" in json.dumps(sidecar)
