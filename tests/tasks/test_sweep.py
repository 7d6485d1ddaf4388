"""A sweep: its table beside figures computed by hand, going on, and what it refuses."""

import csv

import numpy as np
import pytest

from napari_mitoxai import simulate
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.tasks import sweep
from napari_mitoxai.tasks.sweep import SweepParameters
from napari_mitoxai.tasks.sweep_table import ranked, write_table

CLASSES = ["control", "patient"]


def metrics(split, accuracy, patients):
    """Metrics of a run; `patients` has the probability of patient by subject."""
    calls = [
        {
            "subject": name, "group": "patient" if name[0] == "P" else "control",
            "call": CLASSES[p > 0.5], "probability": p, "probabilities": {"control": 1 - p, "patient": p}, "patches": 1,
        }
        for name, p in patients.items()
    ]  # fmt: skip
    figures = {key: {"control": 0.2, "patient": 0.4, "macro": 0.3} for key in ("precision", "recall", "f1")}
    return {
        "optimistic": split == "patch-random", "patch_accuracy": accuracy, "subject_accuracy": 0.5,
        "patch_scores": figures, "subject_scores": figures, "subject_calls": calls,
    }  # fmt: skip


def runs_of(channels, accuracies, patients):
    return [
        {
            "run": f"{channels}{seed}{split}", "channels": channels, "architecture": "resnet18", "split": split,
            "seed": seed,
            "metrics": metrics(split, accuracy, {name: p + 0.01 * seed for name, p in patients.items()}),
        }
        for seed, accuracy in enumerate(accuracies)
        for split in ("patch-random", "subject")
    ]  # fmt: skip


def test_the_table_is_what_one_computes_by_hand(tmp_path):
    good = {"C1": 0.1, "C2": 0.2, "P1": 0.8, "P2": 0.9, "P3": 0.7}
    bad = {"C1": 0.9, "C2": 0.2, "P1": 0.3, "P2": 0.9, "P3": 0.7}
    runs = runs_of("SDHA", [1.0, 1.0, 0.98, 1.0], bad) + runs_of("all", [0.90, 0.80, 0.85, 0.95], good)
    table, each = ranked(runs, CLASSES)
    assert [(row["rank"], row["channels"]) for row in table] == [(1, "all"), (2, "SDHA")]
    best = table[0]
    assert best["patch_random_accuracy_mean"] == pytest.approx(0.875)
    assert best["patch_random_accuracy_sd"] == pytest.approx(np.std([0.90, 0.80, 0.85, 0.95], ddof=1))
    assert best["patch_random_accuracy_variance"] == pytest.approx(best["patch_random_accuracy_sd"] ** 2)
    assert (best["patch_random_macro_f1"], best["patch_random_patient_recall"]) == pytest.approx((0.3, 0.4))
    assert best["patch_random_optimistic"] is True
    assert best["subject_accuracy"] == 1
    assert best["subject_interval_low"] == pytest.approx(0.5655, abs=1e-3)  # Wilson, 5 of 5
    assert (best["permutation_p"], best["smallest_p"]) == (0.1, 0.1)
    assert best["subject_calls"].startswith("C1 (control) control 0.1")  # 0.1 to 0.13, the mean
    assert table[1]["subject_accuracy"] == pytest.approx(0.6)
    assert len(each) == 16
    write_table(tmp_path / "t.csv", [{"a": "=1+1", "b": 2}])
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == "'=1+1,2"


def test_one_seed_has_no_spread():
    table, _ = ranked(runs_of("all", [0.9], {"C1": 0.1, "P1": 0.9}), CLASSES)
    assert table[0]["patch_random_accuracy_sd"] is None


@pytest.fixture(scope="module")
def settings(simulated_cohort):
    return {
        "cohort": simulated_cohort, "epochs": 1, "patch_size": 128, "input_size": 32, "batch_size": 8,
        "device": "cpu", "folds": "2", "overlap": 0.0,
    }  # fmt: skip


