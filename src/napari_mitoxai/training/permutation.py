"""Could these calls be chance? Subjects' labels are permuted; nothing is trained again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial, prod

import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 10_000


@dataclass(frozen=True)
class PermutationTest:
    """What permuting the labels gave.

    Attributes
    ----------
    p : float
        Share of the labellings, the true one among them, under which the calls are as good as under the true one.
    smallest : float
        The smallest p that the cohort can give, however good the calls.
    labellings : int
        How many were looked at.
    exact : bool
        Whether these were all there are; else they were drawn.
    """

    p: float
    smallest: float
    labellings: int
    exact: bool


def permutation_test(
    probabilities: NDArray[np.floating], labels: Sequence[int], *, seed: int = 0
) -> PermutationTest:
    """Permute the labels of subjects against their out-of-fold scores.

    The statistic is the mean probability that subjects get for their own class; with two classes this orders the
    labellings as the difference of the groups' mean scores does. The test is one-sided.

    Parameters
    ----------
    probabilities : ndarray of float
        (subjects, classes), from models that did not see the subject.
    labels : sequence of int
        The true class of each.
    seed : int
        Of the draw, where there are more than 10,000 labellings.

    Returns
    -------
    PermutationTest
        Exact up to 10,000 labellings, else from 9,999 drawn ones and the true one (Phipson & Smyth 2010).

    Notes
    -----
    Scores of leave-one-out models depend a little on the labels of the others, which this does not take into account:
    the models were trained with the true labels, not with the permuted ones.
    """
    truth = np.asarray(labels)
    rows = np.arange(len(truth))

    def statistic(labelling: NDArray[np.integer]) -> float:
        return float(probabilities[rows, labelling].mean())

    reached = statistic(truth) - 1e-12  # sums of the same numbers in another order differ in the last bit
    counts = np.unique(truth, return_counts=True)[1]
    total = factorial(len(truth)) // prod(factorial(int(count)) for count in counts)
    if total <= EXACT_UP_TO:
        as_good = sum(statistic(labelling) >= reached for labelling in _labellings(truth))
        return PermutationTest(as_good / total, 1 / total, total, True)
    rng = np.random.default_rng(seed)
    drawn = EXACT_UP_TO - 1
    as_good = sum(statistic(rng.permutation(truth)) >= reached for _ in range(drawn))
    return PermutationTest((as_good + 1) / EXACT_UP_TO, 1 / EXACT_UP_TO, EXACT_UP_TO, False)


def _labellings(truth: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    """Every distinct way of giving out the same labels."""
    classes, counts = np.unique(truth, return_counts=True)

    def place(
        free: tuple[int, ...], index: int, labelling: NDArray[np.integer]
    ) -> Iterator[NDArray[np.integer]]:
        if index == len(classes):
            yield labelling
            return
        for chosen in combinations(free, int(counts[index])):
            own = labelling.copy()
            own[list(chosen)] = classes[index]
            yield from place(tuple(place for place in free if place not in chosen), index + 1, own)

    yield from place(tuple(range(len(truth))), 0, truth.copy())
