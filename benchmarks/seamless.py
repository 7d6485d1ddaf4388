"""The seamless mode beside the loop over half-overlapping patches.

Same network and windows, frozen and channels_last on both sides; patches in batches of eight, as in the engine.

    python benchmarks/seamless.py [--size 2048] [--window 512] [--architecture resnet18] [--block 2048] [--repeats 3]

With `--run` and `--sections` it does not time but compares the answers of the two modes, with the network of a run:

    python benchmarks/seamless.py --run RUN --sections C07.ome.tiff P07.ome.tiff

Pairs of numbers are pixel by pixel and for means of 8 x 8 pixels, or patch by patch and seamless.
"""

import argparse
import resource
from pathlib import Path

import numpy as np
import torch
from side_by_side import HEADER, compare

from napari_mitoxai.cohort import PatchGeometry
from napari_mitoxai.explain import attribute_many
from napari_mitoxai.explain.blending import Blender
from napari_mitoxai.explain.seamless import explain_blocks
from napari_mitoxai.explain.seamless_network import SeamlessNetwork
from napari_mitoxai.imc import read_labels, read_section
from napari_mitoxai.models import create, load_checkpoint
from napari_mitoxai.trust import relevance_mass

TILE = 128
BATCH = 8  # as the engine


def batches(corners):
    return [corners[start : start + BATCH] for start in range(0, len(corners), BATCH)]


def whole(tiles, shape):
    """Put tiles together: (C, Y, X)."""
    picture = np.zeros((len(next(iter(tiles.values()))), *shape), np.float32)
    for (row, column), values in tiles.items():
        y, x = row * TILE, column * TILE
        picture[:, y : y + values.shape[1], x : x + values.shape[2]] = values
    return picture


def seamless(network, image, corners, methods, target, side):
    shape = image.shape[1:]
    tiles, logits = {name: {} for name in methods}, {}
    for part in explain_blocks(
        network, lambda y, x: image[:, y, x], shape, corners, methods, target, side=side, tile=TILE
    ):
        logits |= dict(zip(part.corners, part.logits, strict=True))
        for tile, maps in part.tiles.items():
            for name in methods:
                tiles[name][tile] = maps[name]
    return {name: whole(tiles[name], shape) for name in methods}, np.array([logits[c] for c in corners])


def by_patch(model, image, corners, window, methods, target):
    """What the per-patch mode does, without reading and writing; windows that hang over the edge are padded with zeros."""
    shape = image.shape[1:]
    padded = np.pad(image, ((0, 0), (0, window), (0, window)))
    grown = tuple(length + TILE + window for length in shape)
    blender = Blender(grown, corners, window, TILE)
    tiles, logits = {name: {} for name in methods}, []
    for batch in batches(corners):
        patches = torch.from_numpy(np.stack([padded[:, y : y + window, x : x + window] for y, x in batch]))
        answer = attribute_many(model, patches.contiguous(memory_format=torch.channels_last), methods, target)
        logits.extend(answer.logits.numpy())
        for index, corner in enumerate(batch):
            for tile, maps in blender.add(corner, {k: v[index].numpy() for k, v in answer.maps.items()}):
                for name in methods:
                    tiles[name][tile] = maps[name]
    return {name: whole(tiles[name], grown)[:, : shape[0], : shape[1]] for name in methods}, np.array(logits)


def bare_loop(model, image, corners, window, target):
    """The input gradient summed over patches and nothing else."""
    total = torch.zeros(image.shape)
    for batch in batches(corners):
        leaf = torch.from_numpy(np.stack([image[:, y : y + window, x : x + window] for y, x in batch]))
        leaf = leaf.contiguous(memory_format=torch.channels_last).requires_grad_()
        (gradients,) = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)
        for (y, x), one in zip(batch, gradients, strict=True):
            total[:, y : y + window, x : x + window] += one
    return total


