"""What would a split report on no signal at all? Train on labels that were permuted by subject."""

import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, write_json
from napari_mitoxai.tasks.parameters import ADVANCED
from napari_mitoxai.tasks.train import TrainParameters
from napari_mitoxai.tasks.training_parameters import Channels, PatchParameters

if TYPE_CHECKING:
    import torch

    from napari_mitoxai.cohort import Cohort
    from napari_mitoxai.training import PatchSet

_EVALUATION = 1.2  # calling and starting, beside the steps that were timed


class LeakageParameters(PatchParameters):
    """What the leakage check needs to know."""

    out: Path | None = Field(
        default=None, title="Report", description="JSON file to write the figures to; printed in any case."
    )
    channels: Channels = Field(default_factory=list)
    split: Literal["both", "patch-random", "subject"] = Field(
        default="both", title="Split", description="Which split to check."
    )
    permutations: int = Field(
        default=3, ge=1, le=50, title="Permutations", description="How often labels are permuted by subject."
    )
    epochs: int = Field(default=12, ge=1, le=1000, title="Epochs", description="Of the small network.")
    input_size: int = Field(
        default=64, ge=32, le=512, title="Input size (px)", description="Side of the small network's input.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    seed: int = Field(default=0, ge=0, title="Seed", description="Makes the check repeatable.", json_schema_extra=ADVANCED)  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace an existing report", description="Whether an existing file may be replaced.",
        json_schema_extra=ADVANCED,
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
    learnt : dict
        By split, the mean accuracy over the patches that were trained on: near `chance`, the check says nothing.
    chance : float
        Share of the largest group among the patches.
    each : list of dict
        ``split``, ``permutation`` and the two accuracies of each training.
    seconds : float
        What the trainings took.
    """

    patch_accuracy: dict[str, float]
    subject_accuracy: dict[str, float]
    learnt: dict[str, float]
    chance: float
    each: list[dict[str, Any]]
    seconds: float

    @property
    def verdict(self) -> str:
        """What follows, in a sentence."""
        split = "patch-random" if "patch-random" in self.learnt else "subject"
        learnt, found = self.learnt[split], self.patch_accuracy[split]
        if learnt < (1 + self.chance) / 2:
            return (
                f"Nothing can be concluded: the network has hardly learnt the patches it was trained on ({learnt:.0%} of them); "
                "train it for more epochs."
            )
        if split == "subject":
            return f"Leaving subjects out reports {found:.0%} with nothing to learn, naming the largest group {self.chance:.0%}."
        if found < (1 + self.chance) / 2:
            return (
                "Split by patches, this network does not tell persons apart on this cohort; another one may."
            )
        return f"A split by patches reports {found:.0%} with nothing to learn: its figures are no evidence on this cohort."


@dataclass(frozen=True)
class Prepared:
    """A check that can start: its patches are read, and its time is known.

    Attributes
    ----------
    cohort : Cohort
        Or the part of it that was asked for.
    patches : PatchSet
        All of its patches.
    labellings : list of dict
        The group of each subject, permuted.
    folds : list of tuple of str
        The subjects to leave out, one after the other.
    splits : list of str
        Which are checked.
    device : torch.device
        Where to compute.
    seconds : float
        How long it will take, about.
    """

    cohort: "Cohort"
    patches: "PatchSet"
    labellings: list[dict[str, str]]
    folds: list[tuple[str, ...]]
    splits: list[str]
    device: "torch.device"
    seconds: float = 0.0

    @property
    def trainings(self) -> int:
        """How many networks are trained."""
        a_labelling = sum(1 if split == "patch-random" else len(self.folds) for split in self.splits)
        return len(self.labellings) * a_labelling

    def estimate(self) -> str:
        """``7 trainings, about 3 min on cpu``."""
        from napari_mitoxai.training.loop import duration

        return f"{self.trainings} trainings, about {duration(self.seconds)} on {self.device.type}"


def run(
    parameters: LeakageParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> LeakageResult:
    """Train a small network on labels that were permuted by subject, and show what each split reports.

    Every subject keeps one label for all its patches, so that a network which recognises persons can score in a split by
    patches, and nothing can in a split by subject. How long it takes is measured on a few steps, and told before it starts.

    Raises
    ------
    MitoxaiError
        If the cohort does not hold together, or has fewer than two subjects of a group.
    Cancelled
        If it was cancelled; nothing is written.
    """
    return check(parameters, prepare(parameters, progress, cancel), progress, cancel)


def prepare(
    parameters: LeakageParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> Prepared:
    """Read the patches and measure how long the check will take; see `run`."""
    if parameters.out is not None:
        refuse_existing(parameters.out, overwrite=parameters.overwrite)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.cohort import read_cohort, subject_folds
    from napari_mitoxai.models import pick_device
    from napari_mitoxai.tasks.training_run import gather

    cohort = read_cohort(parameters.cohort).where(parameters.where)
    if min(list(cohort.groups.values()).count(group) for group in cohort.classes) < 2:
        raise MitoxaiError("The leakage check needs two subjects of every group: add sections to the cohort.")
    settings = _settings(parameters)
    ready = Prepared(
        cohort,
        gather(settings, cohort, progress, cancel or CancelToken()),
        permuted_groups(cohort.groups, cohort.classes, parameters.permutations, parameters.seed),
        subject_folds(cohort, "leave-one-out")[0],
        ["patch-random", "subject"] if parameters.split == "both" else [parameters.split],
        pick_device(parameters.device),
    )
    ready = replace(ready, seconds=_measured(settings, ready))
    progress(Progress("Leakage check", 0, ready.trainings, ready.estimate()))
    return ready


def check(
    parameters: LeakageParameters,
    ready: Prepared,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> LeakageResult:
    """Do a check that was prepared; see `run`."""
    from napari_mitoxai.tasks.training_run import Parts, parts_at_random, train_network
    from napari_mitoxai.training import evaluate
    from napari_mitoxai.training.evaluation import accuracy_of
    from napari_mitoxai.training.loop import duration

    cancel = cancel or CancelToken()
    settings, classes = _settings(parameters), ready.cohort.classes
    begun, done = time.monotonic(), 0

    def tested(parts: list[Parts]) -> dict[str, Any]:
        """The accuracies of one network a part, over all of what they are tested on."""
        nonlocal done
        calls, right, patches, learnt = [], 0.0, 0, []
        for part in parts:
            # a labelling may leave a fold with one class: there is nothing to train
            if len(np.unique(part.training.labels)) == len(classes):
                trained = train_network(settings, part, len(classes), ready.device, None, no_progress, cancel)
                result = evaluate(trained.network, part.test, trained.scaling, classes, device=ready.device, cancel=cancel)  # fmt: skip
                learnt.append(trained.fit.history[-1]["train_accuracy"])
                calls += result.subject_calls
                right += (result.patch_accuracy or 0) * len(part.test)
                patches += len(part.test)
            done += 1
            left = (time.monotonic() - begun) / done * (ready.trainings - done)
            progress(Progress("Leakage check", done, ready.trainings, f"{duration(left)} left"))
        return {
            "patch_accuracy": right / patches,
            "subject_accuracy": accuracy_of(calls)[0],
            "learnt": statistics.fmean(learnt),
        }

    each: list[dict[str, Any]] = []
    for number, groups in enumerate(ready.labellings, start=1):
        labels = np.array([classes.index(groups[name]) for name in ready.patches.subjects], np.int64)
        named = replace(ready.patches, labels=labels)
        for split in ready.splits:
            if split == "patch-random":
                parts = [parts_at_random(named, settings, parameters.seed + number)]
            else:
                nobody = named.of([])
                parts = [
                    Parts(named.of([name for name in groups if name not in fold]), nobody, named.of(fold))
                    for fold in ready.folds
                ]
            each.append({"split": split, "permutation": number, **tested(parts)})
    counts = np.bincount(ready.patches.labels)
    outcome = LeakageResult(
        _means(each, ready.splits, "patch_accuracy"),
        _means(each, ready.splits, "subject_accuracy"),
        _means(each, ready.splits, "learnt"),
        float(counts.max() / counts.sum()),
        each,
        time.monotonic() - begun,
    )
    if parameters.out is not None:
        write_json(
            parameters.out,
            {**asdict(outcome), "verdict": outcome.verdict, "parameters": parameters.model_dump(mode="json")},
        )
    return outcome


def _means(each: list[dict[str, Any]], splits: list[str], key: str) -> dict[str, float]:
    return {split: statistics.fmean(row[key] for row in each if row["split"] == split) for split in splits}


def _settings(parameters: LeakageParameters) -> TrainParameters:
    """A small network that is free to learn whatever tells persons apart."""
    same = {name: getattr(parameters, name) for name in PatchParameters.model_fields}
    return TrainParameters.model_validate(
        {
            **same, "out": Path("leakage"), "channels": parameters.channels, "epochs": parameters.epochs, "jitter": 0.0,
            "test_share": 0.2, "validation_share": 0.0, "seed": parameters.seed,
        }
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


def _measured(settings: TrainParameters, ready: Prepared) -> float:
    """How many seconds it will take, from a few steps of the same network on as many patches."""
    import torch

    from napari_mitoxai.models import create

    network = create(settings.architecture, len(ready.patches.panel), len(ready.cohort.classes))
    network.to(ready.device)
    size = min(settings.batch_size, len(ready.patches))
    inputs = torch.zeros(size, *ready.patches.counts.shape[1:], device=ready.device)
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        total = network(inputs).sum()
        total.backward()
        float(total.detach())  # a GPU has done the work only then
        seconds.append(time.monotonic() - start)
    steps = ready.trainings * settings.epochs * len(ready.patches) / size
    return min(seconds) * steps * _EVALUATION
