"""A trained run as the window shows it, without keeping its weights or importing torch here."""

import csv
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback
from napari_mitoxai.imc import Section
from napari_mitoxai.imc.panel import canonical
from napari_mitoxai.napari.libraries import load_libraries


@dataclass(frozen=True)
class RunSummary:
    """What a user wants to know of a model before using it.

    Attributes
    ----------
    path : Path
        The run's folder.
    architecture : str
        Its name.
    classes : list of str
        One an output.
    targets : list of str
        The channels that it reads.
    patch_size : int
        In pixels.
    split : dict
        Subjects by use.
    metrics : dict
        What was measured on held-out subjects.
    device : str
        Where it will run by default.
    history : list of dict
        The learning curve, a row an epoch; empty if it was not kept.
    """

    path: Path
    architecture: str
    classes: list[str]
    targets: list[str]
    patch_size: int
    split: dict[str, list[str]]
    metrics: dict[str, Any]
    device: str
    history: list[dict[str, float]]

    @property
    def name(self) -> str:
        """The run's folder name and its architecture."""
        return f"{self.path.name} ({self.architecture})"

    def missing_in(self, section: Section) -> list[str]:
        """The targets that the model reads and a section lacks."""
        there = {canonical(target) for target in section.panel.targets}
        return [target for target in self.targets if canonical(target) not in there]

    def use_of(self, section: Section) -> str:
        """What the section's subject was used for: ``train``, ``validation``, ``test`` or ``new``."""
        subject = section.subject or section.name
        return next((use for use, subjects in self.split.items() if subject in subjects), "new")


def load_run(path: Path, progress: ProgressCallback, cancel: CancelToken) -> RunSummary:
    """Open a run, or its checkpoint; takes seconds the first time, so call it in the runner's thread.

    Raises
    ------
    MitoxaiError
        If there is no whole checkpoint.
    """
    load_libraries(progress)
    progress(Progress("Loading the model", 0, 0, str(path.name)))
    from napari_mitoxai.models import load_checkpoint, pick_device  # imports torch

    cancel.check()
    checkpoint = load_checkpoint(path)
    folder = path if path.is_dir() else path.parent
    return RunSummary(
        folder.resolve(),
        checkpoint.architecture,
        list(checkpoint.classes),
        checkpoint.panel.targets,
        checkpoint.geometry.patch_size,
        checkpoint.split,
        checkpoint.metrics,
        str(pick_device("auto")),
        _history(folder / "history.csv"),
    )


def _history(path: Path) -> list[dict[str, float]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                {key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError):  # the curve is an extra: a run without it is a run
        return []


def summary_html(run: RunSummary) -> str:
    """A run in a few lines: what it tells apart, from which channels, trained on whom, and how well.

    Parameters
    ----------
    run : RunSummary
        To describe.
    """
    lines = [
        f"<b>{escape(run.name)}</b> tells {escape(' from '.join(reversed(run.classes)))}",
        f"Reads {', '.join(escape(target) for target in run.targets)} in patches of {run.patch_size} px",
    ]
    uses = {"train": "Trained on", "validation": "Stopped early by", "test": "Held out"}
    lines += [
        f"{label}: {', '.join(map(escape, run.split[use]))}"
        for use, label in uses.items()
        if run.split.get(use)
    ]
    lines += [escape(line) for line in verdict_lines(run.metrics, run.classes)]
    return "<br>".join(lines)


def verdict_lines(metrics: dict[str, Any], classes: list[str]) -> list[str]:
    """What a run's metrics say, in sentences.

    Parameters
    ----------
    metrics : dict
        As ``metrics.json`` holds them.
    classes : list of str
        Of the model, in order.
    """
    lines = []
    for call in metrics.get("subject_calls", ()):
        right = call["call"] == call["group"]
        lines.append(
            f"{'✓' if right else '✗'} {call['subject']} ({call['group']}) is called {call['call']}{_sure(call, classes)}, "
            f"{call['patches']} patch{'es' if call['patches'] != 1 else ''}"
        )
    accuracy, interval = metrics.get("subject_accuracy"), metrics.get("confidence_interval")
    if accuracy is not None:
        between = f" (95 % interval {100 * interval[0]:.0f} to {100 * interval[1]:.0f} %)" if interval else ""
        lines.append(f"Held-out subjects called right: {100 * accuracy:.0f} %{between}.")
    return [*lines, *metrics.get("notes", ())]


def _sure(call: dict[str, Any], classes: list[str]) -> str:
    """How sure the call is; ``probability`` is that of the last class, so with more than two it may not be known."""
    probability = float(call["probability"])
    if call["call"] != classes[-1]:
        if len(classes) > 2:
            return ""
        probability = 1 - probability
    return f", {100 * probability:.0f} % sure"
