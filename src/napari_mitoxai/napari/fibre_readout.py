"""A click on a fibre while maps are compared: its relevance under every one of them."""

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.compare_cells import CellMap, Tissue
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped

if TYPE_CHECKING:
    from napari_mitoxai.tasks.fibre_values import FibreValues

    Values = dict[tuple[str, str], FibreValues]

_STILL_PX = 4  # of the screen: what moves further is a drag
_ASK = "Click a fibre in any cell to read its relevance under every map."
_COLUMNS = {
    "Map": "",
    "Mean": "Mean value of the map in the fibre, in the map's own unit.",
    "× even": "Its share of the section's positive relevance over its share of the explained area: 1 is what an even map would give. Comparable between methods.",
    "Rank": "By the mean, among the fibres of the section: 1 is the highest. Comparable between methods.",
}


class FibreReadout(QWidget):
    """A small table, a row a compared map of the section that was clicked in.

    Parameters
    ----------
    state : WindowState
    """

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("fibre_readout")
        self._state = state
        self._values: dict[tuple[str, int], Values] = {}  # by store and the identity of the labels
        self._labels: list[Any] = []  # kept, so that identities stay theirs
        self._says = wrapped(_ASK, "fibre_clicked")
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setObjectName("fibre_values")
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        for place, tip in enumerate(_COLUMNS.values()):
            item = self.table.horizontalHeaderItem(place)
            if item is not None:
                item.setToolTip(wrapping(tip))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        vertical, across = self.table.verticalHeader(), self.table.horizontalHeader()
        if vertical is not None and across is not None:
            vertical.hide()
            across.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            across.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(QLabel("<b>One fibre under all maps</b>"))
        column.addWidget(self._says)
        column.addWidget(self.table)
        self._watch_clicks()
        state.comparison.changed.connect(self._on_comparison)

    def _on_comparison(self) -> None:
        if not self._state.comparison.active:
            self._values.clear()
            self._labels.clear()
            self.table.hide()
            self._says.setText(_ASK)

    def _watch_clicks(self) -> None:
        viewer = self._state.viewer
        me, seen = weakref.ref(self), weakref.ref(viewer)

        def clicked(viewer: Any, event: Any) -> Iterator[None]:
            readout = me()
            if readout is None or not readout.isVisible() or event.button != 1:
                return
            start, cell = np.asarray(event.pos), readout._state.comparison.cell_at(event.viewbox)
            yield
            while event.type == "mouse_move":
                yield
            if cell is not None and np.abs(np.asarray(event.pos) - start).max() < _STILL_PX:
                readout.read(cell, tuple(event.position)[-2:])

        viewer.mouse_drag_callbacks.append(clicked)

        def forget() -> None:
            still = seen()
            if still is not None and clicked in still.mouse_drag_callbacks:
                still.mouse_drag_callbacks.remove(clicked)

        self.destroyed.connect(forget)

    def read(self, cell: CellMap, place_um: tuple[float, float]) -> None:
        """Show the fibre at a place of a cell's section, if there is one.

        Parameters
        ----------
        cell : CellMap
            In which was clicked.
        place_um : (y, x)
            Where the centre of the section's first pixel is (0, 0).
        """
        tissue = self._state.comparison.tissue_of(cell)
        labels = tissue.labels
        if labels is None:
            self._says.setText(
                f"{tissue.name} has no fibres in the window: segment it under Fibres, or open its labels."
            )
            return
        y, x = (round(place / tissue.pixel_size_um) for place in place_um)
        inside = 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]
        fibre = int(labels[y, x]) if inside else 0
        if not fibre:
            self._says.setText("There is no fibre.")
            self.table.hide()
            return
        cells = [each for each in self._state.comparison.cells if each.section == cell.section]
        missing = {
            each.choice.store: each.store
            for each in cells
            if (str(each.choice.store), id(labels)) not in self._values
        }
        if not missing:
            self._show(tissue, cells, fibre)
            return

        def work(progress: ProgressCallback, cancel: CancelToken) -> "dict[tuple[str, int], Values]":
            from napari_mitoxai.tasks.fibre_values import values_by_fibre

            found = {}
            for path, store in missing.items():
                methods = list(
                    dict.fromkeys(each.choice.method for each in cells if each.choice.store == path)
                )
                found[str(path), id(labels)] = values_by_fibre(store, methods, labels, progress, cancel)
            return found

        def done(found: "dict[tuple[str, int], Values]") -> None:
            self._values.update(found)
            self._labels.append(labels)
            if self._state.comparison.active:
                self._show(tissue, cells, fibre)

        self._state.runner.run("Reading relevance by fibre", work, on_done=done, quiet=True)

    def _show(self, tissue: Tissue, cells: list[CellMap], fibre: int) -> None:
        rows = []
        for cell in cells:
            values = self._values[str(cell.choice.store), id(tissue.labels)][
                cell.choice.method, cell.choice.channel
            ]
            rows.append((cell.title, values, int(np.searchsorted(values.ids, fibre))))
        known = [np.isfinite(values.mean).sum() for _, values, _ in rows]
        self._says.setText(f"<b>{tissue.name}, fibre {fibre}</b> among {max(known):,} that were explained.")
        self.table.setRowCount(len(rows))
        for row, (title, values, place) in enumerate(rows):
            texts = (
                title,
                _number(values.mean[place], ".2g"),
                _number(values.enrichment[place], ".2f"),
                _number(values.rank[place], ".0f"),
            )
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                else:
                    item.setToolTip(text)
                self.table.setItem(row, column, item)
        header = self.table.horizontalHeader()
        height = header.sizeHint().height() if header is not None else 24
        self.table.setFixedHeight(height + sum(self.table.rowHeight(row) for row in range(len(rows))) + 4)
        self.table.show()


def _number(value: float, form: str) -> str:
    return format(value, form) if value == value else "–"
