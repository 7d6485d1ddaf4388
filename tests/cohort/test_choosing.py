"""Which sections are used, how they are folded, and that one picture is not on two sides."""

from pathlib import Path

import numpy as np
import pytest

from napari_mitoxai.cohort import (
    Cohort,
    Member,
    PatchGeometry,
    fibre_corners,
    find_labels,
    patch_corners,
    patch_hashes,
    read_cohort,
    refuse_shared,
    split_patches,
    subject_folds,
    tissue_mask,
)
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import read_labels, read_section, write_labels, write_section
from napari_mitoxai.training import gather_patches


def cohort_of(*subjects, **extra):
    groups = {"C": "control", "P": "patient", "X": "carrier"}
    members = [
        Member(Path(f"{name}_{part}"), name, groups[name[0]], batch=name[-1], extra={k: v.get(name, "") for k, v in extra.items()})
        for name in subjects
        for part in "ab"
    ]  # fmt: skip
    return Cohort(tuple(members), Path("cohort.csv"))


# --- folds -------------------------------------------------------------------------------------------------------


def test_leave_one_out_tests_everybody_once():
    folds, notes = subject_folds(cohort_of("C1", "C2", "P1", "P2", "P3"), "leave-one-out")
    assert folds == [("C1",), ("C2",), ("P1",), ("P2",), ("P3",)]
    assert notes == []


def test_the_only_subject_of_a_group_cannot_be_tested_and_is_named():
    folds, notes = subject_folds(cohort_of("C1", "P1", "P2"), "leave-one-out")
    assert folds == [("P1",), ("P2",)]
    assert notes == ["C1 could not be tested: without it no control is left to train on."]
    with pytest.raises(MitoxaiError, match="No fold leaves a subject of every group"):
        subject_folds(cohort_of("C1", "P1"), "leave-one-out")


def test_random_cohorts_are_folded_evenly_and_without_overlap():
    rng = np.random.default_rng(0)
    for trial in range(200):
        names = [f"{group}{n}" for group in "CPX"[: rng.integers(2, 4)] for n in range(rng.integers(3, 9))]
        rng.shuffle(names)
        cohort, number = cohort_of(*names), int(rng.integers(2, 4))
        folds, notes = subject_folds(cohort, str(number), seed=trial)
        assert notes == []
        assert sorted(name for fold in folds for name in fold) == sorted(names)
        sizes = [len(fold) for fold in folds]
        assert max(sizes) - min(sizes) <= 1
        for group in cohort.classes:
            counts = [sum(cohort.groups[name] == group for name in fold) for fold in folds]
            assert max(counts) - min(counts) <= 1
        assert subject_folds(cohort, str(number), seed=trial)[0] == folds


def test_more_folds_than_subjects():
    with pytest.raises(MitoxaiError, match="3 subjects cannot be divided into 5 folds"):
        subject_folds(cohort_of("C1", "C2", "P1"), "5")


def test_patches_are_split_in_the_shares_asked_for_in_every_class():
    rng = np.random.default_rng(1)
    for trial in range(200):
        labels = rng.integers(0, 3, rng.integers(10, 200))
        train, validation, test = split_patches(labels, validation=0.1, test=0.2, seed=trial)
        assert sorted([*train, *validation, *test]) == list(range(len(labels)))
        for label in np.unique(labels):
            count = (labels == label).sum()
            assert abs((labels[test] == label).sum() - 0.2 * count) <= 1
            assert abs((labels[validation] == label).sum() - 0.1 * count) <= 1
            assert (labels[train] == label).any()
    again = [split_patches(np.arange(50) % 2, validation=0.1, test=0.1, seed=seed)[2] for seed in (3, 3, 4)]
    assert list(again[0]) == list(again[1]) != list(again[2])


# --- where -------------------------------------------------------------------------------------------------------


GENOTYPES = {"P1": "MT-TL1", "P2": "nDNA", "P3": "MT-TL1"}


def chosen(*conditions):
    return cohort_of("C1", "C2", "P1", "P2", "P3", genotype=GENOTYPES).where(conditions).subjects


def test_a_part_of_the_cohort_with_its_controls_who_have_no_genotype():
    assert chosen("genotype=MT-TL1") == ["C1", "C2", "P1", "P3"]
    assert chosen("genotype!=MT-TL1") == ["C1", "C2", "P2"]
    assert chosen("genotype=MT-TL1|nDNA") == chosen() == ["C1", "C2", "P1", "P2", "P3"]


def test_conditions_add_up_and_groups_that_have_values_are_asked():
    assert chosen("batch=1") == ["C1", "P1"]
    assert chosen("genotype=MT-TL1", "batch=1|2") == ["C1", "C2", "P1"]
    assert chosen("subject!=C2|P1|P2") == ["C1", "P3"]


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ("genotype", "not of the form column=value"),
        ("sex=f", "no column 'sex': choose one of subject, group, .*genotype"),
        ("genotype=POLG", "No section has genotype 'POLG': there are .*MT-TL1, nDNA"),
        ("group=patient", "leaves only patient"),
        ("batch=3", "leaves only patient"),
    ],
)
def test_conditions_that_cannot_be(condition, sentence):
    with pytest.raises(MitoxaiError, match=sentence):
        chosen(condition)


