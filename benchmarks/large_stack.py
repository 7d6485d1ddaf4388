"""A 10-GB stack opened, looked at in places, and a region of it explained: seconds, and memory of all its processes.

The file is made for it: ten uncompressed planes of 22,400 x 22,400 16-bit pixels, all of it empty but a square of simulated
tissue, so that it takes little of the disk. The work runs in a process of its own, whose memory, with that of its children, is
sampled from outside; what the libraries take before anything is opened is told apart.

    python benchmarks/large_stack.py [--side 22400] [--region 2048]
"""

import argparse
import dataclasses
import json
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import tifffile

CORNER = 9_000  # of the tissue
LIMIT = 2 * 2**30


def make(folder: Path, side: int, region: int) -> Path:
    """The stack, and its corner of tissue."""
    from napari_mitoxai import simulate

    made = simulate.section("complex_i_loss", True, size=region, seed=0)
    path = folder / "large.ome.tiff"
    metadata = {
        "axes": "CYX", "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "µm", "Channel": {"Name": made.panel.targets},
    }  # fmt: skip
    stack = tifffile.memmap(
        path, shape=(len(made.panel), side, side), dtype=np.uint16, ome=True, bigtiff=True,
        photometric="minisblack", metadata=metadata,
    )  # fmt: skip
    stack[:, CORNER : CORNER + region, CORNER : CORNER + region] = made.counts
    stack.flush()
    return path


def work(path: Path, region: int, pipe: Connection) -> None:
    """Open, pan and explain; tell when each is done."""
    import torch

    from napari_mitoxai.cohort import PatchGeometry, Scaling
    from napari_mitoxai.explain import Request, explain_section
    from napari_mitoxai.imc import read_section
    from napari_mitoxai.models import Checkpoint, create

    pipe.send("libraries")
    section = read_section(path)
    pipe.send("opened")
    for step in range(50):  # a screen of 1,000 pixels in three channels, moved on
        start = step * (section.shape[1] - 1000) // 50
        section.read([0, 4, 9], y=slice(start, start + 1000), x=slice(start, start + 1000))
    pipe.send("panned")
    section.percentiles(4, (1, 99.7))
    pipe.send("contrast of a channel")
    window = slice(CORNER, CORNER + region)
    part = dataclasses.replace(section, data=section.data[:, window, window])
    torch.manual_seed(0)
    channels = len(section.panel)
    network = create("resnet18", channels, 2).eval()
    checkpoint = Checkpoint(
        "resnet18", ["control", "patient"], section.panel, Scaling((0.5,) * channels, (0.5,) * channels),
        PatchGeometry(512, 128), {}, {}, {}, network.state_dict(),
    )  # fmt: skip
    explain_section(
        part,
        checkpoint,
        Request(["grad_cam", "lrp_epsilon_plus"]),
        path.parent / "maps.ome.zarr",
        batch_size=4,
    )
    pipe.send(f"{region} px explained (Grad-CAM, LRP-epsilon-plus)")
    pipe.close()


def memory(process: psutil.Process) -> int:
    """Of a process and its children, bytes."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=22_400)
    parser.add_argument("--region", type=int, default=2048)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder), options.side, options.region)
        on_disk = path.stat().st_blocks * 512
        print(f"{path.stat().st_size / 1e9:.1f} GB, of which {on_disk / 1e9:.2f} GB are on the disk")
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(path, options.region, theirs))
        process.start()
        theirs.close()
        watched = psutil.Process(process.pid)
        since, peak, highest = time.perf_counter(), 0, 0
        print("| step | seconds | most memory in it (MB) |\n|---|---|---|")
        while process.is_alive() or ours.poll():
            peak = max(peak, memory(watched)) if process.is_alive() else peak
            try:
                if not ours.poll(0.01):
                    continue
                step = ours.recv()
            except EOFError:
                break
            now = time.perf_counter()
            print(f"| {step} | {now - since:.2f} | {peak / 2**20:.0f} |", flush=True)
            since, highest, peak = now, max(highest, peak), 0
        process.join()
        verdict = {"most_mb": round(highest / 2**20), "under_2_gb": highest < LIMIT, "exit": process.exitcode}
        print(json.dumps(verdict))


if __name__ == "__main__":
    main()
