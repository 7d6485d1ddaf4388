"""Maps beside each other in napari's grid, two of them under a curtain or in turn, and everything put back afterwards."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.napari.compare_cells import (
    MOST,
    CellMap,
    Contrast,
    Tissue,
    in_grid,
    layers_of_cell,
    on_one_scale,
    with_scores,
)
from napari_mitoxai.napari.compare_planes import CompositePlane, CurtainedPlane

if TYPE_CHECKING:
    from napari_mitoxai.napari.state import WindowState

Mode = Literal["side by side", "swipe", "blink"]
SIDE_BY_SIDE: Final = "side by side"
SWIPE: Final = "swipe"
BLINK: Final = "blink"
BLINK_KEY, SWIPE_KEY = "Shift-B", "Shift-S"
_BLINK_MS = 700
_SETTLE_MS = 400
_GAP_PX = 4  # between cells
_BAR = {"position": "bottom_right", "size": (10.0, 80.0), "font_size": 8.0, "box": True, "visible": True}
_NAME = {"box": True, "visible": True}
_LETTERS = {4: 9.0, 6: 7.0, MOST: 6.0}  # points, by the number of cells up to which there is room
_SCALE_BAR = ("gridded", "box", "visible")  # in the order in which they can be put back


@dataclass(frozen=True)
class _Before:
    """What the window showed before it compared."""

    visible: Mapping[Any, bool]
    active: Any
    grid: tuple[bool, int, tuple[int, int], float]
    camera: tuple[tuple[float, ...], float]
    scale_bar: Mapping[str, bool]


class Comparison(QObject):
    """The comparison of one viewer; there is one at a time.

    Its layers lie below all others, which are hidden: napari's grid counts layers from below, hidden ones too, and gives those that
    are hidden no cell.

    Parameters
    ----------
    state : WindowState
        Whose viewer.
    """

    changed = Signal()  # it began, is complete, ended, or shows something else

    def __init__(self, state: "WindowState") -> None:
        super().__init__()
        self._state = state
        self._before: _Before | None = None
        self._cells: list[CellMap] = []
        self._tissues: dict[str, Tissue] = {}
        self._layers: list[list[Any]] = []  # of each cell, from below
        self._shape = (-1, -1)  # rows and columns of the grid
        self._waiting: list[CellMap] = []
        self._pause = ExitStack()
        self._outlined, self._depth = True, 3  # layers of a cell
        self._fitted: tuple[tuple[float, ...], float] | None = None
        self.mode: Mode = SIDE_BY_SIDE
        self.pair = (0, 1)
        self._curtain = 0.5
        self._second = False  # which of two blinks
        self._next = _timer(self, 0, self._add_next, single=True)
        self._blink = _timer(self, _BLINK_MS, self.flip)
        self._settle = _timer(self, _SETTLE_MS, self._redraw_tissue)

    # --- what there is --------------------

    @property
    def active(self) -> bool:
        """Whether maps are compared now."""
        return self._before is not None

    @property
    def complete(self) -> bool:
        """Whether all cells are there."""
        return self.active and not self._waiting

    @property
    def progress(self) -> tuple[int, int]:
        """How many cells are there, and how many there will be."""
        return len(self._cells) - len(self._waiting), len(self._cells)

    @property
    def cells(self) -> list[CellMap]:
        """The cells, in the order of the grid."""
        return list(self._cells)

    @property
    def curtain(self) -> float:
        """Where the curtain hangs: 0 at the left edge of the maps, 1 at the right."""
        return self._curtain

    def visible_before(self, layer: Any) -> bool:
        """Whether a layer was visible before maps were compared; whether it is, if none are."""
        return bool(self._before.visible.get(layer, layer.visible) if self._before else layer.visible)

    def cell_at(self, viewbox: tuple[int, int] | None) -> CellMap | None:
        """The cell that napari's grid has at a row and column; in the other modes the first of the two that are shown."""
        if not self.complete:
            return None
        if self.mode != SIDE_BY_SIDE:
            return self._cells[self.pair[0]]
        viewer = self._state.viewer
        if viewbox is None or viewer is None:
            return None
        there = viewer.canvas.grid.contents_at(tuple(viewbox), viewer.layers)
        layers = {viewer.layers[index] for index in there}
        return next(
            (cell for cell, own in zip(self._cells, self._layers, strict=True) if not layers.isdisjoint(own)),
            None,
        )

    def tissue_of(self, cell: CellMap) -> Tissue:
        """What lies under the map of a cell."""
        return self._tissues[cell.section]

    # --- beginning and ending --------------------

    def begin(self, cells: Sequence[CellMap], tissues: Mapping[str, Tissue], *, outlined: bool) -> None:
        """Compare maps; what the window shows is kept for the end. Cells come one after the other.

        Parameters
        ----------
        cells : sequence of CellMap
            `in_grid` says in which order they stand.
        tissues : mapping of Tissue
            By the addresses of sections.
        outlined : bool
            Whether fibres are outlined at first, where a section has any.
        """
        viewer = self._state.viewer
        if viewer is None or not cells:
            return
        if self.active:
            self._pause.close()
            viewer.canvas.grid.enabled = False
            with viewer.layers.batched_update():
                self._remove_layers()
        else:
            self._before = self._look()
        # napari arranges everything anew for each layer; once is enough
        self._pause.enter_context(viewer.layers.batched_update())
        for layer in viewer.layers:
            layer.visible = False
        ordered, self._shape = in_grid(cells, viewer.canvas.size)
        self._cells, self._tissues, self._layers = ordered, dict(tissues), []
        self._outlined = outlined
        self._depth = 3 if any(tissue.labels is not None for tissue in tissues.values()) else 2
        self._waiting, self.mode, self.pair = ordered.copy(), SIDE_BY_SIDE, (0, min(1, len(cells) - 1))
        self._curtain = 0.5
        viewer.bind_key(BLINK_KEY, self._on_blink_key, overwrite=True)
        viewer.bind_key(SWIPE_KEY, self._on_swipe_key, overwrite=True)
        viewer.layers.events.removed.connect(self._on_removed)
        self._next.start()
        self.changed.emit()

    def end(self) -> None:
        """Put layers, grid, camera and scale bar back as they were."""
        viewer, before = self._state.viewer, self._before
        self.halt()
        if before is None or viewer is None:
            return
        self._before, self._waiting = None, []
        self._pause.close()
        with viewer.layers.batched_update():
            self._remove_layers()
            grid = viewer.canvas.grid
            grid.enabled, grid.stride, grid.shape, grid.spacing = before.grid
            for layer in viewer.layers:
                if layer in before.visible:
                    layer.visible = before.visible[layer]
        for name, value in before.scale_bar.items():
            setattr(viewer.canvas.overlays.scale_bar, name, value)
        viewer.scene.camera.center, viewer.scene.camera.zoom = before.camera
        if before.active in viewer.layers:
            viewer.layers.selection.active = before.active
        for key in (BLINK_KEY, SWIPE_KEY):
            viewer.bind_key(key, None)
        self._cells, self._tissues, self.mode = [], {}, SIDE_BY_SIDE
        self.changed.emit()

    def halt(self) -> None:
        """Stop what moves by itself: the window closes."""
        for timer in (self._next, self._blink, self._settle):
            timer.stop()

    def _look(self) -> _Before:
        viewer = self._state.viewer
        grid, bar = viewer.canvas.grid, viewer.canvas.overlays.scale_bar
        return _Before(
            {layer: layer.visible for layer in viewer.layers},
            viewer.layers.selection.active,
            (grid.enabled, grid.stride, grid.shape, grid.spacing),
            self._view(),
            {name: getattr(bar, name) for name in _SCALE_BAR},
        )

    def _remove_layers(self) -> None:
        viewer = self._state.viewer
        viewer.layers.events.removed.disconnect(self._on_removed)
        self._blink.stop()
        self._settle.stop()
        for layer in [layer for own in self._layers for layer in own]:
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        self._layers = []

    def _on_removed(self, event: Any) -> None:
        """A cell that lost a layer would move all that follow: then the comparison ends."""
        if any(event.value is layer for own in self._layers for layer in own):
            QTimer.singleShot(0, self.end)

    def _add_next(self) -> None:
        """Add one more cell, so that the window stays free between them."""
        if self._state.viewer is None or not self._waiting:
            return
        try:
            self._add(self._waiting.pop(0))
            if not self._waiting:
                self._arrange()
        except Exception:  # whatever it is, the window is put back before it is told
            self.end()
            raise
        if self._waiting:
            self._next.start()
        self.changed.emit()

    def _add(self, cell: CellMap) -> None:
        layers, tissue = self._state.viewer.layers, self._tissues[cell.section]
        place = sum(len(each) for each in self._layers)
        own = [
            Image(data, **keywords)
            for data, keywords, _ in layers_of_cell(cell, tissue, outlined=self._depth == 3)
        ]
        self._layers.append(own)
        letters = next(size for most, size in _LETTERS.items() if len(self._cells) <= most)
        own[1].colorbar.update(_BAR)
        own[1].name_overlay.update({**_NAME, "font_size": letters})
        for number, layer in enumerate(own):
            layer.visible = number < 2 or self._outlined
            layers.insert(place + number, layer)

    def _arrange(self) -> None:
        """Give each cell its place; only now, since napari would draw a grid that it has not made yet."""
        canvas = self._state.viewer.canvas
        canvas.grid.stride, canvas.grid.spacing = self._depth, _GAP_PX
        canvas.grid.shape = self._shape
        canvas.grid.enabled = True
        self._pause.close()
        bar = canvas.overlays.scale_bar
        bar.visible = bar.box = True
        bar.gridded = True  # napari looks for the bar of each cell as soon as a gridded one is visible
        self._fit()
        self._settle.start()

    def _fit(self) -> None:
        """Show the whole of every section."""
        self._state.viewer.fit_to_view(layers=[own[0] for own in self._layers])
        self._fitted = self._view()

    def _view(self) -> tuple[tuple[float, ...], float]:
        camera = self._state.viewer.scene.camera
        return tuple(camera.center), camera.zoom

    def _redraw_tissue(self) -> None:
        """Draw composites anew until the overviews that they are made of are whole."""
        whole = True
        for own in self._layers:
            planes = [plane for plane in own[0].data if isinstance(plane, CompositePlane)]
            if not all(plane.settled for plane in planes):
                whole = False
                own[0].refresh(extent=False)
        if whole:
            self._settle.stop()

    # --- contrast and scores --------------------

    def set_contrast(self, contrast: Contrast) -> None:
        """Give maps colour scales of their own, or common ones."""
        if not self.complete:
            return
        self._cells = on_one_scale(self._cells, contrast)
        for index, (cell, own) in enumerate(zip(self._cells, self._layers, strict=True)):
            swept = self.mode == SWIPE and index in self.pair
            own[1].data = self._swept(index) if swept else cell.shown()
            own[1].contrast_limits_range = own[1].contrast_limits = cell.limits
            own[1].name = cell.name

    def set_score(self, score: str) -> None:
        """Tell another trust score in the cells."""
        self._retell([replace(cell, score=score) for cell in self._cells])

    def read_scores(self) -> None:
        """Tell what is kept with the maps now: they may have been judged since.

        Raises
        ------
        MitoxaiError
            If a file with scores is damaged.
        """
        cells = with_scores(self._cells)
        if [(each.recorded, each.fails) for each in cells] != [
            (each.recorded, each.fails) for each in self._cells
        ]:
            self._retell(cells)
            self.changed.emit()

    def _retell(self, cells: list[CellMap]) -> None:
        self._cells = cells
        self._waiting = cells[len(self._layers) :]
        for cell, own in zip(cells, self._layers, strict=False):  # others are still to come
            own[1].name = cell.name

    # --- two of them --------------------

    def show_side_by_side(self) -> None:
        """Show all cells again."""
        self._set_mode(SIDE_BY_SIDE)

    def swipe(self, first: int, second: int) -> None:
        """Show the first cell's map left of a curtain and the second's right of it.

        Raises
        ------
        MitoxaiError
            If they are of different sections, whose tissue is not the same on both sides, or one is both.
        """
        if self.complete:
            a, b = self._cells[first], self._cells[second]
            if first == second:
                raise MitoxaiError(f"{a.title} is on both sides: choose two maps.")
            if a.section != b.section:
                raise MitoxaiError(
                    "A curtain hangs between two maps of one section: choose such, or let the two blink."
                )
        self.pair = (first, second)
        self._set_mode(SWIPE)

    def blink(self, first: int, second: int) -> None:
        """Show two cells in turn."""
        self.pair, self._second = (first, second), False
        self._set_mode(BLINK)

    def move_curtain(self, place: float) -> None:
        """Hang the curtain elsewhere: 0 at the left edge of the maps, 1 at the right."""
        self._curtain = min(max(place, 0.0), 1.0)
        if self.mode == SWIPE:
            for index in self.pair:
                self._layers[index][1].refresh(extent=False, thumbnail=False)

    def flip(self) -> None:
        """Show the other one of two that blink."""
        self._second = not self._second
        self._show()

    def set_outlined(self, outlined: bool) -> None:
        """Outline fibres, or not."""
        self._outlined = outlined
        if self.complete:
            self._show()

    def _on_blink_key(self, _: Any = None) -> None:
        """Blink the two chosen maps; again: side by side."""
        if self.complete:
            self.show_side_by_side() if self.mode == BLINK else self.blink(*self.pair)

    def _on_swipe_key(self, _: Any = None) -> None:
        """Swipe between the two chosen maps; again: side by side."""
        if not self.complete:
            return
        try:
            self.show_side_by_side() if self.mode == SWIPE else self.swipe(*self.pair)
        except MitoxaiError as error:
            show_info(str(error))

    def _set_mode(self, mode: Mode) -> None:
        viewer = self._state.viewer
        if not self.complete or viewer is None:
            return
        self.mode = mode
        self._blink.stop()
        room = np.array(viewer.canvas.viewbox_size(viewer.layers))
        with viewer.layers.batched_update():
            for index, own in enumerate(self._layers):
                if mode == SWIPE and index in self.pair:
                    own[1].data = self._swept(index)
                elif isinstance(own[1].data[0], CurtainedPlane):
                    own[1].data = self._cells[index].shown()
                right = mode == SWIPE and index == self.pair[1]
                own[1].name_overlay.position = "top_right" if right else "top_left"
                own[1].colorbar.position = "bottom_left" if mode == SWIPE and not right else _BAR["position"]
            self._show()
            viewer.canvas.grid.enabled = mode == SIDE_BY_SIDE
        if self._view() == self._fitted:
            self._fit()
        else:  # what was in view stays in view, as large as there is room now
            now = np.array(viewer.canvas.viewbox_size(viewer.layers))
            viewer.scene.camera.zoom *= float(np.min(now / room))
        if mode == BLINK:
            self._blink.start()
        self.changed.emit()

    def _swept(self, index: int) -> list[CurtainedPlane]:
        levels, left = self._cells[index].shown(), index == self.pair[0]
        width = levels[0].shape[1]
        return [
            CurtainedPlane(level, lambda: self._curtain * width, 2**power, left=left)
            for power, level in enumerate(levels)
        ]

    def _show(self) -> None:
        """Show the layers of the cells that the mode asks for."""
        first, second = self.pair
        for index, own in enumerate(self._layers):
            if self.mode == SIDE_BY_SIDE:
                shown = [True] * 3
            elif self.mode == SWIPE:  # one tissue below both, the outlines above
                shown = [index == min(self.pair), index in self.pair, index == max(self.pair)]
            else:
                shown = [index == (second if self._second else first)] * 3
            shown[2] &= self._outlined
            for layer, visible in zip(own, shown, strict=False):  # without fibres there are two
                layer.visible = visible


def _timer(parent: QObject, interval: int, call: Any, *, single: bool = False) -> QTimer:
    timer = QTimer(parent)
    timer.setInterval(interval)
    timer.setSingleShot(single)
    timer.timeout.connect(call)
    return timer
