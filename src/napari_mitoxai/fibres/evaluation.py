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
    ids, areas, true_ids, true_areas, (row, column, shared) = _shared(labels, truth)
    overlap = shared / (areas[row] + true_areas[column] - shared)
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


@dataclass(frozen=True)
class Causes:
    """Why fibres do not match, by id.

    Attributes
    ----------
    missed : dict of int to str
        Of the true fibres without a match: ``missed`` (little of it is found), ``merged`` (found together with something
        else), ``split`` (found in parts), ``too large`` or ``too small``.
    wrong : dict of int to str
        Of the found fibres without a match: ``extra`` (little of it is a true fibre), ``merged``, ``split``, ``too large`` or
        ``too small``.
    """

    missed: dict[int, str]
    wrong: dict[int, str]


_LITTLE = 0.25  # of a fibre


def causes(labels: NDArray[np.integer], truth: NDArray[np.integer], iou: float = 0.5) -> Causes:
    """Sort the errors of a segmentation by cause; see `match` for the parameters."""
    match(labels, truth, iou)
    ids, areas, true_ids, true_areas, (row, column, shared) = _shared(labels, truth)
    of_found, of_true = shared / areas[row], shared / true_areas[column]
    paired = shared / (areas[row] + true_areas[column] - shared) > iou
    matched, true_matched = set(row[paired].tolist()), set(column[paired].tolist())
    missed, wrong = {}, {}
    for index in set(range(len(true_ids))) - true_matched:
        mine = np.flatnonzero(column == index)
        if of_true[mine].sum() < _LITTLE:
            cause = "missed"
        else:
            best = mine[np.argmax(shared[mine])]
            cause = _shape_error(row == row[best], of_found, of_true, best)
            if cause == "too small" and np.count_nonzero(of_found[mine] > 0.5) > 1:
                cause = "split"
        missed[int(true_ids[index])] = cause
    for index in set(range(len(ids))) - matched:
        mine = np.flatnonzero(row == index)
        if of_found[mine].sum() < _LITTLE:
            cause = "extra"
        else:
            best = mine[np.argmax(shared[mine])]
            cause = _shape_error(row == index, of_found, of_true, best)
            siblings = np.count_nonzero(of_found[column == column[best]] > 0.5) > 1
            if cause == "too small" and (siblings or int(column[best]) in true_matched):
                cause = "split"
        wrong[int(ids[index])] = cause
    return Causes(dict(sorted(missed.items())), dict(sorted(wrong.items())))


def _shape_error(
    same_found: NDArray[np.bool_], of_found: NDArray[np.float64], of_true: NDArray[np.float64], best: np.intp
) -> str:
    """What is wrong with the found fibre that shares most with a true one."""
    if of_true[best] <= 0.5:
        return "too small"
    others = of_found[same_found].sum() - of_found[best]
    several = np.count_nonzero(of_true[same_found] > 0.5) > 1
    return "merged" if several or others > _LITTLE else "too large"


def _shared(
    labels: NDArray[np.integer], truth: NDArray[np.integer]
) -> tuple[
    NDArray[np.integer],
    NDArray[np.int64],
    NDArray[np.integer],
    NDArray[np.int64],
    tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
]:
    """Ids and areas of found and of true fibres, and of each pair that overlaps: row, column, shared pixels."""
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    true_ids, true_areas = np.unique(truth[truth > 0], return_counts=True)
    both = (labels > 0) & (truth > 0)
    pairs = np.searchsorted(ids, labels[both]), np.searchsorted(true_ids, truth[both])
    shared = sparse.coo_array((np.ones(len(pairs[0]), np.int64), pairs), shape=(len(ids), len(true_ids)))
    shared.sum_duplicates()
    row, column = shared.coords
    return ids, areas, true_ids, true_areas, (row, column, shared.data)
