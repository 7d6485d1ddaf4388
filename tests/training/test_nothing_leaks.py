"""Nothing of a test subject reaches training, over random cohorts; and what a planted signal, and none, report."""

from pathlib import Path

import numpy as np
import pytest

from napari_mitoxai.cohort import Cohort, Member, fit_scaling, split_subjects, subject_folds
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Panel, parse_channel
from napari_mitoxai.simulate import cohort as simulated
from napari_mitoxai.tasks.train import TrainParameters, run
from napari_mitoxai.tasks.training_run import parts_at_random, parts_by_subject
from napari_mitoxai.training import PatchSet

GROUPS = {"C": "control", "P": "patient", "X": "carrier"}


def random_study(rng):
    """A cohort and its patches; the counts of a subject's patches are its number, so that they tell whose they are."""
    names = [f"{group}{n}" for group in "CPX"[: rng.integers(2, 4)] for n in range(rng.integers(2, 7))]
    rng.shuffle(names)
    members = [
        Member(Path(f"{name}_{part}"), name, GROUPS[name[0]]) for name in names for part in range(rng.integers(1, 4))
    ]  # fmt: skip
    cohort = Cohort(tuple(members), Path("cohort.csv"))
    owners = np.repeat(names, rng.integers(1, 9, len(names)))
    counts = np.array([names.index(name) + 1 for name in owners], np.float32)[:, None, None, None]
    labels = np.array([cohort.classes.index(cohort.groups[name]) for name in owners], np.int64)
    panel = Panel((parse_channel("SDHA"),))
    return (
        cohort,
        PatchSet(np.broadcast_to(counts, (len(owners), 1, 4, 4)).copy(), owners, labels, panel),
        names,
    )


def test_no_test_subject_is_in_training_validation_or_scaling():
    rng = np.random.default_rng(0)
    tried = 0
    for trial in range(150):
        cohort, patches, names = random_study(rng)
        for fold in subject_folds(cohort, str(rng.choice(["leave-one-out", "2"])), seed=trial)[0]:
            try:
                split = split_subjects(cohort, hold_out=fold, seed=trial)
            except MitoxaiError:
                continue
            tried += 1
            parts = parts_by_subject(patches, split)
            numbers = {names.index(name) + 1 for name in fold}
            assert set(parts.test.counts.ravel().tolist()) == numbers
            known = np.concatenate([parts.training.counts, parts.validation.counts])
            assert numbers.isdisjoint(known.ravel().tolist())
            assert not parts.optimistic()
            scaling = fit_scaling(parts.training.of([name]).counts for name in split.train)
            own = np.arcsinh([names.index(name) + 1 for name in split.train])
            assert scaling.mean[0] == pytest.approx(own.mean())
            assert len(parts.training) + len(parts.validation) + len(parts.test) == len(patches)
    assert tried > 300


def test_a_split_by_patches_is_optimistic_only_where_a_subject_is_on_both_sides():
    rng = np.random.default_rng(1)
    settings = TrainParameters(cohort="c.csv", out="run", split="patch-random", test_share=0.3)
    for trial in range(100):
        _, patches, _ = random_study(rng)
        parts = parts_at_random(patches, settings, trial)
        train = {*parts.training.subjects.tolist(), *parts.validation.subjects.tolist()}
        assert parts.optimistic() == bool(train & set(parts.test.subjects.tolist()))
        assert parts.optimistic() == any("optimistic" in note for note in parts.notes)
    one_each = patches.take(np.unique(patches.subjects, return_index=True)[1])
    assert not parts_at_random(one_each, settings, 0).optimistic()


# 16 patches of each of ten subjects, averaged to 2 um a pixel: minutes on one core, several times that on a busy one
SMALL = {"patch_size": 128, "input_size": 64, "batch_size": 16, "device": "cpu", "overlap": 0.0}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_planted_signal_is_found_in_subjects_that_were_left_out(tmp_path, one_thread):
    table = simulated(tmp_path / "cohort", 5, "complex_i_loss", 512, 0)
    metrics = run(TrainParameters(cohort=table, out=tmp_path / "run", folds="5", epochs=15, **SMALL)).metrics
    assert metrics["subject_accuracy"] >= 0.95
    assert metrics["permutation"]["p"] == metrics["permutation"]["smallest_p"] == 1 / 252


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_without_a_signal_leaving_subjects_out_is_chance(tmp_path, one_thread):
    table = simulated(tmp_path / "cohort", 5, None, 512, 0)
    metrics = run(TrainParameters(cohort=table, out=tmp_path / "run", folds="5", epochs=10, **SMALL)).metrics
    low, high = metrics["confidence_interval"]
    assert low <= 0.5 <= high
    assert not metrics["optimistic"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_without_a_signal_patches_at_random_look_excellent(tmp_path, one_thread):
    table = simulated(tmp_path / "cohort", 5, None, 512, 0)
    settings = {"epochs": 30, "jitter": 0.0, "test_share": 0.2, **SMALL}
    metrics = run(
        TrainParameters(cohort=table, out=tmp_path / "run", split="patch-random", **settings)
    ).metrics
    assert metrics["optimistic"]
    assert metrics["patch_accuracy"] >= 0.85
