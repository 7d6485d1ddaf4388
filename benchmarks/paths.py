"""Path methods beside Captum and PAIR's saliency, at equal error; and SmoothGrad and occlusion beside Captum.

The error of a map is its distance to that of a 1000-step reference, as a share of the reference's length. Each rival runs with the
number of steps given here; we run with the fewest whose error is not larger. Both are then timed in turn, on one thread. Rivals
get the network as it is, we have it in channels_last, as the engine does.

    .venv-oracles/bin/python benchmarks/paths.py [--size 128] [--patches 1] [--repeats 3] [--untrained] [--only NAME]
"""

import argparse
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import saliency.core as pair
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Occlusion, Saliency
from rivals import TARGET, fewest, for_pair, machine, numpy_as_it_was, trained, untrained
from side_by_side import HEADER, compare
from torch import Tensor, nn

from napari_mitoxai.explain import attribute
from napari_mitoxai.explain.path_integrals import gaussian

STEPS = (*range(4, 60, 2), *range(60, 101, 5))
SIGMA = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the patches in pixels")
    parser.add_argument("--patches", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reference", type=int, default=1000, help="steps of the reference")
    parser.add_argument("--untrained", action="store_true", help="with random weights instead")
    parser.add_argument("--only", help="one of the path methods, as 'integrated gradients'")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, patches = trained(options.size)
    patches = patches[: options.patches].contiguous()
    if options.untrained:
        network = untrained(patches.shape[1])
    print(machine("captum", "saliency"))
    weights = "random weights" if options.untrained else "trained"
    print(
        f"ResNet18, {weights}, {len(patches)} patches of {patches.shape[1]} x {options.size} x {options.size}"
    )
    rows = at_equal_error(network, patches, options.reference, options.repeats, options.only)
    if options.only is None:
        rows += at_equal_work(network, patches, options.repeats)
    print("\n".join([HEADER, *rows]))


def at_equal_error(
    network: nn.Module, patches: Tensor, finest: int, repeats: int, only: str | None
) -> list[str]:
    fast = deepcopy(network).to(memory_format=torch.channels_last)
    pictures = [np.moveaxis(patch.numpy(), 0, -1) for patch in patches]

    def ours(name: str, **parameters: Any) -> Callable[[int], Tensor]:
        return lambda steps: attribute(fast, patches, name, TARGET, steps=steps, **parameters)

    def by_pair(make: type, **parameters: Any) -> Tensor:
        call = for_pair(network)
        with numpy_as_it_was():
            masks = [make().GetMask(picture, call, **parameters) for picture in pictures]
        return torch.from_numpy(np.moveaxis(np.stack(masks), -1, 1).copy())

    captum = IntegratedGradients(network)
    guided = {"fraction": 0.25, "max_distance": 0.1}
    cases: list[tuple[str, str, Callable[[int], Tensor], Callable[[], Any]]] = [
        ("integrated gradients", "Captum, Gauss-Legendre, 50 steps (its defaults)", ours("integrated_gradients"),
         lambda: captum.attribute(patches, target=TARGET, n_steps=50)),
        ("integrated gradients", "the same, 16 points at once", ours("integrated_gradients"),
         lambda: captum.attribute(patches, target=TARGET, n_steps=50, internal_batch_size=16)),
        ("integrated gradients", "PAIR, 25 steps", ours("integrated_gradients"),
         lambda: by_pair(pair.IntegratedGradients, x_steps=25, batch_size=20)),
        ("guided integrated gradients", "PAIR, 50 steps", ours("guided_integrated_gradients", **guided),
         lambda: by_pair(pair.GuidedIG, x_steps=50, fraction=0.25, max_dist=0.1)),
        ("blur integrated gradients", "PAIR, 100 steps (its default)", ours("blur_integrated_gradients", max_sigma=SIGMA),
         lambda: by_pair(pair.BlurIG, max_sigma=SIGMA, steps=100, batch_size=20)),
    ]  # fmt: skip
    rises = _rises(network, patches)
    errors: dict[str, _Errors] = {}
    rows = []
    for name, rival, mine, theirs in cases:
        if only not in (None, name):
            continue
        if name not in errors:
            errors[name] = _Errors(mine, finest)
        error = errors[name]
        found = theirs()
        bound = error.of(found)
        steps = fewest(error.by_steps, bound, STEPS)
        if steps is None:
            print(f"{name} does not reach the error {bound:.3f} of {rival}", flush=True)
            continue
        print(
            f"{name}: {rival}: error {bound:.4f}, sum off by {_off(found, rises[name]):.2%}; "
            f"ours, {steps} steps: error {error.by_steps(steps):.4f}, sum off by {_off(mine(steps), rises[name]):.2%}; "
            f"ours, 50 steps: error {error.by_steps(50):.4f}, sum off by {_off(mine(50), rises[name]):.2%}",
            flush=True,
        )
        timed = compare(lambda mine=mine, steps=steps: mine(steps), theirs, repeats)
        rows.append(timed.row(f"{name}, {steps} steps", rival))
        print(rows[-1], flush=True)
    return rows


def at_equal_work(network: nn.Module, patches: Tensor, repeats: int) -> list[str]:
    fast = deepcopy(network).to(memory_format=torch.channels_last)
    tunnel, cover = NoiseTunnel(Saliency(network)), Occlusion(network)
    window = {"sliding_window_shapes": (patches.shape[1], 16, 16), "strides": (patches.shape[1], 8, 8)}
    return [
        compare(
            lambda: attribute(fast, patches, "smoothgrad", TARGET),
            lambda: tunnel.attribute(patches, target=TARGET, nt_samples=25, stdevs=0.15, abs=False),
            repeats,
        ).row("SmoothGrad, 25 samples", "Captum"),
        compare(
            lambda: attribute(fast, patches, "occlusion", TARGET),
            lambda: cover.attribute(patches, target=TARGET, **window),
            repeats,
        ).row("occlusion, windows of 16 px every 8", "Captum"),
    ]


class _Errors:
    """How far our maps, and those of others, are from our map of many steps."""

    def __init__(self, mine: Callable[[int], Tensor], finest: int) -> None:
        self.reference = mine(finest)
        self.by_steps = cache(lambda steps: self.of(mine(steps)))

    def of(self, found: Tensor) -> float:
        away = (found - self.reference).flatten(1).norm(dim=1) / self.reference.flatten(1).norm(dim=1)
        return float(away.mean())


def _rises(network: nn.Module, patches: Tensor) -> dict[str, Tensor]:
    """The change of the score that a map should sum to."""
    matrices = [torch.from_numpy(gaussian(length, SIGMA)[0]).float() for length in patches.shape[2:]]
    blurred = matrices[0] @ patches @ matrices[1].T
    with torch.no_grad():
        ends, black, blur = (network(x)[:, TARGET] for x in (patches, torch.zeros_like(patches), blurred))
    straight = ends - black
    return {
        "integrated gradients": straight,
        "guided integrated gradients": straight,
        "blur integrated gradients": ends - blur,
    }


def _off(found: Tensor, rise: Tensor) -> float:
    return float(((found.sum((1, 2, 3)) - rise) / rise).abs().mean())


if __name__ == "__main__":
    main()
