"""Reading out the axes of the model in use: what each concept looks like to it, where, and whether it matters."""

import csv
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import store_layers
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.patch_gallery import MOST, PatchGallery, PatchPlace, go_to, pictures_of
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.concepts import ConceptsParameters, ConceptsResult
from napari_mitoxai.tasks.concepts import run as read_out

if TYPE_CHECKING:
    from napari_mitoxai.napari.runs import RunSummary


class ConceptReadoutBox(TaskPanel):
    """The form of the read-out, a button, what was found, and the most activated patches of a concept.

    Parameters
    ----------
    state : WindowState
    """

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "concept_readout_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self.form = Form(
            ConceptsParameters,
            leave_out=("run", "sections"),
            browse={"out": "save", "cohort": "open", "mask": "open"},
        )
        self._missing = wrapped(
            "The model in use has no axes of concepts: train one on the Train tab with a concept set under More.",
            "no_axes",
        )
        self._found = wrapped(name="axes_found")
        self._which = QComboBox()
        self._which.setObjectName("shown_axis")
        self._which.setToolTip("Whose most activated patches are shown")
        self._which.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._which.hide()
        self.gallery = PatchGallery()
        self.gallery.setObjectName("concept_gallery")
        self._rows: dict[str, list[dict[str, str]]] = {}
        self._side = 0
        self.add(self._missing)
        self.add(self.form)
        self.add(self.starter("Read out concepts", "read_concepts_out", self._start, ready=self._has_axes))
        self.add(self._found)
        self.add(self._which)
        self.add(self.gallery)
        self._which.activated.connect(self._show_patches)
        self.gallery.clicked.connect(self.go_to)
        state.run_changed.connect(self._on_run)
        self._on_run(state.run)

    def _has_axes(self) -> bool:
        run = self._state.run
        return run is not None and bool(run.concepts)

    def _on_run(self, run: "RunSummary | None") -> None:
        self._missing.setVisible(not self._has_axes())
        self.form.setVisible(self._has_axes())
        if run is not None:
            self.form.set_values({"out": suggest(run.path, f"{run.path.name}_axes")})
        self.refresh_starters()

    def _start(self) -> None:
        run = self._state.run
        if run is None:
            return
        section = self._state.section
        parameters = self.form.parameters(run=run.path, sections=[] if section is None else [section.address])

        def work(progress: ProgressCallback, cancel: CancelToken) -> ConceptsResult:
            load_libraries(progress)
            return read_out(parameters, progress, cancel)

        def show(result: ConceptsResult) -> None:
            self._side = run.patch_size
            self.open(result)
            self.form.set_values({"out": suggest(run.path, f"{run.path.name}_axes")})
            self.reveal(self._found)

        self._state.runner.run("Reading concepts out", work, on_done=show, step=parameters)

    def open(self, result: ConceptsResult) -> None:
        """Show what was read out: the numbers, the overlays over their sections, and the patches of the first concept."""
        from napari_mitoxai.explain.store import MapStore

        self._found.setText(_told(result))
        with (result.folder / "gallery.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self._rows = {}
        for row in rows:
            self._rows.setdefault(f"{row['concept']} in {row['layer']}", []).append(row)
        self._which.clear()
        self._which.addItems(list(self._rows))
        self._which.show()
        for path in result.overlays:
            for layer in store_layers(MapStore(path, "r")):
                self._state.add_layer(layer)
        # the runner is still at this task
        QTimer.singleShot(0, self._show_patches)

    def _show_patches(self, _: Any = None) -> None:
        rows = self._rows.get(self._which.currentText(), [])[:MOST]
        places = [
            PatchPlace(
                number, row["section"], float(row["y_px"]) + 0.5, float(row["x_px"]) + 0.5, self._side,
                f"{row['rank']}. {row['subject']}, {row['group']} ({row['use']}), activation {float(row['activation']):.2f}",
            )
            for number, row in enumerate(rows)
        ]  # fmt: skip
        self._state.runner.run(
            "Reading patches",
            lambda progress, cancel: pictures_of(places, progress, cancel),
            on_done=lambda pictures: self.gallery.show_places(places, pictures),
            quiet=True,
        )

    def go_to(self, place: PatchPlace) -> None:
        """Bring the place of a patch into view, and open its section if it is not open."""
        go_to(self._state, place, place.address)


def _told(result: ConceptsResult) -> str:
    """Purity and importance, concept by concept and layer by layer, then what limits them."""
    matters = {
        (row["layer"], row["concept"]): row["importance"]
        for row in result.importance
        if row["class"] == "all"
    }
    cells = [("concept", "layer", "purity", "on", "loss ×")]
    cells += [
        (
            row["concept"], row["layer"], f"{row['auc']:.2f}", row["subjects"], f"{matters[row['layer'], row['concept']]:.2f}",
        )
        for row in result.purity if row["auc"] is not None
    ]  # fmt: skip
    table = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
    notes = "<br>".join(escape(note) for note in result.notes)
    return (
        f'<table cellpadding="3" cellspacing="0">{table}</table><p>Purity is the AUC of an axis, on examples of these subjects. '
        f"Loss × is how many times larger the loss is when patches get each other's axis: at 1 the call does not need the concept.<br>{notes}<br>Kept in {escape(result.folder.name)}.</p>"
    )
