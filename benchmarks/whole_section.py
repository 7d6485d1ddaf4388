"""What the whole-section engine costs beside the network itself: one run, both sides, their ratio.

The rival is the bare network: forward and backward of the same batches, already scaled and in memory. The engine reads the file,
averages and scales the patches, explains, blends them and writes the store.

    python benchmarks/whole_section.py [--size 1536] [--patch 256] [--input 256] [--architecture resnet18] [--repeats 3]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from napari_mitoxai import simulate
from napari_mitoxai.cohort import PatchGeometry, Scaling, patch_corners, read_patches, tissue_mask
from napari_mitoxai.explain import Request, explain_section
from napari_mitoxai.imc import read_section, write_section
from napari_mitoxai.models import Checkpoint, create

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1536, help="side of the simulated section in pixels")
    parser.add_argument("--patch", type=int, default=256, help="side of a patch in pixels of the section")
    parser.add_argument("--input", type=int, default=256, help="side of the network's input")
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    made = simulate.section("complex_i_loss", True, size=options.size, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = write_section(Path(folder) / "section.ome.tiff", made.counts, made.panel)
        section = read_section(path)
        channels = len(section.panel)
        geometry = PatchGeometry(options.patch, options.input)
        scaling = Scaling((0.5,) * channels, (0.5,) * channels)
        torch.manual_seed(0)
        network = create(options.architecture, channels, 2).eval().requires_grad_(False)
        checkpoint = Checkpoint(
            options.architecture, ["control", "patient"], section.panel, scaling, geometry, {}, {}, {}, network.state_dict()
        )  # fmt: skip
        corners = patch_corners(section.shape, geometry, tissue_mask(section), min_tissue=0.05)
        inputs = torch.stack(
            [torch.from_numpy(scaling(p)) for p in read_patches(section, range(channels), corners, geometry)]
        )
        batches = [
            b.contiguous(memory_format=torch.channels_last) for b in inputs.split(BATCH)
        ]  # in memory before the clock starts
        network = network.to(memory_format=torch.channels_last)

        def bare() -> float:
            start = time.perf_counter()
            for batch in batches:
                leaf = batch.clone().requires_grad_(True)
                torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)
            return time.perf_counter() - start

        def engine(methods: list[str]) -> float:
            start = time.perf_counter()
            explain_section(
                section,
                checkpoint,
                Request(methods),
                Path(folder) / "m.ome.zarr",
                batch_size=BATCH,
                overwrite=True,
            )
            return time.perf_counter() - start

        bare()
        engine(["gradient"])
        for methods in (["gradient"], ["gradient", "input_x_gradient", "grad_cam"]):
            pairs = [(bare(), engine(methods)) for _ in range(options.repeats)]
            ratios = [mine / theirs for theirs, mine in pairs]
            print(
                f"{len(corners)} patches, {' + '.join(methods)}: bare network {statistics.median(p[0] for p in pairs):.2f} s, "
                f"engine {statistics.median(p[1] for p in pairs):.2f} s, "
                f"speed of the engine {1 / statistics.median(ratios):.2f} of the bare network's "
                f"({1 / max(ratios):.2f} to {1 / min(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
