"""Whether the sum of a map over a square says how much the score drops when the square is covered."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.trust.curves import Ask


def random_squares(
    count: int, number: int, shape: tuple[int, int], smallest: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Squares to cover.

    Parameters
    ----------
    count, number : int
        Patches, and squares of each.
    shape : (H, W)
        Of a patch.
    smallest : int
        Side of the smallest in pixels; the largest has half the side of the patch.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of bool (count, number, H, W)
    """
    height, width = shape
    largest = max(min(shape) // 2, 1)
    sides = rng.integers(min(smallest, largest), largest, (count, number, 1), endpoint=True)
    tops, lefts = (rng.integers(0, length - sides, endpoint=True) for length in shape)
    rows = (np.arange(height) >= tops) & (np.arange(height) < tops + sides)
    columns = (np.arange(width) >= lefts) & (np.arange(width) < lefts + sides)
    return np.asarray(rows[..., :, None] & columns[..., None, :])


def drops(
    ask: Ask, patches: NDArray[np.float32], covered: NDArray[np.bool_], nothing: NDArray[np.float32]
) -> NDArray[np.float64]:
    """How much the score drops when places are covered: the same for every map, so asked once.

    Parameters
    ----------
    ask : callable
        Patches (n, C, H, W) → scores (n,).
    patches, nothing : ndarray (N, C, H, W)
    covered : ndarray of bool (N, S, H, W)

    Returns
    -------
    ndarray (N, S)
    """
    whole = ask(patches)
    return np.stack(
        [whole - ask(np.where(each[:, None], nothing, patches)) for each in covered.swapaxes(0, 1)], axis=1
    )


def infidelity(
    planes: NDArray[np.floating], covered: NDArray[np.bool_], score_drops: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of the squared drops that a map does not explain, after Yeh et al. (NeurIPS 2019, arXiv:1901.09392).

    Their infidelity is the mean of (sum of the map over what is covered - drop of the score) squared. Methods have no common unit, so
    each map is first multiplied by the number that makes this smallest, in each patch, as Captum does with ``normalize=True``; it must not
    be negative here: a map that says the opposite explains nothing. Divided by the mean of the squared drops, which
    is the infidelity of an empty map.

    Parameters
    ----------
    planes : ndarray (N, H, W)
        Signed, all channels together.
    covered : ndarray of bool (N, S, H, W)
    score_drops : ndarray (N, S)

    Returns
    -------
    ndarray (N,)
        0 (the map tells every drop) to 1 (as good as an empty one); nan where covering changes nothing.
    """
    sums = np.einsum("nyx,nsyx->ns", planes, covered, optimize=True)
    squares, drop_squares = (sums**2).sum(1), (score_drops**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(squares > 0, (sums * score_drops).sum(1) / squares, 0)
        factor = np.maximum(factor, 0)
        left = ((factor[:, None] * sums - score_drops) ** 2).sum(1) / drop_squares
    return np.asarray(np.where(drop_squares > 0, left, np.nan))


def max_sensitivity(
    explain: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    patches: NDArray[np.float32],
    radius: float,
    samples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Largest relative change of a map when its patch changes a little (Yeh et al. 2019), as Captum defines it.

    Parameters
    ----------
    explain : callable
        Patches (n, C, H, W) → maps (n, C or 1, H, W).
    patches : ndarray (N, C, H, W)
    radius : float
        Every value of a patch is moved by up to so much, uniformly.
    samples : int
        How many changed copies.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (N,)
        Of the norm of the change over the norm of the map, the largest; nan for an empty map.
    """
    own = np.asarray(explain(patches), np.float64)
    norms = np.sqrt((own**2).sum((1, 2, 3)))
    largest = np.zeros(len(patches))
    for _ in range(samples):
        moved = patches + rng.uniform(-radius, radius, patches.shape).astype(np.float32)
        change = np.sqrt(((explain(moved) - own) ** 2).sum((1, 2, 3)))
        largest = np.maximum(largest, change)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(norms > 0, largest / norms, np.nan))
