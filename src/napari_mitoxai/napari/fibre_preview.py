"""A live look at what the chosen fibre size finds in what is on screen."""

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.utils.colormaps import direct_colormap
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.layers import LayerFacts, fibre_layer
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.tasks.segment import SegmentParameters, WindowReader, membrane_planes, preview

_LOOK_MS = 400
_MOST = 1200  # pixels of a side; of a larger view, the middle
_COLOUR = (1.0, 0.85, 0.1, 1.0)


class FibrePreview(QCheckBox):
    """A tick box; while it is ticked, the fibres on screen are found again when the view or the form changes.

    Parameters
    ----------
    state : WindowState
        Whose section is looked at.
    chosen : callable
        Gives the fibre size in um and the membrane channels of the form.
    """

    def __init__(self, state: WindowState, chosen: Callable[[], tuple[float, list[str]]]) -> None:
        super().__init__("Live preview of what is on screen")
        self.setObjectName("live_preview")
        self.setToolTip(
            "Shows, without saving, what the fibre size finds in the visible part, at most 1200 pixels wide."
        )
        self._state, self._chosen = state, chosen
        self._shown: tuple[Any, ...] | None = None
        self._view: tuple[int, ...] | None = None
        self._reader: tuple[tuple[Any, ...], WindowReader] | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self.toggled.connect(self._on_toggled)

    def _on_toggled(self, on: bool) -> None:
        self._shown = self._view = None
        if on:
            self._timer.start()
            return
        self._timer.stop()
        viewer, section = self._state.viewer, self._state.section
        if viewer is not None and section is not None:
            for layer in self._state.layers_of(section, "preview").values():
                viewer.layers.remove(layer)

    def _look(self) -> None:
        """Start a preview once the view rests and something changed."""
        section = self._state.section
        if section is None or self._state.runner.busy or not self.isVisible():
            return
        view = self._visible(section)
        rests, self._view = view == self._view, view
        size, channels = self._chosen()
        wanted = (str(section.address), view, size, tuple(channels))
        if view is None or not rests or wanted == self._shown:
            return
        self._shown = wanted
        self._start(section, view, size, channels)

    def _visible(self, section: Section) -> tuple[int, int, int, int] | None:
        """The rows and columns on screen: y, y end, x, x end."""
        layers = [layer for layer in self._state.layers_of(section, "channel").values() if layer.visible]
        if not layers:
            return None
        low, high = np.asarray(layers[0].corner_pixels)[:, -2:].astype(int)
        ends = []
        for start, stop, length in zip(low, high + 1, section.shape[-2:], strict=True):
            start, stop = max(int(start), 0), min(int(stop), length)
            if stop - start > _MOST:
                start = (start + stop - _MOST) // 2
                stop = start + _MOST
            ends += [start, stop]
        return (ends[0], ends[1], ends[2], ends[3]) if ends[0] < ends[1] and ends[2] < ends[3] else None

    def _start(
        self, section: Section, view: tuple[int, int, int, int], size: float, channels: list[str]
    ) -> None:
        known = (str(section.address), tuple(channels))
        place = slice(view[0], view[1]), slice(view[2], view[3])

        def work(progress: ProgressCallback, cancel: CancelToken) -> Any:
            if self._reader is None or self._reader[0] != known:
                self._reader = known, WindowReader(section, membrane_planes(section, channels), cancel)
            return preview(
                self._reader[1],
                place,
                pixel_size_um=section.pixel_size_um,
                fibre_size_um=size,
                progress=progress,
                cancel=cancel,
            )

        def show(labels: Any) -> None:
            if not self.isChecked() or self._state.section is not section:
                return
            facts = LayerFacts("preview", section.name, str(section.address), "preview")
            layer = fibre_layer(
                labels,
                facts,
                pixel_size_um=section.pixel_size_um,
                provenance=SegmentParameters.model_construct(
                    fibre_size_um=size, channels=channels
                ).model_dump(mode="json", include={"fibre_size_um", "channels"}),
            )
            layer[1]["translate"] = (view[0] * section.pixel_size_um, view[2] * section.pixel_size_um)
            layer[1]["colormap"] = direct_colormap({None: _COLOUR, 0: (0, 0, 0, 0)})
            active = self._state.viewer.layers.selection.active
            added = self._state.add_layer(layer)
            added.contour = 1
            if active is not None and active in self._state.viewer.layers:
                self._state.viewer.layers.selection.active = active

        self._state.runner.run("Preview", work, on_done=show, quiet=True)
