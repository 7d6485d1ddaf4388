"""A picture from the disk, as wide as the dock that it is in."""

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap, QResizeEvent
from qtpy.QtWidgets import QLabel, QSizePolicy


class Picture(QLabel):
    """A picture as wide as the dock.

    Parameters
    ----------
    name : str
        For tests and style sheets.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self._whole = QPixmap()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_file(self, path: Path) -> None:
        """Show a picture from the disk."""
        self._whole = QPixmap(str(path))
        self.setToolTip(str(path))
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Keep its proportions."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if not self._whole.isNull() and self.width() > 0:
            shown = self._whole.scaledToWidth(self.width(), Qt.TransformationMode.SmoothTransformation)
            self.setPixmap(shown)
            self.setFixedHeight(shown.height())
