"""Tops of an image that stand out: the h-maxima of Soille (2003), by way of the passes between tops."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

_EIGHT = np.ones((3, 3))


def tops(heights: NDArray[np.float32], dip: float) -> NDArray[np.bool_]:
    """Find the maxima from which every way to a higher one goes down by `dip` or more.

    A maximum can only be left over the passes between the basins of the watershed; so it is enough to go through these, the highest
    first, as in Kruskal's tree. The result is that of `skimage.morphology.h_maxima`, which sorts all pixels twice.

    Parameters
    ----------
    heights : ndarray of float32
        (Y, X), finite; neighbours share a side or a corner.
    dip : float
        Above 0.

    Returns
    -------
    ndarray of bool
        (Y, X), true on the pixels of such maxima; none where the image is less than `dip` high.
    """
    if heights.size == 0 or np.ptp(heights) < dip:
        return np.zeros(heights.shape, bool)
    maxima, number = ndimage.label(local_maxima(heights, allow_borders=True), _EIGHT)
    peak = np.zeros(number + 1)
    peak[maxima.ravel()] = heights.ravel()
    kept = np.ones(number + 1, bool)
    kept[0] = False
    root = list(range(number + 1))
    highest = [[one] for one in root]  # of what is joined: its maxima of the greatest height

    def joined(one: int) -> int:
        while root[one] != one:
            root[one] = root[root[one]]
            one = root[one]
        return one

    for first, second, height in _passes(heights, watershed(-heights, maxima, connectivity=2), number):
        low, high = sorted((joined(first), joined(second)), key=peak.__getitem__)
        if low == high:
            continue
        root[low] = high
        if peak[low] == peak[high]:
            highest[high] += highest[low]
        elif peak[low] - height < dip:
            kept[highest[low]] = False
    return np.asarray(kept[maxima])


def _passes(
    heights: NDArray[np.float32], basins: NDArray[np.int32], number: int
) -> list[tuple[int, int, float]]:
    """The highest pass between each two basins that touch, from the highest down."""
    every = slice(None)
    before, after = slice(None, -1), slice(1, None)
    ways = (
        ((every, before), (every, after)),
        ((before, every), (after, every)),
        ((before, before), (after, after)),
        ((before, after), (after, before)),
    )
    pairs, lowest = [], []
    for one, other in ways:
        beside = basins[one] != basins[other]
        first, second = basins[one][beside].astype(np.int64), basins[other][beside]
        pairs.append(np.minimum(first, second) * (number + 1) + np.maximum(first, second))
        lowest.append(np.minimum(heights[one][beside], heights[other][beside]))
    pair, height = np.concatenate(pairs), np.concatenate(lowest)
    order = np.argsort(-height, kind="stable")
    pair, height = pair[order], height[order]
    place = np.sort(np.unique(pair, return_index=True)[1])
    first, second = np.divmod(pair[place], number + 1)
    return list(zip(first.tolist(), second.tolist(), height[place].tolist(), strict=True))
