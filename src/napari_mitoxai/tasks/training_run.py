"""The calls that make a run: reading, splitting, training, calling what was held out, writing. Imports torch."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_mitoxai.cohort import (
    CONCEPTS_TABLE,
    Cohort,
    PatchGeometry,
    Scaling,
    Split,
    fit_scaling,
    split_patches,
    split_subjects,
    subject_folds,
    write_concepts,
)
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.common.files import read_json, write_json
from napari_mitoxai.common.files import replace as moved
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.models import Checkpoint, Whitening, create, pick_device, save_checkpoint
from napari_mitoxai.models.heads import WithHead
from napari_mitoxai.models.mixing import WithMixing
from napari_mitoxai.tasks.concept_training import (
    alignment_of,
    concept_names,
    concept_notes,
    layer_notes,
    purity_of,
    purity_over,
    read_concept_patches,
    whitening_of,
)
from napari_mitoxai.tasks.mixing_table import write_mixing
from napari_mitoxai.tasks.starting import start_from
from napari_mitoxai.tasks.train import CONFIG_FILE, METRICS_FILE, TrainParameters
from napari_mitoxai.tasks.training_parameters import TrainingParameters
from napari_mitoxai.training import (
    Evaluation,
    Fit,
    PatchSet,
    Recipe,
    ScaledPatches,
    evaluate,
    features_of,
    fit,
    gather_patches,
    permutation_test,
)
from napari_mitoxai.training.channel_shares import channel_shares, shares_over
from napari_mitoxai.training.evaluation import accuracy_of, subject_scores
from napari_mitoxai.training.examples import Examples
from napari_mitoxai.training.frozen import freeze_behind_mixing
from napari_mitoxai.training.memory import give_back
from napari_mitoxai.training.state import StateFolder

_OPTIMISTIC = "Patches of the same subjects were trained and tested on: the figures are optimistic and say nothing of how new subjects are called."


@dataclass(frozen=True)
class Parts:
    """What is trained on, stopped early by, and tested on.

    Attributes
    ----------
    training, validation, test : PatchSet
        The last two may be empty.
    notes : tuple of str
        What cannot be claimed.
    """

    training: PatchSet
    validation: PatchSet
    test: PatchSet
    notes: tuple[str, ...] = ()

    def split(self) -> dict[str, list[str]]:
        """The subjects by use."""
        named = {"train": self.training, "validation": self.validation, "test": self.test}
        return {use: list(dict.fromkeys(part.subjects.tolist())) for use, part in named.items()}

    def optimistic(self) -> bool:
        """Whether patches of one subject are on both sides."""
        known = set(self.training.subjects.tolist()) | set(self.validation.subjects.tolist())
        return not known.isdisjoint(self.test.subjects.tolist())


def gather(
    parameters: TrainingParameters, cohort: Cohort, progress: ProgressCallback, cancel: CancelToken, channels: list[str] | None = None
) -> PatchSet:  # fmt: skip
    """Read the patches that a run or a sweep asks for, and those of its concepts."""
    patches = gather_patches(
        cohort,
        PatchGeometry(parameters.patch_size, parameters.input_size),
        channels=getattr(parameters, "channels", []) if channels is None else channels,
        overlap=parameters.overlap,
        masks=parameters.mask,
        one_a_fibre=parameters.crops == "fibres",
        progress=progress,
        cancel=cancel,
    )
    return replace(
        patches, concepts=read_concept_patches(parameters, cohort, patches.panel, progress, cancel)
    )


def parts_by_subject(patches: PatchSet, split: Split) -> Parts:
    """The patches of each side of a split of subjects."""
    training, validation, test = (
        patches.of(subjects) for subjects in (split.train, split.validation, split.test)
    )
    return Parts(training, validation, test, split.notes)


def parts_at_random(patches: PatchSet, parameters: TrainingParameters, seed: int) -> Parts:
    """The patches of a patch-random split."""
    drawn = split_patches(
        patches.labels, validation=parameters.validation_share, test=parameters.test_share, seed=seed
    )
    training, validation, test = (patches.take(indices) for indices in drawn)
    parts = Parts(training, validation, test)
    return replace(parts, notes=(_OPTIMISTIC,) if parts.optimistic() else ())


def divided(parameters: TrainParameters, cohort: Cohort, patches: PatchSet) -> Parts:
    """What a run without folds trains on, stops early by, and is tested on."""
    if parameters.split == "patch-random":
        return parts_at_random(patches, parameters, parameters.seed)
    split = split_subjects(cohort, hold_out=parameters.hold_out, seed=parameters.seed)
    return parts_by_subject(patches, split)


def recipe_of(parameters: TrainParameters) -> Recipe:
    """The settings of the training loop."""
    return Recipe(
        epochs=parameters.epochs, batch_size=parameters.batch_size, optimizer=parameters.optimizer,
        learning_rate=parameters.learning_rate, weight_decay=parameters.weight_decay, momentum=parameters.momentum,
        schedule=parameters.schedule, decay=parameters.decay, patience=parameters.patience, monitor=parameters.monitor,
        balance=parameters.draw == "balanced", precision=parameters.precision, seed=parameters.seed,
    )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes
    ----------
    network : torch.nn.Module
        With the weights to keep.
    scaling : Scaling
        Of the training subjects.
    fit : Fit
        How it went.
    whitening : Whitening, optional
        What of it is whitened.
    """

    network: torch.nn.Module
    scaling: Scaling
    fit: Fit
    whitening: Whitening | None = None


