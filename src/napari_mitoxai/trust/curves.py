"""How a classifier's answer changes while a patch is taken away, or built up, in the order of a map."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.trust.imputation import linearly_imputed

Ask = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Patches (n, C, H, W) → one number for each (n,), or a row of numbers (n, k)."""


def shares(steps: int) -> NDArray[np.float64]:
    """What share of a patch is removed at each step, 0 to 1 (steps + 1,)."""
    return np.linspace(0, 1, steps + 1)


def deletion(
    ask: Ask,
    patches: NDArray[np.float32],
    places: NDArray[np.intp],
    nothing: NDArray[np.float32],
    steps: int,
    *,
    insert: bool = False,
) -> NDArray[np.float64]:
    """Replace the highest places of a map first, or put them first into what has nothing of the patch.

    Pixel flipping (Bach et al. 2015, PLoS ONE 10: e0130140; by regions Samek et al. 2017, IEEE TNNLS 28: 2660), deletion and insertion
    (Petsiuk, Das and Saenko, BMVC 2018).

    Parameters
    ----------
    ask : callable
    patches, nothing : ndarray (N, C, H, W)
        What is explained, and what is put in place of it.
    places : ndarray of int (N, K, H, W)
        From `napari_mitoxai.trust.units.places`; K is 1, where a place goes from all channels at once, or C.
    steps : int
        Between the whole patch and nothing of it.
    insert : bool
        Whether to begin with nothing.

    Returns
    -------
    ndarray (N, steps + 1) or (N, steps + 1, k)
        What `ask` says at each of the `shares`.
    """
    units = int(places.max()) + 1
    answers = []
    for share in shares(steps):
        first = places < round(share * units)
        kept = first if insert else ~first
        answers.append(ask(np.where(kept, patches, nothing)))
    return np.stack(answers, axis=1)


def road(
    ask: Ask,
    patches: NDArray[np.float32],
    places: NDArray[np.intp],
    removed: NDArray[np.floating],
    noise: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Remove and debias (Rong et al., ICML 2022): removed pixels are imputed from those around them.

    Parameters
    ----------
    ask : callable
    patches : ndarray (N, C, H, W)
    places : ndarray of int (N, 1, H, W)
        From `napari_mitoxai.trust.units.places`.
    removed : ndarray (K,)
        Shares of the patch to remove, 0 to 1.
    noise : ndarray (N, C, H, W)
        See `linearly_imputed`.

    Returns
    -------
    most, least : ndarray (N, K) or (N, K, k)
        What `ask` says when the most, and when the least relevant places are removed.
    """
    units = int(places.max()) + 1
    orders: list[NDArray[np.float64]] = []
    for place in (places, units - 1 - places):
        answers = []
        for share in removed:
            gone = place[:, 0] < round(units * share)
            answers.append(
                ask(
                    np.stack([
                        linearly_imputed(*one)
                        for one in zip(patches, gone, noise, strict=True)
                    ])
                )
            )  # fmt: skip
        orders.append(np.stack(answers, axis=1))
    return orders[0], orders[1]


def area(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under curves (N, K) over equal steps from 0 to 1, by trapezia (N,)."""
    return np.asarray(np.trapezoid(curve, dx=1 / (curve.shape[1] - 1), axis=1))


def mean_drop(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area over the perturbation curve, AOPC (Samek et al. 2017, eq. 12): the mean drop over steps 0 to L of curves (N, L + 1)."""
    return np.asarray((curve[:, :1] - curve).mean(1))
