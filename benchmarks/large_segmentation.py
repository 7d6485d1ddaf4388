"""Memory and time of segmenting a large section, tile by tile.

    python benchmarks/large_segmentation.py P03.ome.tiff --side 8500

The section is repeated, mirrored, to a square of that side, without ever being in memory as a whole.
"""

import argparse
import threading
import time
from pathlib import Path

import numpy as np

from napari_mitoxai.fibres import Window, segment_windows
from napari_mitoxai.imc import read_section
from napari_mitoxai.tasks.segment import WindowReader, membrane_planes

SECTION = Path(__file__).parents[2] / "shared" / "data" / "warren2020" / "stacks" / "P03.ome.tiff"


def _mirrored(place: slice, length: int) -> np.ndarray:
    where = np.arange(place.start, place.stop) % (2 * length)
    return np.where(where < length, where, 2 * length - 1 - where)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("section", type=Path, nargs="?", default=SECTION)
    arguments.add_argument("--side", type=int, default=8500)
    given = arguments.parse_args()
    if not given.section.exists():
        print(f"needs a section, which is not at {given.section}")
        return
    section = read_section(given.section)
    small = WindowReader(section, membrane_planes(section, []))(
        (slice(0, section.shape[1]), slice(0, section.shape[2]))
    )

    def read(place: tuple[slice, slice]) -> Window:
        where = np.ix_(
            *(_mirrored(one, length) for one, length in zip(place, small.membrane.shape, strict=True))
        )
        return Window(small.membrane[where], small.density[where], small.tissue[where])

    peak = [0]
    running = threading.Event()

    def watch() -> None:
        while not running.wait(0.2):
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(status.split("RssAnon:")[1].split()[0]))

    threading.Thread(target=watch, daemon=True).start()
    start = time.process_time()
    labels = segment_windows(
        read, (given.side, given.side), pixel_size_um=section.pixel_size_um, fibre_size_um=50.0
    )
    spent = time.process_time() - start
    running.set()
    print(
        f"{given.side} x {given.side}: {labels.max():,} fibres, {spent:.0f} s of one core, peak {peak[0] / 2**20:.2f} GB of own memory"
    )


if __name__ == "__main__":
    main()
