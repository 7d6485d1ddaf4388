"""Judging the maps in the window: a button, a table of scores, and which maps fail the sanity check."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QComboBox, QHeaderView, QTableWidget, QTableWidgetItem

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.call_box import fibres_of
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.trust import TrustParameters, TrustResult
from napari_mitoxai.tasks.trust import run as judge
from napari_mitoxai.trust.checks import CHECKS, SCORES
from napari_mitoxai.trust.recorded import ARROWS, FAILS, in_numbers, read_scores, rests_on, sanity_failures

if TYPE_CHECKING:
    import pandas as pd

_ASKED = ("out", "checks", "patches", "fill", "region", "steps", "values", "seeds", "overwrite")
# a column each: what fits with its interval, one of every kind; all others are in the table that is written
_SHOWN = {"deletion": "Deletion", "road": "ROAD", "randomisation_rank": "Random"}
_FAILED = QColor("#e8762c")  # seen on dark and on light
_ROW = 36  # pixels: a number and its interval


class TrustBox(TaskPanel):
    """Scores of the maps of the section in use."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "trust_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self._maps = QComboBox()
        self._maps.setObjectName("maps")
        self._maps.setMinimumContentsLength(12)
        self._maps.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._maps.setToolTip(wrapping("The store whose maps are judged; the scores are kept in it."))
        others = [name for name in TrustParameters.model_fields if name not in _ASKED]
        checks = {
            name: (check.title, "<br>".join(SCORES[score].meaning for score in check.scores))
            for name, check in CHECKS.items()
        }
        self.form = Form(
            TrustParameters, leave_out=others, choices={"checks": checks}, browse={"out": "save"}
        )
        self.form.add_row("Maps", self._maps)
        self._table = _score_table()
        self._says = wrapped(name="trust_says")
        self.add(self.form)
        self.add(self.starter("Check these maps", "check_maps", self._start, ready=self._ready))
        self.add(self._table)
        self.add(self._says)
        self._maps.currentTextChanged.connect(lambda _: self._show())
        self.form.changed.connect(self.refresh_starters)
        # maps take their final name when explaining has ended, without a sign from their layers
        self._afterwards = QTimer(self)
        self._afterwards.setSingleShot(True)
        self._afterwards.setInterval(0)
        self._afterwards.timeout.connect(self._refresh)
        for signal in (
            state.section_changed,
            state.layers_changed,
            state.run_changed,
            state.runner.state_changed,
        ):
            signal.connect(self._later)  # fmt: skip
        self._refresh()

    def _later(self, _: Any = None) -> None:
        self._afterwards.start()

    def _stores(self) -> list[Path]:
        """The finished stores whose maps are shown of the section in use, the last one first."""
        section, viewer = self._state.section, self._state.viewer
        if section is None or viewer is None:
            return []
        facts = [facts_of(layer) for layer in reversed(viewer.layers)]
        paths = [Path(each.source) for each in facts if each is not None and _is_map_of(each, section)]
        return list(dict.fromkeys(paths))

    def _chosen(self) -> Path | None:
        path = self._maps.currentData()
        return None if path is None else Path(path)

    def _refresh(self) -> None:
        stores, before = self._stores(), self._chosen()
        there = [self._maps.itemData(index) for index in range(self._maps.count())]
        if there != [str(path) for path in stores]:
            self._maps.blockSignals(True)
            self._maps.clear()
            for path in stores:
                self._maps.addItem(path.name, str(path))
            if before in stores:
                self._maps.setCurrentIndex(stores.index(before))
            self._maps.blockSignals(False)
            self._show()
        self.refresh_starters()

    def _ready(self) -> bool:
        return (
            self._state.run is not None
            and self._chosen() is not None
            and bool(self.form.field("checks").value())
        )

    def _show(self) -> None:
        """The scores that are kept with the chosen maps."""
        maps, section = self._chosen(), self._state.section
        self.setEnabled(maps is not None)
        if maps is None or section is None:
            self._table.setVisible(False)
            self._says.setText("Explain the section first: its maps can then be checked.")
            return
        self.form.set_values({"out": suggest(maps, f"{maps.name.removesuffix('.ome.zarr')}_trust", ".csv")})
        try:
            scores, failures = read_scores(maps), sanity_failures(maps)
        except MitoxaiError as error:
            self._table.setVisible(False)
            self._says.setText(str(error))
            return
        self._table.setVisible(not scores.empty)
        self._says.setText("" if not scores.empty else "These maps were not checked yet.")
        if not scores.empty:
            _fill(self._table, scores, failures)
            self._says.setText(_in_words(scores, failures))
        self._mark(maps, failures)
        self.refresh_starters()

    def _mark(self, maps: Path, failures: set[str]) -> None:
        """Say in the name of a layer that its map fails."""
        for layer in self._state.viewer.layers:
            facts = facts_of(layer)
            if facts is not None and facts.kind == "map" and facts.source == str(maps):
                name = facts.marked(fails_sanity=facts.what in failures)
                if layer.name != name:
                    layer.name = name

    def _start(self) -> None:
        section, run, maps = self._state.section, self._state.run, self._chosen()
        if section is None or run is None or maps is None:
            return
        parameters = self.form.parameters(run=run.path, section=section.address, maps=maps)
        if run.inside_fibres:
            parameters = parameters.model_copy(update={"mask": fibres_of(self._state, section)})

        def work(progress: ProgressCallback, cancel: CancelToken) -> TrustResult:
            load_libraries(progress)
            return judge(parameters, progress, cancel)

        self._state.runner.run("Judging maps", work, on_done=self._on_judged, step=parameters)

    def _on_judged(self, result: TrustResult) -> None:
        self._show()
        remarks = "".join(f"<br>{escape(note)}" for note in result.notes)
        stopped = "<br>It was stopped: the methods that were finished are kept." if result.cancelled else ""
        self._says.setText(
            f"{self._says.text()}<br>All scores are in {escape(result.table.name)}.{stopped}{remarks}"
        )
        self._says.setToolTip(str(result.table))
        self.reveal(self._says)


