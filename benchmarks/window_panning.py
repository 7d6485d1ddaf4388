"""Forty channels of 20,000 x 20,000 pixels in a real window: seconds to open, and the longest the window stands still.

Two files are made for it. One has a pyramid: an OME-Zarr image whose first channel is a simulated tissue laid side by side, and
whose other channels are hard links to its files, so that each is decoded as a channel of its own. The other has none: uncompressed
planes that are empty but for a square of tissue, and take little of the disk.

Needs a display: ``tools/with_display.sh python benchmarks/window_panning.py [--side 20000] [--channels 40]``
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

TISSUE = 2048  # pixels a side
STEPS = 60  # of each walk
FRAME_S = 1 / 60


def panel(channels: int):
    """The usual ten, and others."""
    from napari_mitoxai.imc import Channel, Panel, parse_channel

    usual = ("Dystrophin", "VDAC1", "NDUFB8", "SDHA", "UqCRC2", "COX4", "OSCP", "TOM22", "GRIM19", "MTCO1")
    named = [parse_channel(target) for target in usual[:channels]]
    return Panel((*named, *(Channel(f"P{index}", "Xe", 131) for index in range(channels - len(named)))))


def with_pyramid(folder: Path, channels: int, side: int) -> Path:
    """An OME-Zarr image of tissue everywhere, all channels on the disk once."""
    import dask.array as da

    from napari_mitoxai import simulate
    from napari_mitoxai.imc import Section, write_ome_zarr

    counts = simulate.section("complex_i_loss", True, size=TISSUE, seed=0).counts[2].astype(np.uint16)
    times = -(-side // TISSUE)
    plane = da.from_array(np.tile(counts, (1, times))[:, :side], chunks=(TISSUE, 4096))
    data = da.concatenate([plane] * times)[:side][None]
    path = folder / "pyramid.ome.zarr"
    write_ome_zarr(path, Section("pyramid", data, panel(1), 1.0, folder / "none"))
    root = json.loads((path / "zarr.json").read_text())
    told = root["attributes"]["ome"]["omero"]
    told["channels"] = [
        {**told["channels"][0], "label": each.target, "role": each.role.value} for each in panel(channels)
    ]
    (path / "zarr.json").write_text(json.dumps(root))
    for level in (each for each in path.iterdir() if each.is_dir()):
        array = json.loads((level / "zarr.json").read_text())
        array["shape"][0] = channels
        (level / "zarr.json").write_text(json.dumps(array))
        for channel in range(1, channels):
            shutil.copytree(level / "c" / "0", level / "c" / str(channel), copy_function=os.link)
    return path


def without_pyramid(folder: Path, channels: int, side: int) -> Path:
    """A sparse stack."""
    from napari_mitoxai import simulate

    made = simulate.section("complex_i_loss", True, size=TISSUE, seed=0)
    path = folder / "plain.ome.tiff"
    names = panel(channels).targets
    metadata = {"axes": "CYX", "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "µm", "Channel": {"Name": names}}
    stack = tifffile.memmap(
        path, shape=(channels, side, side), dtype=np.uint16, ome=True, bigtiff=True, photometric="minisblack",
        metadata=metadata,
    )  # fmt: skip
    corner = side // 2 - TISSUE // 2
    stack[:10, corner : corner + TISSUE, corner : corner + TISSUE] = made.counts[:channels]
    stack.flush()
    return path


class Gaps:
    """How long the event loop took between two beats of a clock of five milliseconds."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.seconds: list[float] = []
        self._last = 0.0
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._beat)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now

    def __enter__(self) -> "Gaps":
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()


def walk(viewer, zoom: float, side: int) -> Gaps:
    """Move over the section by a tenth of the screen a frame, as a hand does."""
    from qtpy.QtWidgets import QApplication

    camera = viewer.scene.camera
    camera.zoom = zoom
    screen = max(viewer.canvas.size) / zoom
    wait(0.5)
    with Gaps() as gaps:
        for step in range(STEPS):
            start = side / 2 - STEPS * screen / 20
            camera.center = (side / 2, start + step * screen / 10)
            end = time.perf_counter() + FRAME_S
            while time.perf_counter() < end:
                QApplication.processEvents()
    return gaps


def told(gaps: Gaps) -> str:
    """The longest gap and the nineteen in twenty that are shorter than."""
    return f"{1000 * max(gaps.seconds):.0f} | {1000 * np.percentile(gaps.seconds, 95):.0f}"


def wait(seconds: float) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def measure(viewer, workspace, path: Path, side: int, making: bool) -> None:
    from qtpy.QtWidgets import QApplication, QPushButton

    from napari_mitoxai.napari.section_panel import SectionPanel

    start, worked = time.perf_counter(), time.process_time()
    viewer.open(path, plugin="napari-mitoxai")
    QApplication.processEvents()
    worked = time.process_time() - worked
    print(
        f"| {path.name}: opened, drawn | {time.perf_counter() - start:.2f} ({worked:.2f} of work) | | |",
        flush=True,
    )
    for _ in range(2 if making and "plain" in path.name else 1):
        with Gaps() as gaps:
            wait(3)
        print(f"| three seconds after | | {told(gaps)} |", flush=True)
        fit = viewer.scene.camera.zoom
        for name, zoom in (("a screen pixel a pixel", 1.0), ("one to four", 0.25), ("whole section", fit)):
            gaps = walk(viewer, zoom, side)
            print(f"| panned, {name} | | {told(gaps)} |", flush=True)
        section_panel = workspace.findChild(SectionPanel)
        with Gaps() as gaps:
            section_panel.show_channels([5])
            wait(0.5)
        print(f"| a channel ticked | | {told(gaps)} |", flush=True)
        section_panel.show_channels([5], shown=False)
        make = workspace.findChild(QPushButton, "make_pyramid")
        if making and make.isVisible():
            begin = time.perf_counter()
            with Gaps() as gaps:
                make.click()
                while workspace.findChild(QPushButton, "cancel").isVisible():
                    wait(0.1)
            print(
                f"| pyramid made in the background ({time.perf_counter() - begin:.0f} s) | | {told(gaps)} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--channels", type=int, default=40)
    parser.add_argument("--only", choices=("pyramid", "plain"))
    parser.add_argument(
        "--without-making", action="store_true", help="do not make the pyramid, which takes minutes"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MITOXAI_CACHE"] = os.environ["MITOXAI_SETTINGS"] = f"{folder}/own"
        makers = {"pyramid": with_pyramid, "plain": without_pyramid}
        for name, make in makers.items():
            if options.only not in (None, name):
                continue
            path = make(Path(folder), options.channels, options.side)
            import napari

            viewer = napari.Viewer(show=True)
            viewer.window.resize(1280, 800)
            _, workspace = viewer.window.add_plugin_dock_widget("napari-mitoxai", "Open workspace")
            wait(1)
            print("| step | seconds | longest gap (ms) | 95 % of gaps (ms) |\n|---|---|---|---|")
            measure(viewer, workspace, path, options.side, not options.without_making)
            viewer.close()
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MB")


if __name__ == "__main__":
    main()
