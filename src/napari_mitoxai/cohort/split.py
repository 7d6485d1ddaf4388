"""Which subjects train, validate and test: the subject is the unit, never the patch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from napari_mitoxai.cohort.cohort import Cohort
from napari_mitoxai.common import MitoxaiError


@dataclass(frozen=True)
class Split:
    """Subjects by what they are used for; no subject is used for two things.

    Attributes
    ----------
    train, validation, test : tuple of str
        Subjects. Validation is empty where training would be left with fewer than two subjects of a class; test is
        empty where none was held out.
    notes : tuple of str
        What the split cannot claim, in sentences.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, list[str]]:
        """The subjects by use, for JSON."""
        return {key: list(value) for key, value in asdict(self).items() if key != "notes"}


def split_subjects(cohort: Cohort, *, hold_out: Sequence[str] = (), seed: int = 0) -> Split:
    """Split the subjects of a cohort.

    Parameters
    ----------
    cohort : Cohort
        With its optional ``split`` column.
    hold_out : sequence of str
        Subjects to test on. They take the place of the ``split`` column; without either, nothing is held out.
    seed : int
        Picks the validation subjects, one a class, where two of each class are left to train on and the ``split``
        column has no say.

    Returns
    -------
    Split
        Disjoint.

    Raises
    ------
    MitoxaiError
        If a subject to hold out is not in the cohort, or a class has no subject left to train on.
    """
    groups = cohort.groups
    unknown = [subject for subject in hold_out if subject not in groups]
    if unknown:
        raise MitoxaiError(
            f"{', '.join(unknown)} cannot be held out: the cohort has the subjects {', '.join(groups)}."
        )
    given = {member.subject: member.split for member in cohort.members}
    if hold_out:
        test = [subject for subject in groups if subject in set(hold_out)]
        validation: list[str] = []
    else:
        test = [subject for subject in groups if given[subject] == "test"]
        validation = [subject for subject in groups if given[subject] == "validation"]
    train = [subject for subject in groups if subject not in {*test, *validation}]
    for group in cohort.classes:
        if not any(groups[subject] == group for subject in train):
            raise MitoxaiError(
                f"No {group} is left to train on: hold out fewer subjects, or add sections of {group} subjects."
            )
    if hold_out or not any(given.values()):
        validation = _validation_subjects(train, groups, seed)
        train = [subject for subject in train if subject not in validation]
    return Split(tuple(train), tuple(validation), tuple(test), tuple(_limits(cohort, validation, test)))


def _validation_subjects(train: Sequence[str], groups: dict[str, str], seed: int) -> list[str]:
    """One subject a class, if that leaves two of every class."""
    by_class = {
        group: [subject for subject in train if groups[subject] == group]
        for group in sorted(set(groups.values()))
    }
    if min(len(subjects) for subjects in by_class.values()) < 3:
        return []
    rng = np.random.default_rng(seed)
    return [str(rng.choice(subjects)) for subjects in by_class.values()]


def _limits(cohort: Cohort, validation: Sequence[str], test: Sequence[str]) -> list[str]:
    notes = []
    groups = cohort.groups
    untested = [group for group in cohort.classes if not any(groups[subject] == group for subject in test)]
    if not test:
        notes.append(
            "No subject was held out: this run says nothing of how well the model calls new subjects; "
            "hold some out, or test every subject by folds."
        )
    elif untested:
        notes.append(
            f"No {' and no '.join(untested)} was held out: the run cannot say how such subjects are called."
        )
    if not validation:
        notes.append(
            "No subject was set aside for validation, which takes three of every class to train on: "
            "trained for a fixed number of epochs, without early stopping."
        )
    return notes
