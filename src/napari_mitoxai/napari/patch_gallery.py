"""Pictures of patches, each of which leads to its place in the section."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_error
from numpy.typing import NDArray
from qtpy.QtCore import QSize, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QToolButton, QWidget

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.napari.open_sections import look_at
from napari_mitoxai.napari.state import WindowState

MOST = 16
_ABREAST = 4
_SIDE_PX = 68
_ROUND = 2  # sides of a patch that the view shows around it


@dataclass(frozen=True)
class PatchPlace:
    """A patch.

    Attributes
    ----------
    patch : int
        Its number.
    address : str
        Of its section.
    y_px, x_px : float
        Its centre.
    side_px : int
        Its side, in pixels of the section.
    label : str
        What to call it.
    """

    patch: int
    address: str
    y_px: float
    x_px: float
    side_px: int
    label: str


def pictures_of(
    places: Sequence[PatchPlace], progress: ProgressCallback, cancel: CancelToken
) -> list[NDArray[np.uint8]]:
    """Read patches as colour pictures (Y, X, 3), with one brightness for all, so that they can be compared.

    Raises
    ------
    MitoxaiError
        If a section cannot be read.
    Cancelled
        If it was cancelled.
    """
    from napari_mitoxai.figures import ChannelImage, choose_channels, composite
    from napari_mitoxai.napari.opening import open_section

    strips: list[list[tuple[str, str, NDArray[Any]]]] = []
    for number, place in enumerate(places):
        cancel.check()
        progress(Progress("Reading patches", number, len(places), place.label))
        section = open_section(place.address)
        channels = choose_channels([str(channel.role) for channel in section.panel])
        half, step = place.side_px // 2, max(1, place.side_px // (2 * _SIDE_PX))
        top, left = int(place.y_px) - half, int(place.x_px) - half
        planes = section.read(
            channels, y=slice(top, top + place.side_px), x=slice(left, left + place.side_px)
        )
        small = _averaged(planes, step)
        strips.append(
            [
                (section.panel[index].target, str(section.panel[index].role), plane)
                for index, plane in zip(channels, small, strict=True)
            ]
        )
    if len({tuple((target, plane.shape) for target, _, plane in strip) for strip in strips}) > 1:
        images = [composite([ChannelImage(*channel) for channel in strip]).image for strip in strips]
    else:  # side by side as one picture, so that they share their limits
        joined = [
            ChannelImage(target, role, np.concatenate([strip[index][2] for strip in strips], axis=1))
            for index, (target, role, _) in enumerate(strips[0])
        ]
        images = np.split(composite(joined).image, len(strips), axis=1)
    return [np.ascontiguousarray(np.round(255 * image).astype(np.uint8)) for image in images]


def _averaged(planes: NDArray[Any], step: int) -> NDArray[np.float32]:
    height, width = (side // step * step for side in planes.shape[1:])
    blocks = planes[:, :height, :width].reshape(len(planes), height // step, step, width // step, step)
    return np.asarray(blocks.mean((2, 4)), np.float32)


class PatchGallery(QWidget):
    """Thumbnails, four abreast."""

    clicked = Signal(object)  # PatchPlace

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("patch_gallery")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self._grid.setColumnStretch(_ABREAST, 1)

    def show_places(self, places: Sequence[PatchPlace], pictures: Sequence[NDArray[np.uint8]]) -> None:
        """Show patches in place of those that were shown."""
        while self._grid.count():
            item = self._grid.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None:
                widget.deleteLater()
        for number, (place, picture) in enumerate(zip(places, pictures, strict=True)):
            button = QToolButton()
            button.setObjectName(f"patch_{place.patch}")
            height, width = picture.shape[:2]
            image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            button.setIcon(QIcon(QPixmap.fromImage(image)))
            button.setIconSize(QSize(_SIDE_PX, _SIDE_PX))
            button.setAutoRaise(True)
            button.setFixedSize(_SIDE_PX + 6, _SIDE_PX + 6)
            button.setToolTip(f"{place.label}: click to go there")
            button.clicked.connect(lambda _=False, place=place: self.clicked.emit(place))
            self._grid.addWidget(button, number // _ABREAST, number % _ABREAST)


def section_of(address: str) -> Path:
    """The address as a path, resolved, so that two ways to write it are one."""
    return Path(address).resolve()


def go_to(state: WindowState, place: PatchPlace, address: str) -> None:
    """Bring the place of a patch of the section at this address into view; the section is opened if it is not open."""
    if state.viewer is None:
        return
    try:
        look_at(state, address)
    except MitoxaiError as error:
        show_error(str(error))
        return
    # what has just been opened is fitted into the view first
    QTimer.singleShot(0, lambda: _centre(state, place))


def _centre(state: WindowState, place: PatchPlace) -> None:
    section, viewer = state.section, state.viewer
    if section is None or viewer is None:
        return
    camera, size_um = viewer.scene.camera, section.pixel_size_um
    camera.center = (place.y_px - 0.5) * size_um, (place.x_px - 0.5) * size_um
    camera.zoom = min(viewer.canvas.size) / (_ROUND * place.side_px * size_um)