def train_network(
    parameters: TrainParameters,
    parts: Parts,
    classes: int,
    device: torch.device,
    state: Path | None,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> Trained:
    """Train a network on the training part.

    Parameters
    ----------
    parameters : TrainParameters
        The settings.
    parts : Parts
        Nothing of its test part is looked at.
    classes : int
        Outputs.
    device : torch.device
        Where to compute.
    state : Path, optional
        Where to keep the state of the training.
    progress, cancel
        As usual.
    """
    subjects = list(dict.fromkeys(parts.training.subjects.tolist()))
    scaling = fit_scaling(parts.training.of([subject]).counts for subject in subjects)
    training = ScaledPatches(
        parts.training, scaling, augmentation=parameters.augmentation, jitter=parameters.jitter, seed=parameters.seed
    )  # fmt: skip
    validation = ScaledPatches(parts.validation, scaling) if len(parts.validation) else None
    concepts = parts.training.concepts
    whitening = alignment = None
    if concepts is not None:
        whitening = whitening_of(parameters, concepts.names, len(parts.training.panel))
        alignment = alignment_of(parameters, whitening, concepts, subjects, scaling)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed)
        network = create(
            parameters.architecture, len(parts.training.panel), classes,
            None if parameters.weights in ("", "random") else parameters.weights,
            head=parameters.head, adaptation=parameters.adaptation, mixing=parameters.mixing, whitening=whitening,
        ).to(memory_format=torch.channels_last)  # fmt: skip
    if parameters.start_from is not None:
        start_from(parameters, network, parts.training.panel, parts.split())
    learning: torch.nn.Module = network
    examples: Examples = training
    checked: Examples | None = validation
    if isinstance(network, WithMixing) and parameters.base == "frozen":
        freeze_behind_mixing(
            network
        )  # what the base gives changes with the blend: its features cannot be kept
    elif isinstance(network, WithHead) and parameters.base == "frozen":
        augmented = bool(parameters.augmentation) or parameters.jitter > 0
        examples = features_of(
            network.base, training, views=parameters.views if augmented else 1, precision=parameters.precision,
            device=device, progress=progress, cancel=cancel, seed=parameters.seed,
        )  # fmt: skip
        if validation is not None:
            checked = features_of(
                network.base,
                validation,
                precision=parameters.precision,
                device=device,
                progress=progress,
                cancel=cancel,
            )
        learning = network.head
    try:
        result = fit(
            learning, examples, checked, recipe_of(parameters),
            device=device, folder=None if state is None else StateFolder(state),
            alignment=alignment, progress=progress, cancel=cancel,
        )  # fmt: skip
    except MitoxaiError as error:
        if whitening is None:
            raise
        few = layer_notes(whitening, network, parameters, parameters.batch_size)
        raise MitoxaiError(" ".join([*few, str(error)])) from error
    learning.load_state_dict(result.state)
    give_back()
    return Trained(network, scaling, result, whitening)


