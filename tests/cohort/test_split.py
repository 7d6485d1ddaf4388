from pathlib import Path

import numpy as np
import pytest

from napari_mitoxai.cohort import Cohort, Member, split_subjects
from napari_mitoxai.common import MitoxaiError


def cohort_of(splits):
    """A cohort from {subject: split}; the subject's first letter is its group; two sections each."""
    groups = {"C": "control", "P": "patient", "X": "carrier"}
    members = [
        Member(Path(f"{subject}_{section}"), subject, groups[subject[0]], split=split)
        for subject, split in splits.items()
        for section in "ab"
    ]
    return Cohort(tuple(members), Path("cohort.csv"))


def plain(*subjects):
    return cohort_of(dict.fromkeys(subjects, ""))


SMALL = ("C1", "C2", "P1", "P2", "P3")
LARGE = tuple(f"{group}{number}" for group in "CP" for number in range(1, 6))


def test_held_out_subjects_test_and_nothing_else():
    split = split_subjects(plain(*SMALL), hold_out=["P3", "C1"])
    assert split.test == ("C1", "P3")
    assert split.train == ("C2", "P1", "P2")
    assert split.validation == ()
    assert any("validation" in note for note in split.notes)
    assert split.as_dict() == {"train": ["C2", "P1", "P2"], "validation": [], "test": ["C1", "P3"]}


def test_without_a_hold_out_it_says_what_it_cannot_claim():
    split = split_subjects(plain(*SMALL))
    assert split.test == ()
    assert split.notes[0].startswith("No subject was held out")


def test_a_class_that_is_not_held_out_is_named():
    assert "No control was held out" in split_subjects(plain(*SMALL), hold_out=["P3"]).notes[0]


def test_the_split_column_is_followed():
    split = split_subjects(
        cohort_of({"C1": "train", "C2": "test", "C3": "", "P1": "train", "P2": "validation", "P3": "test"})
    )
    assert (split.train, split.validation, split.test) == (("C1", "C3", "P1"), ("P2",), ("C2", "P3"))
    assert split.notes == ()


def test_a_hold_out_takes_the_place_of_the_split_column_all_of_it():
    given = {subject: "test" if subject.endswith("5") else "train" for subject in LARGE}
    with_column = split_subjects(cohort_of(given), hold_out=["C1", "P1"], seed=3)
    without = split_subjects(plain(*LARGE), hold_out=["C1", "P1"], seed=3)
    assert with_column == without
    assert with_column.validation


def test_validation_takes_one_subject_a_class_only_where_two_of_each_remain():
    split = split_subjects(plain(*LARGE), hold_out=["C1", "C2", "P1"], seed=0)
    assert sorted(subject[0] for subject in split.validation) == ["C", "P"]
    assert sum(subject[0] == "C" for subject in split.train) == 2
    assert split_subjects(plain(*LARGE), hold_out=["C1", "C2", "C3"]).validation == ()


def test_the_seed_chooses_the_validation_subjects():
    chosen = {
        split_subjects(plain(*LARGE), hold_out=["C1", "P1"], seed=seed).validation for seed in range(20)
    }
    assert len(chosen) > 3
    again = [split_subjects(plain(*LARGE), hold_out=["C1"], seed=5) for _ in range(2)]
    assert again[0] == again[1]


def test_an_unknown_subject_is_named():
    with pytest.raises(MitoxaiError, match="P9, Q cannot be held out: the cohort has the subjects C1, C2"):
        split_subjects(plain(*SMALL), hold_out=["P9", "C1", "Q"])


@pytest.mark.parametrize(
    ("cohort", "hold_out"),
    [
        (plain(*SMALL), ["C1", "C2"]),
        (cohort_of({"C1": "test", "C2": "validation", "P1": "", "P2": ""}), []),
    ],
)
def test_a_class_with_nobody_left_to_train_on_is_named(cohort, hold_out):
    with pytest.raises(MitoxaiError, match="No control is left to train on"):
        split_subjects(cohort, hold_out=hold_out)


def test_random_cohorts_are_split_into_disjoint_sets_that_cover_them():
    rng = np.random.default_rng(0)
    made = 0
    for trial in range(300):
        subjects = [f"{group}{n}" for group in "CPX"[: rng.integers(2, 4)] for n in range(rng.integers(1, 8))]
        rng.shuffle(subjects)
        column = rng.choice(["", "train", "validation", "test"], len(subjects), p=[0.55, 0.25, 0.1, 0.1])
        with_column = rng.random() < 0.5
        cohort = cohort_of(dict(zip(subjects, column if with_column else [""] * len(subjects), strict=True)))
        hold_out = [subject for subject in subjects if rng.random() < 0.3]
        if len(cohort.classes) < 2:
            continue
        try:
            split = split_subjects(cohort, hold_out=hold_out, seed=trial)
        except MitoxaiError:
            continue
        made += 1
        parts = [set(split.train), set(split.validation), set(split.test)]
        assert sum(len(part) for part in parts) == len(set().union(*parts)) == len(subjects)
        assert {cohort.groups[subject] for subject in split.train} == set(cohort.classes)
        if hold_out:
            assert parts[2] == set(hold_out)
    assert made > 100
