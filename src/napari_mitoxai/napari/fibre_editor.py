"""Correcting fibres by hand: select, merge, split, delete, class, undo, save."""

import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.colormaps import direct_colormap
from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QGridLayout, QGroupBox, QPushButton, QVBoxLayout

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback
from napari_mitoxai.common.files import refuse_existing, refuse_input
from napari_mitoxai.fibres import (
    Edit,
    FibreClass,
    classes_path,
    classify,
    delete,
    merge,
    read_classes,
    split,
    write_classes,
)
from napari_mitoxai.imc import write_labels
from napari_mitoxai.napari.fibre_table import COLOURED_BY, OUTLINES, colour_fibres, note_selected
from napari_mitoxai.napari.layers import METADATA_KEY, UNITS
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.styles import FIBRE_OUTLINE
from napari_mitoxai.napari.top import wrapped

_SELECTED = (1.0, 0.85, 0.1, 1.0)
_WIDE = 3  # pixels of the outlines while fibres are selected: one alone is lost in the membrane
_CUT = "cut"
_BY_HAND = "classes_by_hand"
_KEPT = 100  # changes; napari keeps as many of pixels


def classes_by_hand(layer: Any) -> dict[int, str]:
    """The classes that a person gave to fibres, kept with their layer."""
    kept: dict[int, str] = layer.metadata.setdefault(METADATA_KEY, {}).setdefault(_BY_HAND, {})
    return kept


@dataclass(frozen=True)
class _Step:
    """A change that can be taken back."""

    with_pixels: bool  # which napari takes back
    classes: dict[int, str]  # by hand, on the other side of the change


