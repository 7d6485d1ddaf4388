"""The table of a sweep: the papers' figures, and beside each the one that leaves subjects out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_mitoxai.common.files import written_beside
from napari_mitoxai.tasks.concept_training import purity_over
from napari_mitoxai.training.channel_shares import shares_over
from napari_mitoxai.training.evaluation import accuracy_of
from napari_mitoxai.training.permutation import permutation_test

Row = dict[str, Any]


def ranked(runs: Sequence[Row], classes: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """Put the runs of a sweep together.

    Parameters
    ----------
    runs : sequence of dict
        ``run``, ``channels``, ``architecture``, ``split``, ``seed`` and ``metrics``, as metrics.json holds them.
    classes : sequence of str
        Of all runs; precision, recall and F1 of the last one are told apart.

    Returns
    -------
    table : list of dict
        A row for each channels and architecture: mean, standard deviation (of a sample) and variance of the test accuracy
        over seeds and the figures of patches, for each split; for the subject split the calls with the mean probability
        over seeds, their accuracy with its 95 % Wilson interval, and the permutation p. Best first: by subject accuracy,
        then by the mean probability of the true class, then by patch accuracy.
    each : list of dict
        A row a run.
    """
    each = [_of_run(run, classes) for run in runs]
    keys = list(dict.fromkeys((run["channels"], run["architecture"]) for run in runs))
    table = []
    for channels, name in keys:
        row: Row = {"channels": channels, "architecture": name}
        for split in ("patch-random", "subject"):
            chosen = [
                number
                for number, run in enumerate(runs)
                if (run["channels"], run["architecture"], run["split"]) == (channels, name, split)
            ]
            if chosen:
                prefix = "patch_random" if split == "patch-random" else "left_out"
                row |= {
                    f"{prefix}_{key}": value for key, value in _over_seeds([each[n] for n in chosen]).items()
                }
                if split == "patch-random":
                    row["patch_random_optimistic"] = any(runs[n]["metrics"]["optimistic"] for n in chosen)
                else:
                    row |= _of_subjects([runs[n]["metrics"] for n in chosen], classes)
        table.append(row)
    table.sort(key=_order)
    return [{"rank": place, **row} for place, row in enumerate(table, start=1)], each


def shares_over_seeds(runs: Sequence[Row]) -> list[Row]:
    """The shares of mixed channels: a row a channel for each channels, architecture and split, over seeds.

    Parameters
    ----------
    runs : sequence of dict
        As for `ranked`; of a run with folds the mean over these counts as its share.
    """
    return [
        {**key, "rank": rank, **row}
        for key, own in _configurations(runs)
        for rank, row in enumerate(shares_over([each["mixing"]["channels"] for each in own]), start=1)
    ]


def purity_over_seeds(runs: Sequence[Row]) -> list[Row]:
    """How pure the axes of concepts are: a row a layer, concept and use of the subjects for each configuration, over seeds.

    Parameters
    ----------
    runs : sequence of dict
        As for `ranked`; of a run with folds the mean over these counts as its purity.
    """
    return [
        {**key, **row}
        for key, own in _configurations(runs)
        for row in purity_over([each["concepts"] for each in own])
    ]


def _configurations(runs: Sequence[Row]) -> list[tuple[Row, list[dict[str, Any]]]]:
    """The metrics of all seeds by channels, architecture and split."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in runs:
        key = (run["channels"], run["architecture"], run["split"])
        found.setdefault(key, []).append(run["metrics"])
    return [
        (dict(zip(("channels", "architecture", "split"), key, strict=True)), own)
        for key, own in found.items()
    ]


def _order(row: Row) -> tuple[float, float, float]:
    by_patch = row.get("patch_random_accuracy_mean", row.get("left_out_accuracy_mean"))
    figures = (row.get("subject_accuracy"), row.get("subject_true_class_probability"), by_patch)
    first, second, third = (-float(figure or 0.0) for figure in figures)
    return first, second, third


def _of_run(run: Row, classes: Sequence[str]) -> Row:
    metrics = run["metrics"]
    # leaving subjects out, the figures of precision and recall are those of subjects: patches of one are no independent witnesses
    figures = metrics["patch_scores"] if run["split"] == "patch-random" else metrics["subject_scores"]
    row = {key: run[key] for key in ("run", "channels", "architecture", "split", "seed")}
    row |= {
        "optimistic": metrics["optimistic"],
        "accuracy": metrics["patch_accuracy"],
        "subject_accuracy": metrics["subject_accuracy"],
    }
    for key in ("precision", "recall", "f1"):
        row[f"macro_{key}"] = None if figures is None else figures[key]["macro"]
        row[f"{classes[-1]}_{key}"] = None if figures is None else figures[key][classes[-1]]
    return row


def _over_seeds(rows: Sequence[Row]) -> Row:
    accuracies = np.array([row["accuracy"] for row in rows], float)
    several = len(rows) > 1
    result: Row = {
        "runs": len(rows),
        "accuracy_mean": float(accuracies.mean()),
        "accuracy_sd": float(accuracies.std(ddof=1)) if several else None,
        "accuracy_variance": float(accuracies.var(ddof=1)) if several else None,
    }
    for key in rows[0]:
        if key.endswith(("_precision", "_recall", "_f1")):
            result[key] = float(np.mean([row[key] for row in rows]))
    return result


def _of_subjects(all_metrics: Sequence[dict[str, Any]], classes: Sequence[str]) -> Row:
    """Calls by the mean probability over seeds: seeds are no new subjects."""
    calls = []
    for first in all_metrics[0]["subject_calls"]:
        own = [
            call
            for metrics in all_metrics
            for call in metrics["subject_calls"]
            if call["subject"] == first["subject"]
        ]
        mean = np.mean([[call["probabilities"][name] for name in classes] for call in own], axis=0)
        calls.append({"subject": first["subject"], "group": first["group"], "call": classes[int(mean.argmax())], "mean": mean})  # fmt: skip
    accuracy, interval = accuracy_of(calls)
    probabilities = np.array([call["mean"] for call in calls])
    truth = [classes.index(call["group"]) for call in calls]
    tested = permutation_test(probabilities, truth)
    return {
        "subject_accuracy": accuracy,
        "subject_interval_low": None if interval is None else interval[0],
        "subject_interval_high": None if interval is None else interval[1],
        "subject_true_class_probability": float(probabilities[range(len(truth)), truth].mean()),
        "permutation_p": tested.p,
        "smallest_p": tested.smallest,
        "permutation_exact": tested.exact,
        "subject_calls": "; ".join(
            f"{call['subject']} ({call['group']}) {call['call']} {call['mean'][-1]:.2f}" for call in calls
        ),
    }


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV; what a spreadsheet would take for a formula is quoted."""
    frame = pd.DataFrame(list(rows))
    for column in frame.columns:
        frame[column] = frame[column].map(
            lambda value: f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" else value
        )
    with written_beside(path, overwrite=True) as partial:
        frame.to_csv(partial, index=False)
