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
from qtpy.QtWidgets import QApplication, QComboBox, QPushButton, QWidget

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


def call_oxphos(workspace: QWidget, press: Callable[[str], None], folder: Path) -> None:
    """Call the open section against two measured controls of the simulated cohort, and select some fibres."""
    from napari_mitoxai.napari.oxphos_panel import OxphosPanel
    from napari_mitoxai.tasks import measure

    panel = workspace.findChild(OxphosPanel)
    press("measure")
    cohort = next(folder.rglob("cohort.csv")).parent
    for name in ("C01", "C02", "C03"):
        labels, out = cohort / "fibres" / f"{name}.tiff", folder / f"{name}.csv"
        measure.run(measure.MeasureParameters(section=cohort / f"{name}.ome.tiff", fibres=labels, out=out))
        panel.tables.add(out)
    press("call")
    canvas = panel.findChild(QWidget, "mito_plot")
    x, y = canvas.plot.fibres["x"].median(), canvas.plot.fibres["y"].median()
    canvas.choose([(x, y - 9), (x + 9, y - 9), (x + 9, y), (x, y)])


def main() -> None:
    """Walk through the tabs and keep a picture of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="where the pictures go")
    images = parser.parse_args().images
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

        viewer.open_sample("napari-mitoxai", "simulated_cohort")
        wait_until(workspace.findChild(QPushButton, "train").isEnabled)
        viewer.reset_view()
        keep("workspace")
        workspace.show_tab("Fibres")
        press("segment")
        keep("fibres")
        workspace.show_tab("OXPHOS")
        call_oxphos(workspace, press, Path(cache))
        keep("oxphos")
        workspace.show_tab("Train")
        press("train")
        keep("train")
        workspace.show_tab("Explain")
        press("explain")
        keep("explain")
        viewer.theme = "light"
        keep("explain_light")
        viewer.theme = "dark"
        workspace.show_tab("Relevance")
        press("measure_relevance")
        workspace.findChild(QWidget, "relevance_panel").findChild(QComboBox, "method").setCurrentText(
            "lrp_epsilon"
        )
        for layer in viewer.layers:  # the fibres' colours, on the membrane alone
            layer.visible = "fibres" in layer.name or "Dystrophin" in layer.name
        keep("relevance")
        viewer.close()


if __name__ == "__main__":
    main()
