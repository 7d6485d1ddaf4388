"""Editors that are made of several parts: a path with its button, a list of ticks, a value that may be left out."""

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFileDialog, QListWidget, QListWidgetItem, QToolButton

from napari_mitoxai.napari.fields import Choices, Field, TextField, wrapping

_VALUE = Qt.ItemDataRole.UserRole


class PathField(TextField):
    """A file or folder, with a button that browses."""

    holds_path = True

    def __init__(self, kind: str = "open") -> None:
        super().__init__()
        self._kind = kind
        layout = self.layout()
        button = QToolButton()
        button.setText("…")
        button.setToolTip("Browse")
        button.setObjectName("browse")
        button.clicked.connect(self._browse)
        if layout is not None:
            layout.addWidget(button)
        self._line.textChanged.connect(self.setToolTip)

    def value(self) -> str:
        """The path as text, so that an empty one stays empty."""
        return self._line.text().strip()

    def set_value(self, value: Any) -> None:
        """Show a path; its end is what tells it from others."""
        self._line.setText("" if value in (None, "") else str(value))
        self._line.setCursorPosition(len(self._line.text()))

    def _browse(self) -> None:
        start = self.value() or str(Path.home())
        if self._kind == "folder":
            chosen = QFileDialog.getExistingDirectory(self, "Choose a folder", start)
        elif self._kind == "save":
            chosen = QFileDialog.getSaveFileName(self, "Save as", start)[0]
        else:
            chosen = QFileDialog.getOpenFileName(self, "Choose a file", start)[0]
        if chosen:
            self.set_value(chosen)


class CheckListField(Field):
    """Any of a few values, each with a tick."""

    def __init__(self, choices: Choices, rows: int = 6) -> None:
        super().__init__()
        self._list = QListWidget()
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # it would hide a row
        self._rows = rows
        self.set_choices(choices)
        self._list.itemChanged.connect(lambda _: self.changed.emit())
        self.hold(self._list)

    def set_choices(self, choices: Choices) -> None:
        """Offer other values; those that are ticked stay so."""
        ticked = set(self.value())
        self._list.clear()
        for value, (label, tip) in choices.items():
            item = QListWidgetItem(label)
            item.setData(_VALUE, value)
            item.setToolTip(wrapping(tip))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if value in ticked else Qt.CheckState.Unchecked)
            self._list.addItem(item)
        row = max(self._list.sizeHintForRow(0), 18)
        self._list.setFixedHeight(row * min(max(len(choices), 2), self._rows) + 8)
        self._list.scrollToTop()

    def known(self) -> dict[str, str]:
        """All values that are offered, with their labels."""
        items = [self._list.item(row) for row in range(self._list.count())]
        return {item.data(_VALUE): item.text() for item in items if item is not None}

    def value(self) -> list[str]:
        """The ticked values, in order."""
        items = [self._list.item(row) for row in range(self._list.count())]
        ticked = [item for item in items if item is not None and item.checkState() == Qt.CheckState.Checked]
        return [item.data(_VALUE) for item in ticked]

    def set_value(self, value: Any) -> None:
        """Tick these and no others."""
        for row in range(self._list.count()):
            item = self._list.item(row)
            if item is not None:
                item.setCheckState(
                    Qt.CheckState.Checked if item.data(_VALUE) in value else Qt.CheckState.Unchecked
                )


class OptionalField(Field):
    """A value that may be left out, with a tick before it."""

    def __init__(self, inner: Field) -> None:
        super().__init__()
        self._inner = inner
        self.holds_path = inner.holds_path
        self._box = QCheckBox()
        self._box.setObjectName("given")
        self._box.setToolTip("Tick to set it; otherwise it is chosen for you.")
        self._box.toggled.connect(self._toggled)
        inner.changed.connect(self.changed)
        inner.setEnabled(False)
        self.hold(inner, self._box)

    def _toggled(self, given: bool) -> None:
        self._inner.setEnabled(given)
        self.changed.emit()

    def name_child(self, name: str) -> None:
        """Name the inner editor."""
        self._inner.name_child(name)

    def value(self) -> Any:
        """The inner value, or None."""
        return self._inner.value() if self._box.isChecked() else None

    def set_value(self, value: Any) -> None:
        """Show a value, or none."""
        self._box.setChecked(value is not None)
        if value is not None:
            self._inner.set_value(value)