def test_a_sweep_goes_on_and_grows(settings, tmp_path, one_thread):
    out = tmp_path / "sweep"
    first = SweepParameters(**settings, out=out, channel_sets=["SDHA+NDUFB8"])
    token, told = CancelToken(), []

    def stop(report):
        if report.stage.startswith("Run 2/2"):
            token.cancel()

    with pytest.raises(Cancelled):
        sweep.run(first, stop, token)
    result = sweep.run(first, told.append)
    assert not any(report.stage.startswith("Run 1/2") for report in told)
    assert result.failed == {}
    (row,) = result.rows
    assert row["patch_random_runs"] == row["left_out_runs"] == 1
    assert row["patch_random_optimistic"]
    assert row["subject_calls"].count("(control)") == 3
    assert row["smallest_p"] == 0.05
    with result.table.open() as file:
        assert [line["channels"] for line in csv.DictReader(file)] == ["SDHA+NDUFB8"]
    assert result.plot.read_bytes().startswith(b"\x89PNG")
    told.clear()
    more = SweepParameters(**settings, out=out, channel_sets=["SDHA+NDUFB8", "SDHA"], splits=["patch-random"])
    sweep.run(more, told.append)
    assert not any("Run 1/2" in report.stage for report in told)
    assert [row["channels"] for row in sweep.run(more).rows] in (
        ["SDHA+NDUFB8", "SDHA"],
        ["SDHA", "SDHA+NDUFB8"],
    )
    unknown = SweepParameters(**settings, out=tmp_path / "unknown", channel_sets=["MYH7"])
    with pytest.raises(MitoxaiError, match="has no channel MYH7"):
        sweep.run(unknown)


def test_settings_of_another_sweep_are_refused(settings, tmp_path, one_thread):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("precious")
    with pytest.raises(MitoxaiError, match="mine is not a sweep"):
        sweep.run(SweepParameters(**settings, out=tmp_path / "mine"))
    (tmp_path / "sweep").mkdir()
    kept = SweepParameters(**settings, out=tmp_path / "sweep").model_dump(mode="json")
    sweep.write_json(tmp_path / "sweep" / "sweep.json", {"parameters": kept})
    with pytest.raises(MitoxaiError, match=r"holds a sweep with other settings \(Epochs\)"):
        sweep.run(SweepParameters(**{**settings, "epochs": 2}, out=tmp_path / "sweep"))


def test_a_finished_run_is_not_reused_for_other_data_or_folds(settings, tmp_path, one_thread):
    table = simulate.cohort(tmp_path / "cohort", 2, size=256, seed=1)
    given = SweepParameters(
        **{**settings, "cohort": table},
        out=tmp_path / "sweep",
        splits=["patch-random"],
        channel_sets=["SDHA"],
    )
    assert sweep.run(given).failed == {}
    with pytest.raises(MitoxaiError, match=r"other settings \(Folds\)"):
        sweep.run(given.model_copy(update={"folds": "3"}))
    changed = simulate.cohort(tmp_path / "other", 2, size=256, seed=2)
    for path in changed.parent.glob("*.ome.tiff"):
        path.replace(table.parent / path.name)
    with pytest.raises(MitoxaiError, match=r"sections of cohort\.csv have changed since"):
        sweep.run(given)


def test_a_protocol_chooses_the_architecture_of_a_sweep():
    assert SweepParameters(cohort="c.csv", out="s", protocol="S3").architectures == ["densenet121"]
    chosen = SweepParameters(cohort="c.csv", out="s", protocol="S3", architectures=["vgg16", "resnet50"])
    assert chosen.architectures == ["vgg16", "resnet50"]


def test_unknown_names_are_refused():
    for changes, sentence in (
        ({"architectures": ["resnet19"]}, "no architecture 'resnet19'"),
        ({"splits": ["random"]}, "no split 'random'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            SweepParameters(cohort="c.csv", out="s", **changes)


def test_channels_of_a_sweep():
    targets = ["SDHA", "NDUFB8", "VDAC1"]

    def sets(*entries):
        parameters = SweepParameters(cohort="c.csv", out="s", channel_sets=list(entries))
        return sweep._channel_sets(parameters, targets), sweep._needed_channels(parameters)

    assert sets("all") == ({"all": []}, [])
    assert sets("each") == ({name: [name] for name in targets}, [])
    assert sets("SDHA+VDAC1", "NDUFB8") == (
        {"SDHA+VDAC1": ["SDHA", "VDAC1"], "NDUFB8": ["NDUFB8"]}, ["SDHA", "VDAC1", "NDUFB8"],
    )  # fmt: skip
