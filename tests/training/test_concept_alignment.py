"""Axes are turned between the steps of a training, which goes on to the same bits; purity is what it says."""

import numpy as np
import pytest
import torch

from napari_mitoxai.cohort import Scaling
from napari_mitoxai.common import CancelToken
from napari_mitoxai.imc import Panel, parse_channel
from napari_mitoxai.models import ConceptWhitening, Whitening
from napari_mitoxai.training import Alignment, PatchSet, Recipe, ScaledPatches, fit
from napari_mitoxai.training.concepts import concept_activations, purity
from napari_mitoxai.training.state import StateFolder

pytestmark = pytest.mark.usefixtures("one_thread")

WHITENING = Whitening(("1",), ("bright", "dotted"))


def patches(kinds, subjects, seed=0):
    """Patches (N, 2, 16, 16): 0 plain, 1 brighter in the first channel, 2 with dots in the second."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(4, (len(kinds), 2, 16, 16)).astype(np.float32)
    counts[kinds == 1, 0] += 3
    counts[kinds == 2, 1, 3::5, 3::5] += 15
    return counts, np.asarray(subjects)


def training_set():
    """Classes do not depend on the concepts: patients have less of the second channel."""
    kinds = np.tile([0, 1, 2, 0], 20)
    counts, names = patches(kinds, np.repeat(["C1", "C2", "P1", "P2"], 20))
    labels = np.repeat([0, 0, 1, 1], 20).astype(np.int64)
    counts[labels == 1, 1] *= 0.5
    return PatchSet(counts, names, labels, Panel((parse_channel("SDHA"), parse_channel("NDUFB8"))))


def concept_set(seed=5, number=24):
    kinds = np.tile([1, 1, 2, 2], number // 4)
    counts, names = patches(kinds, np.tile(["C1", "P1"], number // 2), seed)
    counts[np.char.startswith(names, "P"), 1] *= 0.5
    panel = Panel((parse_channel("SDHA"), parse_channel("NDUFB8")))
    return PatchSet(counts, names, (kinds - 1).astype(np.int64), panel)


SCALING = Scaling((2.0, 1.7), (0.5, 0.7))


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 8, 3, padding=1), ConceptWhitening(8), torch.nn.ReLU(), torch.nn.Dropout(0.2),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 2),
    )  # fmt: skip


def trained(recipe, every=2, folder=None, progress=lambda report: None, cancel=None):
    learning = network()
    alignment = Alignment(
        ScaledPatches(concept_set(), SCALING, augmentation=["turns"], seed=1),
        WHITENING,
        every,
        8,
        recipe.seed,
    )
    result = fit(
        learning, ScaledPatches(training_set(), SCALING, augmentation=["turns"], seed=1), None, recipe,
        folder=None if folder is None else StateFolder(folder), alignment=alignment, progress=progress, cancel=cancel,
    )  # fmt: skip
    learning.load_state_dict(result.state)
    return learning, result


def same(first, second):
    return all(torch.equal(value, second.state[key]) for key, value in first.state.items())


def test_a_cancelled_training_goes_on_to_the_same_bits(tmp_path):
    recipe = Recipe(epochs=5, batch_size=16, learning_rate=0.01, seed=3)
    _, whole = trained(recipe, every=3)
    token = CancelToken()

    def stop(report):
        if report.values and report.values["epoch"] == 2:
            token.cancel()

    _, part = trained(recipe, 3, tmp_path, stop, token)
    assert part.cancelled
    assert not same(part, whole)
    assert same(trained(recipe, 3, tmp_path)[1], whole)


def test_axes_become_those_of_the_concepts_and_the_classes_are_learned():
    learning, result = trained(Recipe(epochs=20, batch_size=16, learning_rate=0.005))
    assert result.history[-1]["train_accuracy"] > 0.9
    held_out = concept_set(seed=9, number=40)
    found = concept_activations(learning, ScaledPatches(held_out, SCALING), WHITENING)["1"]
    assert found.shape == (40, 2)
    assert all(row["auc"] > 0.95 for row in purity(found, held_out.labels, WHITENING.concepts))
    rotation = learning[1].rotation.double()
    assert (rotation @ rotation.T - torch.eye(8)).abs().max() < 1e-6


def test_without_a_turn_axes_stay_as_they_are():
    learning, _ = trained(Recipe(epochs=1, batch_size=16), every=1000)
    assert torch.equal(learning[1].rotation, torch.eye(8))
    assert learning[1].num_batches_tracked > 0


def test_a_concept_without_examples_keeps_its_axis():
    learning = network()
    only_first = concept_set().take(np.flatnonzero(concept_set().labels == 0))
    Alignment(ScaledPatches(only_first, SCALING), WHITENING, 1).after_step(learning, 1)
    assert not learning[1].pull[1].any()
    assert learning[1].pull[0].any()
    assert learning.training


def test_purity_by_hand():
    activations = np.array([[3, 0], [2, 5], [1, 1], [0, 2]], np.float32)
    first, second = purity(activations, np.array([0, 0, 1, 1]), ["a", "b"])
    assert first == {"concept": "a", "auc": 1.0, "examples": 2, "others": 2}
    assert second["auc"] == 0.5  # of four pairs two are in order
    assert purity(activations, np.zeros(4, np.int64), ["a"])[0]["auc"] is None
