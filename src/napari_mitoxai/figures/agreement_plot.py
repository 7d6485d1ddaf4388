"""How far methods agree, in one figure: a matrix of all pairs for every measure, and a dendrogram that orders them."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

if TYPE_CHECKING:
    import pandas as pd

_WIDTH_IN = 7.1  # 180 mm, two columns
_ORDERED_BY = ("rank_correlation_pixels", "rank_correlation_fibres")
TITLES = {
    "rank_correlation_pixels": "rank correlation, pixels",
    "rank_correlation_fibres": "rank correlation, fibres",
    "top_overlap_pixels": "overlap of the top {top:.3g} %, pixels",
    "top_overlap_fibres": "overlap of the top {top:.3g} %, fibres",
    "ssim": "SSIM",
}
_MOST_WRITTEN = 12  # methods; of more, the numbers would not fit into the cells


def agreement_figure(
    table: "pd.DataFrame", *, title: str = "", top: float = 0.1, baselines: Collection[str] = ()
) -> Figure:
    """Draw the agreement of methods.

    Parameters
    ----------
    table : pandas.DataFrame
        ``method_a, method_b, measure, value``: a row a pair and measure, of one section or over all.
    title : str
        What it is of.
    top : float
        Share of the pixels whose overlap was measured; it is chance.
    baselines : collection of str
        Methods that know nothing of the class; they are drawn in italics.

    Returns
    -------
    Figure
        Dendrograms (average linkage of 1 - rank correlation) over pixels and, where they were measured, fibres; then a matrix for every
        measure in the order of the first.
    """
    names = methods_of(table)
    measures = [measure for measure in TITLES if (table["measure"] == measure).any()]
    trees = [measure for measure in _ORDERED_BY if measure in measures]
    order = ordered(matrix_of(table, _ORDERED_BY[0], names))[1]
    rows = (len(measures) + len(trees) + 1) // 2
    side = max(2.3, 0.24 * len(names) + 0.9)
    figure = Figure(figsize=(_WIDTH_IN, 0.4 + side * rows), layout="constrained")
    FigureCanvasAgg(figure)
    shown = [names[index] for index in order]
    for number, measure in enumerate(trees):
        axes = figure.add_subplot(rows, 2, number + 1)
        tree, own = ordered(matrix_of(table, measure, names))
        draw_tree(axes, tree, [names[index] for index in own], baselines)
        _letter(axes, number, f"groups by {TITLES[measure]}")
    for number, measure in enumerate(measures, len(trees)):
        axes = figure.add_subplot(rows, 2, number + 1)
        drawn = draw_matrix(axes, matrix_of(table, measure, shown), shown, baselines, measure)
        _letter(axes, number, TITLES[measure].format(top=100 * top))
        bar = figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0, 0.05, 1)))
        bar.ax.tick_params(labelsize=6)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def methods_of(table: "pd.DataFrame") -> list[str]:
    """The methods of a table, in its order."""
    return list(dict.fromkeys([*table["method_a"], *table["method_b"]]))


def matrix_of(table: "pd.DataFrame", measure: str, names: list[str]) -> NDArray[np.float64]:
    """The pairs of one measure as a symmetric matrix; 1 on its diagonal, nan where there is no number."""
    place = {name: index for index, name in enumerate(names)}
    matrix = np.full((len(names),) * 2, np.nan)
    np.fill_diagonal(matrix, 1)
    own = table[table["measure"] == measure]
    for a, b, value in zip(own["method_a"], own["method_b"], own["value"], strict=True):
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = value
    return matrix


def ordered(correlations: NDArray[np.float64]) -> tuple[NDArray[np.float64] | None, list[int]]:
    """Cluster methods, and put like beside like.

    Parameters
    ----------
    correlations : ndarray (methods, methods)
        nan where there is no number.

    Returns
    -------
    ndarray or None
        The linkage of the first of the ordered methods, average linkage of 1 - correlation; None where fewer than two can be clustered.
    list of int
        The order; last those that lack a number, which are not in the linkage.
    """
    kept = list(range(len(correlations)))
    while kept and (lacking := np.isnan(correlations[np.ix_(kept, kept)]).sum(1)).any():
        kept.pop(int(lacking.argmax()))
    left = [index for index in range(len(correlations)) if index not in kept]
    if len(kept) < 2:
        return None, kept + left
    distances = np.maximum(1 - correlations[np.ix_(kept, kept)], 0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    leaves = dendrogram(tree, no_plot=True)["leaves"]
    return tree, [kept[leaf] for leaf in leaves] + left


def draw_tree(
    axes: Any,
    tree: NDArray[np.float64] | None,
    names: list[str],
    baselines: Collection[str],
    *,
    ink: str = "0.2",
    size: float = 7,
) -> None:
    """Draw a dendrogram lying on its side, the first method on top.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    tree : ndarray or None
        As `ordered` gives it.
    names : list of str
        In its order.
    baselines : collection of str
        Methods in italics.
    ink : str
        Colour of its lines.
    size : float
        Of its text, in points.
    """
    if tree is not None:
        lines = dendrogram(tree, no_plot=True)
        for across, along in zip(lines["icoord"], lines["dcoord"], strict=True):
            axes.plot(along, (np.array(across) - 5) / 10, color=ink, linewidth=1.2)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_ylim(len(names) - 0.5, -0.5)
    right = max(1.0, 1.05 * tree[:, 2].max()) if tree is not None else 1.0
    axes.set_xlim(right, 0)
    axes.yaxis.tick_right()
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=size)
    axes.set_xlabel("1 - rank correlation", fontsize=size + 1)
    for spine in ("top", "left", "right"):
        axes.spines[spine].set_visible(False)
    slant(axes.get_yticklabels(), baselines)


def draw_matrix(
    axes: Any,
    matrix: NDArray[np.float64],
    names: list[str],
    baselines: Collection[str],
    measure: str,
    *,
    size: float = 6,
    ink: str = "black",
) -> Any:
    """Draw one matrix of all pairs with its numbers into empty axes; returns the image.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    matrix : ndarray (methods, methods)
        nan is grey.
    names : list of str
    baselines : collection of str
        Methods in italics.
    measure : str
        An overlap goes from 0 to 1, the others from -1 to 1.
    size : float
        Of its text, in points.
    ink : str
        Colour of the names.
    """
    # an overlap has no sign; correlation and similarity have
    overlap = measure.startswith("top")
    drawn = axes.imshow(matrix, cmap="Blues" if overlap else "PuOr_r", vmin=0 if overlap else -1, vmax=1)
    axes.set_facecolor("0.85")  # shows where there is no number
    axes.set_xticks(
        range(len(names)), names, fontsize=size, rotation=45, ha="right", rotation_mode="anchor", color=ink
    )
    axes.set_yticks(range(len(names)), names, fontsize=size, color=ink)
    axes.tick_params(length=0)
    slant([*axes.get_xticklabels(), *axes.get_yticklabels()], baselines)
    if len(names) <= _MOST_WRITTEN:
        for (row, column), value in np.ndenumerate(matrix):
            if row != column and np.isfinite(value):
                dark = abs(value) > 0.6
                text = f"{value:.2f}".replace("-0.00", "0.00")
                axes.text(
                    column,
                    row,
                    text,
                    ha="center",
                    va="center",
                    fontsize=size - 1,
                    color="white" if dark else "black",
                )
    return drawn


def _letter(axes: Any, number: int, title: str) -> None:
    axes.set_title(f"{'abcdefgh'[number]}  {title}", loc="left", fontsize=8)


def slant(labels: Any, baselines: Collection[str]) -> None:
    """Set labels of methods that know nothing of the class in italics."""
    for label in labels:
        if label.get_text().partition(" (")[0].partition("@")[0] in baselines:
            label.set_fontstyle("italic")
