import csv

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.imc import read_labels, read_section
from napari_mitoxai.simulate import cohort


def _rows(table):
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_cohort_is_a_table_sections_truth_and_fibres(tmp_path):
    seen = []
    table = cohort(tmp_path / "new" / "folder", 2, size=96, progress=seen.append)
    rows = _rows(table)
    assert [(row["subject"], row["group"]) for row in rows] == [
        ("C01", "control"),
        ("C02", "control"),
        ("P01", "patient"),
        ("P02", "patient"),
    ]
    for row in rows:
        section = read_section(table.parent / row["path"])
        assert section.shape == (10, 96, 96)
        assert section.panel.targets[9] == "Dystrophin"
        assert section.pixel_size_um == 1.0
        truth = read_labels(table.parent / "truth" / f"{row['subject']}.tiff")
        fibres = read_labels(table.parent / "fibres" / f"{row['subject']}.tiff")
        assert truth.shape == fibres.shape == (96, 96)
        assert fibres.max() > 0
        assert bool(truth.any()) == (row["group"] == "patient")
    assert [(step.done, step.total) for step in seen] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_same_seed_writes_the_same_counts_and_no_two_subjects_share_a_tissue(tmp_path):
    tables = [cohort(tmp_path / name, 1, size=64, seed=3) for name in ("a", "b")]
    first, second = (
        {row["subject"]: read_section(t.parent / row["path"]).read() for row in _rows(t)} for t in tables
    )
    for subject in first:
        assert_array_equal(first[subject], second[subject])
    assert (first["C01"] != first["P01"]).any()


def test_subjects_have_gains_of_their_own(tmp_path):
    table = cohort(tmp_path, 3, signal=None, size=200)
    means = np.array(
        [read_section(table.parent / row["path"]).read().mean(axis=(1, 2)) for row in _rows(table)]
    )
    assert (np.log(means).std(axis=0) > 0.08).all()


def test_an_existing_cohort_is_kept_unless_told_otherwise(tmp_path):
    table = cohort(tmp_path, 1, size=48)
    before = table.read_bytes()
    with pytest.raises(MitoxaiError, match="exists already"):
        cohort(tmp_path, 2, size=48)
    assert table.read_bytes() == before
    cohort(tmp_path, 2, size=48, overwrite=True)
    assert len(_rows(table)) == 4


def test_an_unknown_signal_or_number_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(MitoxaiError, match="complex_i_loss"):
        cohort(tmp_path / "x", signal="no_such")
    with pytest.raises(MitoxaiError, match="1 to 99"):
        cohort(tmp_path / "x", 0)
    assert not (tmp_path / "x").exists()


def test_cancel_stops_before_the_next_subject_and_leaves_no_table(tmp_path):
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        cohort(tmp_path, 2, size=48, progress=lambda step: cancel.cancel(), cancel=cancel)
    assert not (tmp_path / "cohort.csv").exists()
    assert [path.name for path in tmp_path.glob("*.ome.tiff")] == ["C01.ome.tiff"]
