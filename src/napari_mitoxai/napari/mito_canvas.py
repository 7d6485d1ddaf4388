"""The 2Dmito plot in a dock, in which fibres are selected by a click or a drawn loop."""

from collections.abc import Collection
from typing import Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.widgets import LassoSelector
from napari.utils.theme import get_theme
from qtpy.QtCore import Signal  # type: ignore[attr-defined]

from napari_mitoxai.figures.mito_plot import MitoPlot, draw_mito
from napari_mitoxai.napari.fibre_table import SELECTED

Key = tuple[str, int]
"""A fibre: its section's name and its label."""

_NEAR = 8.0  # pixels of the screen: a click this near to a point means it; a shorter loop is a click


class MitoCanvas(FigureCanvasQTAgg):
    """Shows one protein of one subject."""

    selected = Signal(object)  # list of Key

    def __init__(self) -> None:
        super().__init__(Figure(figsize=(3.3, 3.0), layout="constrained"))
        self.setObjectName("mito_plot")
        self.setMinimumSize(240, 270)
        self._axes: Any = self.figure.add_subplot()
        self._theme = "dark"
        self._plot: MitoPlot | None = None
        self._marked: set[Key] = set()
        self._marks: Any = None
        self._lasso: Any = None
        self.set_theme("dark")

    @property
    def plot(self) -> MitoPlot | None:
        """What is shown."""
        return self._plot

    def keys(self) -> list[Key]:
        """The fibres shown, in order."""
        if self._plot is None:
            return []
        fibres = self._plot.fibres
        return list(zip(fibres["section"].astype(str), fibres["fibre"].astype(int), strict=True))

    def show_plot(self, plot: MitoPlot | None) -> None:
        """Show a plot, or nothing."""
        self._plot = plot
        self._draw()

    def mark(self, keys: Collection[Key]) -> None:
        """Mark fibres."""
        self._marked = set(keys)
        self._draw_marks()

    def set_theme(self, theme: str) -> None:
        """Follow napari's theme."""
        self._theme = theme
        self._draw()

    def choose(self, loop: Any) -> None:
        """Select the fibres in a loop; a loop as small as a click selects the nearest, or none.

        Parameters
        ----------
        loop : sequence of (x, y)
            In the units of the axes.
        """
        if self._plot is None:
            return
        points = self._plot.fibres[["x", "y"]].to_numpy(float)
        keys = self.keys()
        on_screen = self._axes.transData.transform(np.asarray(loop, float))
        if np.ptp(on_screen, axis=0).max() < _NEAR:
            away = (
                np.hypot(*(self._axes.transData.transform(points) - on_screen[0]).T)
                if len(points)
                else np.array([])
            )
            chosen = [keys[int(away.argmin())]] if len(away) and away.min() < _NEAR else []
        else:
            inside = Outline(np.asarray(loop, float)).contains_points(points)
            chosen = [key for key, within in zip(keys, inside, strict=True) if within]
        self.selected.emit(chosen)

    def _draw(self) -> None:
        colours = get_theme(self._theme)
        back, ink = colours.background.as_hex(), colours.text.as_hex()
        self._axes.clear()
        self.figure.set_facecolor(back)
        self._axes.set_facecolor(back)
        self._axes.set_axis_off()
        self._marks = None
        if self._plot is not None:
            self._axes.set_axis_on()
            draw_mito(self._axes, self._plot, ink=ink, size=8)
            self._marks = self._axes.scatter(
                [], [], s=36, facecolors="none", edgecolors=SELECTED, linewidths=1.4
            )
            self._lasso = LassoSelector(self._axes, self.choose, props={"color": ink, "linewidth": 1})
        self._draw_marks()

    def _draw_marks(self) -> None:
        if self._marks is not None and self._plot is not None:
            chosen = [key in self._marked for key in self.keys()]
            self._marks.set_offsets(self._plot.fibres[["x", "y"]].to_numpy(float)[chosen].reshape(-1, 2))
        self.draw_idle()
