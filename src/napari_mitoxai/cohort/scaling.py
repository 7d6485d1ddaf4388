"""Scaling of counts, fitted on training subjects and carried by the checkpoint."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaling:
    """``(arcsinh(counts) - mean) / deviation``, a channel at a time.

    Fitted once and never per image: stretching each image would erase the level of a protein, which is the disease.

    Attributes
    ----------
    mean, deviation : tuple of float
        One value a channel, of the arcsinh of the counts.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale counts of shape (..., C, Y, X) to the network's input."""
        mean = np.asarray(self.mean, dtype=np.float32)[:, None, None]
        deviation = np.asarray(self.deviation, dtype=np.float32)[:, None, None]
        return np.asarray((np.arcsinh(counts) - mean) / deviation, dtype=np.float32)


def fit_scaling(subjects: Iterable[Iterable[NDArray[np.float32]]]) -> Scaling:
    """Fit the scaling on training subjects, each with the same weight.

    Parameters
    ----------
    subjects : iterable of iterables of ndarray
        For each subject its patches (C, Y, X), in counts.

    Returns
    -------
    Scaling
        A channel that never varies gets the deviation 1.
    """
    means, squares = [], []
    for patches in subjects:
        values = [np.arcsinh(patch.astype(np.float64)) for patch in patches]
        means.append(np.mean([value.mean((1, 2)) for value in values], axis=0))
        squares.append(np.mean([(value**2).mean((1, 2)) for value in values], axis=0))
    mean = np.mean(means, axis=0)
    deviation = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, 0))
    deviation[deviation < 1e-6] = 1.0
    return Scaling(tuple(mean.tolist()), tuple(deviation.tolist()))
