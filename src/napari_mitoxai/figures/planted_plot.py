"""How well methods find a planted truth, in one figure: a panel a signal, the best method on top."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_mitoxai.simulate.signals import SIGNALS

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito: apart for every reader
_METHOD, _BASELINE = "#0072b2", "#999999"
_WIDTH_IN = 7.1  # 180 mm, two columns
_RANKED_BY = "mass"


def planted_figure(table: "pd.DataFrame", baselines: Collection[str] = ()) -> Figure:
    """Draw the relevance mass accuracy of all methods.

    Parameters
    ----------
    table : pandas.DataFrame
        As `napari_mitoxai.trust.planted_table.over_seeds` gives it.
    baselines : collection of str
        Methods that know nothing of the class; they are grey, and their names slanted.

    Returns
    -------
    Figure
        A panel a signal, a row a method by its value: mean and 95 % interval over seeds, a dashed line for chance.
    """
    mass = table[table["score"] == _RANKED_BY]
    signals = list(dict.fromkeys(mass["signal"]))
    rows = (len(signals) + 1) // 2
    most = int(mass.groupby("signal")["method"].size().max())
    figure = Figure(figsize=(_WIDTH_IN, rows * (0.9 + 0.155 * most)), layout="constrained")
    FigureCanvasAgg(figure)
    for number, signal in enumerate(signals):
        axes = figure.add_subplot(rows, 2 if len(signals) > 1 else 1, number + 1)
        _panel(axes, mass[mass["signal"] == signal], baselines)
        axes.set_title(f"{'abcdefgh'[number]}   {SIGNALS[signal].title}", loc="left", fontsize=8)
    figure.supxlabel("share of the positive relevance in the planted truth; dashed: chance", fontsize=8)
    return figure


def _panel(axes: Any, rows: "pd.DataFrame", baselines: Collection[str]) -> None:
    rows = rows.sort_values("value", ascending=False, kind="stable")
    numbers = rows[["value", "low", "high"]].to_numpy(float)
    for place, (method, (value, low, high)) in enumerate(zip(rows["method"], numbers, strict=True)):
        colour = _BASELINE if method in baselines else _METHOD
        if np.isfinite(low):
            axes.plot([low, high], [place, place], color=colour, linewidth=1.2)
        axes.plot(value, place, "o", color=colour, markersize=3.5)
    axes.axvline(rows["chance"].mean(), color="0.3", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), rows["method"].tolist(), fontsize=6)
    for label in axes.get_yticklabels():
        if label.get_text() in baselines:
            label.set_fontstyle("italic")
            label.set_color("0.35")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.tick_params(axis="x", labelsize=6)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
