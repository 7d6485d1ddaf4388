"""The networks and patches of the benchmarks, and what rival libraries ask of a network."""

import os
import platform
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_mitoxai import simulate
from napari_mitoxai.cohort import PatchGeometry, patch_corners, read_patches, tissue_mask
from napari_mitoxai.imc import read_section
from napari_mitoxai.models import create, load_checkpoint
from napari_mitoxai.tasks.train import TrainParameters, run

TARGET = 1


def machine(*packages: str) -> str:
    """A line with what the numbers depend on."""
    names = ("torch", "numpy", *packages)
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, no GPU, Python {platform.python_version()}, {versions}"


def untrained(channels: int, seed: int = 0) -> nn.Module:
    """A ResNet18 with random weights and batch norms that do something."""
    torch.manual_seed(seed)
    network = create("resnet18", channels, 2).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2),
            ):
                values.uniform_(low, high)
    return network


def trained(side: int = 128, epochs: int = 6) -> tuple[nn.Module, Tensor]:
    """A ResNet18 trained for a minute on simulated sections, and patches (N, 10, side, side) of a patient held out."""
    with tempfile.TemporaryDirectory() as folder:
        table = simulate.cohort(Path(folder) / "cohort", 5, "complex_i_loss", 640, 0)
        out = Path(folder) / "run"
        run(
            TrainParameters(
                cohort=table, out=out, epochs=epochs, hold_out=["C05", "P05"],
                patch_size=256, input_size=128, batch_size=8, device="cpu",
            )
        )  # fmt: skip
        checkpoint = load_checkpoint(out)
        section = read_section(table.parent / "P05.ome.tiff")
        geometry = PatchGeometry(2 * side, side)
        corners = patch_corners(section.shape, geometry, tissue_mask(section), min_tissue=0.5)
        channels = checkpoint.channels_in(section)
        patches = [
            torch.from_numpy(checkpoint.scaling(patch))
            for patch in read_patches(section, channels, corners, geometry)
        ]
        return checkpoint.model().eval().requires_grad_(False), torch.stack(patches)


def for_pair(network: nn.Module) -> Callable[..., dict[str, Any]]:
    """What PAIR's saliency calls for gradients: points (N, Y, X, C) in, gradients of that shape out."""
    from saliency.core import INPUT_OUTPUT_GRADIENTS

    def call(points: Any, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, Any]:
        x = torch.from_numpy(np.moveaxis(np.asarray(points, np.float32), -1, 1)).requires_grad_()
        (gradient,) = torch.autograd.grad(network(x)[:, TARGET].sum(), x)
        return {INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.numpy(), 1, -1)}

    return call


@contextmanager
def numpy_as_it_was() -> Iterator[None]:
    """`numpy.quantile` with the argument that PAIR's guided integrated gradients know; numpy 2.4 dropped it."""
    quantile = np.quantile
    np.quantile = lambda a, q, interpolation: quantile(a, q, method=interpolation)
    try:
        yield
    finally:
        np.quantile = quantile


def fewest(error: Callable[[int], float], bound: float, candidates: Sequence[int]) -> int | None:
    """The smallest number of steps whose error is not above the bound, if there is one; errors should fall with the steps."""
    index = bisect_left(candidates, True, key=lambda steps: error(steps) <= bound)
    return candidates[index] if index < len(candidates) else None
