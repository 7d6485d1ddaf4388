"""The learning curve, drawn while it grows. Import this module only when a plot is wanted: it brings matplotlib."""

from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from napari.utils.theme import get_theme

# Okabe and Ito's blue and orange: apart for every reader, on dark and on light.
_COLOURS = {"train": ("#56b4e9", "training"), "validation": ("#e69f00", "validation")}
_FIGURES = ("loss", "accuracy")


class LossPlot(FigureCanvasQTAgg):
    """Loss and accuracy by epoch, of training and validation."""

    def __init__(self) -> None:
        super().__init__(Figure(figsize=(3.2, 2.9), layout="constrained"))
        self.setObjectName("loss_plot")
        self.setMinimumSize(200, 260)
        self._axes = dict(zip(_FIGURES, self.figure.subplots(2, sharex=True), strict=True))
        self._theme = "dark"
        self._title = ""
        self.points: dict[str, list[tuple[float, float]]] = {
            f"{part}_{figure}": [] for figure in _FIGURES for part in _COLOURS
        }

    def start(self, title: str = "") -> None:
        """Start a new curve; the title says of which training, where there are several."""
        self._title = title
        for points in self.points.values():
            points.clear()
        self._draw()

    def add(self, *rows: dict[str, float]) -> None:
        """Add the values of epochs."""
        for values in rows:
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
        self.figure.set_facecolor(back)
        for figure, axes in self._axes.items():
            axes.clear()
            axes.set_facecolor(back)
            for part, (colour, label) in _COLOURS.items():
                if points := self.points[f"{part}_{figure}"]:
                    axes.plot(
                        *zip(*points, strict=True), color=colour, label=label, marker="o", markersize=3, linewidth=1.5
                    )  # fmt: skip
            axes.set_ylabel(figure, color=ink, fontsize=8)
            axes.tick_params(colors=ink, labelsize=7)
            for side, spine in axes.spines.items():
                spine.set_visible(side in ("left", "bottom"))
                spine.set_color(ink)
        self._finish(self._axes["loss"], self._axes["accuracy"], ink)
        self.draw_idle()

    def _finish(self, loss: Any, accuracy: Any, ink: str) -> None:
        if any(value > 0 for part in _COLOURS for _, value in self.points[f"{part}_loss"]):
            loss.set_yscale("log")  # the first epochs may be far off
            loss.yaxis.set_major_formatter("{x:g}")
            loss.yaxis.set_minor_formatter("")
        if any(self.points.values()):
            loss.legend(fontsize=7, frameon=False, labelcolor=ink)
        if self._title:
            loss.set_title(self._title, color=ink, fontsize=8, loc="left")
        loss.tick_params(labelbottom=False)
        accuracy.set_ylim(-0.03, 1.03)
        accuracy.set_xlabel("epoch", color=ink, fontsize=8)
        accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