class FibreEditor(QGroupBox):
    """Buttons for the fibres that are shown; painting and erasing are napari's own tools."""

    def __init__(self, state: WindowState) -> None:
        super().__init__("Correct by hand")
        self.setObjectName("fibre_editor")
        self._state = state
        self._layer: Any = None
        self._saved = 0
        self._selected: list[int] = []
        self._by_rule: dict[int, str] = {}
        self._done: deque[_Step] = deque(maxlen=_KEPT)
        self._undone: deque[_Step] = deque(maxlen=_KEPT)
        self._about = wrapped(
            "Shift-click fibres to select them. Paint and erase with napari's tools for labels.",
            "how_to_edit",
        )
        self._selection = wrapped(name="selected_fibres")
        self._kind = QComboBox()
        self._kind.setObjectName("fibre_class")
        self._kind.addItems([kind.value for kind in FibreClass])
        column = QVBoxLayout(self)
        column.addWidget(self._about)
        column.addWidget(self._selection)
        grid = QGridLayout()
        buttons = (
            (
                "Merge",
                "merge",
                self._merge,
                "Make one fibre of the selected ones, with the membrane between them.",
            ),
            ("Split", "split", self._draw_cut, "Draw a line across a fibre: it becomes two."),
            ("Delete", "delete", self._delete, "Remove the selected fibres."),
            (
                "Undo",
                "undo",
                self._undo,
                "Take back the last change, of classes too, as Ctrl+Z does; Ctrl+Shift+Z does it again.",
            ),
        )
        for index, (text, name, action, tip) in enumerate(buttons):
            grid.addWidget(_button(text, name, action, tip), index // 2, index % 2)
        grid.addWidget(self._kind, 2, 0)
        grid.addWidget(
            _button("Set class", "set_class", self._set_class, "Give the selected fibres this class."), 2, 1
        )
        column.addLayout(grid)
        self.setVisible(False)

    # --- the layer --------------------

    @property
    def layer(self) -> Any:
        """The fibres that are edited, or None."""
        return self._layer

    @property
    def unsaved(self) -> bool:
        """Whether there are changes by hand that are in no file."""
        viewer = self._state.viewer
        if self._layer is None or viewer is None or self._layer not in viewer.layers:
            return False
        return self._state_now() != self._saved

    def refuse_unsaved(self) -> None:
        """Raise if a new segmentation would throw changes away."""
        if self.unsaved:
            raise MitoxaiError(
                f"{self._layer.name} was changed by hand and is not saved: save it first, or remove its layer."
            )

    def attach(self, layer: Any) -> None:
        """Edit this layer from now on, or none."""
        if layer is self._layer:
            return
        if self._layer is not None and self._on_press in self._layer.mouse_drag_callbacks:
            self._layer.mouse_drag_callbacks.remove(self._on_press)
            self._layer.events.paint.disconnect(self._on_pixels)
        self._layer = layer
        self._selected, self._by_rule = [], {}
        self._done.clear()
        self._undone.clear()
        self.setVisible(layer is not None)
        if layer is not None:
            layer.mouse_drag_callbacks.append(self._on_press)
            layer.events.paint.connect(self._on_pixels)
            layer.bind_key("Control-Z", lambda _: self._undo(), overwrite=True)  # classes too
            layer.bind_key("Control-Shift-Z", lambda _: self._redo(), overwrite=True)
            self._saved = self._state_now()
            self._show_selection()

    def load_classes(self, labels: Path) -> None:
        """Take the classes from the table beside a label file, if there is one."""
        table = classes_path(labels)
        if table.exists():
            kinds, by_hand = read_classes(table)
            self._by_rule = {fibre: kind.value for fibre, kind in kinds.items() if fibre not in by_hand}
            self._by_hand().update({fibre: kinds[fibre].value for fibre in by_hand})
            self._saved = self._state_now()

    def _state_now(self) -> int:
        by_hand = repr(sorted(self._by_hand().items())).encode()
        return zlib.crc32(by_hand, zlib.crc32(np.ascontiguousarray(self._layer.data).view(np.uint8).data))

    def _by_hand(self) -> dict[int, str]:
        """The classes that a person gave, kept with the layer."""
        return classes_by_hand(self._layer)

    # --- selecting --------------------

    def select(self, fibres: list[int]) -> None:
        """Select these fibres and no others."""
        self._selected = list(dict.fromkeys(fibres))
        note_selected(self._layer, self._selected)
        by = self._layer.metadata.get(METADATA_KEY, {}).get(COLOURED_BY, OUTLINES)
        if by != OUTLINES:  # as another tab shows them
            colour_fibres(self._layer, by, self._selected)
        else:
            colours: dict[Any, Any] = {None: FIBRE_OUTLINE, 0: (0, 0, 0, 0)}
            self._layer.colormap = direct_colormap(colours | dict.fromkeys(self._selected, _SELECTED))
            self._layer.contour = _WIDE if self._selected else 1
        self._show_selection()

    def _on_press(self, layer: Any, event: Any) -> None:
        if "Shift" not in event.modifiers or str(layer.mode) != "pan_zoom":
            return
        value = layer.get_value(event.position, world=True)
        if value:
            chosen = int(value)
            rest = [fibre for fibre in self._selected if fibre != chosen]
            self.select(rest if chosen in self._selected else [*rest, chosen])

    def _show_selection(self) -> None:
        kinds = self._by_rule | self._by_hand()
        names = [f"{fibre} ({kinds[fibre]})" if fibre in kinds else str(fibre) for fibre in self._selected]
        self._selection.setText(
            f"<b>Selected:</b> {escape(', '.join(names))}" if names else "None is selected."
        )

    # --- editing --------------------

    def _apply(self, edit: Edit) -> None:
        new = [fibre for fibre in edit.changed if not (self._layer.data == fibre).any()]
        self._layer.data_setitem(edit.where, edit.values)
        for fibre in new:  # it may have the number of one that was deleted, but not its class
            self._by_hand().pop(fibre, None)
        for fibre in edit.changed:
            self._by_rule.pop(fibre, None)
        self.select([fibre for fibre in edit.changed if (self._layer.data == fibre).any()])

    def _merge(self) -> None:
        self._apply(merge(self._layer.data, self._selected))

    def _delete(self) -> None:
        self._apply(delete(self._layer.data, self._selected))

    def _on_pixels(self, _: Any) -> None:
        """Whoever changed pixels, a button or a tool of napari."""
        self._note(with_pixels=True)

    def _note(self, *, with_pixels: bool) -> None:
        self._done.append(_Step(with_pixels, dict(self._by_hand())))
        self._undone.clear()

    def _undo(self) -> None:
        self._go(self._done, self._undone, self._layer.undo)

    def _redo(self) -> None:
        self._go(self._undone, self._done, self._layer.redo)

    def _go(self, steps: deque[_Step], others: deque[_Step], pixels: Callable[[], None]) -> None:
        if not steps:
            return
        step = steps.pop()
        others.append(_Step(step.with_pixels, dict(self._by_hand())))
        if step.with_pixels:
            pixels()
        self._by_hand().clear()
        self._by_hand().update(step.classes)
        self.select([])

    def _set_class(self) -> None:
        if not self._selected:
            raise MitoxaiError("No fibre is selected: Shift-click on one first.")
        self._note(with_pixels=False)
        self._by_hand().update(dict.fromkeys(self._selected, self._kind.currentText()))
        self._show_selection()

    def _draw_cut(self) -> None:
        """Let the user draw one line, in a layer of its own that goes when the line is drawn."""
        viewer, labels = self._state.viewer, self._layer
        if any(layer.name == _CUT for layer in viewer.layers):
            return
        drawn = viewer.add_shapes(
            name=_CUT, scale=labels.scale, units=UNITS, edge_width=2, edge_color="yellow", ndim=2
        )
        drawn.mode = "add_line"

        def until_release(_: Any, event: Any) -> Any:
            yield
            while event.type == "mouse_move":
                yield
            QTimer.singleShot(0, lambda: self.cut(drawn))

        drawn.mouse_drag_callbacks.append(until_release)

    def cut(self, drawn: Any) -> None:
        """Split what the line in a layer of shapes crosses, and remove that layer."""
        lines, viewer = [np.asarray(line) for line in drawn.data], self._state.viewer
        if viewer is None or self._layer not in viewer.layers:
            return
        if drawn in viewer.layers:
            viewer.layers.remove(drawn)
        viewer.layers.selection.active = self._layer
        if lines:
            _told(lambda: self._apply(split(self._layer.data, lines[-1])))()

    # --- saving --------------------

    def save(
        self,
        out: Path,
        *,
        pixel_size_um: float,
        section: Path,
        overwrite: bool,
        on_done: Callable[[], None],
    ) -> None:
        """Write the labels and the class of each fibre in the background, then call `on_done`.

        Raises
        ------
        MitoxaiError
            If there is nothing to save, or a file is there and may not be replaced.
        """
        if self._layer is None:
            raise MitoxaiError("There are no fibres to save: find or import them first.")
        if out.suffix.lower() not in (".tif", ".tiff"):
            raise MitoxaiError(
                f"{out.name} does not end in .tif or .tiff: name the labels for example FIBRES.tiff."
            )
        table = classes_path(out)
        for path in (out, table):
            refuse_existing(path, overwrite=overwrite)
            refuse_input(path, section)
        layer, labels, state = self._layer, self._layer.data.copy(), self._state_now()
        by_hand = {fibre: FibreClass(kind) for fibre, kind in self._by_hand().items()}

        def work(progress: ProgressCallback, cancel: CancelToken) -> None:
            kinds = classify(labels, pixel_size_um=pixel_size_um)
            given = {fibre: kind for fibre, kind in by_hand.items() if fibre in kinds}
            cancel.check()
            write_labels(out, labels, pixel_size_um=pixel_size_um, overwrite=overwrite)
            write_classes(table, kinds | given, set(given), overwrite=overwrite)

        def done(_: Any) -> None:
            if layer is self._layer:
                self._saved = state
            layer.metadata[METADATA_KEY]["source"] = str(out)
            self._selection.setText(f"Saved as {escape(out.name)}, with the classes in {escape(table.name)}.")
            on_done()

        self._state.runner.run("Saving fibres", work, on_done=done)


def _told(action: Callable[[], None]) -> Callable[[], None]:
    """An action whose refusal is told in a sentence."""

    def act(*_: Any) -> None:
        try:
            action()
        except MitoxaiError as error:
            show_error(str(error))

    return act


def _button(text: str, name: str, action: Callable[[], None], tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setToolTip(tip)
    button.clicked.connect(_told(action))
    return button
