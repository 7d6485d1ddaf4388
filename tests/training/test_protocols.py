"""Protocols, the two splits, folds, and the frozen base, in whole runs."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_mitoxai import simulate
from napari_mitoxai.cohort import read_cohort
from napari_mitoxai.common import CancelToken, MitoxaiError, no_progress
from napari_mitoxai.models import load_checkpoint
from napari_mitoxai.tasks import training_run
from napari_mitoxai.tasks.protocols import PROTOCOLS
from napari_mitoxai.tasks.train import TrainParameters, run
from napari_mitoxai.training import features_of

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"epochs": 1, "patch_size": 128, "input_size": 32, "batch_size": 8, "device": "cpu"}


def given(cohort, out, **changes):
    return TrainParameters.model_validate({"cohort": cohort, "out": out, **SMALL, **changes})


def filled(**changes):
    return TrainParameters.model_validate({"cohort": "c.csv", "out": "run", **changes})


# --- what a protocol fills ---------------------------------------------------------------------------------------


def test_the_settings_of_the_papers():
    s1, s2, s3 = (filled(protocol=name) for name in ("S1", "S2", "S3"))
    assert {s.split for s in (s1, s2, s3)} == {"patch-random"}
    assert (s1.patch_size, s1.optimizer, s1.learning_rate, s1.patience, s1.monitor) == (512, "adam", 1e-3, 200, "accuracy")  # fmt: skip
    assert (s1.test_share, s1.validation_share) == (0.1, 0.1)
    assert (s2.input_size, s2.base, s2.head, s2.batch_size, s2.epochs, s2.patience) == (224, "frozen", "dense", 2, 100, 30)  # fmt: skip
    assert s2.augmentation == ["rotation", "flips", "zoom"]
    assert (s3.optimizer, round(s3.momentum, 3), s3.decay, s3.schedule) == ("sgd", 0.939, 3e-4, "inverse-time")  # fmt: skip
    assert (s3.batch_size, s3.epochs, s3.test_share, s3.validation_share) == (32, 20, 0.3, 0.0)
    assert filled(protocol="subject").folds == "leave-one-out"


def test_every_value_of_a_protocol_is_a_field_and_can_be_changed():
    for name, protocol in PROTOCOLS.items():
        assert protocol.values.keys() <= TrainParameters.model_fields.keys()
        plain = filled(protocol=name)
        for field, value in protocol.values.items():
            assert getattr(plain, field) == value
    changed = filled(protocol="S2", epochs=3, augmentation=["none"], architecture="resnet18")
    assert (changed.epochs, changed.augmentation, changed.architecture) == (3, [], "resnet18")
    assert changed.batch_size == 2
    again = TrainParameters.model_validate(changed.model_dump(mode="json"))
    assert again == changed


def test_holding_out_and_folds_take_the_place_of_a_protocols_split():
    assert filled(protocol="S1", hold_out=["C01"], weights="random").split == "subject"
    assert filled(protocol="subject", hold_out=["C01"]).folds == "none"
    assert filled(protocol="S3", folds="3").split == "subject"
    assert filled(protocol="subject", split="patch-random").folds == "none"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"split": "patch-random", "hold_out": ["C01"]}, "holds out patches, not subjects"),
        ({"split": "patch-random", "folds": "3"}, "folds are of subjects"),
        ({"hold_out": ["C01"], "folds": "3"}, "leave --folds or --hold-out out"),
        ({"base": "frozen"}, "needs --head dense"),
        ({"crops": "fibres"}, "give --mask"),
        ({"augmentation": ["blur"]}, "no augmentation 'blur'"),
        ({"augmentation": ["none", "flips"]}, "none stands alone"),
        ({"channels": ["each"]}, "mitoxai sweep COHORT --channels each"),
        ({"test_share": 0.6, "validation_share": 0.5}, "nothing to train on"),
        ({"protocol": "S9"}, "S1"),
    ],
)
def test_what_does_not_fit_together(changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        filled(**changes)


def test_imagenet_weights_are_not_downloaded_unasked(simulated_cohort, tmp_path):
    with pytest.raises(MitoxaiError, match=r"S2 starts from ImageNet weights.*--weights random"):
        run(given(simulated_cohort, tmp_path / "run", protocol="S2"))
    assert not list(tmp_path.iterdir())


# --- runs --------------------------------------------------------------------------------------------------------


def test_a_patch_random_run_is_marked_as_optimistic(simulated_cohort, tmp_path):
    result = run(given(simulated_cohort, tmp_path / "run", split="patch-random", test_share=0.2))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics == result.metrics
    assert metrics["optimistic"] is True
    assert metrics["split"]["protocol"] == "patch-random"
    assert set(metrics["split"]["test"]) & set(metrics["split"]["train"])
    assert any("optimistic" in note for note in metrics["notes"])
    total = sum(metrics["patches"].values())
    assert metrics["patches"]["test"] == pytest.approx(0.2 * total, abs=2)
    matrix = np.array(metrics["patch_scores"]["confusion_matrix"]["counts"])
    assert matrix.sum() == metrics["patches"]["test"]
    assert np.trace(matrix) / matrix.sum() == pytest.approx(metrics["patch_accuracy"])
    for call in metrics["subject_calls"]:
        assert call["probabilities"]["patient"] == pytest.approx(call["probability"], abs=1e-4)
        assert sum(call["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_folds_test_everybody_and_the_model_is_of_all(simulated_cohort, tmp_path):
    told = []
    result = run(given(simulated_cohort, tmp_path / "run", folds="2"), told.append)
    metrics = result.metrics
    assert [call["subject"] for call in metrics["subject_calls"]] == [
        "C01",
        "C02",
        "C03",
        "P01",
        "P02",
        "P03",
    ]
    assert metrics["optimistic"] is False
    assert metrics["split"]["train"] == []
    for fold, split in enumerate(metrics["split"]["folds"], start=1):
        own = load_checkpoint(tmp_path / "run" / "folds" / f"{fold:02d}")
        assert own.split["test"] == split["test"]
        assert not set(split["test"]) & {*split["train"], *split["validation"]}
    assert metrics["permutation"]["smallest_p"] == 0.05
    assert metrics["permutation"]["labellings"] == 20
    assert set(load_checkpoint(tmp_path / "run").split["train"]) == {"C01", "C02", "C03", "P01", "P02", "P03"}
    assert any(report.stage.startswith("Fold 2/2: Training") for report in told)
    curves = [report.stage for report in told if report.values]
    assert curves == ["Fold 1/2: Training", "Fold 2/2: Training", "All subjects: Training"]


def test_folds_that_are_done_are_not_trained_again(simulated_cohort, tmp_path):
    token, told = CancelToken(), []

    def stop(report):
        if report.stage.startswith("Fold 2"):
            token.cancel()

    from napari_mitoxai.common import Cancelled

    with pytest.raises(Cancelled):
        run(given(simulated_cohort, tmp_path / "run", folds="2"), stop, token)
    assert [path.name for path in tmp_path.iterdir()] == [".run.unfinished"]
    run(given(simulated_cohort, tmp_path / "run", folds="2"), told.append)
    assert not any(report.stage.startswith("Fold 1") for report in told)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_part_of_the_cohort_inside_fibres_and_some_channels(simulated_cohort, tmp_path):
    result = run(
        given(
            simulated_cohort, tmp_path / "run", where=["subject!=P02"], mask=simulated_cohort.parent / "fibres",
            channels=["NDUFB8", "SDHA"], hold_out=["C03"],
        )
    )  # fmt: skip
    assert "P02" not in {*result.metrics["split"]["train"], *result.metrics["split"]["test"]}
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.panel.targets == ["NDUFB8", "SDHA"]
    assert checkpoint.provenance["parameters"]["mask"] == str(simulated_cohort.parent / "fibres")


# --- a frozen base -----------------------------------------------------------------------------------------------


FROZEN = {"base": "frozen", "head": "dense", "views": 2, "epochs": 2, "hold_out": ["C03", "P03"]}


def test_a_frozen_base_does_not_change_and_is_computed_once(simulated_cohort, tmp_path, monkeypatch):
    calls = []

    def counted(base, examples, **settings):
        calls.append((settings.get("views", 1), len(examples)))
        return features_of(base, examples, **settings)

    monkeypatch.setattr(training_run, "features_of", counted)
    run(given(simulated_cohort, tmp_path / "run", **FROZEN))
    assert [views for views, _ in calls] == [2]  # no validation: too few subjects
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.head == "dense"
    torch.manual_seed(0)
    from napari_mitoxai.models import create

    begun = create("resnet18", len(checkpoint.panel), 2, head="dense").state_dict()
    base = [key for key in begun if key.startswith("base.")]
    assert base
    assert all(torch.equal(checkpoint.state[key], begun[key]) for key in base)
    assert not torch.equal(checkpoint.state["head.dense1.weight"], begun["head.dense1.weight"])
    model = checkpoint.model()
    assert model(torch.zeros(1, len(checkpoint.panel), 32, 32)).shape == (1, 2)


def test_features_are_those_of_the_base_and_views_differ(simulated_cohort):
    parameters = given(simulated_cohort, "run", **FROZEN)
    cohort = read_cohort(simulated_cohort)
    patches = training_run.gather(parameters, cohort, no_progress, CancelToken())
    from napari_mitoxai.cohort import fit_scaling
    from napari_mitoxai.training import ScaledPatches

    scaling = fit_scaling([patches.counts])
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Conv2d(len(patches.panel), 3, 5), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())  # fmt: skip
    plain = features_of(base, ScaledPatches(patches, scaling))
    some = np.array([5, 0, 9])
    expected = base(torch.from_numpy(scaling(patches.counts[some])))
    torch.testing.assert_close(plain.inputs(some, 0, 0), expected, rtol=1e-4, atol=1e-5)
    many = features_of(base, ScaledPatches(patches, scaling, jitter=0.5), views=3)
    seen = {many.inputs(some, epoch, 0).numpy().tobytes() for epoch in range(300)}
    assert len(seen) == 27  # three views of three patches


# --- small studies -----------------------------------------------------------------------------------------------


def test_two_controls_and_one_patch_a_subject_are_enough_for_a_verdict(tmp_path):
    table = simulate.cohort(tmp_path / "cohort", 2, size=128, seed=5)
    metrics = run(given(table, tmp_path / "run", folds="leave-one-out")).metrics
    assert [call["patches"] for call in metrics["subject_calls"]] == [1, 1, 1, 1]
    assert metrics["permutation"]["smallest_p"] == 1 / 6
    assert any("without early stopping" in note for note in metrics["notes"])
    # one patch each: drawn at random, nobody is on both sides
    at_random = run(given(table, tmp_path / "random", split="patch-random", test_share=0.5)).metrics
    assert at_random["optimistic"] is False
    assert sum(at_random["patches"].values()) == 4
