"""Real windows: a hidden viewer draws nothing that could be looked at."""

import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.fspath).parents:
            item.add_marker(pytest.mark.window)


@pytest.fixture
def viewer(make_napari_viewer, qtbot):
    """A viewer in a visible window of a usual size."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 800)
    qtbot.wait(100)
    yield viewer
    gc.collect()


@pytest.fixture
def notifications():
    """What the user is told, as (severity, text)."""
    from napari.utils.notifications import notification_manager

    heard = []

    def hear(notification):
        heard.append((str(notification.severity), notification.message))

    notification_manager.notification_ready.connect(hear)
    yield heard
    notification_manager.notification_ready.disconnect(hear)


@pytest.fixture
def workspace(viewer):
    """The workspace dock of the viewer."""
    return viewer.window.add_plugin_dock_widget("napari-mitoxai", "Open workspace")[1]


@pytest.fixture
def child(workspace):
    """Find a widget of the workspace by its object name, or by ``panel/name``."""
    from qtpy.QtWidgets import QWidget

    def find(path):
        found = workspace
        for name in path.split("/"):
            found = found.findChild(QWidget, name)
            assert found is not None, path
        return found

    return find


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """A small simulated cohort on the disk: two subjects a group."""
    from napari_mitoxai import simulate

    return simulate.cohort(tmp_path_factory.mktemp("cohort"), 2, size=256, seed=3)


@pytest.fixture(scope="session")
def run_folder(cohort, tmp_path_factory):
    """A ResNet18 trained for two epochs on the small cohort, P02 held out."""
    from napari_mitoxai.napari.libraries import keep_llvms_apart
    from napari_mitoxai.tasks.train import TrainParameters, run

    keep_llvms_apart()
    out = tmp_path_factory.mktemp("runs") / "run"
    run(
        TrainParameters(
            cohort=cohort, out=out, epochs=2, patch_size=128, input_size=64, batch_size=16, hold_out=["P02"]
        )
    )
    return out


@pytest.fixture
def section_path(cohort):
    """The OME-TIFF of a simulated patient."""
    return cohort.parent / "P01.ome.tiff"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, tmp_path, monkeypatch):
    """Samples go to a folder of the tests, not to the user's cache, and choices are not kept from test to test."""
    monkeypatch.setenv("MITOXAI_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("MITOXAI_SETTINGS", str(tmp_path / "settings"))
