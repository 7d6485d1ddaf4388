"""Comparing groups on the Relevance tab: what was measured of each section, one value a subject."""

from html import escape
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QLabel

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.table_list import TableList
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.relevance import RelevanceParameters, RelevanceResult
from napari_mitoxai.tasks.relevance import run as compare

_WHAT = (
    "Where does the relevance of patients fall that of controls does not? Measure the maps of each section above; "
    "their answers are compared, one value a subject."
)


class GroupsBox(TaskPanel):
    """The tables of measured sections, a button, and what differs."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "groups_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self.tables = TableList()
        self.form = Form(
            RelevanceParameters,
            leave_out=("tables",),
            browse={"cohort": "open", "out": "save", "figure": "save"},
        )
        self._says = wrapped(_WHAT, "groups_say")
        self.add(QLabel("Sections that were measured"))
        self.add(self.tables)
        self.add(self.form)
        self.add(
            self.starter(
                "Compare groups", "compare_groups", self._start, ready=lambda: bool(self.tables.paths())
            )
        )
        self.add(self._says)
        self.tables.changed.connect(self._on_tables)
        state.cohort_changed.connect(self._on_cohort)
        self._on_cohort(state.cohort)
        self.refresh_starters()

    def _on_tables(self) -> None:
        paths = self.tables.paths()
        if paths and not self.form.field("out").value():
            self._suggest(paths[0])
        self.refresh_starters()

    def _suggest(self, beside: Path) -> None:
        self.form.set_values({"out": suggest(beside, "relevance_groups", ".csv")})

    def _on_cohort(self, cohort: Path | None) -> None:
        if cohort is not None:
            self.form.set_values({"cohort": cohort})

    def _start(self) -> None:
        parameters = self.form.parameters(tables=self.tables.paths())

        def work(progress: ProgressCallback, cancel: CancelToken) -> RelevanceResult:
            return compare(parameters, progress, cancel)

        self._state.runner.run("Comparing groups", work, on_done=self._show, step=parameters)

    def _show(self, result: RelevanceResult) -> None:
        self._says.setText(groups_html(result))
        self._says.setToolTip(str(result.table))
        self._suggest(result.table)
        self.reveal(self._says)


def groups_html(result: RelevanceResult) -> str:
    """What differs most between groups, and how little that may mean."""
    subjects = ", ".join(f"{number} {escape(group)}" for group, number in result.subjects.items())
    kept = f"Kept in {escape(result.table.name)}" + (
        f", drawn in {escape(result.figure.name)}" if result.figure is not None else ""
    )
    lines = [
        f"<b>{result.quantities:,} quantities, one value a subject</b> ({subjects}); the smallest p that they can give is {result.smallest_p:.3g}.",
        *(_row(row) for row in result.first),
        *(escape(note) for note in result.notes),
        f"{kept}.",
    ]
    return "<br>".join(lines)


def _row(row: dict[str, Any]) -> str:
    return (
        f"• {escape(row['method'])}, {escape(row['quantity'])}: {escape(row['group'])} {row['median']:.3g}, "
        f"{escape(row['reference'])} {row['median_reference']:.3g} (p = {row['p']:.3g}, adjusted {row['q']:.3g})"
    )
