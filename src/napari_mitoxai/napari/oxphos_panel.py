"""The OXPHOS tab: fibres measured, their status called against controls, and the plot linked with the image."""

import weakref
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback
from napari_mitoxai.fibres.identity import centres, of_these_fibres
from napari_mitoxai.fibres.table_reading import CARRIED
from napari_mitoxai.fibres.tables import KEYS
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.fibre_editor import classes_by_hand
from napari_mitoxai.napari.fibre_legend import FibreLegend
from napari_mitoxai.napari.fibre_table import (
    OUTLINES,
    colour_fibres,
    coloured_by,
    columns_to_colour,
    drop_columns,
    put_table,
)
from napari_mitoxai.napari.fields import choice_box
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.table_list import TableList
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.measure import MeasureParameters, measure_and_write
from napari_mitoxai.tasks.oxphos import OxphosParameters, OxphosResult, call_and_write

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.fibres.oxphos import Calls
    from napari_mitoxai.napari.mito_canvas import Key, MitoCanvas

_MEASURING = ("out", "outline", "percentiles", "subject", "group", "overwrite")  # what this tab asks
_QUIET_MODES = ("pan_zoom", "pick")  # in the others a click paints or draws


class OxphosPanel(TaskPanel):
    """Measuring, calling, the 2Dmito plot, and the fibres' colours."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "oxphos_panel")
        self._calls: Calls | None = None
        self._chosen: set[Key] = set()
        self._canvas: MitoCanvas | None = None
        self._notes: list[str] = []
        self._filled = (0, 0)  # the layer that was looked at for the calls, and which calls
        self._unfit = ""  # why the calls are not those of the fibres that are shown
        self._missing = wrapped(name="what_is_missing")
        others = [name for name in MeasureParameters.model_fields if name not in _MEASURING]
        self.measuring = Form(MeasureParameters, leave_out=others, browse={"out": "save"})
        self._measured = wrapped(name="fibres_measured")
        self.tables = TableList()
        self.calling = Form(OxphosParameters, leave_out=("tables", "long", "plot"), browse={"out": "save"})
        self._protein, self._subject, self._colour = (
            choice_box("protein"),
            choice_box("subject"),
            choice_box("colour_by"),
        )
        self._shown = QWidget()
        self._shown_rows = QFormLayout(self._shown)
        self._shown_rows.setContentsMargins(0, 0, 0, 0)
        self._summary = wrapped(name="proportion")
        self.add(self._missing)
        self.add(self.measuring)
        self.add(
            self.starter(
                "Measure fibres", "measure", self._measure, ready=lambda: self._state.fibres is not None
            )
        )
        self.add(self._measured)
        self.add(QLabel("Fibre tables"))
        self.add(self.tables)
        self.add(self.calling)
        self.add(
            self.starter("Call OXPHOS status", "call", self._call, ready=lambda: bool(self.tables.paths()))
        )
        self._shown_rows.addRow("Protein", self._protein)
        self._shown_rows.addRow("Subject", self._subject)
        self._shown_rows.addRow(self._summary)
        self.add(self._shown)
        colours = QFormLayout()
        colours.addRow("Colour fibres by", self._colour)
        self._legend = FibreLegend(self._follow_colours)
        colours.addRow(self._legend)
        self._column.addLayout(colours)
        self._save_plot, self._save_table = QPushButton("Save plot…"), QPushButton("Save selected…")
        self._save_plot.setObjectName("save_plot")
        self._save_table.setObjectName("save_selected")
        self._save_plot.clicked.connect(self._on_save_plot)
        self._save_table.clicked.connect(self._on_save_selected)
        saving = QHBoxLayout()
        saving.addWidget(self._save_plot)
        saving.addWidget(self._save_table)
        saving.addStretch(1)
        self._shown_rows.addRow(saving)
        self._column.addStretch(1)
        self._shown.setVisible(False)
        self._protein.currentTextChanged.connect(lambda _: self._show_plot())
        self._subject.currentTextChanged.connect(lambda _: self._show_plot())
        self._colour.currentTextChanged.connect(lambda _: self._paint())
        self.tables.changed.connect(self._on_tables)
        state.section_changed.connect(self._on_section)
        state.layers_changed.connect(self._on_layers)
        self._watch_clicks()
        self._on_section(state.section)

    # --- what there is --------------------

    def _on_section(self, section: Section | None) -> None:
        if section is not None:
            self.measuring.set_values({"out": suggest(section.path, f"{section.name}_fibres", ".csv")})
        self._on_layers()

    def _on_layers(self) -> None:
        text = ""
        if self._state.section is None:
            text = "Open a section first: drop a file on the window, or use the Section tab. Tables can be called without."
        elif self._state.fibres is None:
            text = "Find the fibres of this section first, under Fibres. Tables can be called without."
        self._missing.setText(text)
        self._missing.setVisible(bool(text))
        self._offer_colours()
        self._legend.follow(self._state.fibres)
        self.refresh_starters()

    def _on_tables(self) -> None:
        paths = self.tables.paths()
        if paths and not self.calling.field("out").value():
            self.calling.set_values({"out": suggest(paths[0], "oxphos_calls", ".csv")})
        self.refresh_starters()

    # --- measuring --------------------

    def _measure(self) -> None:
        section, layer = self._state.section, self._state.fibres
        if section is None or layer is None:
            return
        facts = facts_of(layer)
        source = Path(facts.source) if facts is not None and facts.source else section.path
        parameters = self.measuring.parameters(section=section.address, fibres=source)
        labels = np.array(layer.data)  # as they are now: they may be edited while they are measured
        by_hand = dict(classes_by_hand(layer))

        def work(progress: ProgressCallback, cancel: CancelToken) -> Any:
            return measure_and_write(parameters, labels, by_hand, progress=progress, cancel=cancel)

        def show(done: Any) -> None:
            result, table = done
            put_table(layer, table)
            self._filled = (0, 0)
            self._measured.setText(
                f"<b>{result.fibres:,} fibres measured</b>, {result.classes.get('analysable', 0):,} of them analysable, {result.near_empty:,} next to empty; kept in {escape(result.table.name)}; napari's feature table and the pointer show them."
            )
            self._measured.setToolTip(str(result.table))
            self.tables.add(result.table)
            self._offer_colours()
            if self._state.section is section:
                self.measuring.set_values({"out": suggest(section.path, f"{section.name}_fibres", ".csv")})

        self._state.runner.run("Measuring fibres", work, on_done=show, step=parameters, labels=labels)

    # --- calling --------------------

    def _call(self) -> None:
        if not self._state.runner.busy:
            self._forget()  # what was called before does not stand for a call that fails
        parameters = self.calling.parameters(tables=self.tables.paths())

        def work(progress: ProgressCallback, cancel: CancelToken) -> "tuple[OxphosResult, Calls]":
            import matplotlib.backends.backend_qtagg  # noqa: F401 - takes a second, which the window should not wait

            return call_and_write(parameters, progress, cancel)

        self._state.runner.run("Calling OXPHOS status", work, on_done=self._on_called, step=parameters)

    def _forget(self) -> None:
        """Take the last calls away, from the fibres too."""
        if self._calls is None:
            return
        layer = self._state.fibres
        if layer is not None:
            names = [str(name) for name in self._calls.fibres if name not in (*KEYS, *CARRIED)]
            drop_columns(layer, names)
            if coloured_by(layer) in names:
                colour_fibres(layer, OUTLINES)
        self._calls, self._chosen, self._filled, self._unfit = None, set(), (0, 0), ""
        self._shown.setVisible(False)
        self._offer_colours()

    def _on_called(self, done: "tuple[OxphosResult, Calls]") -> None:
        result, self._calls = done
        self._chosen = set()
        self._notes = [*result.notes, f"Kept in {result.calls.name} and {result.proportions.name}."]
        self.calling.set_values({"out": suggest(result.calls, "oxphos_calls", ".csv")})
        if self._canvas is None:
            from napari_mitoxai.napari.mito_canvas import MitoCanvas

            self._canvas = MitoCanvas()
            self._canvas.selected.connect(lambda keys: self._choose(set(keys)))
            self._shown_rows.insertRow(2, self._canvas)
            self._follow_theme()
        subjects = list(dict.fromkeys(self._calls.subjects["subject"]))
        own = self._calls.fibres
        section = self._state.section
        here = (
            own.loc[own["section"] == section.name, "subject"] if section is not None else own["subject"][:0]
        )
        patients = [
            name for name in subjects if name not in set(own.loc[own["group"] == "control", "subject"])
        ]
        for box, names in ((self._protein, self._calls.proteins), (self._subject, subjects)):
            box.blockSignals(True)
            box.clear()
            box.addItems(names)
            box.blockSignals(False)
        self._subject.setCurrentText(here.iloc[0] if len(here) else (patients or subjects)[0])
        self._shown.setVisible(True)
        self._offer_colours()
        self._show_plot()
        self._colour.setCurrentText(f"{self._protein.currentText()}_status")
        self.reveal(self._summary)

    def _follow_theme(self) -> None:
        viewer, canvas = self._state.viewer, self._canvas
        if viewer is not None and canvas is not None:
            canvas.set_theme(viewer.theme)
            viewer.events.theme.connect(lambda event: canvas.set_theme(event.value))

    def _show_plot(self) -> None:
        calls, canvas = self._calls, self._canvas
        protein, subject = self._protein.currentText(), self._subject.currentText()
        if calls is None or canvas is None or not protein or not subject:
            return
        from napari_mitoxai.figures.mito_plot import mito_plot

        canvas.show_plot(mito_plot(calls, protein, subject))
        canvas.mark(self._chosen)
        rows = calls.subjects[calls.subjects["protein"] == protein]
        notes = [*([self._unfit] if self._unfit else []), *self._notes]
        self._summary.setText(_told(rows, subject) + "".join(f"<br>{escape(note)}" for note in notes))
        if self._colour.currentText().endswith("_status"):
            self._colour.setCurrentText(f"{protein}_status")

    # --- plot and image --------------------

    def _choose(self, keys: "set[Key]") -> None:
        self._chosen = keys
        if self._canvas is not None:
            self._canvas.mark(keys)
        self._paint()

    def _paint(self) -> None:
        layer, section = self._state.fibres, self._state.section
        if layer is None or section is None:
            return
        joined = not self._unfit
        here = [fibre for name, fibre in self._chosen if joined and name == section.name]
        colour_fibres(layer, self._colour.currentText() or OUTLINES, here)

    def _offer_colours(self) -> None:
        """What the layer's features can be coloured by; the calls of this section are put into them first."""
        layer, section, calls = self._state.fibres, self._state.section, self._calls
        if layer is not None and section is not None and calls is not None:
            own = calls.fibres[calls.fibres["section"] == section.name]
            if len(own) and self._filled != (id(layer), id(calls)):
                self._filled = (id(layer), id(calls))
                self._join(layer, own, section)
        names = [OUTLINES, *(columns_to_colour(layer) if layer is not None else [])]
        if names == [self._colour.itemText(place) for place in range(self._colour.count())]:
            return
        current = self._colour.currentText()
        self._colour.blockSignals(True)
        self._colour.clear()
        self._colour.addItems(names)
        self._colour.setCurrentText(current if current in names else OUTLINES)
        self._colour.blockSignals(False)

    def _join(self, layer: Any, own: "pd.DataFrame", section: Section) -> None:
        """Put the calls of this section into the features of its fibres, if they are of these fibres."""
        try:
            own, note = of_these_fibres(own, centres(np.asarray(layer.data), section.pixel_size_um))
        except MitoxaiError as error:
            self._unfit = str(error)
            return
        self._unfit = note or ""
        put_table(layer, own)

    def _follow_colours(self) -> None:
        """Name what the fibres are coloured by, also where another tab chose it."""
        layer = self._state.fibres
        if layer is None:
            return
        self._offer_colours()
        self._colour.blockSignals(True)
        self._colour.setCurrentIndex(self._colour.findText(coloured_by(layer)))
        self._colour.blockSignals(False)

    def _watch_clicks(self) -> None:
        viewer = self._state.viewer
        me = weakref.ref(self)

        def clicked(viewer: Any, event: Any) -> Iterator[None]:
            panel = me()
            if panel is None or event.button != 1:
                return
            start = np.asarray(event.pos)
            yield
            while event.type == "mouse_move":
                yield
            if np.abs(np.asarray(event.pos) - start).max() < 4:  # no drag
                panel._on_click(event)

        viewer.mouse_drag_callbacks.append(clicked)
        seen = weakref.ref(viewer)

        def forget() -> None:
            still = seen()
            if still is not None and clicked in still.mouse_drag_callbacks:
                still.mouse_drag_callbacks.remove(clicked)

        self.destroyed.connect(forget)

    def _on_click(self, event: Any) -> None:
        """Select the fibre under the pointer; with Shift beside those that are."""
        layer, section, viewer = self._state.fibres, self._state.section, self._state.viewer
        if self._calls is None or layer is None or section is None or not layer.visible or viewer is None:
            return
        active = viewer.layers.selection.active
        if active is not None and str(getattr(active, "mode", "pan_zoom")) not in _QUIET_MODES:
            return
        label = layer.get_value(event.position, world=True)
        if label is None:
            return
        keys = {(section.name, int(label))} if label else set()
        if "Shift" in event.modifiers:
            keys = self._chosen ^ keys
        subjects = self._calls.fibres.query("section == @section.name")["subject"]
        if keys and len(subjects):
            self._subject.setCurrentText(subjects.iloc[0])
        self._choose(keys)

    # --- saving --------------------

    def _on_save_plot(self) -> None:
        if self._canvas is None or self._canvas.plot is None:
            return
        chosen = QFileDialog.getSaveFileName(
            self, "Save the plot", f"{self._subject.currentText()}_{self._protein.currentText()}.pdf", "PDF, SVG or PNG (*.pdf *.svg *.png)",
        )[0]  # fmt: skip
        if chosen:
            self.save_plot(Path(chosen))

    def save_plot(self, path: Path) -> None:
        """Write the plot that is shown; a dialog has asked before a file is replaced."""
        from napari_mitoxai.figures.mito_plot import save_mito_plots

        if self._calls is None:
            return
        if path.suffix.lower() not in (".pdf", ".svg", ".png"):
            path = path.with_name(path.name + ".pdf")
        save_mito_plots(
            self._calls,
            path,
            subjects=[self._subject.currentText()],
            proteins=[self._protein.currentText()],
            overwrite=True,
        )
        show_info(f"The plot is in {path}.")

    def _on_save_selected(self) -> None:
        if not self._chosen:
            show_info("Select fibres first: click or draw a loop in the plot, or click fibres in the image.")
            return
        chosen = QFileDialog.getSaveFileName(
            self, "Save the selected fibres", "selected_fibres.csv", "Tables (*.csv *.parquet)"
        )[0]
        if chosen:
            self.save_selected(Path(chosen))

    def save_selected(self, path: Path) -> None:
        """Write the calls of the selected fibres; a dialog has asked before a file is replaced."""
        from napari_mitoxai.fibres.tables import write_table

        if self._calls is None:
            return
        fibres = self._calls.fibres
        keys = zip(fibres["section"].astype(str), fibres["fibre"].astype(int), strict=True)
        wanted = [key in self._chosen for key in keys]
        try:
            write_table(path, fibres[wanted], overwrite=True)
        except MitoxaiError as error:
            show_info(str(error))
            return
        show_info(f"The selected fibres ({sum(wanted)}) are in {path}.")


def _told(rows: Any, subject: str) -> str:
    """The proportion of a subject, and beside it how often healthy fibres are called deficient."""
    row = rows[rows["subject"] == subject].iloc[0]
    if row["deficient"] is None or np.isnan(row["deficient"]):
        return f"<b>{escape(subject)}</b>: no fibre could be called."
    text = f"<b>{escape(subject)}: {row['deficient']:.1%} of {row['fibres']:,} fibres deficient</b>"
    if row["deficient_low"] is not None and not np.isnan(row["deficient_low"]):
        text += f" (95 % {row['deficient_low']:.1%} to {row['deficient_high']:.1%})"
    left_out = rows[rows["left_out_deficient"].notna()]
    if len(left_out):
        rates = ", ".join(
            f"{escape(each['subject'])} {each['left_out_deficient']:.1%}" for _, each in left_out.iterrows()
        )
        text += f".<br>Controls left out, called deficient wrongly: {rates}"
    return text + "."
