"""How far methods agree, drawn in a tab. Import this module only when a plot is wanted: it brings matplotlib."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from qtpy.QtCore import Signal  # type: ignore[attr-defined]

from napari_mitoxai.figures.agreement_plot import (
    draw_matrix,
    draw_tree,
    matrix_of,
    methods_of,
    ordered,
    slant,
)
from napari_mitoxai.trust.recorded import BASELINES

if TYPE_CHECKING:
    import pandas as pd

_ROW_PX = 22  # a method's
_ROOM_PX = 150  # for the names below and the scale above
_LEAST_PX = 240


class AgreementCanvas(FigureCanvasQTAgg):
    """A matrix of all pairs, and the dendrogram that orders it; a click on a cell means its two methods."""

    chosen = Signal(str, str)

    def __init__(self) -> None:
        super().__init__(Figure(figsize=(3.3, 5.0), layout="constrained"))
        self.setObjectName("agreement_plot")
        self._shown: tuple[pd.DataFrame, str] | None = None
        self._theme = "dark"
        self._names: list[str] = []
        self._matrix: Any = None
        self.mpl_connect("button_release_event", self._on_click)

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of the matrix."""
        return list(self._names)

    def show_table(self, table: "pd.DataFrame", measure: str) -> None:
        """Show one measure of a table with a row a pair and measure."""
        self._shown = table, measure
        self._draw()

    def set_theme(self, theme: str) -> None:
        """Follow napari's theme."""
        self._theme = theme
        self._draw()

    def _draw(self) -> None:
        self.figure.clear()
        theme = get_theme(self._theme)
        back, ink = theme.background.as_hex(), theme.text.as_hex()
        self.figure.set_facecolor(back)
        self._matrix = None
        if self._shown is not None and len(self._shown[0]):
            table, measure = self._shown
            names = methods_of(table)
            tree, order = ordered(matrix_of(table, measure, names))
            self._names = [names[index] for index in order]
            beside, axes = self.figure.subplots(1, 2, width_ratios=(1, 3))
            draw_tree(beside, tree, self._names, BASELINES, ink=ink, size=7)
            beside.set_yticks([])  # its rows are those of the matrix
            beside.set_xlabel("1 - value", fontsize=7, color=ink)
            beside.set_facecolor(back)
            drawn = draw_matrix(
                axes, matrix_of(table, measure, self._names), self._names, BASELINES, measure, size=7
            )
            axes.set_aspect("auto")
            axes.yaxis.tick_right()
            axes.tick_params(length=0)
            axes.set_xticks(range(len(names)), self._names, fontsize=7, rotation=90)
            slant([*axes.get_xticklabels(), *axes.get_yticklabels()], BASELINES)
            bar = self.figure.colorbar(drawn, ax=[beside, axes], location="top", shrink=0.6, aspect=25)
            bar.ax.tick_params(labelsize=7, colors=ink)
            for each in (beside, axes):
                each.tick_params(colors=ink)
                for spine in each.spines.values():
                    spine.set_color(ink)
            self._matrix = axes
            self.setFixedHeight(max(_ROW_PX * len(names) + _ROOM_PX, _LEAST_PX))
        self.draw_idle()

    def _on_click(self, event: Any) -> None:
        if self._matrix is None or event.inaxes is not self._matrix:
            return
        row, column = (round(place) for place in (event.ydata, event.xdata))
        if row != column and max(row, column) < len(self._names) and np.isfinite(event.xdata):
            self.chosen.emit(self._names[row], self._names[column])
