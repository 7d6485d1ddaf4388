"""How well one segmentation agrees with another, fibre by fibre."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_mitoxai.common import MitoxaiError


@dataclass(frozen=True)
class Match:
    """Agreement of found fibres with true ones.

    Attributes
    ----------
    f1, precision, recall : float
        Of fibres; 0 where nothing matches, nan where there is nothing to match.
    mean_iou : float
        Mean overlap of the matched pairs, nan without one.
    matched, found, expected : int
        Numbers of fibres.
    """

    f1: float
    precision: float
    recall: float
    mean_iou: float
    matched: int
    found: int
    expected: int


def match(labels: NDArray[np.integer], truth: NDArray[np.integer], iou: float = 0.5) -> Match:
    """Match fibres that overlap by more than `iou` (intersection over union).

    Above one half a fibre overlaps with one other at most, so the pairs are unique.

    Parameters
    ----------
    labels, truth : ndarray of int
        (Y, X); 0 is outside.
    iou : float
        From 0.5 to 1.

    Returns
    -------
    Match

    Raises
    ------
    MitoxaiError
        If the shapes differ, or `iou` is below one half.
    """
    if labels.shape != truth.shape:
        raise MitoxaiError(
            f"Fibres of shape {labels.shape} cannot be compared with those of shape {truth.shape}: "
            "take both from one section."
        )
    if not 0.5 <= iou <= 1:
        raise MitoxaiError(
            f"Fibres are matched at an overlap of 0.5 to 1, not {iou}: below 0.5 a match is ambiguous."
        )
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    true_ids, true_areas = np.unique(truth[truth > 0], return_counts=True)
    both = (labels > 0) & (truth > 0)
    pairs = np.searchsorted(ids, labels[both]), np.searchsorted(true_ids, truth[both])
    shared = sparse.coo_array((np.ones(len(pairs[0]), np.int64), pairs), shape=(len(ids), len(true_ids)))
    shared.sum_duplicates()
    row, column = shared.coords
    overlap = shared.data / (areas[row] + true_areas[column] - shared.data)
    overlap = overlap[overlap > iou]
    matched, found, expected = len(overlap), len(ids), len(true_ids)
    return Match(
        f1=2 * matched / (found + expected) if found + expected else np.nan,
        precision=matched / found if found else np.nan,
        recall=matched / expected if expected else np.nan,
        mean_iou=float(overlap.mean()) if matched else np.nan,
        matched=matched,
        found=found,
        expected=expected,
    )
