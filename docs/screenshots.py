"""Make the screenshots of the README and the documentation, from a real window on simulated data.

Needs a display: ``xvfb-run -a -s "-screen 0 1920x1200x24" python docs/screenshots.py``. Look at the pictures before
committing them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QToolButton,
    QWidget,
)
from superqt import QCollapsible

from napari_mitoxai.napari.cohort_panel import CohortPanel
from napari_mitoxai.napari.fibre_editor import FibreEditor
from napari_mitoxai.napari.figure_panel import FigurePanel
from napari_mitoxai.napari.trust_box import TrustBox

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


def study(simulated: Path, place: Path) -> Path:
    """The simulated sections in folders, with one that is broken and one that is there twice."""
    for path in simulated.glob("*.ome.tiff"):
        folder = place / "study" / ("controls" if path.name.startswith("C") else "patients")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    patients = place / "study" / "patients"
    shutil.copy(patients / "P03.ome.tiff", patients / "P05.ome.tiff")
    (patients / "P04.ome.tiff").write_bytes((patients / "P04.ome.tiff").read_bytes()[:10_000])
    return place / "study"


def forty_channels(folder: Path) -> Path:
    """A simulated section with thirty channels more than the usual ones."""
    from napari_mitoxai import simulate
    from napari_mitoxai.imc import Panel, parse_channel, write_section

    made = simulate.section("complex_i_loss", patient=True, size=768, seed=1)
    others = ("CD45", "CD68", "CD31", "Collagen1", "aSMA", "Desmin", "MYH7", "MYH2", "HLA_ABC", "Ki67")
    more = [
        parse_channel(f"{name}{number or ''}", f"{141 + index}Nd")
        for number in range(3)
        for index, name in enumerate(others)
    ]
    counts = np.concatenate(
        [made.counts, np.random.default_rng(0).poisson(1, (30, 768, 768)).astype(made.counts.dtype)]
    )
    return write_section(folder / "P07.ome.tiff", counts, Panel((*made.panel, *more)))


def epochs_drawn(workspace: QWidget) -> int:
    """How many epochs the learning curve shows."""
    plot = workspace.findChild(QWidget, "loss_plot")
    return 0 if plot is None else len(plot.points["train_loss"])


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


def tutorial(images: Path) -> None:
    """Walk the ten clicks of docs/tutorial.md, and keep what is seen after each step; also the Embedding tab of its run."""
    from napari_mitoxai.napari.docks import Workspace
    from napari_mitoxai.napari.embedding_panel import EmbeddingPanel
    from napari_mitoxai.napari.state import state_of

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 800)
    state = state_of(viewer)

    def keep(name: str) -> None:
        wait()
        viewer.window.screenshot(str(images / f"{name}.png"), canvas_only=False, flash=False)

    def press(panel: str, name: str) -> None:
        button = workspace.findChild(QWidget, panel).findChild(QPushButton, name)
        wait_until(button.isEnabled)
        button.click()
        wait_until(lambda: not state.runner.busy)

    viewer.open_sample("napari-mitoxai", "simulated_cohort")
    workspace = viewer.window._qt_window.findChild(Workspace)
    wait_until(lambda: state.cohort is not None and not state.runner.busy)
    viewer.reset_view()
    keep("tutorial_sample")
    workspace.show_tab("Train")
    press("train_panel", "train")
    keep("tutorial_trained")
    workspace.show_tab("Explain")
    press("explain_panel", "explain")
    keep("tutorial_explained")
    workspace.show_tab("Compare")
    press("compare_panel", "compare")
    wait_until(lambda: workspace.findChild(QWidget, "compare_panel").comparison.complete)
    keep("tutorial_compared")
    workspace.show_tab("Figure")
    panel = workspace.findChild(QWidget, "figure_panel")
    wait_until(lambda: panel.preview.pixels is not None and not state.runner.busy)
    keep("tutorial_figure_tab")
    press("figure_panel", "save_figure")
    with Image.open(state.section.path.parent / "P99_figure.png") as figure:
        width = 600
        small = figure.convert("RGB").resize((width, round(figure.height * width / figure.width)))
        small.save(images / "tutorial_figure.png", optimize=True)
    workspace.findChild(QWidget, "compare_panel").comparison.end()
    workspace.show_tab("Embedding")
    panel = workspace.findChild(EmbeddingPanel)
    press("embedding_panel", "embed")
    canvas = panel.findChild(QWidget, "embedding_plot")
    plot = canvas.plots[-1]
    points = canvas._points[plot]
    near = np.argsort(np.hypot(*(points - points[-1]).T))[:8]
    panel.choose([int(index) for index in near])
    wait_until(lambda: not state.runner.busy)
    panel.go_to(panel.places([int(near[0])])[0])
    panel.reveal(panel.gallery)
    keep("embedding")
    viewer.close()


def axes(images: Path, place: Path) -> None:
    """Read out a network with axes of planted concepts, and ask which channels matter to it."""
    from napari_mitoxai.napari.channels_box import ChannelsBox
    from napari_mitoxai.napari.concepts_panel import ConceptsPanel
    from napari_mitoxai.napari.docks import Workspace
    from napari_mitoxai.napari.libraries import keep_llvms_apart
    from napari_mitoxai.napari.patch_gallery import PatchGallery
    from napari_mitoxai.napari.state import state_of
    from napari_mitoxai.napari.train_panel import TrainPanel
    from napari_mitoxai.simulate import concept_cohort

    keep_llvms_apart()
    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.napari.layers import store_layers
    from napari_mitoxai.tasks import explain, train

    table = concept_cohort(place / "cohort", 4, 448, 0, patch_size=64)
    shared = {
        "cohort": table, "patch_size": 64, "input_size": 32, "overlap": 0.0, "jitter": 0.1, "epochs": 5,
        "hold_out": ["C04", "P04"],
    }  # fmt: skip
    train.run(train.TrainParameters(**shared, out=place / "plain"))
    towards = train.TrainParameters(
        **shared, out=place / "towards", learning_rate=5e-4, start_from=place / "plain", concepts=table.parent / "concepts.csv",
        concept_every=2,
    )  # fmt: skip
    train.run(towards)
    section, maps = table.parent / "P04.ome.tiff", place / "P04.ome.zarr"
    explain.run(
        explain.ExplainParameters(
            run=towards.out, sections=[section], methods=["input_x_gradient"], out=maps, overlap=0.0
        )
    )
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 800)
    state = state_of(viewer)
    viewer.window.add_plugin_dock_widget("napari-mitoxai", "Open workspace")
    workspace = viewer.window._qt_window.findChild(Workspace)
    viewer.open(str(section), plugin="napari-mitoxai")
    state.set_cohort(table)
    workspace.findChild(TrainPanel).load(towards.out)
    wait_until(lambda: not state.runner.busy)

    def press(name: str) -> None:
        workspace.findChild(QPushButton, name).click()
        wait_until(lambda: not state.runner.busy)

    def keep(name: str) -> None:
        wait()
        viewer.window.screenshot(str(images / f"{name}.png"), canvas_only=False, flash=False)

    workspace.show_tab("Concepts")
    panel = workspace.findChild(ConceptsPanel)
    workspace.findChild(QCollapsible, "concept_readout").expand(animate=False)
    panel.readout.form.set_values({"out": place / "axes", "top": 16})
    press("read_concepts_out")
    wait_until(lambda: bool(workspace.findChild(PatchGallery, "concept_gallery").findChildren(QToolButton)))
    panel.reveal(workspace.findChild(PatchGallery, "concept_gallery"))
    keep("concept_axes")
    for layer in [layer for layer in viewer.layers if "bn1" in layer.name]:
        viewer.layers.remove(layer)
    workspace.show_tab("Train")
    workspace.findChild(QCollapsible, "channels_part").expand(animate=False)
    box = workspace.findChild(ChannelsBox)
    for layer in store_layers(open_maps(maps)):
        state.add_layer(layer)
    box.form.set_values({"out": place / "ways"})
    press("compare_channels")
    keep("channels")
    viewer.close()


def compare_maps(
    workspace: QWidget, press: Callable[[str], None], keep: Callable[[str], None], folder: Path
) -> None:
    """Compare the maps of the open section, read a fibre, hang a curtain, and measure agreement."""
    from napari_mitoxai.napari.compare_panel import ComparePanel

    panel = workspace.findChild(ComparePanel)
    comparison = panel.comparison
    press("compare")
    wait_until(lambda: comparison.complete)
    cell = comparison.cells[0]
    labels = comparison.tissue_of(cell).labels
    y, x = np.argwhere(labels == np.bincount(labels[labels > 0]).argmax()).mean(0)
    panel.readout.read(cell, (float(y), float(x)))
    wait_until(lambda: panel.readout.table.isVisible())
    panel.reveal(panel.readout.table)
    keep("compare")
    panel.agreement.form.set_values({"out": folder / "agreement.csv"})
    press("agree")
    comparison.swipe(1, 2)
    keep("compare_swipe")
    comparison.end()


def name_concepts(workspace: QWidget, press: Callable[[str], None], folder: Path) -> None:
    """Make two concepts of what the OXPHOS tab called, keep them, and test them on the model in use."""
    from napari_mitoxai.napari.concepts_panel import ConceptsPanel

    panel = workspace.findChild(ConceptsPanel)
    panel.form.set_values({"out": folder / "concepts.csv"})
    for name, condition in (("NDUFB8 deficient", "NDUFB8_z < -3"), ("small", "area_um2 < 1500")):
        panel.findChild(QComboBox, "concept_name").setCurrentText(name)
        panel.findChild(QLineEdit, "concept_where").setText(condition)
        press("add_where")
    press("save_concepts")
    panel.test.form.set_values({"out": folder / "concept_test"})
    panel.findChild(QWidget, "concept_test").expand(animate=False)
    press("test_concepts")


def main() -> None:
    """Walk through the tabs and keep a picture of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="where the pictures go")
    parser.add_argument("--until", default="", help="stop after the picture of this name")
    parser.add_argument("--tutorial", action="store_true", help="only the pictures of the tutorial")
    parser.add_argument(
        "--axes", action="store_true", help="only the pictures of a model with axes of concepts"
    )
    options = parser.parse_args()
    images = options.images
    images.mkdir(parents=True, exist_ok=True)
    if options.tutorial:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["MITOXAI_CACHE"], os.environ["MITOXAI_SETTINGS"] = cache, f"{cache}/settings"
            tutorial(images)
        return
    if options.axes:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["MITOXAI_CACHE"], os.environ["MITOXAI_SETTINGS"] = cache, f"{cache}/settings"
            axes(images, Path(cache))
        return
    if (
        not options.until
    ):  # in processes of their own: a second window of a process gives docks half their height
        for part in ("--tutorial", "--axes"):
            subprocess.run([sys.executable, __file__, part, "--images", images], check=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MITOXAI_CACHE"] = cache
        os.environ["MITOXAI_SETTINGS"] = f"{cache}/settings"
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
            if name == options.until:
                viewer.close()
                raise SystemExit

        viewer.open_sample("napari-mitoxai", "simulated_cohort")
        wait_until(workspace.findChild(QPushButton, "train").isEnabled)
        viewer.reset_view()
        keep("workspace")
        viewer.open(forty_channels(Path(cache)), plugin="napari-mitoxai")
        wait()
        workspace.findChild(QToolButton, "composite_CI").click()
        workspace.findChild(QLineEdit, "search").setText("complex")
        keep("section")
        workspace.findChild(QLineEdit, "search").clear()
        viewer.layers.clear()
        viewer.open_sample("napari-mitoxai", "simulated_cohort")
        wait()
        viewer.reset_view()
        workspace.show_tab("Fibres")
        workspace.findChild(QCheckBox, "live_preview").setChecked(True)
        wait_until(lambda: any("preview" in layer.name for layer in viewer.layers))
        keep("fibres_preview")
        press("segment")
        editor = workspace.findChild(FibreEditor)
        editor.select([int(fibre) for fibre in set(editor.layer.data[150:250, 200].tolist()) if fibre][:2])
        workspace.findChild(QScrollArea).ensureWidgetVisible(editor)
        keep("fibres")
        workspace.show_tab("OXPHOS")
        call_oxphos(workspace, press, Path(cache))
        keep("oxphos")
        workspace.show_tab("Cohort")
        panel = workspace.findChild(CohortPanel)
        simulated = next(Path(cache).rglob("cohort.csv")).parent
        panel.form.set_values({"path": study(simulated, Path(cache))})
        press("list")
        panel.reveal(workspace.findChild(QLabel, "cohort_remarks"))
        keep("cohort")
        workspace.show_tab("Train")
        workspace.findChild(QPushButton, "train").click()
        wait_until(lambda: epochs_drawn(workspace) >= 3)
        keep("train")
        wait_until(lambda: not workspace.findChild(QPushButton, "cancel").isVisible())
        press("predict")
        keep("call")
        viewer.layers.remove(next(layer for layer in viewer.layers if "probability" in layer.name))
        workspace.show_tab("Explain")
        press("explain")
        keep("explain")
        trust = workspace.findChild(QCollapsible, "trust")
        trust.expand(animate=False)
        trust.findChild(TrustBox).form.set_values({"patches": 4})
        press("check_maps")
        trust.findChild(TrustBox).reveal(trust.findChild(QLabel, "trust_says"))
        keep("trust")
        trust.collapse(animate=False)
        viewer.theme = "light"
        keep("explain_light")
        viewer.theme = "dark"
        workspace.show_tab("Concepts")
        name_concepts(workspace, press, Path(cache))
        keep("concepts")
        workspace.show_tab("Relevance")
        press("measure_relevance")
        workspace.findChild(QWidget, "relevance_panel").findChild(QComboBox, "method").setCurrentText(
            "lrp_epsilon"
        )
        for layer in viewer.layers:  # the fibres' colours, on the membrane alone
            layer.visible = "fibres" in layer.name or "Dystrophin" in layer.name
        keep("relevance")
        for layer in viewer.layers:
            layer.visible = any(name in layer.name for name in ("Dystrophin", "TOM22", "NDUFB8", "fibres"))
        workspace.show_tab("Figure")
        figure = workspace.findChild(FigurePanel)
        wait_until(lambda: figure.preview.pixels is not None and figure.settled)
        keep("figure")
        workspace.show_tab("Compare")
        compare_maps(workspace, press, keep, Path(cache))
        viewer.close()


if __name__ == "__main__":
    main()