def time_it(options):
    torch.manual_seed(0)
    model = create(options.architecture, options.channels, 2).eval().requires_grad_(False)
    model = model.to(memory_format=torch.channels_last)
    image = np.random.default_rng(0).normal(size=(options.channels, options.size, options.size))
    image = image.astype(np.float32)
    network = SeamlessNetwork(model, options.channels, options.window)
    corners = network.corners(image.shape[1:])
    what = f"{options.architecture}, {options.size} px, {len(corners)} windows of {options.window} px"
    blocks = len(network.blocks(image.shape[1:], corners, options.block))
    print(f"{what}; {blocks} blocks of at most {options.block} px\n{HEADER}")
    if options.repeats:
        print(
            compare(
                lambda: seamless(network, image, corners, ["gradient"], 1, options.block),
                lambda: bare_loop(model, image, corners, options.window, 1),
                options.repeats,
            ).row("gradient, seamless", "bare loop over patches"),
            flush=True,
        )
        print(
            compare(
                lambda: seamless(network, image, corners, ["grad_cam"], 1, options.block),
                lambda: by_patch(model, image, corners, options.window, ["grad_cam"], 1),
                options.repeats,
            ).row("Grad-CAM, seamless", "`attribute_many` and `Blender`, patch by patch")
        )
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seamless(network, image, corners, ["gradient"], 1, options.block)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"peak memory {before / 2**20:.2f} GB before, {after / 2**20:.2f} GB after")


def reduced(counts, factor):
    channels, height, width = (
        counts.shape[0],
        *(length // factor * factor for length in counts.shape[1:]),
    )
    blocks = counts[:, :height, :width].reshape(channels, height // factor, factor, width // factor, factor)
    return blocks.mean((2, 4), dtype=np.float32)


def correlation(a, b):
    if not (np.ptp(a) and np.ptp(b)):
        return float("nan")  # a Grad-CAM that is 0 everywhere
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


def smoothed(values):
    """Means of 8 x 8 pixels: what the eye sees of a gradient."""
    return reduced(values, 8)


def in_truth(path, factor, answers):
    """Share of the positive relevance in the planted truth, of each mode, and the truth's share of the area."""
    file = path.parent / "truth" / f"{path.name.split('.')[0]}.tiff"
    truth = reduced(read_labels(file)[None] > 0, factor)[0] > 0.5 if file.exists() else np.zeros((1, 1), bool)
    if not truth.any():
        return ""
    shares = [relevance_mass(answer["input_x_gradient"], truth) for answer in answers]
    return ", ".join(f"{share:.2f}" for share in [*shares, truth.mean()])


def compare_answers(options):
    methods = ["gradient", "input_x_gradient", "grad_cam"]
    checkpoint = load_checkpoint(options.run)
    geometry: PatchGeometry = checkpoint.geometry
    states = {"trained": checkpoint.model()}
    torch.manual_seed(1)
    states["random"] = create(checkpoint.architecture, len(checkpoint.panel), 2).eval().requires_grad_(False)
    head = "| network | section | " + " | ".join(f"{m}" for m in methods)
    print(
        head
        + " | scores of windows | probability of patient | windows called alike | input x gradient in the truth, area |"
    )
    print("|---" * (len(methods) + 6) + "|")
    for state, model in states.items():
        model = model.to(memory_format=torch.channels_last)
        network = SeamlessNetwork(model, len(checkpoint.panel), geometry.input_size)
        pooled = [[], []]
        for path in options.sections:
            section = read_section(path)
            counts = section.read(checkpoint.channels_in(section))
            image = checkpoint.scaling(reduced(counts, geometry.reduction)).astype(np.float32)
            corners = network.corners(image.shape[1:])
            ours, mine = seamless(network, image, corners, methods, 1, options.block)
            theirs, logits = by_patch(model, image, corners, geometry.input_size, methods, 1)
            maps = " | ".join(
                f"{correlation(ours[m], theirs[m]):.3f} / {correlation(smoothed(ours[m]), smoothed(theirs[m])):.3f}"
                for m in methods
            )
            scores = [values[:, 1] - values[:, 0] for values in (logits, mine)]
            for kept, values in zip(pooled, scores, strict=True):
                kept.extend(values)
            calls = [float((1 / (1 + np.exp(-s))).mean()) for s in scores]
            alike = int(((scores[0] > 0) == (scores[1] > 0)).sum())
            print(
                f"| {state} | {section.name} | {maps} | {correlation(*scores):.3f} | {calls[0]:.3f}, {calls[1]:.3f} "
                f"| {alike} of {len(corners)} | {in_truth(path, geometry.reduction, [theirs, ours])} |",
                flush=True,
            )
        print(f"| {state} | all |" + " |" * len(methods) + f" {correlation(*pooled):.3f} | | | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--size", type=int, default=2048, help="side of the picture in input pixels")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3, help="0: no timing, but the peak memory")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--sections", type=Path, nargs="+", default=[])
    options = parser.parse_args()
    if options.run is None:
        time_it(options)
    else:
        compare_answers(options)


if __name__ == "__main__":
    main()
