"""File > Open Sample > Warren 2020: nothing is fetched before it is chosen, and the window stays awake while it is."""

import pytest
from qtpy.QtWidgets import QPushButton

from napari_mitoxai.cohort import published
from napari_mitoxai.napari.state import state_of


@pytest.fixture
def server(small_published, tmp_path, monkeypatch):
    """What was asked for of two small sections in place of the published ones."""
    monkeypatch.setenv("MITOXAI_CACHE", str(tmp_path / "cache"))
    return small_published[2]


def opened(viewer, qtbot):
    viewer.open_sample("napari-mitoxai", "warren2020")
    qtbot.waitUntil(lambda: not state_of(viewer).runner.busy, timeout=30_000)


def test_choosing_it_downloads_opens_and_offers_the_cohort(
    viewer, workspace, child, server, qtbot, notifications
):
    assert server == []
    viewer.open_sample("napari-mitoxai", "warren2020")
    assert len(viewer.layers) == 0  # the section follows
    assert child("cancel").isVisible()
    qtbot.waitUntil(lambda: not state_of(viewer).runner.busy, timeout=30_000)
    assert len(server) == 20
    assert "P09 / NDUFB8" in viewer.layers
    assert child("train_panel/cohort").text().endswith("cohort.csv")
    assert "1 control, 1 patient" in child("cohort_says").text()
    assert notifications == []
    # from the disk the next time
    viewer.layers.clear()
    viewer.open_sample("napari-mitoxai", "warren2020")
    assert "P09 / NDUFB8" in viewer.layers
    assert len(server) == 20


def test_offline_is_one_sentence(viewer, workspace, server, qtbot, notifications, monkeypatch):
    monkeypatch.setattr(published, "ADDRESS", "http://127.0.0.1:9/")
    opened(viewer, qtbot)
    [(severity, text)] = notifications
    assert severity == "error"
    assert "there is no connection to 127.0.0.1:9: connect to the internet and try again" in text
    assert "Traceback" not in text
    assert len(viewer.layers) == 0


def test_without_a_dock_the_workspace_is_opened_for_its_cancel_button(viewer, server, qtbot):
    assert "Open workspace (napari-mitoxai)" not in viewer.window.dock_widgets
    opened(viewer, qtbot)
    dock = viewer.window.dock_widgets["Open workspace (napari-mitoxai)"]
    assert dock.findChild(QPushButton, "cancel") is not None
    assert "P09 / NDUFB8" in viewer.layers
