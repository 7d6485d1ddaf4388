"""Path methods beside Captum and PAIR's saliency, at equal error.

The error of a map is its distance to that of a 1000-step reference, as a share of the reference's length. Each rival runs with the
number of steps given here; we run with the fewest whose error is not larger. Both are then timed in turn. Rivals get the
network as it is, we have it in channels_last, as the engine does.

    .venv-oracles/bin/python benchmarks/paths.py [--size 128] [--patches 4] [--repeats 5]
"""

import argparse
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import saliency.core as pair
import torch
from captum.attr import IntegratedGradients
from rivals import TARGET, fewest, for_pair, machine, numpy_as_it_was, trained, untrained
from side_by_side import HEADER, compare
from torch import Tensor, nn

from napari_mitoxai.explain import attribute
from napari_mitoxai.explain.path_integrals import gaussian

STEPS = (4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 25, 28, 31, 34, 37, 40, 44, 48, 54, 60, 70, 80, 100)
SIGMA = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the patches in pixels")
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--reference", type=int, default=1000, help="steps of the reference")
    options = parser.parse_args()
    network, patches = trained()
    patches = patches[: options.patches, :, : options.size, : options.size].contiguous()
    print(machine("captum", "saliency"))
    print(f"ResNet18, {len(patches)} patches of {patches.shape[1]} x {options.size} x {options.size}")
    for kind, net in (("trained", network), ("untrained", untrained(patches.shape[1]))):
        measure(kind, net, patches, options.reference, options.repeats)


def measure(kind: str, network: nn.Module, patches: Tensor, finest: int, repeats: int) -> None:
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
        ("integrated gradients", "PAIR, 25 steps", ours("integrated_gradients"),
         lambda: by_pair(pair.IntegratedGradients, x_steps=25, batch_size=20)),
        ("guided integrated gradients", "PAIR, 50 steps", ours("guided_integrated_gradients", **guided),
         lambda: by_pair(pair.GuidedIG, x_steps=50, fraction=0.25, max_dist=0.1)),
        ("blur integrated gradients", "PAIR, 100 steps (its default)", ours("blur_integrated_gradients", max_sigma=SIGMA),
         lambda: by_pair(pair.BlurIG, max_sigma=SIGMA, steps=100, batch_size=20)),
    ]  # fmt: skip
    rises = _rises(network, patches)
    references: dict[str, Tensor] = {}
    rows = []
    for name, rival, mine, theirs in cases:
        if name not in references:
            references[name] = mine(finest)
        reference = references[name]

        @cache
        def error(steps: int, mine: Callable[[int], Tensor] = mine, reference: Tensor = reference) -> float:
            return _error(mine(steps), reference)

        found = theirs()
        bound = _error(found, reference)
        steps = fewest(error, bound, STEPS)
        if steps is None:
            print(f"{kind}: {name} does not reach the error {bound:.3f} of {rival}", flush=True)
            continue
        print(
            f"{kind}: {name}: {rival}: error {bound:.4f}, sum off by {_off(found, rises[name]):.2%}; "
            f"ours, {steps} steps: error {error(steps):.4f}, sum off by {_off(mine(steps), rises[name]):.2%}; "
            f"ours, 50 steps: error {error(50):.4f}, sum off by {_off(mine(50), rises[name]):.2%}",
            flush=True,
        )
        timed = compare(lambda mine=mine, steps=steps: mine(steps), theirs, repeats)
        rows.append(timed.row(f"{name}, {kind}, {steps} steps", rival))
    print("\n".join([HEADER, *rows]), flush=True)


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


def _error(found: Tensor, reference: Tensor) -> float:
    away = (found - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
    return float(away.mean())


def _off(found: Tensor, rise: Tensor) -> float:
    return float(((found.sum((1, 2, 3)) - rise) / rise).abs().mean())


if __name__ == "__main__":
    main()
