"""How few pixels hold most of a map: says how easy it is to read, not whether it is right."""

import numpy as np
from numpy.typing import NDArray


def sparseness(planes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Gini index of magnitudes (Chalasani et al., ICML 2020, arXiv:1810.06583; Hurley and Rickard 2009).

    Parameters
    ----------
    planes : ndarray (N, H, W)
        Never negative: sums of magnitudes over channels.

    Returns
    -------
    ndarray (N,)
        0 (the same everywhere) to 1 - 1 / (H W) (all in one pixel); nan for an empty map.
    """
    values = np.sort(np.asarray(planes, np.float64).reshape(len(planes), -1), axis=1)
    n, totals = values.shape[1], values.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(((2 * np.arange(1, n + 1) - n - 1) * values).sum(1) / (n * totals))


def complexity(planes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy of each pixel's share of the magnitudes (Bhatt, Weller and Moura, IJCAI 2020, arXiv:2005.00631).

    Parameters
    ----------
    planes : ndarray (N, H, W)
        Never negative: sums of magnitudes over channels.

    Returns
    -------
    ndarray (N,)
        0 (all in one pixel) to ln(H W) (the same everywhere), in nats; nan for an empty map.
    """
    values = np.asarray(planes, np.float64).reshape(len(planes), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = values / values.sum(1, keepdims=True)
        terms = np.where(share > 0, share * np.log(share), 0 * share)
    return np.asarray(-terms.sum(1))
