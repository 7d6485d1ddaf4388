"""The plots of the Embedding tab, in which patches are selected. Import this module only when a plot is wanted: it brings matplotlib."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.widgets import LassoSelector
from napari.utils.theme import get_theme
from numpy.typing import NDArray
from qtpy.QtCore import Signal  # type: ignore[attr-defined]

from napari_mitoxai.figures.embedding_plot import METHODS, SPACES, draw_points, legend_of, title_of
from napari_mitoxai.napari.fibre_table import SELECTED

_NEAR = 8.0  # pixels of the screen: a click this near to a point means it; a shorter loop is a click
_PLOT_PX, _LEGEND_PX = 165, 16
_IN_COLUMNS = 3


class EmbeddingCanvas(FigureCanvasQTAgg):
    """One plot for every method and space; what is selected in one is marked in all."""

    selected = Signal(object)  # list of int: numbers of patches

    def __init__(self) -> None:
        super().__init__(Figure(figsize=(3.3, 3.6)))
        self.setObjectName("embedding_plot")
        self._theme = "dark"
        self._table: pd.DataFrame | None = None
        self._column = ""
        self._points: dict[tuple[str, str], NDArray[np.float64]] = {}
        self._axes: dict[tuple[str, str], Any] = {}
        self._marks: list[tuple[Any, Any]] = []
        self._lassos: list[Any] = []
        self._chosen: list[int] = []
        self._in_view: list[int] = []

    @property
    def plots(self) -> list[tuple[str, str]]:
        """Method and space of each plot."""
        return list(self._axes)

    def show_table(self, table: pd.DataFrame, column: str) -> None:
        """Show what `mitoxai embed` wrote, coloured by a column."""
        self._table, self._column = table, column
        self._draw()

    def set_theme(self, theme: str) -> None:
        """Follow napari's theme."""
        self._theme = theme
        self._draw()

    def mark(self, chosen: list[int], in_view: list[int]) -> None:
        """Mark the patches that were chosen, and those that the window shows a part of the section of."""
        self._chosen, self._in_view = chosen, in_view
        self._draw_marks()

    def place_of(self, plot: tuple[str, str], patch: int) -> tuple[float, float]:
        """Where a patch lies on the canvas, in pixels from its upper left."""
        x, y = self._axes[plot].transData.transform(self._points[plot][patch])
        ratio = self.device_pixel_ratio
        return float(x / ratio), float((self.figure.bbox.height - y) / ratio)

    def choose(self, plot: tuple[str, str], loop: Any) -> None:
        """Select the patches in a loop; a loop as small as a click selects the nearest, or none.

        Parameters
        ----------
        plot : (str, str)
            Method and space.
        loop : sequence of (x, y)
            In the units of its axes.
        """
        points, to_screen = self._points[plot], self._axes[plot].transData.transform
        on_screen = to_screen(np.asarray(loop, float))
        if np.ptp(on_screen, axis=0).max() < _NEAR:
            away = np.hypot(*(to_screen(points) - on_screen[0]).T)
            chosen = [int(away.argmin())] if away.min() < _NEAR else []
        else:
            chosen = np.flatnonzero(Outline(np.asarray(loop, float)).contains_points(points)).tolist()
        self.selected.emit(chosen)

    def _draw(self) -> None:
        colours = get_theme(self._theme)
        back, ink = colours.background.as_hex(), colours.text.as_hex()
        self.figure.clear()
        self.figure.set_facecolor(back)
        self._axes, self._points, self._marks, self._lassos = {}, {}, [], []
        if self._table is None:
            return
        methods = [name for name in METHODS if (self._table["method"] == name).any()]
        legend = legend_of(self._table, self._column, ink)
        legend_px = _LEGEND_PX * (-(-len(legend) // _IN_COLUMNS) + 1)
        height = _PLOT_PX * len(methods) + legend_px
        self.setMinimumSize(300, height)
        self.setMaximumHeight(height)
        bottom = legend_px / height
        for row, method in enumerate(methods):
            for place, space in enumerate(SPACES):
                own = self._table[(self._table["method"] == method) & (self._table["space"] == space)]
                axes = self.figure.add_subplot(len(methods), 2, 2 * row + place + 1)
                axes.set_facecolor(back)
                draw_points(axes, own, self._column, size=3.5, ink=ink)
                axes.set_title(title_of(method, space), fontsize=8, color=ink, pad=3)
                self._axes[method, space] = axes
                self._points[method, space] = own[["axis_1", "axis_2"]].to_numpy(float)
                viewed = axes.scatter([], [], s=10, facecolors=ink, edgecolors="none")
                marks = axes.scatter([], [], s=34, facecolors="none", edgecolors=SELECTED, linewidths=1.3)
                self._marks.append((marks, viewed))
                self._lassos.append(
                    LassoSelector(
                        axes,
                        partial(self.choose, (method, space)),
                        props={"color": ink, "linewidth": 1},
                    )
                )
        self.figure.subplots_adjust(
            left=0.02, right=0.98, top=1 - 18 / height, bottom=bottom, wspace=0.06, hspace=0.16
        )
        self.figure.legend(
            handles=legend, loc="lower left", ncols=_IN_COLUMNS, fontsize=7, frameon=False, labelcolor=ink,
            handletextpad=0.2, columnspacing=1, borderaxespad=0.1,
        )  # fmt: skip
        self._draw_marks()

    def _draw_marks(self) -> None:
        for (marks, viewed), points in zip(self._marks, self._points.values(), strict=True):
            marks.set_offsets(points[self._chosen].reshape(-1, 2))
            viewed.set_offsets(points[self._in_view].reshape(-1, 2))
        self.draw_idle()
