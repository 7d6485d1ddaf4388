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
    rows = (0.2 * len(ranks), 0.3 * len(ways))
    figure = Figure(figsize=(max(2.6 + 0.42 * len(ways), 4.2), sum(rows) + 2.4), layout="constrained")
    FigureCanvasAgg(figure)
    # one above the other: the ways are the columns of both, and it can be read in a narrow window
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=rows)
    _cells(
        upper, ranks.to_numpy(float), ways, list(ranks.index), "Blues_r", (0.5, len(ranks) + 3.0), "{:.0f}"
    )
    upper.set_title("a  rank of each channel (1 matters most)", loc="left", fontsize=8)
    drawn = _cells(lower, correlations.to_numpy(float), ways, ways, "PuOr_r", (-1.0, 1.0), "{:.2f}")
    lower.set_title("b  rank correlation of the ways", loc="left", fontsize=8)
    figure.colorbar(drawn, ax=lower, shrink=0.8).ax.tick_params(labelsize=6)
    if title:
        figure.suptitle(title, fontsize=8)
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
