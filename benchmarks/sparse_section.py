"""Memory and time on a large section that is mostly empty slide: both should follow the tissue, not the slide.

A section of 20,000 x 20,000 px and ten channels with tissue on a twentieth of it is explained with ResNet18 by Grad-CAM and
one method with a map for each channel. Memory is that of the whole process tree, sampled ten times a second.

    python benchmarks/sparse_section.py [--size 20000] [--share 0.05] [--input 512] [--method gradient]
    python benchmarks/sparse_section.py --size 6000 --share 0.05 0.2 1 --input 128
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import tifffile
import torch

from napari_mitoxai import simulate
from napari_mitoxai.cohort import PatchGeometry, Scaling
from napari_mitoxai.common import Progress
from napari_mitoxai.explain import Request, explain_section
from napari_mitoxai.imc import read_section
from napari_mitoxai.models import Checkpoint, create

TILE = 512


class Memory:
    """The most memory that this process and its children held, in GB (what they share is counted once a process)."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.1):
            tree = [process, *process.children(recursive=True)]
            self.peak = max(self.peak, sum(each.memory_info().rss for each in tree) / 1e9)


def write_sparse(path: Path, size: int, share: float) -> int:
    """Write a section with tissue in its middle; the number of tiles with tissue."""
    made = simulate.section("complex_i_loss", True, size=1024, seed=0)
    across = -(-size // TILE)
    side = round(across * share**0.5)  # of the square of tissue, in tiles
    first = (across - side) // 2
    empty = np.zeros((TILE, TILE), np.uint16)

    def tiles() -> Iterator[np.ndarray]:
        for channel in range(len(made.panel)):
            for row in range(across):
                for column in range(across):
                    inside = first <= row < first + side and first <= column < first + side
                    y, x = (row % 2) * TILE, (column % 2) * TILE
                    yield made.counts[channel, y : y + TILE, x : x + TILE] if inside else empty

    names = [channel.target for channel in made.panel]
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as writer:
        writer.write(
            tiles(), shape=(len(names), size, size), dtype=np.uint16, tile=(TILE, TILE), compression="zlib",
            photometric="minisblack",
            metadata={"axes": "CYX", "Channel": {"Name": names}, "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "µm"},
        )  # fmt: skip
    return side**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument(
        "--share", type=float, nargs="+", default=[0.05], help="of the section that is tissue"
    )
    parser.add_argument(
        "--input", type=int, default=512, help="side of the network's input; patches are 512 px"
    )
    parser.add_argument("--method", default="lrp_epsilon", help="the one with a map for each channel")
    options = parser.parse_args()
    for share in options.share:
        measure(options.size, share, options.input, options.method)


def measure(size: int, share: float, side: int, method: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "section.ome.tiff"
        tiles = write_sparse(path, size, share)
        print(f"{size} x {size} x 10, {tiles} tiles of tissue, {path.stat().st_size / 1e9:.2f} GB on disk")
        with Memory() as memory:
            opening = time.perf_counter()
            section = read_section(path)
            print(f"opened in {time.perf_counter() - opening:.2f} s")
            torch.manual_seed(0)
            count = len(section.panel)
            checkpoint = Checkpoint(
                "resnet18", ["control", "patient"], section.panel, Scaling((0.5,) * count, (0.5,) * count),
                PatchGeometry(512, side), {}, {}, {}, create("resnet18", count, 2).eval().state_dict(),
            )  # fmt: skip
            stages: dict[str, float] = {}

            def note(report: Progress) -> None:
                stages.setdefault(report.stage, time.perf_counter())

            start, busy = time.perf_counter(), time.process_time()
            store = explain_section(
                section, checkpoint, Request(["grad_cam", method]), Path(folder) / "m.ome.zarr", progress=note
            )
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
        patches = store.info["verdict"]["patches"]
        found = stages["Explaining"] - stages["Finding tissue"]
        print(
            f"{patches} patches of 512 px by Grad-CAM and {method}: {seconds:.0f} s ({seconds / patches:.2f} s a patch), {busy:.0f} s "
            f"of the processors ({busy / patches:.3f} s a patch), {found:.1f} s until the first batch; "
            f"peak memory {memory.peak:.2f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main()
