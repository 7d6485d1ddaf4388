"""Whose patches lie near whose: whether a network learnt the disease, or the people."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.trust.agreement import mean_and_interval

_MOST_ORDERED = 7  # subjects, whose 5,040 orders are all looked at
_RELABELLINGS = 999  # drawn where there are more
_LOW, _HIGH = 2.5, 97.5

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Neighbourhood:
    """A number that says how patches lie in a space, and what shuffled names give.

    Attributes
    ----------
    measure : str
        ``subject_purity``, ``group_purity``, ``subject_silhouette`` or ``group_silhouette``.
    value, low, high : float
        Mean over subjects, of each the mean of its patches, with the 95 % bootstrap interval over subjects.
    shuffled, shuffled_low, shuffled_high : float
        Mean and central 95 % of the value with shuffled names: those of patches for subjects, those of subjects for groups.
    p : float
        Share of the shufflings, the true names counted in, that give as much or more.
    smallest_p : float
        The smallest that there can be: one over their number.
    subjects, patches : int
        That the value rests on.
    """

    measure: str
    value: float
    low: float
    high: float
    shuffled: float
    shuffled_low: float
    shuffled_high: float
    p: float
    smallest_p: float
    subjects: int
    patches: int


def neighbourhoods(
    distances: Values,
    subjects: NDArray[np.str_],
    groups: dict[str, str],
    apart: NDArray[np.bool_],
    *,
    neighbours: int = 15,
    of: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Neighbourhood]:
    """Ask of every patch whose patches are its nearest.

    Purity by subject is the share of a patch's k nearest that are of its own subject. Purity by group is asked among the patches of
    other subjects only, since a person's patches are alike in any case: the share of the k nearest that are of its own group. The
    silhouettes (Rousseeuw 1987) are (b - a) / max(a, b), with a the mean distance to the patches of the own subject or group, and b that to the
    nearest other one.

    Parameters
    ----------
    distances : ndarray
        (N, N).
    subjects : ndarray of str
        (N,), whose patch it is.
    groups : dict
        Of each subject; with fewer than two groups of two subjects nothing is said of groups.
    apart : ndarray of bool
        (N, N), whether two patches have no pixel in common: those that do are no neighbours, as they are near by construction.
    neighbours : int
        k.
    of : sequence of str, optional
        The subjects whose patches are asked; the neighbours are always looked for among all.
    seed : int
        Of the shuffling.

    Returns
    -------
    list of Neighbourhood
        Those that there are subjects and groups for.
    """
    names = list(dict.fromkeys(subjects.tolist()))
    if len(names) < 2:
        return []
    owner = np.array([names.index(name) for name in subjects.tolist()])
    asked = np.array([of is None or name in of for name in names])
    rng = np.random.default_rng(seed)
    to_subjects = _nearest(distances, apart, neighbours)
    sums = np.stack([distances[:, owner == number].sum(1) for number in range(len(names))], axis=1)
    # a subject's silhouette needs other patches of it; shuffling patches would shuffle the sums too, so it has none
    found = [
        _summary(
            "subject_purity", lambda owners: _share(owners[to_subjects] == owners[:, None], to_subjects),
            owner, (rng.permutation(owner) for _ in range(_RELABELLINGS)), owner, asked,
        ),
        _summary("subject_silhouette", lambda _: _silhouettes(sums, owner, np.arange(len(names))), owner, (), owner, asked),
    ]  # fmt: skip
    group_names = list(dict.fromkeys(groups[name] for name in names))
    group = np.array([group_names.index(groups[name]) for name in names])
    if len(group_names) < 2 or np.bincount(group).min() < 2:
        return found
    to_others = _nearest(distances, apart & (owner[:, None] != owner[None]), neighbours)
    for measure, compute in (
        ("group_purity", lambda own: _share(own[owner][to_others] == own[owner][:, None], to_others)),
        ("group_silhouette", lambda own: _silhouettes(sums, owner, own)),
    ):
        found.append(_summary(measure, compute, group, _relabellings(group, rng), owner, asked))
    return found


def _nearest(distances: Values, allowed: NDArray[np.bool_], neighbours: int) -> NDArray[np.intp]:
    """The k nearest (N, k) among those allowed; -1 where there are fewer."""
    admitted = np.where(allowed, distances, np.inf)
    np.fill_diagonal(admitted, np.inf)
    nearest = np.argsort(admitted, axis=1, kind="stable")[:, :neighbours]
    return np.where(np.isfinite(np.take_along_axis(admitted, nearest, 1)), nearest, -1)


def _share(same: NDArray[np.bool_], nearest: NDArray[np.intp]) -> Values:
    """Of each patch's neighbours that there are, the share that is the same; nan of one without any."""
    there = nearest >= 0
    count = there.sum(1)
    return np.where(count > 0, (same & there).sum(1) / np.maximum(count, 1), np.nan)


