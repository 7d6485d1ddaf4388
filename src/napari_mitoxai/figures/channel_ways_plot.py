"""Which channels matter by several ways, and how far the ways agree, in one figure."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

_MOST_WRITTEN = 16  # ways; of more, the numbers would not fit into the cells


def channel_ways_figure(table: "pd.DataFrame", correlations: "pd.DataFrame", *, title: str = "") -> Figure:
    """Draw the ranks of channels by each way, and the rank correlations of the ways.

    Parameters
    ----------
    table : pandas.DataFrame
        ``way, channel, rank``: a row a way and channel, rank 1 the most important.
    correlations : pandas.DataFrame
        (ways, ways), Spearman; nan where there is none.
    title : str
        What it is of.

    Returns
    -------
    Figure
        Channels by their mean rank, the most important on top; the ways in the order of the table.
    """
    ways = list(correlations.index)
    ranks = table.pivot_table(index="channel", columns="way", values="rank", sort=False)[ways]
    ranks = ranks.loc[ranks.mean(axis=1).sort_values(kind="stable").index]
    width = 3.2 + 0.62 * len(ways)
    height = 2.3 + max(0.24 * len(ranks), 0.3 * len(ways))
    figure = Figure(figsize=(max(width, 6.0), height), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _cells(left, ranks.to_numpy(float), ways, list(ranks.index), "Blues_r", (0.5, len(ranks) + 3.0), "{:.0f}")
    left.set_title("a  rank of each channel (1 matters most)", loc="left", fontsize=8)
    drawn = _cells(right, correlations.to_numpy(float), ways, ways, "PuOr_r", (-1.0, 1.0), "{:.2f}")
    right.set_title("b  rank correlation of the ways", loc="left", fontsize=8)
    figure.colorbar(drawn, ax=right, shrink=0.6).ax.tick_params(labelsize=6)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def _cells(
    axes: Axes, values: NDArray[np.floating], columns: list[str], rows: list[str], colours: str,
    limits: tuple[float, float], form: str,
) -> AxesImage:  # fmt: skip
    drawn = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_facecolor("0.85")  # shows where there is no number
    axes.set_xticks(range(len(columns)), columns, fontsize=6, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.tick_params(length=0)
    if len(columns) <= _MOST_WRITTEN:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                red, green, blue, _ = drawn.cmap(drawn.norm(value))
                dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
                text = form.format(value).replace("-0.00", "0.00")
                axes.text(
                    column,
                    row,
                    text,
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="white" if dark else "black",
                )
    return drawn
