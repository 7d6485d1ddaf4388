"""The figure as it will be, small in the tab and large in a window of its own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QImage, QPixmap, QResizeEvent
from qtpy.QtWidgets import QDialog, QLabel, QScrollArea, QVBoxLayout

_LARGEST = (1100, 850)  # of the window, in pixels of the screen


class FigurePreview(QLabel):
    """Shows pixels as wide as the tab is; a click shows them as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("figure_preview")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setMinimumSize(200, 60)
        self.setToolTip("Click to see it larger.")
        self.pixels: NDArray[np.uint8] | None = None
        self._picture: QPixmap | None = None
        self._large: QDialog | None = None

    def show_pixels(self, pixels: NDArray[np.uint8]) -> None:
        """Show an RGBA image (Y, X, 4)."""
        self.pixels = pixels = np.ascontiguousarray(pixels)
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888)
        self._picture = QPixmap.fromImage(image)  # a copy
        self._fit()
        if self._large is not None and self._large.isVisible():
            self._fill(self._large)

    def _fit(self) -> None:
        if self._picture is None:
            return
        ratio = self.devicePixelRatioF()
        wide = max(self.width(), 200)
        shown = self._picture.scaledToWidth(round(wide * ratio), Qt.TransformationMode.SmoothTransformation)
        shown.setDevicePixelRatio(ratio)
        self.setFixedHeight(round(shown.height() / ratio))
        self.setPixmap(shown)

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Follow the tab's width."""
        super().resizeEvent(event)
        if event is not None and event.size().width() != event.oldSize().width():
            self._fit()

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Narrower than the picture, so that the tab can be made smaller again."""
        return QSize(200, 60)

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Show it larger."""
        if self._picture is None:
            return
        if self._large is None:
            self._large = QDialog(self)
            self._large.setObjectName("large_preview")
            self._large.setWindowTitle("Figure")
            area = QScrollArea()
            area.setWidget(QLabel())
            layout = QVBoxLayout(self._large)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.addWidget(area)
        self._fill(self._large)
        self._large.show()
        self._large.raise_()

    def _fill(self, dialog: QDialog) -> None:
        area = dialog.findChild(QScrollArea)
        label = area.widget() if area is not None else None
        if isinstance(label, QLabel) and self._picture is not None:
            label.setPixmap(self._picture)
            label.adjustSize()
            size = self._picture.size()
            dialog.resize(min(size.width() + 20, _LARGEST[0]), min(size.height() + 20, _LARGEST[1]))
