"""Two groups compared by subject: one value a subject, never one a fibre, since fibres of one person are alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from napari_mitoxai.common import MitoxaiError

EXACT_UP_TO = 20_000


@dataclass(frozen=True)
class GroupTest:
    """What comparing two groups gave.

    Attributes
    ----------
    p : float
        Two-sided, of the rank sum (Mann and Whitney 1947); nan where a group has no value.
    smallest : float
        The smallest p that groups of this size can give, however far apart they are; less where ties leave one end alone.
    exact : bool
        Whether all ways of giving out the labels were looked at; else they were drawn.
    """

    p: float
    smallest: float
    exact: bool


def compare_groups(values: Sequence[float], second: Sequence[bool], *, seed: int = 0) -> GroupTest:
    """Compare two groups of subjects by the ranks of their values.

    Parameters
    ----------
    values : sequence of float
        One a subject; nan is left out.
    second : sequence of bool
        Which subjects are of the second group.
    seed : int
        Of the draw, where there are more than 20,000 ways of giving out the labels.

    Returns
    -------
    GroupTest
        Exact with ties, which share their mean rank; else from 9,999 drawn labellings and the true one (Phipson & Smyth 2010).

    Raises
    ------
    MitoxaiError
        If there are not as many values as labels.
    """
    if len(values) != len(second):
        raise MitoxaiError(f"{len(values)} values do not go with {len(second)} subjects: give one each.")
    every = np.asarray(values, float)
    known = np.isfinite(every)
    chosen = np.asarray(second, bool)[known]
    ranks = rankdata(every[known])
    number, size = len(ranks), int(chosen.sum())
    if not 0 < size < number:
        return GroupTest(float("nan"), float("nan"), True)
    ways = comb(number, size)
    middle = size * (number + 1) / 2
    reached = abs(ranks[chosen].sum() - middle) - 1e-9
    if ways <= EXACT_UP_TO:
        sums = np.array([ranks[list(pick)].sum() for pick in combinations(range(number), size)])
        far = abs(sums - middle)
        smallest = min(1.0, 2 / ways, float((far >= far.max() - 1e-9).mean()))
        return GroupTest(float((far >= reached).mean()), smallest, True)
    rng = np.random.default_rng(seed)
    drawn = np.array([rng.permutation(ranks)[:size].sum() for _ in range(9_999)])
    as_far = int((abs(drawn - middle) >= reached).sum())
    return GroupTest((1 + as_far) / 10_000, 1 / 10_000, False)


def by_subject(values: Sequence[float], subjects: Sequence[str]) -> dict[str, float]:
    """The mean of each subject's sections, nan left out; by subject, in the order of `subjects`."""
    found: dict[str, float] = {}
    every: NDArray[np.float64] = np.asarray(values, float)
    owner = np.asarray(subjects)
    for subject in dict.fromkeys(subjects):
        own = every[(owner == subject) & np.isfinite(every)]
        found[subject] = float(own.mean()) if own.size else float("nan")
    return found