def _is_map_of(facts: Any, section: Section) -> bool:
    return (
        facts.kind == "map"
        and facts.path == str(section.address)
        and bool(facts.source)
        and not Path(facts.source).name.startswith(".")  # still being made
        and facts.what != "probability"
    )


def _score_table() -> QTableWidget:
    table = QTableWidget(0, len(_SHOWN))
    table.setObjectName("trust_scores")
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
    table.setVisible(False)
    for column, (score, short) in enumerate(_SHOWN.items()):
        kind = SCORES[score]
        item = QTableWidgetItem(f"{short} {ARROWS[kind.better]}")
        item.setToolTip(wrapping(f"{kind.title}, {kind.better} is better. {kind.meaning}"))
        table.setHorizontalHeaderItem(column, item)
    header, rows = table.horizontalHeader(), table.verticalHeader()
    if header is not None:
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(30)
    if rows is not None:
        rows.setDefaultSectionSize(_ROW)
        rows.setMaximumWidth(100)
    table.setStyleSheet(
        "QTableWidget {font-size: 10px} QTableWidget::item {padding: 0} QHeaderView::section {font-size: 10px; padding: 1px}"
    )
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return table


def _fill(table: QTableWidget, scores: "pd.DataFrame", failures: set[str]) -> None:
    methods = list(dict.fromkeys(scores["method"]))
    by_key = {(row["method"], row["score"]): row for row in scores.to_dict("records")}
    table.setRowCount(len(methods))
    for place, method in enumerate(methods):
        title = QTableWidgetItem(method)
        title.setToolTip(f"{method} {FAILS}" if method in failures else method)
        if method in failures:
            title.setForeground(_FAILED)
        table.setVerticalHeaderItem(place, title)
        for column, score in enumerate(_SHOWN):
            row = by_key.get((method, score))
            table.setItem(
                place, column, _cell(row, failed=method in failures and score == "randomisation_rank")
            )
    header = table.horizontalHeader()
    top = header.sizeHint().height() if header is not None else _ROW
    table.setFixedHeight(top + _ROW * len(methods) + 4)


def _cell(row: "dict[Any, Any] | None", *, failed: bool) -> QTableWidgetItem:
    if row is None or row["value"] != row["value"]:
        empty = QTableWidgetItem("–")
        empty.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
        empty.setToolTip("Not checked." if row is None else "No number: the maps of these patches are empty.")
        return empty
    interval = f"\n{row['low']:.2f}…{row['high']:.2f}" if row["low"] == row["low"] else ""
    item = QTableWidgetItem(f"{row['value']:.2g}{interval}")
    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
    item.setToolTip(f"{in_numbers(row)}; {rests_on(row)}")
    if failed:
        item.setForeground(_FAILED)
    return item


def _in_words(scores: "pd.DataFrame", failures: set[str]) -> str:
    over = f"Means over up to {scores['patches'].max()} patches, with 95 % intervals"
    lines = [f"{over}; arrows show what is better, random is chance. Point at a number for what it rests on."]
    judged = sorted(failures - {"edge_detector"})
    if judged:
        said = FAILS if len(judged) == 1 else FAILS.replace("fails", "fail")
        lines.append(f"<b>{escape(', '.join(judged))} {said}</b>: too like the maps of untrained networks.")
    return "<br>".join(lines)
