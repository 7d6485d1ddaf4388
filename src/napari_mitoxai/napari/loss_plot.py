"""The learning curve, drawn while it grows. Import this module only when a plot is wanted: it brings matplotlib."""

from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from napari.utils.theme import get_theme

# Okabe and Ito's blue and orange: apart for every reader, on dark and on light.
_COLOURS = {"train_loss": ("#56b4e9", "training"), "validation_loss": ("#e69f00", "validation")}


class LossPlot(FigureCanvasQTAgg):
    """Training and validation loss by epoch."""

    def __init__(self) -> None:
        super().__init__(Figure(figsize=(3.2, 1.9), layout="constrained"))
        self.setObjectName("loss_plot")
        self.setMinimumSize(200, 170)
        self._axes = self.figure.add_subplot()
        self._theme = "dark"
        self.points: dict[str, list[tuple[float, float]]] = {name: [] for name in _COLOURS}

    def clear_points(self) -> None:
        """Start a new curve."""
        for points in self.points.values():
            points.clear()
        self._draw()

    def add(self, values: dict[str, float]) -> None:
        """Add the values of an epoch."""
        for name, points in self.points.items():
            if name in values and "epoch" in values:
                points.append((values["epoch"], values[name]))
        self._draw()

    def set_theme(self, theme: str) -> None:
        """Follow napari's theme."""
        self._theme = theme
        self._draw()

    def _draw(self) -> None:
        colours = get_theme(self._theme)
        back, ink = colours.background.as_hex(), colours.text.as_hex()
        axes: Any = self._axes
        axes.clear()
        self.figure.set_facecolor(back)
        axes.set_facecolor(back)
        for name, (colour, label) in _COLOURS.items():
            if self.points[name]:
                axes.plot(
                    *zip(*self.points[name], strict=True),
                    color=colour,
                    label=label,
                    marker="o",
                    markersize=3,
                    linewidth=1.5,
                )
        axes.set_xlabel("epoch", color=ink, fontsize=8)
        axes.set_ylabel("loss", color=ink, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if any(loss > 0 for points in self.points.values() for _, loss in points):
            axes.set_yscale("log")  # the first epochs may be far off
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes.tick_params(colors=ink, labelsize=7)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(ink)
        if any(self.points.values()):
            axes.legend(fontsize=7, frameon=False, labelcolor=ink)
        self.draw_idle()
