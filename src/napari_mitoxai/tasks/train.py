"""Train a classifier on a cohort."""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from napari_mitoxai.common import (
    Cancelled,
    CancelToken,
    MitoxaiError,
    Progress,
    ProgressCallback,
    no_progress,
)
from napari_mitoxai.common.files import refuse_existing, refuse_foreign, write_json, written_beside
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.models.registry import available
from napari_mitoxai.tasks.parameters import TaskParameters


class TrainParameters(TaskParameters):
    """What training needs to know."""

    cohort: Path = Field(
        title="Cohort",
        description="CSV table with the columns path, subject, group and, optional, section, batch, split.",
        json_schema_extra={"argument": True},
    )
    out: Path = Field(
        title="Run folder",
        description="Folder to make for the run: checkpoint, metrics, curve, configuration.",
    )
    architecture: Literal[tuple(available())] = Field(  # type: ignore[valid-type]
        default="resnet18",
        title="Architecture",
        description="The network to train.",
        json_schema_extra={"option": "--arch"},
    )
    epochs: int = Field(
        default=20, ge=1, le=10_000, title="Epochs", description="How often training goes over all patches."
    )
    hold_out: list[str] = Field(
        default=[],
        title="Hold out",
        description="Subjects to test on; nothing of them is trained on. They take the place of the table's split column.",
    )
    channels: list[str] = Field(
        default=[],
        title="Channels",
        description="Targets to train on; all by default.",
        json_schema_extra={"advanced": True},
    )
    patch_size: int = Field(
        default=512, ge=16, le=4096, title="Patch size (px)", description="Side of what the network sees at once, in pixels of the section.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    input_size: int = Field(
        default=128, ge=16, le=2048, title="Input size (px)", description="Side of the network's input; patches are averaged down to it.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    batch_size: int = Field(
        default=16,
        ge=1,
        le=1024,
        title="Batch size",
        description="Patches a training step.",
        json_schema_extra={"advanced": True},
    )
    learning_rate: float = Field(
        default=1e-3,
        gt=0,
        le=1,
        title="Learning rate",
        description="Of the AdamW optimiser, at the start; it falls to zero along a cosine.",
        json_schema_extra={"advanced": True},
    )
    patience: int = Field(
        default=10, ge=1, title="Patience", description="Epochs without a better validation loss after which training stops.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    jitter: float = Field(
        default=0.5, ge=0, le=2, title="Intensity jitter",
        description="Random gain on each channel of a training patch (standard deviation of its logarithm), against learning the staining.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    weights: str = Field(
        default="", title="Starting weights",
        description="Empty for random weights, imagenet to download the library's own, or a local file with them.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    seed: int = Field(
        default=0,
        ge=0,
        title="Seed",
        description="Makes a run repeatable.",
        json_schema_extra={"advanced": True},
    )
    device: str = Field(
        default="auto",
        title="Device",
        description="auto, cpu, cuda or mps.",
        json_schema_extra={"advanced": True},
    )
    overwrite: bool = Field(
        default=False, title="Replace an existing run", description="Whether an existing run folder may be replaced.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes
    ----------
    run : Path
        Its folder.
    metrics : dict
        What metrics.json holds.
    cancelled : bool
        Whether the user stopped it; the run then holds the best epoch until there.
    """

    run: Path
    metrics: dict[str, Any]
    cancelled: bool


def run(
    parameters: TrainParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> TrainResult:
    """Train, call the held-out subjects, and write the run.

    The run is written beside its place and moved there when it is whole. It holds ``checkpoint.json`` and the weights,
    ``metrics.json``, ``history.csv``, ``config.json`` and a copy of the cohort table.

    Raises
    ------
    MitoxaiError
        If the cohort does not hold together, or the run exists.
    Cancelled
        If it was cancelled before the first epoch ended.
    """
    cancel = cancel or CancelToken()
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_foreign(parameters.out, "checkpoint.json", "a run")
    if parameters.input_size > parameters.patch_size:
        raise MitoxaiError(
            f"The input size of {parameters.input_size} px is larger than the patch of {parameters.patch_size} px: make it smaller."
        )
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    import torch  # the libraries take seconds to import: only when something is asked of them

    from napari_mitoxai.cohort import PatchGeometry, fit_scaling, read_cohort, split_subjects
    from napari_mitoxai.models import Checkpoint, create, pick_device, save_checkpoint
    from napari_mitoxai.training import Evaluation, evaluate, fit, gather_patches

    started = now()
    device = pick_device(parameters.device)
    cohort = read_cohort(parameters.cohort)
    _refuse_unfit_input(parameters)
    split = split_subjects(cohort, hold_out=parameters.hold_out, seed=parameters.seed)
    geometry = PatchGeometry(parameters.patch_size, parameters.input_size)
    patches = gather_patches(cohort, geometry, channels=parameters.channels, progress=progress, cancel=cancel)
    training, validation, test = (
        patches.of(subjects) for subjects in (split.train, split.validation, split.test)
    )
    scaling = fit_scaling(training.of([subject]).counts for subject in split.train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed)
        network = create(
            parameters.architecture, len(patches.panel), len(cohort.classes), parameters.weights or None
        )
        network = network.to(memory_format=torch.channels_last)
        result = fit(
            network, training, validation, scaling,
            epochs=parameters.epochs, batch_size=parameters.batch_size, learning_rate=parameters.learning_rate,
            patience=parameters.patience, jitter=parameters.jitter, seed=parameters.seed, device=device, progress=progress, cancel=cancel,
        )  # fmt: skip
    network.load_state_dict(result.state)
    notes = list(split.notes)
    if result.cancelled:
        notes.append(f"Training was cancelled after {len(result.history)} of {parameters.epochs} epochs.")
    try:
        evaluation = evaluate(
            network, test, scaling, cohort.classes,
            batch_size=parameters.batch_size, device=device, progress=progress, cancel=cancel,
        )  # fmt: skip
    except Cancelled:  # the network is trained: keep it, and say what is missing
        evaluation = Evaluation(None, None, None, [])
        notes.append("The held-out subjects were not called, as the run was cancelled.")
    metrics = {
        "split": {"protocol": "subject", **split.as_dict()},
        "optimistic": False,
        "patch_accuracy": evaluation.patch_accuracy,
        "subject_accuracy": evaluation.subject_accuracy,
        "confidence_interval": list(evaluation.confidence_interval)
        if evaluation.confidence_interval
        else None,
        "subject_calls": evaluation.subject_calls,
        "patches": {"train": len(training), "validation": len(validation), "test": len(test)},
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "notes": notes,
    }
    configuration = parameters.model_dump(mode="json")
    checkpoint = Checkpoint(
        architecture=parameters.architecture,
        classes=cohort.classes,
        panel=patches.panel,
        scaling=scaling,
        geometry=geometry,
        split=split.as_dict(),
        metrics=metrics,
        provenance={
            "parameters": configuration,
            "software": software(),
            "device": str(device),
            "started": started,
            "finished": now(),
        },
        state=result.state,
    )
    with written_beside(parameters.out, overwrite=parameters.overwrite) as folder:
        save_checkpoint(checkpoint, folder)
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "config.json", {"task": "train", "parameters": configuration})
        shutil.copyfile(cohort.path, folder / "cohort.csv")
        _write_history(folder / "history.csv", result.history)
    return TrainResult(parameters.out, metrics, result.cancelled)


def _refuse_unfit_input(parameters: TrainParameters) -> None:
    """Some networks shrink a small input to nothing: found out on shapes alone, before anything is read."""
    import torch

    from napari_mitoxai.models import create

    side, batch = parameters.input_size, min(parameters.batch_size, 2)
    with torch.device("meta"):
        network = create(parameters.architecture, 3, 2)
        inputs = torch.zeros(batch, 3, side, side)
    try:
        network(inputs)
    except (RuntimeError, ValueError) as error:
        more = "--batch-size" if batch == 1 else "--input-size"
        raise MitoxaiError(
            f"{parameters.architecture} cannot be trained on batches of {parameters.batch_size} inputs of {side} px: "
            f"choose a larger {more}."
        ) from error


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
