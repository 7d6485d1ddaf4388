"""The plots of the Relevance tab. Import this module only when a plot is wanted: it brings matplotlib."""

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from numpy.typing import NDArray

from napari_mitoxai.fibres.answers import Answer
from napari_mitoxai.fibres.relevance import RegionSums
from napari_mitoxai.figures.relevance_plot import draw_below_each_other

_PANEL_PX = 190


class RelevanceCanvas(FigureCanvasQTAgg):
    """Where the relevance of one map falls."""

    def __init__(self) -> None:
        super().__init__(Figure(figsize=(3.3, 6.0), layout="constrained"))
        self.setObjectName("relevance_plot")
        self._shown: tuple[Sequence[RegionSums], Sequence[Answer], NDArray[np.bool_], str] | None = None
        self._theme = "dark"

    def show_map(
        self, sums: RegionSums, answers: Sequence[Answer], counted: NDArray[np.bool_], colour: str
    ) -> None:
        """Show a map's numbers, of the fibres that are counted, in the colour of its method."""
        self._shown = [sums], answers, counted, colour
        self._draw()

    def set_theme(self, theme: str) -> None:
        """Follow napari's theme."""
        self._theme = theme
        self._draw()

    def _draw(self) -> None:
        if self._shown is None:
            return
        sums, answers, counted, colour = self._shown
        draw_below_each_other(self.figure, sums, answers, counted, {sums[0].method: colour})
        theme = get_theme(self._theme)
        back, ink = theme.background.as_hex(), theme.text.as_hex()
        self.figure.set_facecolor(back)
        for axes in self.figure.axes:
            axes.set_facecolor(back)
            axes.tick_params(colors=ink)
            for text in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
                text.set_color(ink)
            for spine in axes.spines.values():
                spine.set_color(ink)
            legend = axes.get_legend()
            if legend is not None:
                for text in legend.get_texts():
                    text.set_color(ink)
        self.setMinimumSize(240, _PANEL_PX * len(self.figure.axes))
        self.draw_idle()
