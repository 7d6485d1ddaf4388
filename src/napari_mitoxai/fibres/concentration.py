"""Is it one fibre in ten or all of them? How unevenly relevance is spread over fibres."""

import numpy as np
from numpy.typing import NDArray


def lorenz(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve of Lorenz (1905), from the largest value down.

    Parameters
    ----------
    values : ndarray (n,)
        0 or more; nan is left out.

    Returns
    -------
    fibres, relevance : ndarray (n + 1,)
        Shares from 0 to 1: so many of the fibres carry so much. `relevance` is nan if the values sum to 0.
    """
    ordered = np.sort(_known(values))[::-1]
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    with np.errstate(invalid="ignore"):
        relevance = sums / sums[-1] if sums[-1] > 0 else np.full(len(sums), np.nan)
    return np.arange(len(sums)) / max(len(ordered), 1), relevance


def gini(values: NDArray[np.floating]) -> float:
    """The coefficient of Gini (1912): 0 if all have the same, towards 1 if one has all.

    Parameters
    ----------
    values : ndarray (n,)
        0 or more; nan is left out.

    Returns
    -------
    float
        nan where there is nothing.
    """
    ordered = np.sort(_known(values))
    total, n = ordered.sum(), len(ordered)
    if n == 0 or total <= 0:
        return float("nan")
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def carrying(values: NDArray[np.floating], share: float = 0.5) -> float:
    """The smallest share of the fibres that carries this share of the relevance; nan where there is none."""
    fibres, relevance = lorenz(values)
    if len(fibres) < 2 or not np.isfinite(relevance[-1]):
        return float("nan")
    return float(fibres[np.searchsorted(relevance, share - 1e-12)])


def _known(values: NDArray[np.floating]) -> NDArray[np.float64]:
    known: NDArray[np.float64] = np.asarray(values, np.float64)[np.isfinite(values)]
    return known
