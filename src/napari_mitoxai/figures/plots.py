"""Plots as panels of a figure: what tables say, drawn into the room that a panel has."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from napari_mitoxai.figures.cells import PlotCell
from napari_mitoxai.figures.drawing import Page, ink
from napari_mitoxai.figures.layout import Box

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito: apart for every reader
_CYCLE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
_FITS = 3  # labels change as axes shrink: this often is enough


def draw_into(page: Page, room: Box, cell: PlotCell) -> None:
    """Draw a plot so that its labels end where the panel does.

    Parameters
    ----------
    page : Page
    room : Box
        What the plot may take, labels included, in pixels.
    cell : PlotCell
        What to draw.
    """
    width, height = page.layout.width, page.layout.height
    right, bottom = room.x + room.width, height - room.y - room.height
    axes = page.figure.add_axes(
        (room.x / width, bottom / height, room.width / width, room.height / height), facecolor="none"
    )
    cell.draw(axes, ink(page.look.background), page.look.font_pt * 0.9)
    for text in _texts(axes):
        text.set_fontfamily(page.look.font)
    canvas: Any = page.figure.canvas
    for _ in range(_FITS):
        box, tight = axes.get_window_extent(), axes.get_tightbbox(canvas.get_renderer())
        if tight is None:
            return
        x0 = box.x0 + room.x - tight.x0
        y0 = box.y0 + bottom - tight.y0
        x1, y1 = box.x1 + right - tight.x1, box.y1 + height - room.y - tight.y1
        axes.set_position((x0 / width, y0 / height, max(x1 - x0, 8) / width, max(y1 - y0, 8) / height))


def _texts(axes: Axes) -> list[Any]:
    legend = axes.get_legend()
    return [
        axes.title,
        axes.xaxis.label,
        axes.yaxis.label,
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
        *axes.texts,
        *(legend.get_texts() if legend is not None else ()),
    ]


def _dress(axes: Axes, ink: str, size: float) -> None:
    axes.tick_params(labelsize=size, colors=ink, length=2)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(size)
        label.set_color(ink)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink)


def training_curve(axes: Axes, history: "pd.DataFrame", ink: str, size: float) -> None:
    """Loss by epoch, of the patches trained on and of those of validation subjects.

    Parameters
    ----------
    axes : Axes
        Empty.
    history : pandas.DataFrame
        As a run's ``history.csv``: ``epoch, train_loss`` and, where subjects were set aside, ``validation_loss``.
    ink, size
        Colour and size of text.
    """
    epochs = np.arange(1, len(history) + 1)
    for (column, name), colour in zip(
        (("train_loss", "training"), ("validation_loss", "validation")), _CYCLE, strict=False
    ):
        if column in history and history[column].notna().any():
            axes.plot(epochs, history[column], color=colour, linewidth=1.2, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    _dress(axes, ink, size)
    axes.legend(fontsize=size, frameon=False, labelcolor=ink)


def compartment_bars(
    axes: Axes, table: "pd.DataFrame", methods: Sequence[str], ink: str, size: float
) -> None:
    """Enrichment of positive relevance by compartment, a bar a method.

    Parameters
    ----------
    axes : Axes
        Empty.
    table : pandas.DataFrame
        Of one section and of all channels together: ``compartment, method, enrichment``.
    methods : sequence of str
        In the order of the bars.
    ink, size
        Colour and size of text.
    """
    names = list(dict.fromkeys(table["compartment"]))
    height = 0.8 / len(methods)
    for index, method in enumerate(methods):
        own = table[table["method"] == method].set_index("compartment")["enrichment"].reindex(names)
        axes.barh(
            np.arange(len(names)) + index * height, own.to_numpy(float) - 1, height, left=1,
            color=_CYCLE[index % len(_CYCLE)], label=method,
        )  # fmt: skip
    axes.axvline(1, color=ink, linewidth=0.6)
    axes.set_yticks(np.arange(len(names)) + 0.4 - height / 2, names)
    axes.invert_yaxis()
    axes.set_xlabel("positive relevance over an even map's")
    _dress(axes, ink, size)
    # above the bars, which would lie under it
    axes.legend(
        fontsize=size, frameon=False, labelcolor=ink, loc="lower left", bbox_to_anchor=(0, 1), ncols=2,
        borderaxespad=0, handlelength=1, columnspacing=1,
    )  # fmt: skip
