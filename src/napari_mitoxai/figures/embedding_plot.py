"""Patches laid out in a plane, coloured by what they are: one small plot for every method and space."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    import pandas as pd

_WIDTH_IN = 7.1  # 180 mm, two columns
_SIDE_IN = 1.75
_LEGEND_IN = 1.2
METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
SPACES = {"pixels": "pixels", "features": "features"}
# Okabe and Ito's colours, apart for every reader; more values take a scale that is read along with the legend
_FEW = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#999999")
_MOST_LISTED = 20
# filled circles were trained on, and triangles not
HELD_OUT = "^"
TRAINED_ON = "o"


def colours_of(values: Sequence[str]) -> dict[str, str]:
    """A colour for each value, the same whenever the same values are there."""
    different = sorted(set(values))
    if len(different) <= len(_FEW):
        return dict(zip(different, _FEW, strict=False))
    scale = colormaps["turbo"]
    return {
        value: "#{:02x}{:02x}{:02x}".format(
            *(round(255 * part) for part in scale(index / (len(different) - 1))[:3])
        )
        for index, value in enumerate(different)
    }


def draw_points(axes: Any, rows: "pd.DataFrame", column: str, *, size: float, ink: str = "black") -> None:
    """Scatter the patches of one method and space; a triangle was held out from training, a circle not.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        To draw on.
    rows : pandas.DataFrame
        Of one method and space.
    column : str
        What colours them.
    size : float
        Of a point, in points.
    ink : str
        Of the title and the frame.
    """
    colours = colours_of(rows[column].astype(str).tolist())
    for marker, seen in ((TRAINED_ON, True), (HELD_OUT, False)):
        own = rows[rows["use"].isin(["train", "validation"]) == seen]
        axes.scatter(
            own["axis_1"], own["axis_2"], c=[colours[str(value)] for value in own[column]], s=size**2, marker=marker,
            linewidths=0, alpha=0.75,
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(ink)
        spine.set_linewidth(0.5)


def title_of(method: str, space: str) -> str:
    """``t-SNE of pixels``."""
    return f"{METHODS[method]} of {SPACES[space]}"


def embedding_figure(table: "pd.DataFrame", colours: Sequence[str]) -> Figure:
    """Draw patches laid out: a row of plots for every column that colours them.

    Parameters
    ----------
    table : pandas.DataFrame
        As `mitoxai embed` writes it.
    colours : sequence of str
        Columns of it.

    Returns
    -------
    Figure
        Pixels beside features; axes have no units, as distances between groups of points mean little.
    """
    plots = [
        (method, space)
        for method in METHODS
        for space in SPACES
        if ((table["method"] == method) & (table["space"] == space)).any()
    ]
    side = (_WIDTH_IN - _LEGEND_IN) / len(plots) if len(plots) > 2 else _SIDE_IN * 1.5
    figure = Figure(
        figsize=(side * len(plots) + _LEGEND_IN, (side + 0.3) * len(colours)), dpi=300, layout="constrained"
    )
    FigureCanvasAgg(figure)
    for row, column in enumerate(colours):
        for place, (method, space) in enumerate(plots):
            axes = figure.add_subplot(len(colours), len(plots), row * len(plots) + place + 1)
            own = table[(table["method"] == method) & (table["space"] == space)]
            draw_points(axes, own, column, size=2.2)
            letter = "abcdefghijklmnopqrstuvwxyz"[(row * len(plots) + place) % 26]
            axes.set_title(f"{letter}  {title_of(method, space)}", loc="left", fontsize=7)
        axes.legend(
            handles=legend_of(table, column), title=column, fontsize=6, title_fontsize=7, frameon=False, loc="upper left",
            bbox_to_anchor=(1.02, 1.02), borderaxespad=0, handletextpad=0.2,
        )  # fmt: skip
    return figure


def legend_of(table: "pd.DataFrame", column: str, ink: str = "0.2") -> list[Line2D]:
    """What colours and marks mean; of many values those that fit."""
    colours = colours_of(table[column].astype(str).tolist())
    shown = list(colours.items())[:_MOST_LISTED]
    handles = [_mark("s", colour, value or "(none)") for value, colour in shown]
    if len(colours) > len(shown):
        handles.append(_mark("", ink, f"and {len(colours) - len(shown)} more"))
    seen = table["use"].isin(["train", "validation"])
    if seen.any():
        handles.append(_mark(TRAINED_ON, ink, "trained on"))
    if not seen.all():
        handles.append(_mark(HELD_OUT, ink, "held out"))
    return handles


def _mark(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=4, label=label)