def _silhouettes(sums: Values, owner: NDArray[np.intp], kinds: NDArray[np.intp]) -> Values:
    """Silhouette of each patch, from its summed distances (N, subjects) and the kind of each subject; 0 of a kind's only patch."""
    member = kinds[:, None] == np.unique(kinds)[None]
    sizes = member[owner].sum(0)
    totals, own = sums @ member, member[owner]
    within = totals[own] / np.maximum(sizes[own.argmax(1)] - 1, 1)
    between = np.where(own, np.inf, totals / sizes).min(1)
    largest = np.maximum(within, between)
    value = np.where(largest > 0, (between - within) / np.where(largest > 0, largest, 1), 0.0)
    return np.where(sizes[own.argmax(1)] > 1, value, 0.0)


def _relabellings(group: NDArray[np.intp], rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Every other way to part subjects into groups of these sizes, or some where there are many."""
    if len(group) <= _MOST_ORDERED:
        different = {_parts(order) for order in permutations(group.tolist())} - {_parts(group.tolist())}
        yield from (np.array(order) for order in sorted(different))
    else:
        yield from (rng.permutation(group) for _ in range(_RELABELLINGS))


def _parts(order: Sequence[int]) -> tuple[int, ...]:
    """The groups numbered as they appear: with their names exchanged, groups of one size are the same groups."""
    first = list(dict.fromkeys(order))
    return tuple(first.index(group) for group in order)


def _summary(
    measure: str,
    compute: Callable[[NDArray[np.intp]], Values],
    true: NDArray[np.intp],
    shuffled: "Iterator[NDArray[np.intp]] | tuple[()]",
    owner: NDArray[np.intp],
    asked: NDArray[np.bool_],
) -> Neighbourhood:
    values = compute(true)
    own = _by_subject(values, owner)[asked]
    mean, low, high = mean_and_interval(own.tolist())
    others = np.array([_mean(_by_subject(compute(names), owner)[asked]) for names in shuffled])
    nothing = (float("nan"),) * 3
    middle, bottom, top = (
        (float(others.mean()), *(float(end) for end in np.percentile(others, [_LOW, _HIGH]))) if others.size else nothing
    )  # fmt: skip
    number = others.size + 1
    return Neighbourhood(
        measure, mean, low, high, middle, bottom, top,
        float((1 + (others >= mean - 1e-12).sum()) / number) if others.size else float("nan"),
        1 / number if others.size else float("nan"),
        int(np.isfinite(own).sum()), int((asked[owner] & np.isfinite(values)).sum()),
    )  # fmt: skip


def _by_subject(values: Values, owner: NDArray[np.intp]) -> Values:
    """The mean of each subject's patches; nan where none has a value."""
    known = np.isfinite(values)
    count = np.bincount(owner[known], minlength=owner.max() + 1)
    total = np.bincount(owner[known], values[known], minlength=owner.max() + 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean(values: Values) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
