"""The sections of a cohort as rows that can be edited: who, in which group, and whether they take part."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_mitoxai.cohort import Member, Survey
from napari_mitoxai.napari.fields import wrapping

_TITLES = ("Subject", "Group", "Section", "Patches", "Missing")
_SUBJECT, _GROUP, _SECTION, _PATCHES, _MISSING = range(5)
_EDITABLE = {_SUBJECT: "subject", _GROUP: "group"}
_HINT = "Tick what takes part. Click a selected subject or group to change it; double-click a row to open its section."
_PROBLEM = QColor("#d55e00")  # the warning colour of a palette for the colour-blind


class CohortTable(QTableWidget):
    """One row a section, in the order of the survey."""

    edited = Signal()
    opened = Signal(int)  # the row that was double-clicked

    def __init__(self) -> None:
        super().__init__(0, len(_TITLES))
        self.setObjectName("sections")
        self.setHorizontalHeaderLabels(_TITLES)
        self.setToolTip(wrapping(_HINT))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        trigger = QAbstractItemView.EditTrigger
        self.setEditTriggers(trigger.SelectedClicked | trigger.EditKeyPressed)
        self.setMinimumHeight(220)
        self.setWordWrap(False)
        rows, header = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and header is not None:
            rows.hide()
            rows.setDefaultSectionSize(24)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
            header.setStretchLastSection(True)
        for column, width in enumerate((58, 54, 56, 54, 58)):
            self.setColumnWidth(column, width)
        self._survey = Survey(())
        self._filling = False
        self.itemChanged.connect(self._on_item)
        self.cellDoubleClicked.connect(lambda row, _: self.opened.emit(row))

    def show_survey(self, survey: Survey) -> None:
        """Show other sections."""
        self._survey = survey
        with self._quietly():
            self.setRowCount(len(survey.members))
            for row, member in enumerate(survey.members):
                for column in range(len(_TITLES)):
                    self.setItem(row, column, self._new_item(column))
                self._fill(row, member)
        self.refresh()

    def refresh(self) -> None:
        """Show what is known by now of the sections."""
        survey, missing = self._survey, self._survey.missing()
        with self._quietly():
            for row, member in enumerate(survey.members):
                self._fill(row, member)
                if row >= len(survey.looks):
                    continue
                look, patches = survey.looks[row], survey.patches[row]
                self._set(row, _PATCHES, "" if patches is None else str(patches))
                if look.problem:
                    self._set(row, _MISSING, "broken", look.problem, warn=True)
                else:
                    names = missing[row]
                    short = names[0] if len(names) == 1 else f"{len(names)} channels" if names else ""
                    self._set(row, _MISSING, short, ", ".join(names), warn=bool(names))

    def selected_rows(self) -> list[int]:
        """The rows that are selected, from the top."""
        return sorted({index.row() for index in self.selectedIndexes()})

    def change(self, rows: Sequence[int], **values: object) -> None:
        """Give rows other values of their member, as an edit would."""
        for row in rows:
            self._survey.members[row] = replace(self._survey.members[row], **values)  # type: ignore[arg-type]
        if rows:
            self.refresh()
            self.edited.emit()

    def _new_item(self, column: int) -> QTableWidgetItem:
        item = QTableWidgetItem()
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if column in _EDITABLE:
            flags |= Qt.ItemFlag.ItemIsEditable
        if column == _SUBJECT:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        if column == _PATCHES:
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        item.setFlags(flags)
        return item

    def _fill(self, row: int, member: Member) -> None:
        item = self.item(row, _SUBJECT)
        if item is not None:
            item.setCheckState(Qt.CheckState.Checked if member.include else Qt.CheckState.Unchecked)
        self._set(row, _SUBJECT, member.subject)
        self._set(row, _GROUP, member.group)
        where = f"{member.path}\n{member.acquisition}" if member.acquisition else str(member.path)
        name = member.path.name.split(".")[0]
        self._set(row, _SECTION, member.section or name, where)

    def _set(self, row: int, column: int, text: str, tip: str = "", *, warn: bool = False) -> None:
        item = self.item(row, column)
        if item is None or (item.text() == text and item.toolTip() == wrapping(tip)):
            return
        item.setText(text)
        item.setToolTip(wrapping(tip))
        item.setData(Qt.ItemDataRole.ForegroundRole, _PROBLEM if warn else None)

    def _on_item(self, item: QTableWidgetItem) -> None:
        if self._filling:
            return
        row, column = item.row(), item.column()
        values: dict[str, object] = {}
        if column in _EDITABLE:
            values[_EDITABLE[column]] = item.text().strip()
        if column == _SUBJECT:
            values["include"] = item.checkState() == Qt.CheckState.Checked
        member = self._survey.members[row]
        if any(getattr(member, name) != value for name, value in values.items()):
            self.change([row], **values)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._filling = True
        try:
            yield
        finally:
            self._filling = False
