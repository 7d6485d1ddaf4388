"""What the colours of the fibres mean: a line that follows their layer, whichever tab coloured it."""

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_mitoxai.napari.fibre_table import legend
from napari_mitoxai.napari.top import wrapped


class FibreLegend(QWidget):
    """A legend of one layer of fibres.

    Parameters
    ----------
    changed : callable, optional
        Called when the colours change.
    """

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._layer: Any = None
        self._changed = changed
        self._text = wrapped(name="fibre_legend")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._text)
        self._show()

    def follow(self, layer: Any) -> None:
        """Tell of this layer from now on, or of none."""
        if layer is self._layer:
            return
        if self._layer is not None:
            self._layer.events.colormap.disconnect(self._on_colours)
        self._layer = layer
        if layer is not None:
            layer.events.colormap.connect(self._on_colours)
        self._show()

    def _on_colours(self, _: Any = None) -> None:
        self._show()
        if self._changed is not None:
            self._changed()

    def _show(self) -> None:
        text = legend(self._layer) if self._layer is not None else ""
        self._text.setText(text)
        self.setVisible(bool(text))
