"""The concepts of a training: their patches, the layers that are whitened, and how pure the axes became. Imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_mitoxai.cohort import Cohort, PatchGeometry, Scaling, place_concepts, read_concepts
from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback
from napari_mitoxai.imc import Panel
from napari_mitoxai.models import Whitening, create
from napari_mitoxai.models.whitened import best_layer, places_of, too_few_places, whitened_layers
from napari_mitoxai.tasks.train import TrainParameters
from napari_mitoxai.tasks.training_parameters import TrainingParameters
from napari_mitoxai.training import Alignment, ConceptPatches, PatchSet, ScaledPatches, gather_concepts
from napari_mitoxai.training.concepts import concept_activations, purity

Row = dict[str, Any]


def concept_names(path: Path) -> tuple[str, ...]:
    """The concepts of a set, in its order."""
    return tuple(dict.fromkeys(example.concept for example in read_concepts(path)))


def read_concept_patches(
    parameters: TrainingParameters,
    cohort: Cohort,
    panel: Panel,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> ConceptPatches | None:
    """The patches of the concept set that a training asks for, or None."""
    if parameters.concepts is None:
        return None
    geometry = PatchGeometry(parameters.patch_size, parameters.input_size)
    placed = place_concepts(read_concepts(parameters.concepts), cohort, geometry, cancel)
    return gather_concepts(
        placed, panel, geometry, masks=parameters.mask, one_a_fibre=parameters.crops == "fibres",
        progress=progress, cancel=cancel,
    )  # fmt: skip


def whitening_of(parameters: TrainParameters, concepts: Sequence[str], channels: int) -> Whitening:
    """What of a network is whitened: the layers that were named, or the best one."""
    layers = tuple(parameters.whitened_layers)
    if not layers:
        with torch.device("meta"):
            network = create(parameters.architecture, channels, 2)
        layers = (best_layer(network, parameters.input_size, channels, parameters.batch_size),)
    return Whitening(layers, tuple(concepts), parameters.concept_activation, parameters.whitening_iterations)


def alignment_of(
    parameters: TrainParameters,
    whitening: Whitening,
    concepts: ConceptPatches,
    subjects: Sequence[str],
    scaling: Scaling,
) -> Alignment:
    """What turns the axes in a training: the examples of the subjects that are trained on, and of nobody else.

    Raises
    ------
    MitoxaiError
        If none of the concepts has an example of them.
    """
    own = concepts.patches.of(subjects)
    if not len(own):
        raise MitoxaiError(
            f"No example of a concept is of a subject that is trained on ({', '.join(subjects)}): "
            "draw concepts on them too, or hold other subjects out."
        )
    examples = ScaledPatches(
        own, scaling, augmentation=parameters.augmentation, jitter=parameters.jitter, seed=parameters.seed
    )
    return Alignment(examples, whitening, parameters.concept_every, parameters.batch_size, parameters.seed)


def concept_notes(
    training: PatchSet,
    whitening: Whitening,
    network: torch.nn.Module,
    parameters: TrainParameters,
    batch_size: int,
) -> list[str]:
    """What a user should know of a whitened training: of its set, of examples that were not trained on, of its layers."""
    assert training.concepts is not None
    patches, names = training.concepts.patches, training.concepts.names
    known = np.isin(patches.subjects, np.unique(training.subjects))
    notes = list(training.concepts.placed.notes)
    for number, name in enumerate(names):
        if not known[patches.labels == number].any():
            notes.append(
                f"The axis of {name} was not turned: all of its examples are of subjects that are not trained on."
            )
    return notes + layer_notes(whitening, network, parameters, batch_size)


def layer_notes(
    whitening: Whitening, network: torch.nn.Module, parameters: TrainParameters, batch_size: int
) -> list[str]:
    """A sentence for each whitened layer that a batch shows too few places."""
    with torch.device("meta"):
        bare = create(parameters.architecture, 3, 2)
    places, notes = places_of(bare, parameters.input_size, 3), list[str]()
    for name, layer in zip(whitening.layers, whitened_layers(network).values(), strict=True):
        note = too_few_places(layer.features, places[name], batch_size, name)
        notes += [note] if note else []
    return notes


def purity_of(
    network: torch.nn.Module,
    whitening: Whitening,
    training: PatchSet,
    scaling: Scaling,
    split: Mapping[str, Sequence[str]],
    cancel: CancelToken,
) -> list[Row]:
    """The purity of every axis, of examples of subjects that were trained on and of others.

    Where there is one concept only, it is told from the patches that are trained on.

    Returns
    -------
    list of dict
        Rows of `purity` with ``layer`` and ``subjects`` (``trained`` or ``held out``).
    """
    assert training.concepts is not None
    patches = training.concepts.patches
    trained = np.isin(patches.subjects, list(split["train"]))
    rows: list[Row] = []
    for subjects, chosen in (("trained", trained), ("held out", ~trained)):
        own = patches.take(np.flatnonzero(chosen))
        if not len(own):
            continue
        if len(whitening.concepts) == 1:
            own = _with_others(own, training)
        found = concept_activations(network, ScaledPatches(own, scaling), whitening, cancel=cancel)
        rows += [
            {"layer": layer, "subjects": subjects, **row}
            for layer, activations in found.items()
            for row in purity(activations, own.labels, whitening.concepts)
        ]
    return rows


def purity_over(models: Sequence[Sequence[Row]]) -> list[Row]:
    """Mean and spread of purities over folds or seeds, a row a layer, concept and use of the subjects.

    Returns
    -------
    list of dict
        ``layer``, ``subjects``, ``concept``, ``auc``, ``auc_sd`` (of a sample; None for a single model), ``models``.
    """
    keys = dict.fromkeys((row["layer"], row["subjects"], row["concept"]) for model in models for row in model)
    rows = []
    for layer, subjects, concept in keys:
        values = [
            row["auc"]
            for model in models
            for row in model
            if (row["layer"], row["subjects"], row["concept"]) == (layer, subjects, concept)
            and row["auc"] is not None
        ]
        rows.append({
            "layer": layer, "subjects": subjects, "concept": concept,
            "auc": float(np.mean(values)) if values else None,
            "auc_sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "models": len(values),
        })  # fmt: skip
    return rows


def _with_others(own: PatchSet, training: PatchSet) -> PatchSet:
    return replace(
        own,
        counts=np.concatenate([own.counts, training.counts]),
        subjects=np.concatenate([own.subjects, training.subjects]),
        labels=np.concatenate([own.labels, np.full(len(training), -1, dtype=np.int64)]),
    )