def train_run(
    parameters: TrainParameters,
    cohort: Cohort,
    patches: PatchSet,
    folder: Path,
    progress: ProgressCallback,
    cancel: CancelToken,
    *,
    all_folds: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], bool]:
    """Train one model and write its run into a folder.

    Parameters
    ----------
    parameters : TrainParameters
        The settings.
    cohort : Cohort
        What the patches are of.
    patches : PatchSet
        All of them, of the channels to use.
    folder : Path
        Keeps the state of the training until it is finished, and gets the run.
    progress, cancel
        As usual.
    all_folds : dict, optional
        The figures of the folds, where this is the model of all subjects: they are kept in place of its own.

    Returns
    -------
    metrics : dict
        What metrics.json holds.
    cancelled : bool
        Whether it was cancelled; the state is then kept.
    """
    started = now()
    device = pick_device(parameters.device)
    if all_folds is None:
        parts = divided(parameters, cohort, patches)
    else:  # everybody trains, whatever the table's split column says
        parts = parts_by_subject(patches, Split(tuple(cohort.subjects)))
    trained = train_network(parameters, parts, len(cohort.classes), device, folder, progress, cancel)
    result = trained.fit
    notes = [*patches.notes, *parts.notes, *result.notes]
    if trained.whitening is not None:
        notes += concept_notes(
            parts.training, trained.whitening, trained.network, parameters, result.batch_size
        )
    if result.cancelled:
        notes.append(
            f"Training was cancelled after {len(result.history)} of {parameters.epochs} epochs; "
            "the same command goes on from there."
        )
    try:
        evaluation = evaluate(
            trained.network, parts.test, trained.scaling, cohort.classes,
            batch_size=result.batch_size, device=device, progress=progress, cancel=cancel,
        )  # fmt: skip
    except Cancelled:  # the network is trained: keep it, and say what is missing
        evaluation = Evaluation(None, None, None, [])
        notes.append("The held-out subjects were not called, as the run was cancelled.")
        result.cancelled = True
    metrics = all_folds or {
        "protocol": parameters.protocol,
        "split": {"protocol": parameters.split, **parts.split()},
        "optimistic": parts.optimistic(),
        **_figures(evaluation.subject_calls, cohort.classes),
        "patch_accuracy": evaluation.patch_accuracy,
        "patch_scores": evaluation.patch_scores,
        "patches": {"train": len(parts.training), "validation": len(parts.validation), "test": len(parts.test)},
    }  # fmt: skip
    if isinstance(trained.network, WithMixing) and all_folds is None:
        shares = channel_shares(trained.network.mixing, parts.training, trained.scaling)
        metrics["mixing"] = {"images": parameters.mixing, "channels": shares}
    if trained.whitening is not None and all_folds is None:
        try:
            metrics["concepts"] = purity_of(
                trained.network, trained.whitening, parts.training, trained.scaling, parts.split(), cancel
            )
        except Cancelled:
            notes.append("The purity of the axes was not measured, as the run was cancelled.")
            result.cancelled = True
    metrics = {
        **metrics,
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "batch_size": result.batch_size,
        "precision": result.precision,
        "notes": [*metrics.get("notes", []), *notes],
    }
    configuration = parameters.model_dump(mode="json")
    checkpoint = Checkpoint(
        architecture=parameters.architecture,
        classes=cohort.classes,
        panel=patches.panel,
        scaling=trained.scaling,
        geometry=PatchGeometry(parameters.patch_size, parameters.input_size),
        split=parts.split(),
        metrics=metrics,
        provenance={
            "parameters": configuration,
            "software": software(),
            "device": str(device),
            "started": started,
            "finished": now(),
        },
        state=trained.network.state_dict(),
        head=parameters.head,
        mixing=parameters.mixing,
        whitening=trained.whitening,
    )
    save_checkpoint(checkpoint, folder)
    _write_config(folder, parameters, patches)
    _write_history(folder / "history.csv", result.history)
    if "mixing" in metrics:
        write_mixing(folder, metrics["mixing"]["channels"])
    if patches.concepts is not None:
        write_concepts(folder / CONCEPTS_TABLE, patches.concepts.placed.as_examples(), overwrite=True)
    write_json(folder / METRICS_FILE, metrics)
    if not result.cancelled:
        StateFolder(folder).clear()
    return metrics, result.cancelled


def train_folds(
    parameters: TrainParameters,
    cohort: Cohort,
    patches: PatchSet,
    folder: Path,
    progress: ProgressCallback,
    cancel: CancelToken,
    *,
    final_model: bool = True,
) -> tuple[dict[str, Any], bool]:
    """Test every subject on a model that never saw it, each fold in a run of its own; then train on all subjects.

    A fold that was finished by an earlier call is not trained again.

    Returns
    -------
    metrics : dict
        What metrics.json holds: the calls of all folds together.
    cancelled : bool
        Whether it was cancelled while the last model trained; before that, `Cancelled` is raised.
    """
    folds, notes = subject_folds(cohort, parameters.folds, seed=parameters.seed)
    each = []
    for number, fold in enumerate(folds, start=1):
        told = prefixed(progress, f"Fold {number}/{len(folds)}: ")
        place = folder / "folds" / f"{number:02d}"
        if not (place / METRICS_FILE).exists():
            work = place.with_name(f".{place.name}.unfinished")
            own = parameters.model_copy(update={"hold_out": list(fold), "folds": "none"})
            work.mkdir(parents=True, exist_ok=True)
            _, cancelled = train_run(own, cohort, patches, work, told, cancel)
            if cancelled:
                raise Cancelled
            moved(work, place)
        each.append(read_json(place / METRICS_FILE))
    metrics = _joined(parameters, cohort, each, notes)
    if parameters.mixing:
        shares = shares_over([fold_metrics["mixing"]["channels"] for fold_metrics in each])
        metrics["mixing"] = {"images": parameters.mixing, "channels": shares}
    if parameters.concepts is not None:
        metrics["concepts"] = purity_over([fold_metrics["concepts"] for fold_metrics in each])
    if not final_model:
        _write_config(folder, parameters, patches)
        if parameters.mixing:
            write_mixing(folder, metrics["mixing"]["channels"])
        write_json(folder / METRICS_FILE, metrics)
        return metrics, False
    told = prefixed(progress, "All subjects: ")
    metrics["notes"].append(
        "The figures are those of one model a fold, each in folds/; the model of this run was trained on all subjects."
    )
    return train_run(parameters, cohort, patches, folder, told, cancel, all_folds=metrics)


