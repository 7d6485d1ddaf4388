"""XRAI beside PAIR's saliency at 512 px: the whole method, and its parts.

PAIR runs with its defaults: 100 points on each of two ways. We run with the fewest steps whose map is not further from a reference
than PAIR's, as a share of the reference's length.

    .venv-oracles/bin/python benchmarks/xrai.py [--size 512] [--repeats 3]
"""

import argparse

import numpy as np
import saliency.core as pair
import torch
from rivals import TARGET, for_pair, machine, untrained
from saliency.core import xrai as pair_xrai
from scipy import ndimage
from side_by_side import HEADER, compare

from napari_mitoxai.explain import attribute
from napari_mitoxai.explain.regions import _regions, rank_greedily, rank_once, regions

STEPS = (8, 12, 16, 20, 25, 35, 50, 75, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reference", type=int, default=400, help="points on each way of the reference")
    options = parser.parse_args()
    network = untrained(3)
    fast = untrained(3).to(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    picture = ndimage.gaussian_filter(rng.normal(size=(options.size, options.size, 3)), (4, 4, 0)) * 10
    picture = (picture + rng.normal(size=picture.shape) * 0.3).astype(np.float32)
    inputs = torch.from_numpy(np.moveaxis(picture, -1, 0)[None].copy())
    print(machine("saliency", "scikit-image"))
    print(f"ResNet18, random weights, 3 x {options.size} x {options.size}")

    call = for_pair(network)

    def ours(steps: int) -> np.ndarray:
        _regions.cache_clear()
        return attribute(fast, inputs, "xrai", TARGET, steps=steps)[0, 0].numpy()

    def theirs() -> np.ndarray:
        return pair.XRAI().GetMask(picture, call, batch_size=1)

    reference = ours(options.reference)

    def error(found: np.ndarray) -> float:
        return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))

    bound = error(theirs())
    errors: dict[int, float] = {}
    for steps in STEPS:
        errors[steps] = error(ours(steps))
        if errors[steps] <= bound:
            break
    print(f"error of PAIR {bound:.4f}; ours by steps: {errors}", flush=True)
    rows = []
    masks = pair_xrai._get_segments_felzenszwalb(picture)
    found = regions(picture)
    plane = attribute(fast, inputs, "gradient", TARGET)[0].amax(0).double().numpy()

    def cut() -> None:
        _regions.cache_clear()
        regions(picture)

    parts = [
        ("regions", cut, lambda: pair_xrai._get_segments_felzenszwalb(picture)),
        ("ranking", lambda: rank_greedily(plane, found), lambda: pair.XRAI._xrai(plane, masks)),
        ("fast ranking", lambda: rank_once(plane, found), lambda: pair.XRAI._xrai_fast(plane, masks)),
    ]
    for name, mine, rival in parts:
        rows.append(compare(mine, rival, options.repeats).row(name, "PAIR"))

    compared = compare(lambda: ours(steps), theirs, options.repeats)
    rows.append(compared.row(f"XRAI, {steps} steps a way", "PAIR, 100 points a way"))
    print("\n".join([HEADER, *rows]))


if __name__ == "__main__":
    main()
