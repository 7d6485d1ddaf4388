"""Which part of the section to explain: all of it, what is on the screen, drawn shapes, or chosen fibres."""

from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QComboBox, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.drawing import outlines_in, shapes_on_top, start_drawing
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.overlay import on_screen
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.tasks.areas import write_shapes
from napari_mitoxai.tasks.explain import MAPS

WHOLE, VIEW, SHAPE, FIBRES = "whole", "view", "shape", "fibres"
_CHOICES = {
    WHOLE: ("Whole section", "All of its tissue; what is on the screen comes first."),
    VIEW: ("What is on the screen", "The part that the window shows when you press Explain."),
    SHAPE: ("Drawn shapes", "Rectangles, ellipses and polygons of the shapes layer on top."),
    FIBRES: ("Fibres", "Fibres of the section's labels: those with the numbers below, or all."),
}


class AreaChooser(QWidget):
    """A choice, and below it what the choice needs."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("area_chooser")
        self._state = state
        self.kind = QComboBox()
        self.kind.setObjectName("area")
        for value, (title, tip) in _CHOICES.items():
            self.kind.addItem(title, value)
            self.kind.setItemData(self.kind.count() - 1, wrapping(tip), 3)  # Qt.ItemDataRole.ToolTipRole
        self._draw = QPushButton("Draw a shape")
        self._draw.setObjectName("draw_shape")
        self._draw.setToolTip(wrapping("Adds a shapes layer and takes the polygon tool."))
        self._draw.clicked.connect(self._start_drawing)
        self._ids = QLineEdit()
        self._ids.setObjectName("fibre_ids")
        self._ids.setPlaceholderText("numbers, as 12, 15; empty: all")
        self._add = QPushButton("Add the selected fibre")
        self._add.setObjectName("add_fibre")
        self._add.setToolTip(wrapping("The fibre that is selected in the labels layer, as with its pipette."))
        self._add.clicked.connect(self._add_selected)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.kind, self._draw, self._ids, self._add):
            layout.addWidget(widget)
        self.kind.currentIndexChanged.connect(lambda _: self._show())
        self._show()

    def _show(self) -> None:
        kind = self.kind.currentData()
        self._draw.setVisible(kind == SHAPE)
        self._ids.setVisible(kind == FIBRES)
        self._add.setVisible(kind == FIBRES)

    def area(self, section: Section) -> Any:
        """The part of a section that is chosen; None for all of it.

        Raises
        ------
        MitoxaiError
            If what the choice needs is not there.
        """
        kind = self.kind.currentData()
        if kind == WHOLE:
            return None
        from napari_mitoxai import explain

        if kind == VIEW:
            view = on_screen(self._state.viewer, section)
            if view is None:
                raise MitoxaiError(
                    f"{section.name} is not on the screen: show one of its channels, or explain the whole section."
                )
            rows, columns = view
            return explain.rectangle((rows.start, rows.stop), (columns.start, columns.stop), section.shape)
        if kind == SHAPE:
            return explain.polygons(outlines_in(shapes_on_top(self._state), section), section.shape)
        labels = self._fibres(section)
        return explain.fibres(np.asarray(labels.data), self._numbers(), section.shape)

    def parameters(self, section: Section, maps: Path) -> dict[str, Any]:
        """What is chosen as parameters of explaining, so that it can be done again without a window.

        Drawn shapes are written beside the maps.

        Parameters
        ----------
        section : Section
        maps : Path
            The store that is made.

        Raises
        ------
        MitoxaiError
            If what the choice needs is not there, or the file cannot be written.
        """
        kind = self.kind.currentData()
        if kind == VIEW and (view := on_screen(self._state.viewer, section)) is not None:
            rows, columns = view
            return {"region": f"{rows.start}:{rows.stop},{columns.start}:{columns.stop}"}
        if kind == SHAPE:
            shapes = maps.with_name(f"{maps.name.removesuffix(MAPS)}_part.csv")
            write_shapes(shapes, outlines_in(shapes_on_top(self._state), section))
            return {"shapes": shapes}
        if kind == FIBRES:
            facts = facts_of(self._fibres(section))
            source = Path(facts.source) if facts is not None and facts.source else None
            return {"fibres": source, "fibre_ids": self._numbers()}
        return {}

    def labels(self, section: Section) -> Any:
        """The fibres that are chosen among, as they are in the window; None where none are."""
        return np.array(self._fibres(section).data) if self.kind.currentData() == FIBRES else None

    def _start_drawing(self) -> None:
        if self._state.section is not None:
            start_drawing(self._state, self._state.section, "part to explain")

    def _fibres(self, section: Section) -> Labels:
        for layer in reversed(self._state.viewer.layers):
            facts = facts_of(layer)
            if facts is not None and facts.kind == "fibres" and facts.path == str(section.address):
                return layer
        raise MitoxaiError(
            f"{section.name} has no fibres yet: segment them on the Fibres tab, or open their labels."
        )

    def _numbers(self) -> list[int]:
        words = self._ids.text().replace(",", " ").split()
        try:
            return [int(word) for word in words]
        except ValueError as error:
            raise MitoxaiError(
                f"Fibres are chosen by their numbers, as 12, 15, not {self._ids.text()!r}."
            ) from error

    def _add_selected(self) -> None:
        section = self._state.section
        if section is None:
            return
        try:
            chosen = int(self._fibres(section).selected_label)
            numbers = self._numbers()
        except MitoxaiError as error:
            from napari.utils.notifications import show_error

            show_error(str(error))
            return
        if chosen and chosen not in numbers:
            self._ids.setText(", ".join(map(str, [*numbers, chosen])))
