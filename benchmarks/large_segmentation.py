"""Memory and time of `mitoxai segment` on a large section.

    python benchmarks/large_segmentation.py P09.ome.tiff --side 20000

The section is repeated, mirrored, to a square of that side and written, tile by tile; then the command runs in a process of its own,
whose memory is sampled from outside ten times a second: all of it, and without the pages of files, which the system takes back when it
needs them (labels beyond 67 million pixels lie in a file).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import tifffile

from napari_mitoxai.imc import read_section

SECTION = Path(__file__).parents[2] / "shared" / "data" / "warren2020" / "stacks" / "P09.ome.tiff"
TILE = 512


def mirrored(start: int, stop: int, length: int) -> np.ndarray:
    """Where in a section the rows of the large one come from."""
    where = np.arange(start, stop) % (2 * length)
    return np.where(where < length, where, 2 * length - 1 - where)


def write(source: Path, path: Path, side: int) -> None:
    """Write the large section."""
    section = read_section(source)
    counts = section.read_stored()

    def tiles() -> Iterator[np.ndarray]:
        for plane in counts:
            for y in range(0, side, TILE):
                rows = plane[mirrored(y, min(y + TILE, side), len(plane))]
                for x in range(0, side, TILE):
                    yield rows[:, mirrored(x, min(x + TILE, side), plane.shape[1])]

    tifffile.imwrite(
        path, tiles(), shape=(len(counts), side, side), dtype=counts.dtype, tile=(TILE, TILE), compression="zlib",
        compressionargs={"level": 1}, bigtiff=True, ome=True, photometric="minisblack",
        metadata={
            "axes": "CYX", "Channel": {"Name": section.panel.targets}, "PhysicalSizeX": section.pixel_size_um,
            "PhysicalSizeXUnit": "µm", "PhysicalSizeY": section.pixel_size_um, "PhysicalSizeYUnit": "µm",
        },
    )  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("section", type=Path, nargs="?", default=SECTION)
    arguments.add_argument("--side", type=int, default=20_000)
    given = arguments.parse_args()
    if not given.section.exists():
        print(f"needs a section, which is not at {given.section}")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.ome.tiff"
        write(given.section, path, given.side)
        print(f"{given.side} x {given.side} px, {path.stat().st_size / 1e9:.2f} GB", flush=True)
        command = [sys.executable, "-m", "napari_mitoxai.cli", "segment", str(path), "--out", f"{folder}/fibres.tiff", "--json"]  # fmt: skip
        start = time.perf_counter()
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if sys.stderr.isatty() else None
        )
        process = psutil.Process(running.pid)
        whole, own, spent = 0, 0, 0.0
        while running.poll() is None:
            try:
                tree = [each.memory_info() for each in (process, *process.children(recursive=True))]
                spent = sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                break
            whole = max(whole, sum(each.rss for each in tree))
            own = max(own, sum(each.rss - each.shared for each in tree))
            time.sleep(0.1)
        answer = running.communicate()[0]
        result = json.loads(answer)
        print(
            f"{result['fibres']:,} fibres, {result['analysable']:,} analysable; {time.perf_counter() - start:.0f} s, {spent:.0f} s of the "
            f"processor; peak {whole / 1e9:.2f} GB, {own / 1e9:.2f} GB without pages of files"
        )


if __name__ == "__main__":
    main()
