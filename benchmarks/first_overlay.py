"""Seconds from pressing Explain to the first pixels of the overlay, in a real window on a large section that is mostly empty.

A run is loaded first, as Train > Load run does it; the later explanations replace the layers of those before. Needs a display.

    tools/with_display.sh .venv/bin/python benchmarks/first_overlay.py [--size 20000] [--share 0.05] [--input 128]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication, QPushButton
from sparse_section import write_sparse

from napari_mitoxai import simulate
from napari_mitoxai.napari.explain_panel import ExplainPanel
from napari_mitoxai.napari.state import state_of
from napari_mitoxai.napari.train_panel import TrainPanel


def wait_until(happened: Callable[[], bool], seconds: float = 300) -> None:
    """Let the window work until something has happened."""
    start = time.perf_counter()
    while not happened():
        if time.perf_counter() - start > seconds:
            raise TimeoutError("Nothing happened.")
        QApplication.processEvents()
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.05, help="of the section that is tissue")
    parser.add_argument(
        "--input", type=int, default=128, help="side of the network's input; patches are 512 px"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "section.ome.tiff"
        write_sparse(path, options.size, options.share)
        run = run_folder(Path(folder), options.input)
        viewer = napari.Viewer()
        _, workspace = viewer.window.add_plugin_dock_widget("napari-mitoxai", "Open workspace")
        opening = time.perf_counter()
        viewer.open(path, plugin="napari-mitoxai")
        wait_until(lambda: state_of(viewer).section is not None and state_of(viewer).section.path == path)
        print(f"opened in {time.perf_counter() - opening:.2f} s")
        workspace.findChild(TrainPanel).load(run)
        wait_until(lambda: state_of(viewer).run is not None and not state_of(viewer).runner.busy)
        workspace.show_tab("Explain")
        panel = workspace.findChild(ExplainPanel)
        for number in range(3):
            panel.form.set_values(
                {"methods": ["grad_cam", "gradient"], "out": Path(folder) / f"{number}.ome.zarr"}
            )
            end = time.perf_counter() + 1
            wait_until(lambda end=end: time.perf_counter() > end)
            pressed = time.monotonic()
            panel.findChild(QPushButton, "explain").click()
            live = panel._live
            wait_until(lambda live=live: live.first_pixels is not None)
            print(f"first pixels {live.first_pixels - pressed:.2f} s after pressing Explain", flush=True)
            state_of(viewer).runner.cancel()
            wait_until(lambda: not state_of(viewer).runner.busy)
        viewer.close()


def run_folder(folder: Path, side: int) -> Path:
    """A run as training leaves it, in a process of its own: this one has not loaded the libraries when Explain is pressed."""
    table = simulate.cohort(folder / "cohort", 2, size=512, seed=3)
    out = folder / "run"
    code = (
        "from pathlib import Path\nfrom napari_mitoxai.tasks.train import TrainParameters, run\n"
        f"run(TrainParameters(cohort=Path({str(table)!r}), out=Path({str(out)!r}), hold_out=['P02'], epochs=1, "
        f"patch_size=512, input_size={side}, architecture='resnet18'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return out


if __name__ == "__main__":
    main()
