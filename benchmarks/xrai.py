"""XRAI beside PAIR's saliency at 512 px: the whole method, and its parts.

PAIR runs with its defaults, 100 points on each of two ways, one at a time, as 512 px ask for. We run with the fewest steps whose
map is not further from a reference than PAIR's, as a share of the reference's length. PAIR's map, which takes minutes, is made and
timed once, after the first of ours; all on one thread.

    .venv-oracles/bin/python benchmarks/xrai.py [--size 512] [--repeats 2]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import saliency.core as pair
import torch
from rivals import TARGET, fewest, for_pair, machine, untrained
from saliency.core import xrai as pair_xrai
from scipy import ndimage
from side_by_side import HEADER, compare

from napari_mitoxai.explain import attribute
from napari_mitoxai.explain.regions import _regions, rank_greedily, rank_once, regions

STEPS = (4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 25, 35, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--reference", type=int, default=75, help="points on each way of the reference")
    options = parser.parse_args()
    torch.set_num_threads(1)
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

    def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
        start = time.perf_counter()
        found = work()
        return time.perf_counter() - start, found

    reference = ours(options.reference)

    @cache
    def error(steps: int) -> float:
        return distance(ours(steps), reference)

    default = [seconds(lambda: ours(25))[0]]
    whole, mask = seconds(theirs)
    bound = distance(mask, reference)
    steps = fewest(error, bound, STEPS)
    if steps is None:
        raise SystemExit(f"The error of PAIR, {bound:.4f}, is not reached with {STEPS[-1]} steps.")
    print(
        f"error of PAIR {bound:.4f}; ours {error(steps):.4f} with {steps} steps, {error(25):.4f} with 25, the default"
    )
    fewer = [seconds(lambda: ours(steps))[0] for _ in range(options.repeats)]
    default += [seconds(lambda: ours(25))[0] for _ in range(options.repeats - 1)]
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

    for points, each in ((steps, fewer), (25, default)):
        ratios = [whole / one for one in each]
        rows.append(
            f"| XRAI, {points} points a way | PAIR, 100 points a way | {statistics.median(each):.3g} | {whole:.3g} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    print("\n".join([HEADER, *rows]))


def distance(found: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


if __name__ == "__main__":
    main()
