"""Training towards concepts is training like any other: written, loaded, started from a run, refused in words."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from concept_sets import write_fibre_concepts

from napari_mitoxai.cohort import read_concepts
from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.explain import attribute
from napari_mitoxai.models import ConceptWhitening, Whitening, load_checkpoint
from napari_mitoxai.models.whitened import whitened_layers
from napari_mitoxai.tasks import sweep, train, validated
from napari_mitoxai.tasks.concept_training import purity_over
from napari_mitoxai.tasks.sweep import SweepParameters
from napari_mitoxai.tasks.train import TrainParameters
from napari_mitoxai.telling import tell_train

pytestmark = pytest.mark.usefixtures("one_thread")

LAYER, DEEP = "layer1.1.bn1", "layer3.1.bn1"


@pytest.fixture(scope="module")
def settings(simulated_cohort, tmp_path_factory):
    concepts = write_fibre_concepts(simulated_cohort, tmp_path_factory.mktemp("concepts") / "concepts.csv")
    return {
        "cohort": simulated_cohort, "epochs": 1, "patch_size": 128, "input_size": 32, "batch_size": 8,
        "device": "cpu", "overlap": 0.0, "concepts": concepts, "whitened_layers": [LAYER], "concept_every": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whitened_run(settings, tmp_path_factory):
    """Two whitened layers; the second has far fewer places than features in a batch."""
    out = tmp_path_factory.mktemp("whitened") / "run"
    layers = {"whitened_layers": [LAYER, DEEP]}
    return train.run(TrainParameters(**settings | layers, out=out, hold_out=["C03", "P03"]))


def test_a_run_keeps_its_concepts_and_says_how_pure_they_are(whitened_run, settings, capsys):
    kept, given = read_concepts(whitened_run.run / "concepts.csv"), read_concepts(settings["concepts"])
    assert [(item.concept, item.section, item.source) for item in kept] == [
        (item.concept, item.section, item.source) for item in given
    ]
    rows = json.loads((whitened_run.run / "metrics.json").read_text())["concepts"]
    assert {(row["layer"], row["concept"], row["subjects"]) for row in rows} == {
        (layer, concept, subjects)
        for layer in (LAYER, DEEP)
        for concept in ("pale", "normal")
        for subjects in ("trained", "held out")
    }
    assert all(0 <= row["auc"] <= 1 for row in rows)
    own = [item for item in given if item.subject in ("C03", "P03")]
    assert next(row for row in rows if row["subjects"] == "held out")["examples"] == sum(
        item.concept == rows[0]["concept"] for item in own
    )
    tell_train(whitened_run)
    assert f"Axis of pale in {LAYER}: purity " in capsys.readouterr().out


def test_the_checkpoint_has_the_whitened_layer_and_its_rotation(whitened_run):
    checkpoint = load_checkpoint(whitened_run.run)
    assert checkpoint.whitening == Whitening((LAYER, DEEP), checkpoint.whitening.concepts, "pooled-max", 0)
    assert set(checkpoint.whitening.concepts) == {"pale", "normal"}
    layer = whitened_layers(checkpoint.model())[LAYER]
    assert isinstance(layer, ConceptWhitening)
    rotation = layer.rotation.double()
    assert (rotation @ rotation.T - torch.eye(64)).abs().max() < 1e-6
    assert (rotation - torch.eye(64)).abs().max() > 0.01
    assert torch.equal(layer.rotation, checkpoint.state[f"{LAYER}.rotation"])


def test_it_goes_on_from_a_run_that_does_not_know_the_held_out(whitened_run, trained_run, settings, tmp_path):
    parameters = TrainParameters(
        **settings, out=tmp_path / "run", hold_out=["C03", "P03"], start_from=trained_run, learning_rate=1e-12,
    )  # fmt: skip
    state, before = load_checkpoint(train.run(parameters).run).state, load_checkpoint(trained_run).state
    torch.testing.assert_close(state["conv1.weight"], before["conv1.weight"], atol=1e-6, rtol=1e-6)
    assert f"{LAYER}.weight" not in state  # a whitened layer has no affine part
    again = {**parameters.model_dump(), "out": tmp_path / "other"}
    with pytest.raises(MitoxaiError, match=r"was trained on C02, held out here"):
        train.run(TrainParameters(**{**again, "hold_out": ["C02", "P03"]}))
    with pytest.raises(MitoxaiError, match="has architecture resnet18 and this training resnet50"):
        train.run(TrainParameters(**{**again, "architecture": "resnet50"}))
    with pytest.raises(MitoxaiError, match=r"has channels SDHA.* and this training NDUFB8"):
        train.run(TrainParameters(**{**again, "channels": ["NDUFB8"]}))
    assert not list(tmp_path.glob(".*"))


def test_a_cancelled_training_keeps_its_axes_and_goes_on(settings, tmp_path):
    cancel = CancelToken()

    def stop(report):
        if report.stage == "Training" and "epoch 1 of 2, train loss" in report.detail:
            cancel.cancel()

    parameters = TrainParameters(**settings | {"epochs": 2}, out=tmp_path / "run", hold_out=["C03", "P03"])
    stopped = train.run(parameters, stop, cancel)
    assert stopped.cancelled
    assert "The purity of the axes was not measured" in " ".join(stopped.metrics["notes"])
    assert load_checkpoint(stopped.run).whitening.layers == (LAYER,)
    tell_train(stopped)
    gone_on = train.run(parameters)
    assert not gone_on.cancelled
    at_once = train.run(parameters.model_copy(update={"out": tmp_path / "at_once"}))
    assert gone_on.metrics["concepts"] == at_once.metrics["concepts"]
    first, second = (load_checkpoint(each.run).state for each in (gone_on, at_once))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.slow
def test_folds_start_from_the_folds_of_a_run_and_average_their_purity(settings, tmp_path):
    plain = {**settings, "concepts": None, "whitened_layers": [], "folds": "2", "out": tmp_path / "plain"}
    train.run(TrainParameters(**plain))
    towards = {**settings, "folds": "2", "start_from": tmp_path / "plain", "out": tmp_path / "towards"}
    result = train.run(TrainParameters(**towards))
    rows = result.metrics["concepts"]
    folds = [json.loads(path.read_text()) for path in sorted(result.run.glob("folds/*/metrics.json"))]
    assert rows == json.loads(json.dumps(purity_over([fold["concepts"] for fold in folds])))
    assert load_checkpoint(result.run).whitening is not None


def test_examples_of_held_out_subjects_turn_nothing(settings, simulated_cohort, tmp_path):
    one_subject = write_fibre_concepts(simulated_cohort, tmp_path / "one.csv", subjects=["P03"], count=3)
    parameters = {**settings, "out": tmp_path / "run", "hold_out": ["C03", "P03"]}
    with pytest.raises(MitoxaiError, match=r"No example of a concept is of a subject that is trained on"):
        train.run(TrainParameters(**{**parameters, "concepts": one_subject}))
    lines = one_subject.read_text().splitlines()
    extra = [
        line
        for line in settings["concepts"].read_text().splitlines()
        if line.startswith("normal") and "C01" in line
    ]
    mixed = tmp_path / "mixed.csv"
    mixed.write_text("\n".join([*(line for line in lines if not line.startswith("normal")), *extra]) + "\n")
    metrics = train.run(TrainParameters(**{**parameters, "concepts": mixed})).metrics
    told = " ".join(metrics["notes"])
    assert "The axis of pale was not turned" in told
    assert "The concept pale has 3 examples only" in told
    assert "The concept pale is from P03 only" in told


def test_a_layer_with_too_few_places_is_told(whitened_run):
    (told,) = [note for note in whitened_run.metrics["notes"] if "mostly noise" in note]
    assert told.startswith(f"{DEEP} has 256 features, and a batch of 8 shows it 32 places")


@pytest.mark.slow
def test_a_sweep_trains_towards_concepts(settings, tmp_path):
    swept = {
        **settings,
        "out": tmp_path / "sweep",
        "splits": ["patch-random"],
        "channel_sets": ["SDHA+NDUFB8"],
        "seeds": [0, 1],
    }
    result = sweep.run(SweepParameters(**swept))
    assert not result.failed
    runs = sorted((tmp_path / "sweep" / "runs").iterdir())
    assert load_checkpoint(runs[0]).whitening.layers == (LAYER,)
    each = [
        {row["concept"]: row["auc"] for row in json.loads((run / "metrics.json").read_text())["concepts"]}
        for run in runs
    ]
    table = pd.read_csv(result.purity)
    assert set(table["concept"]) == {"pale", "normal"}
    for row in table.to_dict("records"):
        own = [purities[row["concept"]] for purities in each]
        assert (row["models"], row["channels"]) == (2, "SDHA+NDUFB8")
        assert (row["auc"], row["auc_sd"]) == pytest.approx((np.mean(own), np.std(own, ddof=1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "vgg16_bn", "densenet121"])
def test_the_other_published_architectures_train_towards_concepts(name, settings, tmp_path):
    given = {**settings, "whitened_layers": [], "architecture": name, "out": tmp_path / "run"}
    result = train.run(TrainParameters(**given, hold_out=["C03", "P03"]))
    (epoch,) = pd.read_csv(result.run / "history.csv").to_dict("records")
    assert np.isfinite(epoch["train_loss"])
    assert {(row["concept"], row["subjects"]) for row in result.metrics["concepts"]} == {
        (concept, subjects) for concept in ("pale", "normal") for subjects in ("trained", "held out")
    }
    checkpoint = load_checkpoint(result.run)
    network = checkpoint.model()
    ((layer, whitened),) = whitened_layers(network).items()
    rotation = whitened.rotation.double()
    assert (rotation @ rotation.T - torch.eye(len(rotation))).abs().max() < 1e-6
    folded = copy.deepcopy(network)
    folded.set_submodule(layer, whitened.folded())
    torch.manual_seed(0)
    x = torch.randn(2, len(checkpoint.panel), 32, 32)
    torch.testing.assert_close(network(x), folded(x), atol=1e-5, rtol=1e-5)
    for method in ("grad_cam", "lrp_epsilon_plus"):
        own = attribute(network, x, method, 1)
        assert torch.isfinite(own).all(), method
        assert own.abs().max() > 0, method
        scale = float(own.abs().max())
        torch.testing.assert_close(
            own, attribute(folded, x, method, 1), rtol=1e-3, atol=1e-4 * scale, msg=method
        )


def test_what_does_not_go_together_is_refused(settings, tmp_path):
    given = {**settings, "out": tmp_path / "run"}
    with pytest.raises(MitoxaiError, match="before its axes could be turned"):
        validated(TrainParameters, {**given, "head": "dense", "base": "frozen"})
    with pytest.raises(MitoxaiError, match="whitened layers need concepts"):
        validated(TrainParameters, {**given, "concepts": None})
    with pytest.raises(MitoxaiError, match="from a run or from weights"):
        validated(TrainParameters, {**given, "start_from": tmp_path, "weights": "imagenet"})
    with pytest.raises(MitoxaiError, match="no batch norm 'layer9'"):
        train.run(TrainParameters(**{**given, "whitened_layers": ["layer9"]}))
    with pytest.raises(MitoxaiError, match="choose resnet18, resnet50, vgg16_bn or densenet121"):
        train.run(
            TrainParameters(**{**given, "whitened_layers": [], "architecture": "vgg16", "input_size": 64})
        )
