"""The Figure tab: what is open becomes a figure, seen while it is put together, and saved with what made it."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QFileDialog, QFormLayout, QHBoxLayout, QPushButton, QWidget

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback
from napari_mitoxai.figures.spec import Box, FigureLook, FigureSpec, Panel, Row
from napari_mitoxai.napari.fields import ChoiceField, TextField, wrapping
from napari_mitoxai.napari.figure_preview import FigurePreview
from napari_mitoxai.napari.figure_sources import (
    COMPOSITE,
    FIBRES,
    crop_of_shape,
    crop_of_view,
    open_panels,
    open_rows,
    panel_of,
    shown_channels,
    shown_limits,
)
from napari_mitoxai.napari.folded import folded
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.more_fields import CheckListField, PathField
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks import validated
from napari_mitoxai.tasks.draw import DrawParameters
from napari_mitoxai.tasks.figure import draw, save_spec
from napari_mitoxai.tasks.figure_files import read_spec, write_spec
from napari_mitoxai.tasks.figure_inputs import Inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREVIEW_DPI = 110
_LOOK_MS = 350
_FORMATS = (".png", ".pdf", ".svg", ".tiff")
_SHOWN_AS = {"overlays": "overlay", "maps": "map", "red green blue": "merge"}
_PLOTS = {
    "": ("none", ""),
    "mito": ("2Dmito", "Of the calls that the OXPHOS tab wrote."),
    "compartments": ("relevance by compartment", "Of NAME_compartments.csv that the Relevance tab wrote."),
    "agreement": ("agreement of methods", "Of the table that `mitoxai agree` wrote."),
    "training": ("training curve", "Of a run: its history.csv."),
}


class FigurePanel(TaskPanel):
    """Rows are open sections, columns what is shown of each; the preview is the figure itself, at the screen's resolution."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "figure_panel")
        self._inputs = Inputs()
        self._crops: dict[str, Box | None] = {}  # None: whole, whatever a file said
        self._given: FigureSpec | None = None  # that was opened from a file
        self._shown: FigureSpec | None = None
        self._seen: FigureSpec | None = None
        self._missing = wrapped(name="what_is_missing")
        self.rows, self.columns = CheckListField({}, rows=4), CheckListField({}, rows=6)
        self.rows.name_child("figure_rows")
        self.columns.name_child("figure_columns")
        self.form = Form(FigureLook, leave_out=("methods",))
        self._contrast = QCheckBox("Contrast of channels as in the window")
        self._contrast.setObjectName("window_contrast")
        self._contrast.setToolTip(
            wrapping("Otherwise from percentiles, the same in all rows unless you say so under More.")
        )
        self._cropped = wrapped(name="crop_told")
        self._problem = wrapped(name="figure_problem")
        self.preview = FigurePreview()
        self.out = PathField("save")
        self.out.name_child("figure_out")
        self.out.setToolTip(wrapping("The figure's name; the formats below give the endings."))
        self.formats = {ending: QCheckBox(ending[1:].upper()) for ending in _FORMATS}
        self.replace = QCheckBox("Replace an existing figure")
        self.replace.setObjectName("replace_figure")
        self._build()
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._timer.start()
        for field in (self.rows, self.columns, self.out):
            field.changed.connect(self.refresh_starters)
        state.section_changed.connect(self._on_section)
        state.layers_changed.connect(self._on_layers)
        state.runner.state_changed.connect(self._on_task)
        self._on_section(state.section)

    def _on_task(self, _: Any) -> None:
        QTimer.singleShot(0, self._on_layers)  # maps take their final name when explaining has ended

    def _build(self) -> None:
        self.add(self._missing)
        self.add(self.preview)
        self.add(self._problem)
        chosen = QWidget()
        lists = QFormLayout(chosen)
        lists.setContentsMargins(0, 0, 0, 0)
        for title, ticks, tip in (
            ("Rows", self.rows, "Open sections, with the maps and fibres that are shown of them."),
            ("Columns", self.columns, "What is shown of each section, from left to right."),
        ):
            lists.addRow(title, ticks)
            ticks.setToolTip(wrapping(tip))
        self.add(chosen)
        self.add(self.form)
        self.add(self._contrast)
        self.add(self._cropped)
        self.add(
            _line(
                self._button("Crop to view", "crop_view", self._crop_to_view, "What is on the screen now."),
                self._button("To shape", "crop_shape", self._crop_to_shape, "The shape drawn last."),
                self._button("Whole", "crop_none", self._uncrop, "The whole section."),
            )
        )
        self._plot, self._table, self._protein = ChoiceField(_PLOTS), PathField("open"), TextField()
        for field, name in ((self._plot, "plot"), (self._table, "plot_table"), (self._protein, "protein")):
            field.name_child(name)
        inner = QWidget()
        rows = QFormLayout(inner)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Below the rows", self._plot)
        rows.addRow("Table", self._table)
        rows.addRow("Protein", self._protein)
        self.add(folded("Plot", "figure_plot", inner))
        out = QWidget()
        form = QFormLayout(out)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Figure", self.out)
        for ending, box in self.formats.items():
            box.setObjectName(f"format_{ending[1:]}")
        self.formats[".png"].setChecked(True)
        self.formats[".pdf"].setChecked(True)
        form.addRow("As", _line(*self.formats.values()))
        form.addRow(self.replace)
        self.add(out)
        self.add(self.starter("Save figure", "save_figure", self._save, ready=self._ready))
        self.add(
            _line(
                self._button(
                    "Open…", "open_spec", self._open, "A specification (.yaml) or the sidecar of a figure."
                ),
                self._button(
                    "Save specification…",
                    "save_spec",
                    self._save_spec,
                    "A YAML file that `mitoxai figure` draws.",
                ),
            )
        )
        self._kept = wrapped(name="figure_kept")
        self.add(self._kept)
        self._column.addStretch(1)

    def _button(self, text: str, name: str, act: Callable[[], None], tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(name)
        button.setToolTip(wrapping(tip))

        def clicked() -> None:
            try:
                act()
            except MitoxaiError as error:
                show_error(str(error))

        button.clicked.connect(clicked)
        return button

    # --- what there is --------------------

    def _rows_known(self) -> dict[str, Row]:
        given = self._given.rows if self._given is not None else []
        return {**open_rows(self._state), **{str(row.section): row for row in given}}

    def _panels_known(self) -> dict[str, str]:
        given = self._given.panels if self._given is not None else []
        named = {
            f"given {place}": " ".join(filter(None, (panel.show, panel.method, panel.plot)))
            for place, panel in enumerate(given)
        }
        return {**named, **open_panels(self._state)}

    def _on_section(self, section: Any) -> None:
        if section is not None:
            self.out.set_value(suggest_free(section.path, f"{section.name}_figure"))
        self._on_layers()

    def _on_layers(self) -> None:
        if self._state.viewer is None:
            return
        rows, panels = self._rows_known(), self._panels_known()
        for field, names in (
            (self.rows, {key: _label(row) for key, row in rows.items()}),
            (self.columns, panels),
        ):
            _offer(field, names)
        section = self._state.section
        if section is None and not rows:
            self._missing.setText("Open a section first: drop a file on the window, or use the Section tab.")
        elif not any(row.maps for row in rows.values()):
            self._missing.setText(
                "Explain a section under Explain, or drop its maps on the window, to show maps."
            )
        else:
            self._missing.setText("")
        self._missing.setVisible(bool(self._missing.text()))
        self._tell_crop()
        self.refresh_starters()

    def _ready(self) -> bool:
        return bool(self.rows.value() and self.columns.value() and self.out.value())

    # --- crop --------------------

    def _tell_crop(self) -> None:
        section = self._state.section
        if section is None:
            self._cropped.setText("")
            return
        address = str(section.address)
        row = self._row(address, self._rows_known().get(address, Row(section=section.path)))
        box = row.crop_um
        if row.crop_px is not None:
            self._cropped.setText(f"{escape(section.name)} is cropped as the file that was opened says.")
        elif box is None:
            self._cropped.setText(f"{escape(section.name)} is shown whole.")
        else:
            left, top, right, bottom = box
            self._cropped.setText(
                f"{escape(section.name)} is cropped to {right - left:.0f} × {bottom - top:.0f} µm, "
                f"{max(left, 0):.0f} µm from its left and {max(top, 0):.0f} µm from its top."
            )

    def _set_crop(self, box: Box | None) -> None:
        section = self._state.section
        if section is None:
            raise MitoxaiError("No section is in use: open one first.")
        self._crops[str(section.address)] = box
        self._tell_crop()

    def _crop_to_view(self) -> None:
        if self._state.section is not None:
            self._set_crop(crop_of_view(self._state, self._state.section))

    def _crop_to_shape(self) -> None:
        self._set_crop(crop_of_shape(self._state))

    def _uncrop(self) -> None:
        self._set_crop(None)

    # --- the specification --------------------

    def spec(self) -> FigureSpec:
        """The figure as it is put together now.

        Raises
        ------
        MitoxaiError
            If a value does not fit, or nothing is chosen.
        """
        look = self.form.parameters()
        known = self._rows_known()
        rows = [self._row(key, known[key]) for key in self.rows.value() if key in known]
        if not rows:
            raise MitoxaiError("No section is chosen: tick one under Rows.")
        channels, colours = shown_channels(self._state, self._state.section)
        given = self._given.panels if self._given is not None else []
        panels: list[Panel] = []
        for key in self.columns.value():
            number = key.removeprefix("given ")
            if number != key:
                panels.append(given[int(number)])
            else:
                panels.append(panel_of(key, _SHOWN_AS[look.preset], channels))
        if not panels:
            raise MitoxaiError("Nothing is chosen to be shown: tick something under Columns.")
        below = list(self._given.below) if self._given is not None else []
        if self._plot.value():
            below.append(
                validated(
                    Panel,
                    {
                        "show": "plot", "plot": self._plot.value(), "table": self._table.value() or None,
                        "protein": self._protein.value(),
                    },
                )
            )  # fmt: skip
        values = {**look.model_dump(), "rows": rows, "panels": panels, "below": below}
        if self._contrast.isChecked():
            values["arcsinh"] = self._state.display.arcsinh
        if COMPOSITE in self.columns.value():
            values["channel_colours"] = colours
        elif self._given is not None:
            values["channel_colours"] = self._given.channel_colours
        return validated(FigureSpec, values)

    def _row(self, key: str, row: Row) -> Row:
        changes: dict[str, Any] = {}
        if key in self._crops:
            changes |= {"crop_um": self._crops[key], "crop_px": None}
        if self._contrast.isChecked():
            changes["limits"] = {**row.limits, **shown_limits(self._state, key)}
        return row.model_copy(update=changes)

    # --- the preview --------------------

    def _look(self) -> None:
        """Draw again once what is chosen rests and is something else than what is shown."""
        if not self.isVisible() or self._state.viewer is None or self._state.runner.busy:
            return
        try:
            wanted = self.spec()
        except MitoxaiError as error:
            self._say(str(error) if self.rows.value() else "")
            return
        rests, self._seen = wanted == self._seen, wanted
        if rests and wanted != self._shown:
            self._shown = wanted
            self._draw(wanted)

    @property
    def settled(self) -> bool:
        """Whether the preview shows what is chosen now."""
        return not self._state.runner.busy and self._shown is not None and self._shown == self.spec()

    def _draw(self, spec: FigureSpec) -> None:
        inputs = self._inputs

        def work(progress: ProgressCallback, cancel: CancelToken) -> "NDArray[Any] | str":
            try:
                return preview_pixels(spec, inputs, progress, cancel)
            except MitoxaiError as error:  # belongs under what was chosen, not into a notification
                return str(error)

        def show(found: "NDArray[Any] | str") -> None:
            self._say(found if isinstance(found, str) else "")
            if not isinstance(found, str):
                self.preview.show_pixels(found)

        self._state.runner.run("Preview of the figure", work, on_done=show, quiet=True)

    def _say(self, text: str) -> None:
        self._problem.setText(escape(text))
        self._problem.setVisible(bool(text))

    # --- files --------------------

    def _save(self) -> None:
        endings = [ending for ending, box in self.formats.items() if box.isChecked()]
        if not endings:
            raise MitoxaiError("No format is ticked: choose one or more under As.")
        base = Path(self.out.value())
        if base.suffix.lower() in (*_FORMATS, ".tif"):
            base = base.with_suffix("")
        files = [base.with_name(base.name + ending) for ending in endings]
        inputs = self._inputs
        step = DrawParameters(spec=self.spec(), out=files, overwrite=self.replace.isChecked())

        def work(progress: ProgressCallback, cancel: CancelToken) -> list[Path]:
            return save_spec(
                step.spec, files, overwrite=step.overwrite, inputs=inputs, progress=progress, cancel=cancel
            )

        def show(written: list[Path]) -> None:
            self._kept.setText(
                f"Kept: {escape(', '.join(path.name for path in written))}. "
                f"<code>mitoxai figure {escape(written[-1].name)} --out AGAIN.png</code> makes the same pixels again."
            )
            self._kept.setToolTip(str(written[0].parent))
            self.reveal(self._kept)
            self.replace.setChecked(False)
            section = self._state.section
            if section is not None:
                self.out.set_value(suggest_free(section.path, f"{section.name}_figure"))

        self._state.runner.run("Saving the figure", work, on_done=show, step=step)

    def _save_spec(self) -> None:
        spec = self.spec()
        start = self.out.value() + ".yaml"
        chosen = QFileDialog.getSaveFileName(self, "Save the specification", start, "YAML (*.yaml *.yml)")[0]
        if chosen:
            path = Path(chosen)
            write_spec(spec, path if path.suffix else path.with_suffix(".yaml"), overwrite=True)

    def _open(self) -> None:
        chosen = QFileDialog.getOpenFileName(
            self,
            "Open a specification or a sidecar",
            str(Path(self.out.value() or "~").parent),
            "Figures (*.yaml *.yml *.json)",
        )[0]
        if chosen:
            self.open_spec(Path(chosen))

    def open_spec(self, path: Path) -> None:
        """Put a figure together as a specification or a sidecar says.

        Raises
        ------
        MitoxaiError
            If it is none.
        """
        from napari_mitoxai.tasks.figure_rows import panels_of

        spec = read_spec(path).spec
        if not spec.panels:
            spec = spec.model_copy(update={"panels": panels_of(spec, self._inputs)})
        self._given = spec
        self._crops = {}
        self._contrast.setChecked(False)
        self.form.set_values(spec.model_dump(include=set(FigureLook.model_fields)))
        self._on_layers()
        self.rows.set_value([str(row.section) for row in spec.rows])
        self.columns.set_value([f"given {place}" for place in range(len(spec.panels))])


def preview_pixels(
    spec: FigureSpec, inputs: Inputs, progress: ProgressCallback, cancel: CancelToken
) -> "NDArray[Any]":
    """The figure itself (Y, X, 4), in fewer pixels: the same data, limits and labels as in its file."""
    import numpy as np

    figure = draw(spec, inputs, progress, cancel)
    figure.set_dpi(min(PREVIEW_DPI, spec.dpi))
    figure.canvas.draw()
    canvas: Any = figure.canvas
    return np.array(canvas.buffer_rgba())


def suggest_free(beside: Path, name: str) -> Path:
    """The first free name of a figure: none of its formats is there."""
    path, number = suggest(beside, name), 2
    while any(path.with_name(path.name + ending).exists() for ending in (*_FORMATS, ".json")):
        path, number = suggest(beside, f"{name}_{number}"), number + 1
    return path


def _label(row: Row) -> str:
    parts = ["maps"] * bool(row.maps) + ["fibres"] * bool(row.fibres)
    name = row.title or row.section.name.partition(".")[0] or row.section.name
    return name + (f" ({', '.join(parts)})" if parts else "")


def _offer(field: CheckListField, names: dict[str, str]) -> None:
    """Offer other values where they changed; what is new is ticked, since the figure is about what was made last. Fibres wait."""
    before = field.known()
    if names == before:
        return
    ticked = [*field.value(), *(name for name in names if name not in before and name != FIBRES)]
    field.set_choices({name: (label, "") for name, label in names.items()})
    field.set_value(ticked)


def _line(*widgets: QWidget) -> QWidget:
    line = QWidget()
    layout = QHBoxLayout(line)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return line