def _joined(
    parameters: TrainParameters, cohort: Cohort, each: list[dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    """The figures of all folds together."""
    order = cohort.subjects
    calls = sorted(
        (call for metrics in each for call in metrics["subject_calls"]), key=lambda call: order.index(call["subject"])
    )  # fmt: skip
    patches = sum(metrics["patches"]["test"] for metrics in each)
    right = sum(metrics["patch_accuracy"] * metrics["patches"]["test"] for metrics in each)
    own_notes = dict.fromkeys(
        note
        for metrics in each
        for note in metrics["notes"]
        if not note.startswith("No ") or "validation" in note
    )
    figures = _figures(calls, cohort.classes)
    tested = permutation_test(
        np.array([[call["probabilities"][name] for name in cohort.classes] for call in calls]),
        [cohort.classes.index(call["group"]) for call in calls],
        seed=parameters.seed,
    )
    return {
        "protocol": parameters.protocol,
        "split": {
            "protocol": "subject",
            "folds": [metrics["split"] for metrics in each],
            # no subject trains every fold: who trained which is told by the folds
            "train": [],
            "validation": [],
            "test": [call["subject"] for call in calls],
        },
        "optimistic": any(metrics["optimistic"] for metrics in each),
        **figures,
        "patch_accuracy": right / patches,
        "permutation": {
            "p": tested.p, "smallest_p": tested.smallest, "labellings": tested.labellings, "exact": tested.exact,
        },
        "patches": {"test": patches},
        "notes": [*notes, *own_notes],
    }  # fmt: skip


def _figures(calls: list[dict[str, Any]], classes: list[str]) -> dict[str, Any]:
    accuracy, interval = accuracy_of(calls)
    return {
        "subject_accuracy": accuracy,
        "confidence_interval": list(interval) if interval else None,
        "subject_calls": calls,
        "subject_scores": subject_scores(calls, classes),
    }


def prefixed(progress: ProgressCallback, prefix: str) -> ProgressCallback:
    """Progress of a part; each stage has a curve of its own."""

    def told(report: Progress) -> None:
        progress(Progress(prefix + report.stage, report.done, report.total, report.detail, report.values))

    return told


def refuse_unfit(parameters: TrainParameters, cohort: Cohort) -> None:
    """Find out what cannot work before any section is read.

    Raises
    ------
    MitoxaiError
        If there is no such device, the subjects cannot be split like this, the network shrinks such inputs to nothing, or
        the layers to whiten are not in it.
    """
    pick_device(parameters.device)
    if parameters.folds != "none":
        subject_folds(cohort, parameters.folds, seed=parameters.seed)
    elif parameters.split == "subject":
        split_subjects(cohort, hold_out=parameters.hold_out, seed=parameters.seed)
    side, batch = parameters.input_size, min(parameters.batch_size, 2)
    whitening = None
    if parameters.concepts is not None:
        whitening = whitening_of(parameters, concept_names(parameters.concepts), 3)
    with torch.device("meta"):
        network = create(
            parameters.architecture, 3, 2, head=parameters.head, mixing=parameters.mixing, whitening=whitening
        )
        inputs = torch.zeros(batch, 3, side, side)
    if parameters.base == "frozen":
        network.eval()
    try:
        network(inputs)
    except (RuntimeError, ValueError) as error:
        more = "--batch-size" if batch == 1 else "--input-size"
        raise MitoxaiError(
            f"{parameters.architecture} cannot be trained on batches of {parameters.batch_size} inputs of {side} px: "
            f"choose a larger {more}."
        ) from error


def _write_config(folder: Path, parameters: TrainParameters, patches: PatchSet) -> None:
    content = {"task": "train", "parameters": parameters.model_dump(mode="json"), "data": patches.digest()}
    write_json(folder / CONFIG_FILE, content)


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(history[0]))
            writer.writeheader()
            writer.writerows(history)
    except OSError as error:
        raise MitoxaiError(
            f"{path} could not be written ({error.strerror}): free the disk; the same command then goes on."
        ) from error
