"""The Embedding tab: patches laid out by their pixels and by the network's features, and the way from a point to its place."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QVBoxLayout, QWidget

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.overlay import on_screen
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.patch_gallery import MOST, PatchGallery, PatchPlace, go_to, pictures_of, section_of
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.embed import METHODS, EmbedParameters, read_embedding
from napari_mitoxai.tasks.embed import run as embed

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.napari.embedding_canvas import EmbeddingCanvas

_COHORT, _OPEN = "cohort", "open"
_NOT_COLOURS = ("y_px", "x_px", "space", "method", "axis_1", "axis_2", "path")
_TITLES = {"tsne": ("t-SNE", "Keeps near what is near."), "umap": ("UMAP", "Needs umap-learn; takes longer.")}
_LOOK_MS = 200  # after the view has come to rest


class EmbeddingPanel(TaskPanel):
    """What to lay out, the linked plots, and the patches that were chosen in them."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "embedding_panel")
        self.form = Form(
            EmbedParameters,
            leave_out=("run", "sections", "colours"),
            choices={"methods": {name: _TITLES[name] for name in METHODS}},
            browse={"out": "save"},
        )
        self._what = QComboBox()
        self._what.setObjectName("sections")
        self._what.setToolTip(wrapping(EmbedParameters.model_fields["sections"].description or ""))
        self._what.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.form.add_row("Patches of", self._what)
        self._preferred = _COHORT
        self._what.activated.connect(self._prefer)
        self._missing = wrapped(name="what_is_missing")
        self._said = wrapped(name="embedding_says")
        self._colour = QComboBox()
        self._colour.setObjectName("embedding_colour")
        self._chosen_says = wrapped(name="patches_chosen")
        self.gallery = PatchGallery()
        self._canvas: EmbeddingCanvas | None = None
        self._table: pd.DataFrame | None = None
        self._patches: pd.DataFrame | None = None
        self._addresses: list[Path] = []
        self._side = 0
        self._chosen: list[int] = []
        self._waiting: list[int] | None = None
        start = self.starter("Lay out patches", "embed", self._start, ready=self._ready)
        bring = self.starter("Open…", "open_embedding", self._choose)
        bring.setToolTip("The folder of an embedding that was made before.")
        self.add(self._missing)
        self.add(self.form)
        self.add(start, bring)
        self._shown = QWidget()
        self._rows = QVBoxLayout(self._shown)
        self._rows.setContentsMargins(0, 0, 0, 0)
        colours = QFormLayout()
        colours.addRow("Colour by", self._colour)
        self._rows.addLayout(colours)
        for widget in (self._chosen_says, self.gallery, self._said):
            self._rows.addWidget(widget)
        self._shown.hide()
        self.add(self._shown)
        self._column.addStretch(1)
        self._view = QTimer(self)
        self._view.setSingleShot(True)
        self._view.setInterval(_LOOK_MS)
        self._view.timeout.connect(self._mark)
        self._colour.currentTextChanged.connect(lambda _: self._draw())
        self.gallery.clicked.connect(self.go_to)
        state.section_changed.connect(self._on_change)
        state.layers_changed.connect(self._on_change)
        state.cohort_changed.connect(self._on_change)
        state.run_changed.connect(self._on_change)
        state.runner.state_changed.connect(self._on_idle)
        if state.viewer is not None:
            state.viewer.scene.camera.events.connect(self._on_camera)
        self._on_change()

    # --- what there is --------------------

    def _open_sections(self) -> list[Path]:
        viewer = self._state.viewer
        facts = [facts_of(layer) for layer in viewer.layers] if viewer is not None else []
        return [
            Path(path)
            for path in dict.fromkeys(
                each.path for each in facts if each is not None and each.kind == "channel"
            )
        ]

    def _on_change(self, _: Any = None) -> None:
        opened, cohort, run = self._open_sections(), self._state.cohort, self._state.run
        self._what.clear()
        if cohort is not None:
            self._what.addItem(f"the cohort {cohort.parent.name}/{cohort.name}", _COHORT)
        if opened:
            self._what.addItem(f"{len(opened)} open section{'s' if len(opened) > 1 else ''}", _OPEN)
        self._what.setCurrentIndex(max(0, self._what.findData(self._preferred)))
        text = ""
        if run is None:
            text = "Train a model, or load a run, first: both are on the Train tab."
        elif not self._what.count():
            text = "Choose a cohort under Cohort, or open sections, first."
        self._missing.setText(text)
        self._missing.setVisible(bool(text))
        if run is not None and not self.form.field("out").value():
            self.form.set_values({"out": suggest(run.path, f"{run.path.name}_embedding")})
        self._view.start()
        self.refresh_starters()

    def _prefer(self, _: int) -> None:
        self._preferred = str(self._what.currentData())

    def _ready(self) -> bool:
        return self._state.run is not None and self._what.count() > 0

    # --- laying out --------------------

    def _start(self) -> None:
        run, cohort = self._state.run, self._state.cohort
        if run is None:
            return
        of_cohort = self._what.currentData() == _COHORT and cohort is not None
        sections = [cohort] if of_cohort else self._open_sections()
        parameters = self.form.parameters(run=run.path, sections=sections)

        def work(progress: ProgressCallback, cancel: CancelToken) -> Any:
            load_libraries(progress)
            import matplotlib.backends.backend_qtagg  # noqa: F401 - takes a second, which the window should not wait

            result = embed(parameters, progress, cancel)
            return result.folder, read_embedding(result.folder)

        self._state.runner.run("Laying out patches", work, on_done=self._show, step=parameters)

    def _choose(self) -> None:
        run = self._state.run
        start = run.path.parent if run is not None else Path.home()
        chosen = QFileDialog.getExistingDirectory(self, "Choose the folder of an embedding", str(start))
        if chosen:
            self.open(Path(chosen))

    def open(self, folder: Path) -> None:
        """Show an embedding that was made before."""

        def work(progress: ProgressCallback, cancel: CancelToken) -> Any:
            import matplotlib.backends.backend_qtagg  # noqa: F401 - as above

            return folder, read_embedding(folder)

        self._state.runner.run("Opening the embedding", work, on_done=self._show, quiet=True)

    def _show(self, done: Any) -> None:
        folder, (self._table, _, info) = done
        assert self._table is not None
        first = self._table.iloc[0]
        one = (self._table["space"] == first["space"]) & (self._table["method"] == first["method"])
        self._patches = self._table[one].reset_index(drop=True)
        self._addresses = [section_of(path) for path in self._patches["path"]]
        self._side = int(info["patch_size"])
        if self._canvas is None:
            from napari_mitoxai.napari.embedding_canvas import EmbeddingCanvas

            self._canvas = canvas = EmbeddingCanvas()
            canvas.selected.connect(self.choose)
            self._rows.insertWidget(1, canvas)
            viewer = self._state.viewer
            if viewer is not None:
                canvas.set_theme(viewer.theme)
                viewer.events.theme.connect(lambda event: canvas.set_theme(event.value))
        kept = self._colour.currentText()
        names = sorted(
            (str(name) for name in self._table if name not in _NOT_COLOURS),
            key=lambda name: name not in ("subject", "group", "use"),
        )
        self._colour.blockSignals(True)
        self._colour.clear()
        self._colour.addItems(names)
        self._colour.setCurrentText(kept if kept in names else "subject")
        self._colour.blockSignals(False)
        lines = [*info["said"], *info["notes"], f"Kept in {folder.name}."]
        self._said.setText("<br>".join(escape(line) for line in lines))
        self._said.setToolTip(str(folder))
        self._shown.show()
        self.choose([])
        self._draw()
        self.form.set_values({"out": suggest(folder, folder.name)})
        self.reveal(self._canvas)

    def _draw(self) -> None:
        if self._canvas is not None and self._table is not None and self._colour.currentText():
            self._canvas.show_table(self._table, self._colour.currentText())
            self._mark()

    # --- from the plot to the section --------------------

    def places(self, patches: list[int]) -> list[PatchPlace]:
        """Where patches lie."""
        assert self._patches is not None
        return [
            PatchPlace(
                patch,
                str(self._addresses[patch]),
                float(row["y_px"]),
                float(row["x_px"]),
                self._side,
                f"{row['section']}, {row['group'] or 'group not told'}, at ({row['x_px']:.0f}, {row['y_px']:.0f}) px",
            )
            for patch, row in ((patch, self._patches.iloc[patch]) for patch in patches)
        ]

    def choose(self, patches: list[int]) -> None:
        """Choose patches: they are marked in all plots, and their pictures shown."""
        self._chosen = patches
        self._mark()
        if not patches or self._patches is None:
            self._chosen_says.setText(
                "Click a point, or draw a loop around some: their patches are shown here. Dots lie in the view."
            )
            self.gallery.show_places([], [])
            return
        counts = self._patches["subject"].iloc[patches].value_counts()
        told = ", ".join(f"{number} of {escape(str(subject))}" for subject, number in counts.items())
        some = f"; {MOST} of them are shown" if len(patches) > MOST else ""
        self._chosen_says.setText(
            f"<b>{len(patches)} patch{'es' if len(patches) > 1 else ''}</b>: {told}{some}. Click one to go there."
        )
        # spread over what was chosen
        shown = patches if len(patches) <= MOST else [
            patches[index] for index in np.linspace(0, len(patches) - 1, MOST).astype(int)
        ]  # fmt: skip
        self._waiting = shown
        self._on_idle()

    def _on_idle(self, _: Any = None) -> None:
        """Read the pictures of what was chosen last, as soon as no task runs."""
        if self._waiting is None or self._state.runner.busy:
            return
        places, self._waiting = self.places(self._waiting), None
        self._state.runner.run(
            "Reading patches",
            lambda progress, cancel: pictures_of(places, progress, cancel),
            on_done=lambda pictures: self.gallery.show_places(places, pictures),
            quiet=True,
        )

    def go_to(self, place: PatchPlace) -> None:
        """Bring the place of a patch into view, and open its section if it is not open."""
        opened = (path for path in self._open_sections() if section_of(str(path)) == Path(place.address))
        go_to(self._state, place, str(next(opened, place.address)))

    # --- from the section to the plot --------------------

    def _on_camera(self, _: Any = None) -> None:
        self._view.start()

    def in_view(self) -> list[int]:
        """The patches whose centre the window shows."""
        section, viewer = self._state.section, self._state.viewer
        if self._patches is None or section is None or viewer is None:
            return []
        view = on_screen(viewer, section)
        if view is None:
            return []
        rows, columns = view
        here = section_of(str(section.address))
        y, x = self._patches["y_px"].to_numpy(), self._patches["x_px"].to_numpy()
        within = (y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop)
        return [int(index) for index in np.flatnonzero(within) if self._addresses[index] == here]

    def _mark(self) -> None:
        if self._canvas is not None:
            self._canvas.mark(self._chosen, self.in_view())
