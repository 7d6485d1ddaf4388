"""How far methods agree, drawn in a tab. Import this module only when a plot is wanted: it brings matplotlib."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from qtpy.QtCore import Signal  # type: ignore[attr-defined]

from napari_mitoxai.figures.agreement_plot import draw_matrix, draw_tree, matrix_of, methods_of, ordered
from napari_mitoxai.tasks.agree import BASELINES

if TYPE_CHECKING:
    import pandas as pd

_ROW_PX = 22  # a method's
_LEAST_PX = 230  # of each plot


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
            rows = max(_ROW_PX * len(names) + 110, _LEAST_PX), max(_ROW_PX * len(names) + 50, 120)
            above, below = self.figure.subplots(2, 1, height_ratios=rows)
            drawn = draw_matrix(
                above, matrix_of(table, measure, self._names), self._names, BASELINES, measure, size=7
            )
            bar = self.figure.colorbar(drawn, ax=above, location="top", shrink=0.7, aspect=25)
            bar.ax.tick_params(labelsize=7, colors=ink)
            draw_tree(below, tree, self._names, BASELINES, ink=ink, size=7)
            below.set_xlabel("1 - agreement", fontsize=8, color=ink)
            below.set_facecolor(back)
            for axes in (above, below):
                axes.tick_params(colors=ink)
                for spine in axes.spines.values():
                    spine.set_color(ink)
            self._matrix = above
            self.setFixedHeight(sum(rows))
        self.draw_idle()

    def _on_click(self, event: Any) -> None:
        if self._matrix is None or event.inaxes is not self._matrix:
            return
        row, column = (round(place) for place in (event.ydata, event.xdata))
        if row != column and max(row, column) < len(self._names) and np.isfinite(event.xdata):
            self.chosen.emit(self._names[row], self._names[column])
