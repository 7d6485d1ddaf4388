"""Folds for testing every subject on models that never saw it."""

from collections.abc import Sequence

import numpy as np

from napari_mitoxai.cohort.cohort import Cohort
from napari_mitoxai.common import MitoxaiError

LEAVE_ONE_OUT = "leave-one-out"


def subject_folds(cohort: Cohort, kind: str, *, seed: int = 0) -> tuple[list[tuple[str, ...]], list[str]]:
    """Divide the subjects into folds, each tested once.

    Parameters
    ----------
    cohort : Cohort
        To divide.
    kind : str
        ``leave-one-out``, or a number of folds in which the groups are as evenly spread as they can be.
    seed : int
        Deals the subjects out to the folds; of no effect on ``leave-one-out``.

    Returns
    -------
    folds : list of tuple of str
        The subjects to test on; disjoint, in the order of the table. Each leaves a subject of every group to train on.
    notes : list of str
        Which subjects cannot be tested, as no other of their group would be left to train on.

    Raises
    ------
    MitoxaiError
        If there are fewer subjects than folds, or no fold leaves something to train on.
    """
    groups = cohort.groups
    alone: list[tuple[str, ...]] = [(subject,) for subject in groups]
    folds = alone if kind == LEAVE_ONE_OUT else _dealt(groups, int(kind), seed)
    usable, notes = [], []
    for fold in folds:
        left = {group for subject, group in groups.items() if subject not in fold}
        missing = [group for group in cohort.classes if group not in left]
        if missing:
            notes.append(
                f"{', '.join(fold)} could not be tested: without {'it' if len(fold) == 1 else 'them'} "
                f"no {' and no '.join(missing)} is left to train on."
            )
        else:
            usable.append(fold)
    if not usable:
        raise MitoxaiError(
            "No fold leaves a subject of every group to train on: add subjects, or use more --folds."
        )
    return usable, notes


def _dealt(groups: dict[str, str], number: int, seed: int) -> list[tuple[str, ...]]:
    if number > len(groups):
        raise MitoxaiError(
            f"{len(groups)} subjects cannot be divided into {number} folds: choose fewer --folds, or leave-one-out."
        )
    rng = np.random.default_rng(seed)
    # dealing one group after the other keeps the groups spread and the folds of one size
    order = [
        str(subject)
        for group in sorted(set(groups.values()))
        for subject in rng.permutation([name for name, own in groups.items() if own == group])
    ]
    fold_of = {subject: position % number for position, subject in enumerate(order)}
    return [tuple(subject for subject in groups if fold_of[subject] == fold) for fold in range(number)]


def split_patches(
    labels: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]],
    *,
    validation: float,
    test: float,
    seed: int = 0,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], ...]:
    """Split patches at random, whosoever they are, as the papers do: what this reports is optimistic.

    Parameters
    ----------
    labels : (N,) of int
        Class of each patch; every class is divided in the same shares.
    validation, test : float
        Shares of the patches, 0 to below 1, together below 1.
    seed : int
        Of the draw.

    Returns
    -------
    train, validation, test : ndarray of int
        Indices, ascending, disjoint; each class has at least one patch in training, and one in test where it has two.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[], [], []]
    labels = np.asarray(labels)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        tested = min(max(round(test * len(own)), int(test > 0)), len(own) - 1)
        validated = min(round(validation * len(own)), len(own) - 1 - tested)
        parts[2] += own[:tested].tolist()
        parts[1] += own[tested : tested + validated].tolist()
        parts[0] += own[tested + validated :].tolist()
    train, checked, called = (np.sort(np.asarray(part, dtype=np.intp)) for part in parts)
    return train, checked, called