# --- one picture twice -------------------------------------------------------------------------------------------


def copied_cohort(simulated_cohort, folder, rows):
    """A table of copies under other names: (file, copied from, subject, group)."""
    folder.mkdir()
    lines = ["path,subject,group"]
    for name, source, subject, group in rows:
        section = read_section(simulated_cohort.parent / f"{source}.ome.tiff")
        write_section(
            folder / f"{name}.ome.tiff", section.read(), section.panel
        )  # as floats: not the same file
        lines.append(f"{name}.ome.tiff,{subject},{group}")
    table = folder / "cohort.csv"
    table.write_text("\n".join(lines) + "\n")
    return read_cohort(table)


def test_the_same_picture_under_two_subjects_is_refused(simulated_cohort, tmp_path):
    cohort = copied_cohort(
        simulated_cohort, tmp_path / "c",
        [("a", "C01", "C01", "control"), ("b", "P01", "P01", "patient"), ("c", "P01", "P09", "patient")],
    )  # fmt: skip
    with pytest.raises(
        MitoxaiError, match=r"b\.ome\.tiff of P01 and c\.ome\.tiff of P09 show the same image"
    ):
        gather_patches(cohort, PatchGeometry(128, 32))


def test_the_same_picture_twice_of_one_subject_counts_once(simulated_cohort, tmp_path):
    rows = [("a", "C01", "C01", "control"), ("b", "P01", "P01", "patient"), ("c", "P01", "P01", "patient")]
    once = gather_patches(copied_cohort(simulated_cohort, tmp_path / "one", rows[:2]), PatchGeometry(128, 32))
    twice = gather_patches(copied_cohort(simulated_cohort, tmp_path / "two", rows), PatchGeometry(128, 32))
    assert np.array_equal(once.counts, twice.counts)
    assert twice.notes == ("c.ome.tiff repeats images of the same subject, which were used once.",)


def test_blank_patches_are_alike_by_nature():
    blank, other = np.zeros((2, 4, 4), np.float32), np.full((2, 4, 4), 3, np.float32)
    assert patch_hashes([blank, other]) == ["", ""]
    assert refuse_shared(["", "", "x"], ["C1", "P1", "P1"], ["a", "b", "b"]) == []


# --- fibres ------------------------------------------------------------------------------------------------------


def test_inside_fibres_there_is_nothing_else(simulated_cohort):
    cohort, folder = read_cohort(simulated_cohort), simulated_cohort.parent / "fibres"
    geometry = PatchGeometry(128, 128)
    plain = gather_patches(cohort, geometry, overlap=0)
    masked = gather_patches(cohort, geometry, overlap=0, masks=folder)
    assert masked.counts.shape == plain.counts.shape
    section = read_section(simulated_cohort.parent / "C01.ome.tiff")
    corners = patch_corners(section.shape, geometry, tissue_mask(section), overlap=0)
    labels = read_labels(folder / "C01.tiff")
    assert len(corners) == (plain.subjects == "C01").sum()
    for number, (y, x) in enumerate(corners):
        fibres = labels[y : y + 128, x : x + 128] > 0
        assert np.array_equal(masked.counts[number], plain.counts[number] * fibres)
    assert masked.counts.sum() < plain.counts.sum()


def test_one_patch_a_fibre_shows_this_fibre(simulated_cohort):
    cohort, folder = read_cohort(simulated_cohort), simulated_cohort.parent / "fibres"
    patches = gather_patches(cohort, PatchGeometry(64, 64), masks=folder, one_a_fibre=True)
    labels = read_labels(folder / "C01.tiff")
    assert (patches.subjects == "C01").sum() == len(np.unique(labels)) - 1
    section = read_section(simulated_cohort.parent / "C01.ome.tiff").read()
    corners, fibres = fibre_corners(labels, PatchGeometry(64, 64))
    for number in (0, len(fibres) - 1):
        y, x = corners[number]
        window = slice(y, y + 64), slice(x, x + 64)
        expected = section[:, *window] * (labels[window] == fibres[number])
        assert np.array_equal(patches.counts[number], expected)


def test_masks_that_are_missing_of_another_size_or_empty(simulated_cohort, tmp_path):
    section = read_section(simulated_cohort.parent / "C01.ome.tiff")
    with pytest.raises(MitoxaiError, match=r"has no label image for .*: put C01\.tiff there"):
        find_labels(tmp_path, section, "C01")
    assert find_labels(simulated_cohort.parent / "fibres", section) == simulated_cohort.parent / "fibres" / "C01.tiff"  # fmt: skip
    cohort = read_cohort(simulated_cohort)
    write_labels(tmp_path / "C01.tiff", np.ones((10, 20), np.uint16))
    with pytest.raises(MitoxaiError, match=r"is 20 x 10 px and .* is 288 x 288 px"):
        gather_patches(cohort, PatchGeometry(128, 32), masks=tmp_path)
    write_labels(tmp_path / "C01.tiff", np.zeros((288, 288), np.uint16), overwrite=True)
    with pytest.raises(MitoxaiError, match="has no fibre"):
        gather_patches(cohort, PatchGeometry(128, 32), masks=tmp_path)
