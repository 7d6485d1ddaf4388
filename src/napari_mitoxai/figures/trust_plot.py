"""Trust scores in one figure: a panel a score with an interval a method, and the curves they come from."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_mitoxai.trust.checks import SCORES
from napari_mitoxai.trust.recorded import FAILS

if TYPE_CHECKING:
    import pandas as pd

_WIDTH_IN = 7.1  # 180 mm, two columns
_ACROSS = 3
_BASELINE, _CHANCE, _FAILED, _METHOD = "#7f7f7f", "#bbbbbb", "#d55e00", "#0072b2"
# Okabe and Ito: apart for every reader
_LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#000000", "#d55e00")
_CURVES = {
    "deletion": ("Deletion", "share removed", "probability"),
    "insertion": ("Insertion", "share put in", "probability"),
    "pixel_flipping_zero": ("Pixel flipping, zero", "share removed", "score"),
    "pixel_flipping_mean": ("Pixel flipping, mean", "share removed", "score"),
    "pixel_flipping_blur": ("Pixel flipping, blur", "share removed", "score"),
    "pixel_flipping_noise": ("Pixel flipping, noise", "share removed", "score"),
    "road_most": ("ROAD, most relevant", "share removed", "score"),
    "road_least": ("ROAD, least relevant", "share removed", "score"),
    "randomisation_rank": ("Random weights", "share of layers drawn anew", "rank correlation"),
}


def trust_figure(
    table: "pd.DataFrame", curves: "pd.DataFrame", *, title: str = "", baselines: Collection[str] = ()
) -> Figure:
    """Draw the scores of methods and their curves.

    Parameters
    ----------
    table : pandas.DataFrame
        ``method, score, value, low, high, patches, seeds, fails_sanity``: a row a method and score.
    curves : pandas.DataFrame
        ``method, curve, share, value``: a row a point.
    title : str
        What was explained.
    baselines : collection of str
        Methods that know nothing of the class, in grey italics; a dashed line shows what the first of them scores.

    Returns
    -------
    Figure
        A panel a score, methods below each other; then a panel for each curve of more than one point.
    """
    methods = list(dict.fromkeys(table["method"]))
    failed = set(table["method"][table["fails_sanity"].astype("boolean").fillna(False)])
    scores = [name for name in SCORES if (table["score"] == name).any()]
    drawn = [name for name in _CURVES if len(set(curves["share"][curves["curve"] == name])) > 1]
    score_rows, curve_rows = -(-len(scores) // _ACROSS), -(-len(drawn) // _ACROSS)
    heights = [0.65 + 0.17 * len(methods)] * score_rows + [1.9] * curve_rows
    figure = Figure(figsize=(_WIDTH_IN, sum(heights) + 0.9), layout="constrained", dpi=200)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), _ACROSS, height_ratios=heights)
    for number, name in enumerate(scores):
        axes = figure.add_subplot(grid[number // _ACROSS, number % _ACROSS])
        own = table[table["score"] == name].set_index("method")
        _dots(axes, own, methods, failed, baselines)
        better = "→ better" if SCORES[name].better == "higher" else "← better"
        axes.set_title(f"{SCORES[name].title}  {better}", fontsize=7, loc="left")
        if (seeds := own["seeds"].max()) > 0:
            axes.set_xlabel(f"{seeds} draws in each patch", fontsize=6)
        if number % _ACROSS:
            axes.set_yticklabels([])
    for number, name in enumerate(drawn):
        axes = figure.add_subplot(grid[score_rows + number // _ACROSS, number % _ACROSS])
        _lines(axes, curves[curves["curve"] == name], methods, baselines)
        heading, below, left = _CURVES[name]
        axes.set_title(heading, fontsize=7, loc="left")
        axes.set_xlabel(below, fontsize=6)
        axes.set_ylabel(left, fontsize=6)
    if drawn:
        handles, labels = figure.axes[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=6)
    said = f"{title}; " if title else ""
    failing = f"; orange: {FAILS}" if failed else ""
    figure.suptitle(
        f"{said}means over up to {table['patches'].max()} patches with 95 % intervals{failing}", fontsize=8
    )
    return figure


def _dots(
    axes: Any, own: "pd.DataFrame", methods: list[str], failed: set[str], baselines: Collection[str]
) -> None:
    chance = next((name for name in baselines if name in own.index), None)
    if chance is not None:
        axes.axvline(own.loc[chance, "value"], color=_CHANCE, linestyle="--", linewidth=0.8, zorder=0)
    for place, method in enumerate(methods):
        if method not in own.index:
            continue
        row = own.loc[method]
        colour = _BASELINE if method in baselines else _FAILED if method in failed else _METHOD
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1)
        axes.plot(row["value"], place, "o", color=colour, markersize=3.5)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    for label, method in zip(axes.get_yticklabels(), methods, strict=True):
        label.set_style("italic" if method in baselines else "normal")
        label.set_color(_FAILED if method in failed else "black")
    _plain(axes)


def _lines(axes: Any, own: "pd.DataFrame", methods: list[str], baselines: Collection[str]) -> None:
    judged = [method for method in methods if method not in baselines]
    for method in methods:
        points = own[own["method"] == method]
        if method in baselines:
            style = {"color": _BASELINE, "linestyle": "--" if method == next(iter(baselines)) else ":"}
        else:
            number = judged.index(method)
            style = {
                "color": _LINES[number % len(_LINES)],
                "linestyle": "-" if number < len(_LINES) else "-.",
            }
        axes.plot(points["share"], points["value"], linewidth=1, label=method, **style)
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
