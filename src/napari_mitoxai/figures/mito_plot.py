"""The 2Dmito plot: mitochondrial mass against a protein, control fibres with their line, and a subject's fibres."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_mitoxai.common.files import written_beside
from napari_mitoxai.fibres.oxphos import Calls
from napari_mitoxai.fibres.regression import ControlLine, Status, logged
from napari_mitoxai.figures.status import CONTROL_COLOUR, STATUS_COLOURS


@dataclass(frozen=True)
class MitoPlot:
    """What a 2Dmito plot shows.

    Attributes
    ----------
    reference, protein, subject : str
        Of the axes and of the title.
    value : str
        What the axes' logarithms are of, as ``mean + 1``; empty where it is not known.
    controls : ndarray
        (2, N), logged mass and protein of the control fibres.
    fibres : pandas.DataFrame
        The subject's fibres that are called, as in `Calls`, with the columns ``x, y, z, status``.
    line : ControlLine
        Through the controls.
    """

    reference: str
    protein: str
    subject: str
    value: str
    controls: NDArray[np.float64]
    fibres: pd.DataFrame
    line: ControlLine


def mito_plot(calls: Calls, protein: str, subject: str) -> MitoPlot:
    """Take what a plot needs from calls."""
    x, y = logged(calls.fibres[calls.reference]), logged(calls.fibres[protein])
    good = np.isfinite(calls.fibres[f"{protein}_z"].to_numpy(float))  # those that were called
    control = good & (calls.fibres["group"] == "control").to_numpy()
    own = good & (calls.fibres["subject"] == subject).to_numpy()
    z, status = calls.fibres[f"{protein}_z"], calls.fibres[f"{protein}_status"]
    fibres = calls.fibres[["section", "fibre"]].assign(x=x, y=y, z=z, status=status)[own]
    return MitoPlot(
        calls.reference,
        protein,
        subject,
        calls.value,
        np.stack([x[control], y[control]]),
        fibres,
        calls.lines[protein],
    )


def _axis(name: str, value: str) -> str:
    return f"ln({name} {value})" if value else f"ln {name}"


def draw_mito(axes: Any, plot: MitoPlot, *, ink: str = "black", size: float = 8) -> Any:
    """Draw a 2Dmito plot.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Empty.
    plot : MitoPlot
        What to show.
    ink : str
        Colour of the line and the text.
    size : float
        Of the text in points.

    Returns
    -------
    matplotlib.collections.PathCollection
        The subject's fibres, in the order of `plot.fibres`.
    """
    axes.scatter(
        *plot.controls,
        s=5,
        color=CONTROL_COLOUR,
        alpha=0.35,
        linewidths=0,
        label="control fibres",
        rasterized=True,
    )
    colours = [STATUS_COLOURS[each] for each in plot.fibres["status"]]
    points = axes.scatter(
        plot.fibres["x"], plot.fibres["y"], s=7, c=colours, alpha=0.8, linewidths=0, rasterized=True
    )
    masses = np.concatenate([plot.controls[0], plot.fibres["x"].to_numpy()])
    grid = np.linspace(masses.min(), masses.max(), 200)
    fit, half = plot.line.fit(grid), plot.line.half_width(grid)
    axes.plot(grid, fit, color=ink, linewidth=1)
    for edge in (fit - half, fit + half):
        axes.plot(grid, edge, color=ink, linewidth=0.8, linestyle="--")
    axes.set_xlabel(_axis(plot.reference, plot.value), color=ink, fontsize=size)
    axes.set_ylabel(_axis(plot.protein, plot.value), color=ink, fontsize=size)
    share = (plot.fibres["status"] == Status.DEFICIENT.value).mean() if len(plot.fibres) else np.nan
    axes.set_title(
        f"{plot.subject}: {share:.1%} of {len(plot.fibres):,} deficient" if len(plot.fibres) else f"{plot.subject}: no fibres",
        color=ink, fontsize=size, loc="left",
    )  # fmt: skip
    axes.tick_params(colors=ink, labelsize=size - 1)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink)
    return points


def save_mito_plots(
    calls: Calls,
    path: Path,
    *,
    subjects: Sequence[str] = (),
    proteins: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Draw the plots of all subjects (rows) and proteins (columns) into one file.

    Parameters
    ----------
    calls : Calls
        What to show.
    path : Path
        PNG, PDF or SVG.
    subjects, proteins : sequence of str
        All by default.
    overwrite : bool
        Whether an existing file may be replaced.
    """
    rows = list(subjects) or list(dict.fromkeys(calls.subjects["subject"]))
    columns = list(proteins) or calls.proteins
    figure = Figure(
        figsize=(max(2.2 * len(columns) + 0.4, 4.6), max(2.1 * len(rows) + 0.5, 4.0)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey="col")
    for row, subject in enumerate(rows):
        for column, protein in enumerate(columns):
            draw_mito(grid[row, column], mito_plot(calls, protein, subject), size=7)
            grid[row, column].label_outer()
    handles = [
        grid[0, 0].scatter([], [], s=14, color=colour, label=name)
        for name, colour in (STATUS_COLOURS | {"control fibres": CONTROL_COLOUR}).items()
        if name != Status.NOT_CALLED.value
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=8)
    with written_beside(path, overwrite=overwrite) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=200)
