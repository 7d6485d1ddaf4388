"""What is put in place of removed pixels: whatever it is, the network never saw such a picture, so there are several."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

Fill = Literal["zero", "mean", "blur", "noise"]
FILLS: tuple[Fill, ...] = ("zero", "mean", "blur", "noise")

_BLUR = 1 / 16  # of the side of a patch: standard deviation of the blur
# Rong et al. 2022: what a pixel takes from its neighbours beside it and at its corners
_BESIDE, _CORNER = 1 / 6, 1 / 12
_OFFSETS = [(dy, dx, _CORNER if dy and dx else _BESIDE) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def filled(patches: NDArray[np.float32], fill: Fill, rng: np.random.Generator) -> NDArray[np.float32]:
    """Patches of which nothing is left: what removed pixels are replaced by.

    Parameters
    ----------
    patches : ndarray (N, C, H, W)
        Scaled.
    fill : {"zero", "mean", "blur", "noise"}
        ``zero``: scaled 0, the mean of the training sections; ``mean``: the mean of the channel in this patch; ``blur``: the patch
        itself, blurred with a sigma of a sixteenth of its side; ``noise``: uniform between the lowest and the highest value of the
        channel in this patch.
    rng : numpy.random.Generator
        Of the noise.

    Returns
    -------
    ndarray (N, C, H, W)
    """
    if fill == "zero":
        return np.zeros_like(patches)
    if fill == "mean":
        return np.broadcast_to(patches.mean((2, 3), keepdims=True), patches.shape).astype(np.float32)
    if fill == "blur":
        sigma = _BLUR * min(patches.shape[2:])
        return np.asarray(ndimage.gaussian_filter(patches, (0, 0, sigma, sigma), mode="nearest"), np.float32)
    low, high = (extreme(patches, axis=(2, 3), keepdims=True) for extreme in (np.min, np.max))
    return np.asarray(low + (high - low) * rng.random(patches.shape), np.float32)


def linearly_imputed(
    patch: NDArray[np.float32], removed: NDArray[np.bool_], noise: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Noisy linear imputation (Rong, Leemann, Borisov, Kasneci and Kasneci, ICML 2022, arXiv:2202.00449).

    Every removed pixel becomes the weighted mean of its eight neighbours, a sixth for each beside it and a twelfth for each at a corner;
    the neighbours may be removed ones too, so that it is a system of linear equations; at an edge the weights there are add up to 1.

    Parameters
    ----------
    patch : ndarray (C, H, W)
    removed : ndarray of bool (H, W)
        From all channels.
    noise : ndarray (C, H, W)
        Added to the removed pixels, so that the network cannot tell them by their smoothness.

    Returns
    -------
    ndarray (C, H, W)
    """
    if not removed.any():
        return patch
    if removed.all():  # the equations leave the level open: 0, the mean of the training sections
        return noise.astype(np.float32)
    number = np.full(removed.shape, -1)
    number[removed] = np.arange(removed.sum())
    ys, xs = np.nonzero(removed)
    weights, known = np.zeros(len(ys)), np.zeros((len(ys), len(patch)))
    rows, columns, values = [], [], []
    for dy, dx, weight in _OFFSETS:
        y, x = ys + dy, xs + dx
        inside = (y >= 0) & (x >= 0) & (y < removed.shape[0]) & (x < removed.shape[1])
        weights += weight * inside
        own, y, x = np.flatnonzero(inside), y[inside], x[inside]
        other = number[y, x]
        known[own[other < 0]] += weight * patch[:, y[other < 0], x[other < 0]].T
        rows.append(own[other >= 0])
        columns.append(other[other >= 0])
        values.append(np.full(len(rows[-1]), -weight))
    every = np.arange(len(ys))
    system = sparse.csc_array(
        (
            np.concatenate([*values, weights]),
            (np.concatenate([*rows, every]), np.concatenate([*columns, every])),
        ),
        shape=(len(ys), len(ys)),
    )
    solved = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(known)
    result = patch.copy()
    result[:, removed] = solved.T + noise[:, removed]
    return result
