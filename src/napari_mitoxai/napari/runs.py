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

# the orange of the learning curve's validation: seen on dark and on light
OPTIMISTIC = '<b><span style="color:#e69f00">⚠ Optimistic</span></b>'
_SHARES = 10  # channels of a blend that are listed


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
    inside_fibres : bool
        Whether it was trained on what lies inside fibres, and has to be asked about the same.
    mixing : int
        Images that it blends its channels to; 0 for none.
    concepts : tuple of str
        Those that axes of it were turned to; empty for a network without such axes.
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
    inside_fibres: bool = False
    mixing: int = 0
    concepts: tuple[str, ...] = ()

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
        bool(checkpoint.provenance.get("parameters", {}).get("mask")),
        checkpoint.mixing,
        checkpoint.whitening.concepts if checkpoint.whitening is not None else (),
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
        f"Reads {', '.join(escape(target) for target in run.targets)} in patches of {run.patch_size} px"
        + (", inside fibres" if run.inside_fibres else ""),
    ]
    uses = {"train": "Trained on", "validation": "Stopped early by", "test": "Held out"}
    if run.metrics.get("optimistic"):  # its patches were drawn at random: everybody is everywhere
        uses = {"train": "Trained on patches of"}
    lines += [
        f"{label}: {', '.join(map(escape, run.split[use]))}"
        for use, label in uses.items()
        if run.split.get(use)
    ]
    return "<br>".join(lines) + verdict_html(run.metrics, run.classes)


def verdict_html(metrics: dict[str, Any], classes: list[str]) -> str:
    """What a run's metrics say: the figures and how far to trust them, the confusion matrix, the calls of subjects.

    Parameters
    ----------
    metrics : dict
        As ``metrics.json`` holds them.
    classes : list of str
        Of the model, in order.
    """
    parts = [f"<p>{'<br>'.join(figure_lines(metrics))}</p>"] if figure_lines(metrics) else []
    optimistic = metrics.get("optimistic")
    over, key = ("patches", "patch_scores") if optimistic else ("subjects", "subject_scores")
    if scores := metrics.get(key):
        parts.append(_confusion_table(scores["confusion_matrix"], over))
    if calls := metrics.get("subject_calls"):
        parts.append(_calls_table(calls, classes))
    if mixing := metrics.get("mixing"):
        parts.append(_shares_table(mixing["channels"]))
    if concepts := metrics.get("concepts"):
        parts.append(_axes_table(concepts))
    notes = "<br>".join(escape(note) for note in metrics.get("notes", ()))
    return "".join(parts) + (f"<p>{notes}</p>" if notes else "")


def figure_lines(metrics: dict[str, Any]) -> list[str]:
    """The figures of a run, each with what it can claim, as rich text."""
    lines = []
    accuracy, interval = metrics.get("subject_accuracy"), metrics.get("confidence_interval")
    if metrics.get("optimistic"):
        lines.append(f"{OPTIMISTIC}: patches of the same subjects were trained and tested on.")
        if metrics.get("patch_accuracy") is not None:
            lines.append(
                f"Patches held out, called right: {100 * metrics['patch_accuracy']:.0f} %, optimistic."
            )
    elif accuracy is not None:
        between = f" (95 % interval {100 * interval[0]:.0f} to {100 * interval[1]:.0f} %)" if interval else ""
        lines.append(f"Held-out subjects called right: <b>{100 * accuracy:.0f} %</b>{between}.")
    if told := metrics.get("permutation"):
        lines.append(
            f"Permuting the subjects' labels: p = {told['p']:.3g}; the smallest that this cohort can give is {told['smallest_p']:.3g}."
        )
    return lines


def _confusion_table(matrix: dict[str, Any], over: str) -> str:
    names = [escape(name) for name in matrix["classes"]]
    rows = [
        [
            f"{name}",
            *(f"<b>{count}</b>" if row == column else str(count) for column, count in enumerate(counts)),
        ]
        for row, (name, counts) in enumerate(zip(names, matrix["counts"], strict=True))
    ]
    return _table([f"{over} of ↓ called →", *names], rows)


def _calls_table(calls: list[dict[str, Any]], classes: list[str]) -> str:
    rows = [
        [
            escape(call["subject"]),
            escape(call["group"]),
            f"{'✓' if call['call'] == call['group'] else '✗'}&nbsp;{escape(call['call'])}",
            f"{call['probability']:.2f}",
            str(call["patches"]),
        ]
        for call in calls
    ]
    return _table(["subject", "group", "call", f"p({escape(classes[-1])})", "patches"], rows)


def _shares_table(channels: list[dict[str, Any]]) -> str:
    rows = [
        [escape(row["channel"]), f"{100 * row['weight_x_sd']:.1f} %", "" if row.get("weight_x_sd_sd") is None else f"{100 * row['weight_x_sd_sd']:.1f} %"]
        for row in channels[:_SHARES]
    ]  # fmt: skip
    return _table(["channel", "share of the blend", "SD over folds"], rows)


def _axes_table(concepts: list[dict[str, Any]]) -> str:
    rows = [
        [
            escape(row["concept"]),
            row["layer"],
            "" if row["auc"] is None else f"{row['auc']:.2f}",
            row["subjects"],
        ]
        for row in concepts
    ]
    return _table(["axis of", "layer", "purity", "subjects"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<td><i>{text}</i></td>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in rows)
    return f'<table cellpadding="3" cellspacing="0"><tr>{head}</tr>{body}</table>'
