"""Make the screenshots of the README and the documentation, from a real window on simulated data.

Needs a display: ``xvfb-run -a -s "-screen 0 1920x1200x24" python docs/screenshots.py``. Look at the pictures before
committing them.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication, QCheckBox, QPushButton, QScrollArea

from napari_mitoxai.napari.fibre_editor import FibreEditor

IMAGES = Path(__file__).parent / "images"


def wait(seconds: float = 0.5) -> None:
    """Let the window work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until(done: Callable[[], bool], timeout: float = 600) -> None:
    """Let the window work until something is done."""
    end = time.monotonic() + timeout
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the task did not end")
        wait(0.05)
    wait()


def main() -> None:
    """Walk through the tabs and keep a picture of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="where the pictures go")
    parser.add_argument("--until", default="", help="stop after the picture of this name")
    given = parser.parse_args()
    images = given.images
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MITOXAI_CACHE"] = cache
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1280, 800)
        _, workspace = viewer.window.add_plugin_dock_widget("napari-mitoxai", "Open workspace")

        def press(name: str) -> None:
            button = workspace.findChild(QPushButton, name)
            wait_until(button.isEnabled)
            button.click()
            wait_until(lambda: not workspace.findChild(QPushButton, "cancel").isVisible())

        def keep(name: str) -> None:
            wait()
            viewer.window.screenshot(str(images / f"{name}.png"), canvas_only=False, flash=False)
            if name == given.until:
                viewer.close()
                raise SystemExit

        viewer.open_sample("napari-mitoxai", "simulated_cohort")
        wait_until(workspace.findChild(QPushButton, "train").isEnabled)
        viewer.reset_view()
        keep("workspace")
        workspace.show_tab("Fibres")
        workspace.findChild(QCheckBox, "live_preview").setChecked(True)
        wait_until(lambda: any("preview" in layer.name for layer in viewer.layers))
        keep("fibres_preview")
        press("segment")
        editor = workspace.findChild(FibreEditor)
        editor.select([int(fibre) for fibre in set(editor.layer.data[150:250, 200].tolist()) if fibre][:2])
        workspace.findChild(QScrollArea).ensureWidgetVisible(editor)
        keep("fibres")
        workspace.show_tab("Train")
        press("train")
        keep("train")
        workspace.show_tab("Explain")
        press("explain")
        keep("explain")
        viewer.theme = "light"
        keep("explain_light")
        viewer.close()


if __name__ == "__main__":
    main()
