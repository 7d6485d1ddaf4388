"""Figures from calls: confusion matrix, precision, recall, F1, Wilson's interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


def confusion(truth: Sequence[int] | NDArray[np.integer], called: Sequence[int] | NDArray[np.integer], classes: int) -> NDArray[np.int64]:  # fmt: skip
    """How often each class (row) was called what (column): (classes, classes)."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (np.asarray(truth), np.asarray(called)), 1)
    return matrix


def scores(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """Precision, recall and F1 of a confusion matrix.

    Parameters
    ----------
    matrix : ndarray of int
        (classes, classes), truth by row.
    classes : sequence of str
        Their names, in order.

    Returns
    -------
    dict
        ``confusion_matrix``, ``accuracy``, ``precision``, ``recall`` and ``f1``, each of the three with a value a class
        and ``macro``, their mean over the classes that there are in truth. A ratio with nothing below it is 0.
    """
    right = np.diag(matrix).astype(float)
    truly, called = matrix.sum(1), matrix.sum(0)
    precision = np.divide(right, called, out=np.zeros_like(right), where=called > 0)
    recall = np.divide(right, truly, out=np.zeros_like(right), where=truly > 0)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(right), where=total > 0)
    result: dict[str, Any] = {
        "confusion_matrix": {"classes": list(classes), "counts": matrix.tolist()},
        "accuracy": float(right.sum() / matrix.sum()),
    }
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        result[name] = {group: float(value) for group, value in zip(classes, values, strict=True)}
        result[name]["macro"] = float(values[truly > 0].mean())
    return result


def wilson(right: int, number: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    interval = binomtest(right, number).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
