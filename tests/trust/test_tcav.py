"""TCAV: against Captum's, by hand, and what it says where there is nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.models import create
from napari_mitoxai.trust.tcav import concept_direction, concept_test, look, stage_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def network():
    torch.manual_seed(0)
    layers = {
        "first": nn.Conv2d(2, 6, 3, padding=1), "relu": nn.ReLU(), "second": nn.Conv2d(6, 8, 3, padding=1), "last": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "dense": nn.Linear(8, 6), "bend": nn.Tanh(), "logits": nn.Linear(6, 2),
    }  # fmt: skip
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model.eval()


def patches(number, seed, bright=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(number, 2, 8, 8)).astype(np.float32)
    values[:, 0] += bright
    return values


def test_derivatives_and_scores_are_captums(tmp_path):
    pytest.importorskip("captum", reason="Captum is not installed")
    from captum.concept import TCAV, Classifier, Concept

    model = network()
    with torch.no_grad():  # bent enough that patches differ in their derivatives' signs
        model.dense.weight *= 60
    inputs, concept, others = patches(40, 0), patches(12, 1, bright=1.0), patches(12, 2)
    layer = "pool"  # here a map has one position, so that both mean the same
    derivatives = look(model, inputs, [layer], target=1)[layer]
    mean = derivatives.mean(0)  # across it, signs are mixed
    first = np.linalg.svd(derivatives - mean)[2][0]
    direction = first - (first @ mean) / (mean @ mean) * mean

    class Ours(Classifier):
        def __init__(self):
            pass

        def train_and_eval(self, dataloader, **more):
            return {}

        def weights(self):
            return torch.tensor(np.stack([direction, -direction]), dtype=torch.float32)

        def classes(self):
            return [0, 1]

    batches = [
        torch.utils.data.DataLoader(torch.from_numpy(each), batch_size=4) for each in (concept, others)
    ]
    sets = [Concept(0, "bright", batches[0]), Concept(1, "random", batches[1])]
    tcav = TCAV(model, [layer], classifier=Ours(), save_path=str(tmp_path))
    theirs = tcav.interpret(torch.from_numpy(inputs), [sets], target=1)["0-1"][layer]["sign_count"]
    rises = derivatives @ direction
    assert 0 < (rises > 0).mean() < 1
    assert (rises > 0).mean() == pytest.approx(float(theirs[0]))
    assert (rises < 0).mean() == pytest.approx(float(theirs[1]))


def test_the_direction_is_ridge_regressions():
    ridge_model = pytest.importorskip("sklearn.linear_model").Ridge
    rng = np.random.default_rng(0)
    concept, others = rng.normal((1, 0, 0, 2), size=(9, 4)), rng.normal(size=(9, 4))
    both = np.concatenate([concept, others])
    scaled = (both - both.mean(0)) / both.std(0)
    ridge = 0.1 * (scaled**2).sum(1).mean()
    fitted = ridge_model(alpha=ridge).fit(scaled, np.repeat([1.0, -1.0], 9))
    assert concept_direction(concept, others) == pytest.approx(fitted.coef_ / both.std(0))


def test_what_is_left_out_is_called_as_by_fitting_again():
    from sklearn.linear_model import Ridge

    from napari_mitoxai.trust.tcav import _fit

    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=(8, 3)) + 0.7, rng.normal(size=(8, 3))])
    values -= values.mean(0)
    labels = np.repeat([1.0, -1.0], 8)
    calls = []
    for one in range(16):
        rest = np.arange(16) != one
        calls.append(
            Ridge(alpha=2.0).fit(values[rest], labels[rest]).predict(values[[one]])[0] * labels[one] > 0
        )
    _, accuracy = _fit(values @ values.T, 2.0)
    assert accuracy == pytest.approx(np.mean(calls))


def asked(concept, others, derivatives, **more):
    settings = {
        "concept_strata": np.zeros(len(concept), int), "other_strata": np.zeros(len(others), int),
        "subjects": ["P1"] * len(derivatives), "draws": 199, "partners": 3,
    }  # fmt: skip
    return concept_test(concept, others, derivatives, **(settings | more))


def test_a_concept_that_the_class_depends_on_is_found_and_one_of_chance_is_not():
    rng = np.random.default_rng(0)
    others = rng.normal(size=(60, 5))
    concept = rng.normal((3, 0, 0, 0, 0), size=(15, 5))
    towards = np.tile([1.0, 0, 0, 0, 0], (10, 1))  # the same everywhere, as in front of a linear classifier
    found = asked(concept, others, towards)
    assert (found.score, found.p, found.accuracy_p) == (pytest.approx(1), 1 / 200, 1 / 200)
    assert found.low < 0 < found.high < found.effect <= 1
    assert found.accuracy > 0.9
    against = asked(concept, others, -towards)
    assert (against.score, against.p) == (0, 1 / 200)
    assert against.effect == pytest.approx(-found.effect)
    # told apart, but the class does not care
    aside = asked(concept, others, rng.normal(size=(40, 5)) * [0, 1, 1, 1, 1])
    assert aside.accuracy_p == 1 / 200
    assert aside.p > 0.05
    # patches like any others: p values are spread evenly
    chance = [
        asked(rng.normal(size=(15, 5)), others, rng.normal(size=(20, 5)) + 0.3, seed=seed)
        for seed in range(12)
    ]
    for values in ([each.p for each in chance], [each.accuracy_p for each in chance]):
        assert min(values) > 0.005
        assert 0.2 < np.mean(values) < 0.8


def test_a_concept_of_one_subject_is_told_from_patches_of_that_subject():
    """Without the strata a direction between subjects would pass for the concept."""
    rng = np.random.default_rng(2)
    subject = np.array([4.0, 0, 0])
    concept, own = rng.normal(size=(12, 3)) + subject, rng.normal(size=(36, 3)) + subject
    others = np.concatenate([own, rng.normal(size=(36, 3))])
    strata = np.repeat([0, 1], 36)
    kept = asked(concept, others, rng.normal(size=(8, 3)), other_strata=strata)
    assert kept.accuracy_p > 0.05
    loose = asked(concept, rng.normal(size=(36, 3)), rng.normal(size=(8, 3)))
    assert loose.accuracy_p < 0.05


def test_subjects_count_the_same_however_many_patches_they_have():
    rng = np.random.default_rng(0)
    concept, others = rng.normal((4, 0), size=(10, 2)), rng.normal(size=(40, 2))
    derivatives = np.array([[1.0, 0]] * 9 + [[-1.0, 0]])
    assert asked(concept, others, derivatives, subjects=["P1"] * 9 + ["P2"]).score == pytest.approx(0.5)


def test_too_little_is_said():
    few = np.zeros((2, 3))
    with pytest.raises(MitoxaiError, match="2 examples has no direction"):
        asked(few, np.zeros((10, 3)), few)
    with pytest.raises(MitoxaiError, match="fewer random patches"):
        asked(np.zeros((5, 3)), np.zeros((4, 3)), few)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ["relu", "layer1", "layer2", "layer3", "layer4"]),
        (
            "densenet121",
            [
                "features.relu0",
                "features.transition1.conv",
                "features.transition2.conv",
                "features.transition3.conv",
                "features",
            ],
        ),
    ],
)
def test_layers_are_the_last_of_each_size(name, layers):
    model = create(name, 3, 2).eval()
    assert stage_layers(model, (3, 128, 128)) == layers


def test_a_layer_without_a_map_is_said():
    with pytest.raises(MitoxaiError, match="no layer 'nose'"):
        look(network(), patches(2, 0), ["nose"])
