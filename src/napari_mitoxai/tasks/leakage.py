"""What would a split report on no signal at all? Train on labels that were permuted by subject."""

import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, write_json
from napari_mitoxai.tasks.parameters import TaskParameters
from napari_mitoxai.tasks.train import TrainParameters

if TYPE_CHECKING:
    from napari_mitoxai.training import PatchSet

_EVALUATION = 1.2  # reading, calling and starting, beside the steps that were timed


class LeakageParameters(TaskParameters):
    """What the leakage check needs to know."""

    cohort: Path = Field(
        title="Cohort", description="CSV table with the columns path, subject, group; or a folder with the sections, as controls/C01 and patients/P01.", json_schema_extra={"argument": True}
    )  # fmt: skip
    out: Path | None = Field(
        default=None, title="Report", description="JSON file to write the figures to; printed in any case."
    )
    split: Literal["both", "patch-random", "subject"] = Field(
        default="both", title="Split", description="Which split to check."
    )
    permutations: int = Field(
        default=3, ge=1, le=50, title="Permutations", description="How often labels are permuted by subject."
    )
    epochs: int = Field(default=12, ge=1, le=1000, title="Epochs", description="Of the small network.")
    patch_size: int = Field(
        default=512, ge=32, le=4096, title="Patch size (px)", description="Side of a patch.", json_schema_extra={"advanced": True}
    )  # fmt: skip
    input_size: int = Field(
        default=64, ge=32, le=512, title="Input size (px)", description="Side of the small network's input.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    seed: int = Field(default=0, ge=0, title="Seed", description="Makes the check repeatable.", json_schema_extra={"advanced": True})  # fmt: skip
    device: str = Field(default="auto", title="Device", description="auto, cpu, cuda or mps.", json_schema_extra={"advanced": True})  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace an existing report", description="Whether an existing file may be replaced.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip


@dataclass(frozen=True)
class LeakageResult:
    """What the splits report where there is nothing to learn.

    Attributes
    ----------
    patch_accuracy : dict
        By split, the mean accuracy over patches; chance is `chance`.
    subject_accuracy : dict
        By split, the mean accuracy over subjects.
    chance : float
        Share of the largest group among the patches.
    each : list of dict
        ``split``, ``permutation`` and the two accuracies of each training.
    seconds : float
        What it took.
    """

    patch_accuracy: dict[str, float]
    subject_accuracy: dict[str, float]
    chance: float
    each: list[dict[str, object]]
    seconds: float


def run(
    parameters: LeakageParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> LeakageResult:
    """Train a small network on labels that were permuted by subject, and show what each split reports.

    Every subject keeps one label for all its patches, so that a network which recognises persons can score in a split by
    patches, and nothing can in a split by subject. How long it takes is measured on the first steps and told.

    Raises
    ------
    MitoxaiError
        If the cohort does not hold together, or has fewer than two subjects of a group.
    Cancelled
        If it was cancelled; nothing is written.
    """
    cancel = cancel or CancelToken()
    started = time.monotonic()
    if parameters.out is not None:
        refuse_existing(parameters.out, overwrite=parameters.overwrite)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.cohort import read_cohort, subject_folds
    from napari_mitoxai.models import pick_device
    from napari_mitoxai.tasks.training_run import Parts, gather, parts_at_random, train_network
    from napari_mitoxai.training import evaluate
    from napari_mitoxai.training.evaluation import accuracy_of

    cohort = read_cohort(parameters.cohort)
    folds, _ = subject_folds(cohort, "leave-one-out")
    if min(list(cohort.groups.values()).count(group) for group in cohort.classes) < 2:
        raise MitoxaiError("The leakage check needs two subjects of every group: add sections to the cohort.")
    settings = _settings(parameters)
    device = pick_device(parameters.device)
    patches = gather(settings, cohort, progress, cancel)
    splits: list[str] = ["patch-random", "subject"] if parameters.split == "both" else [parameters.split]
    labellings = permuted_groups(cohort.groups, cohort.classes, parameters.permutations, parameters.seed)
    trainings = len(labellings) * sum(1 if split == "patch-random" else len(folds) for split in splits)
    progress(
        Progress("Leakage check", 0, trainings, _estimate(settings, patches, trainings, len(cohort.classes)))
    )
    each: list[dict[str, object]] = []
    begun, done = time.monotonic(), 0
    for number, groups in enumerate(labellings, start=1):
        named = replace(
            patches,
            labels=np.array([cohort.classes.index(groups[name]) for name in patches.subjects], np.int64),
        )
        for split in splits:
            if split == "patch-random":
                parts = [parts_at_random(named, settings, parameters.seed + number)]
            else:
                nobody = named.of([])
                parts = [
                    Parts(named.of([name for name in groups if name not in fold]), nobody, named.of(fold))
                    for fold in folds
                ]
            calls, right, tested = [], 0.0, 0
            for part in parts:
                if len(np.unique(part.training.labels)) == len(cohort.classes):
                    trained = train_network(
                        settings, part, len(cohort.classes), device, None, no_progress, cancel
                    )
                    result = evaluate(trained.network, part.test, trained.scaling, cohort.classes, device=device, cancel=cancel)  # fmt: skip
                    calls += result.subject_calls
                    right += (result.patch_accuracy or 0) * len(part.test)
                    tested += len(part.test)
                done += 1
                left = (time.monotonic() - begun) / done * (trainings - done)
                progress(Progress("Leakage check", done, trainings, f"{_time(left)} left"))
            each.append({"split": split, "permutation": number, "patch_accuracy": right / tested, "subject_accuracy": accuracy_of(calls)[0]})  # fmt: skip
    counts = np.bincount(patches.labels)
    outcome = LeakageResult(
        _means(each, splits, "patch_accuracy"),
        _means(each, splits, "subject_accuracy"),
        float(counts.max() / counts.sum()),
        each,
        time.monotonic() - started,
    )
    if parameters.out is not None:
        write_json(parameters.out, {**asdict(outcome), "parameters": parameters.model_dump(mode="json")})
    return outcome


def _means(each: list[dict[str, object]], splits: list[str], key: str) -> dict[str, float]:
    return {
        split: statistics.fmean(float(str(row[key])) for row in each if row["split"] == split)
        for split in splits
    }


def _settings(parameters: LeakageParameters) -> TrainParameters:
    """A small network that is free to learn whatever tells persons apart."""
    return TrainParameters(
        cohort=parameters.cohort, out=Path("leakage"), epochs=parameters.epochs, patch_size=parameters.patch_size,
        input_size=parameters.input_size, jitter=0.0, test_share=0.2, validation_share=0.0, seed=parameters.seed,
        device=parameters.device,
    )  # fmt: skip


def permuted_groups(
    groups: dict[str, str], classes: list[str], number: int, seed: int
) -> list[dict[str, str]]:
    """Give the same labels to other subjects, as far from the truth as they can be.

    Parameters
    ----------
    groups : dict
        The group of each subject.
    classes : list of str
        All groups.
    number : int
        How many labellings to give; fewer where the cohort is too small for as many.
    seed : int
        Of the draw.

    Returns
    -------
    list of dict
        Distinct; those in which each true group gets the labels most evenly come first. Never the true labelling, nor,
        with two groups, its opposite where there is another.
    """
    rng = np.random.default_rng(seed)
    names, truth = list(groups), np.array([classes.index(group) for group in groups.values()])
    drawn = {tuple(rng.permutation(truth).tolist()) for _ in range(2000)}

    def association(labels: tuple[int, ...]) -> float:
        table = np.zeros((len(classes), len(classes)))
        np.add.at(table, (truth, np.array(labels)), 1)
        expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
        return float(((table - expected) ** 2 / expected).sum())

    order = sorted(drawn, key=lambda labels: (round(association(labels), 6), labels))
    best = [labels for labels in order if round(association(labels), 6) == round(association(order[0]), 6)]
    rng.shuffle(best)
    chosen = [*best, *order[len(best) :]]
    return [
        {name: classes[label] for name, label in zip(names, labels, strict=True)}
        for labels in chosen
        if not np.array_equal(labels, truth)
    ][:number]


def _estimate(settings: TrainParameters, patches: "PatchSet", trainings: int, classes: int) -> str:
    """How long it will take, from a few steps of the same network on as many patches."""
    import torch

    from napari_mitoxai.models import create, pick_device
    from napari_mitoxai.training.loop import duration

    device = pick_device(settings.device)
    network = create(settings.architecture, len(patches.panel), classes).to(device)
    size = min(settings.batch_size, len(patches))
    inputs = torch.zeros(size, *patches.counts.shape[1:], device=device)
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        float(network(inputs).sum().backward() or 0)
        seconds.append(time.monotonic() - start)
    steps = trainings * settings.epochs * len(patches) / size
    return f"{trainings} trainings, about {duration(min(seconds) * steps * _EVALUATION)}"


def _time(seconds: float) -> str:
    from napari_mitoxai.training.loop import duration

    return duration(seconds)
