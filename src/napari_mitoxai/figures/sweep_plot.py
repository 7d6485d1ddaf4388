"""The table of a sweep as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito: apart for every reader
_PATCHES, _SUBJECTS = "#e69f00", "#0072b2"


def draw_sweep(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the accuracies of a sweep, one line a configuration, the best on top.

    Parameters
    ----------
    table : sequence of dict
        As `ranked` gives it.
    path : Path
        PNG to write.
    """
    figure = Figure(figsize=(6.5, 1.4 + 0.35 * len(table)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(table):
        if "patch_random_accuracy_mean" in row:
            axes.errorbar(
                row["patch_random_accuracy_mean"], place - 0.12, xerr=row["patch_random_accuracy_sd"] or 0,
                fmt="o", color=_PATCHES, capsize=3, label="patches at random: optimistic (mean ± SD over seeds)",
            )  # fmt: skip
        if row.get("subject_accuracy") is not None:
            value = row["subject_accuracy"]
            low, high = row["subject_interval_low"], row["subject_interval_high"]
            axes.errorbar(
                value, place + 0.12, xerr=[[max(value - low, 0)], [max(high - value, 0)]],
                fmt="s", color=_SUBJECTS, capsize=3, label="subjects left out (95 % Wilson interval)",
            )  # fmt: skip
    axes.set_yticks(range(len(table)), [f"{row['channels']}, {row['architecture']}" for row in table])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("accuracy")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, format="png", dpi=150)
