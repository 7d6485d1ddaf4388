"""A list of files that are taken together."""

from pathlib import Path

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)


class TableList(QWidget):
    """Fibre tables to call, with buttons to add and to remove some."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._list = QListWidget()
        self._list.setObjectName("tables")
        self._list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self._list.setFixedHeight(84)
        self._list.setMinimumWidth(80)
        self._list.setToolTip("Tables of control and patient sections, each measured once")
        add, remove = QPushButton("Add…"), QPushButton("Remove")
        add.setObjectName("add_tables")
        remove.setObjectName("remove_tables")
        add.clicked.connect(self._browse)
        remove.clicked.connect(self._remove)
        buttons = QHBoxLayout()
        buttons.addWidget(add)
        buttons.addWidget(remove)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list)
        layout.addLayout(buttons)

    def paths(self) -> list[Path]:
        """The tables, in order."""
        items = [self._list.item(row) for row in range(self._list.count())]
        return [Path(item.data(Qt.ItemDataRole.UserRole)) for item in items if item is not None]

    def add(self, *paths: Path) -> None:
        """Add tables; one that is there already stays once."""
        there = self.paths()
        for path in paths:
            if path not in there:
                item = QListWidgetItem(path.name)
                item.setData(Qt.ItemDataRole.UserRole, str(path))
                item.setToolTip(str(path))
                self._list.addItem(item)
        self.changed.emit()

    def _browse(self) -> None:
        start = str(self.paths()[-1].parent) if self.paths() else str(Path.home())
        chosen = QFileDialog.getOpenFileNames(
            self, "Add fibre tables", start, "Tables (*.csv *.tsv *.txt *.parquet)"
        )[0]
        if chosen:
            self.add(*(Path(path) for path in chosen))

    def _remove(self) -> None:
        for item in self._list.selectedItems():
            self._list.takeItem(self._list.row(item))
        self.changed.emit()
