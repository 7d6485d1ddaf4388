"""The Concepts tab: name what fibres and drawn shapes show, and test whether the model in use depends on it."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit

from napari_mitoxai.cohort import Cohort, Member, PatchGeometry, read_members
from napari_mitoxai.cohort.concepts import (
    ConceptExample,
    PlacedConcepts,
    place_concepts,
    read_concepts,
    write_concepts,
)
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.common.files import refuse_existing
from napari_mitoxai.fibres.queries import fibres_where
from napari_mitoxai.imc import Section, split_address
from napari_mitoxai.napari.concept_list import COLOURS, ConceptList
from napari_mitoxai.napari.concept_places import counted_remarks, fibre_places, shape_places
from napari_mitoxai.napari.concept_readout_box import ConceptReadoutBox
from napari_mitoxai.napari.concept_test_box import ConceptTestBox
from napari_mitoxai.napari.drawing import outlines_in, shapes_on_top, start_drawing
from napari_mitoxai.napari.fibre_table import selected_in
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.folded import folded
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import UNITS, LayerFacts
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.concepts_from_table import ConceptsFromTableParameters

_SHOWN = ("out", "patch_size", "overwrite")


class ConceptsPanel(TaskPanel):
    """Concepts to name, their examples, what is weak in them, and their test."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "concepts_panel")
        self._examples: list[ConceptExample] = []
        self._kept: list[ConceptExample] = []  # as they are in a file
        self._missing = wrapped(name="what_is_missing")
        self._name = QComboBox()
        self._name.setObjectName("concept_name")
        self._name.setEditable(True)
        self._name.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        line = self._name.lineEdit()
        assert line is not None
        line.setPlaceholderText("Name, as ragged red or NDUFB8 deficient")
        self._where = QLineEdit()
        self._where.setObjectName("concept_where")
        self._where.setPlaceholderText("NDUFB8_z < -3")
        self._where.setToolTip(
            wrapping(
                "What measured or called fibres of this section have to meet; several conditions with 'and' between. Their table is that of the Fibres layer."
            )
        )
        self._list = ConceptList()
        self._remarks = wrapped(name="concept_remarks")
        others = [name for name in ConceptsFromTableParameters.model_fields if name not in _SHOWN]
        self.form = Form(ConceptsFromTableParameters, leave_out=others, browse={"out": "save"})
        self.test = ConceptTestBox(state, self.saved)
        self.readout = ConceptReadoutBox(state)
        self.add(self._missing)
        self.add(self._name)
        shapes = self.starter("Add drawn shapes", "add_shapes", self._add_shapes, ready=self._has_section)
        shapes.setToolTip(
            wrapping(
                "Rectangles, ellipses and polygons of the shapes layer on top; a large one gives several patches."
            )
        )
        self.add(shapes, self.starter("Draw", "draw_concept", self._draw, ready=self._has_section))
        selected = self.starter(
            "Add selected fibres", "add_selected", self._add_selected, ready=self._has_fibres
        )
        selected.setToolTip(
            wrapping("Shift-click fibres on the Fibres tab, or choose them in the plot of the OXPHOS tab.")
        )
        self.add(selected)
        self.add(
            self._where,
            self.starter("Add fibres where", "add_where", self._add_where, ready=self._has_fibres),
        )
        self.add(self._list)
        remove = self.starter("Remove", "remove_concept", self._remove, ready=lambda: bool(self._examples))
        remove.setToolTip("Takes the selected concept out of the set.")
        self.add(self.starter("Open a set…", "open_concepts", self._browse), remove)
        self.add(self._remarks)
        self.add(self.form)
        self.add(
            self.starter("Save the set", "save_concepts", self._save, ready=lambda: bool(self._examples))
        )
        self.add(folded("Test on the model in use", "concept_test", self.test))
        self.add(folded("Read out a model with axes of concepts", "concept_readout", self.readout))
        self._column.addStretch(1)
        state.section_changed.connect(self._on_section)
        state.layers_changed.connect(self._on_layers)
        state.run_changed.connect(self._on_run)
        self._on_run(state.run)
        self._on_section(state.section)

    # --- what there is --------------------

    @property
    def examples(self) -> list[ConceptExample]:
        """What the set holds now."""
        return list(self._examples)

    def saved(self) -> Path:
        """The file of the set.

        Raises
        ------
        MitoxaiError
            If the set is in no file as it is now.
        """
        if not self._kept or self._examples != self._kept:
            raise MitoxaiError("Save the set first: what is tested is what is in the file.")
        return self._file

    def _has_section(self) -> bool:
        return self._state.section is not None

    def _has_fibres(self) -> bool:
        return self._state.fibres is not None

    def _on_run(self, run: Any) -> None:
        if run is not None:
            self.form.set_values({"patch_size": run.patch_size})
        self._say()

    def _on_section(self, section: Section | None) -> None:
        if section is not None and not self._kept:
            self.form.set_values({"out": suggest(section.path, "concepts", ".csv")})
        self._on_layers()
        self._show_points()

    def _on_layers(self) -> None:
        text = ""
        if self._state.section is None:
            text = "Open a section first: drop a file on the window, or use the Section tab."
        elif self._state.fibres is None:
            text = "Draw shapes, or find fibres on the Fibres tab to name some of them."
        self._missing.setText(text)
        self._missing.setVisible(bool(text))
        self.refresh_starters()

    # --- adding --------------------

    def _concept(self) -> str:
        name = self._name.currentText().strip()
        if not name:
            raise MitoxaiError("The concept has no name: write one first, as ragged red.")
        return name

    def _subject(self, section: Section) -> str:
        """Whose section it is: by the cohort in use, else by the section."""
        if self._state.cohort is not None:
            for member in read_members(self._state.cohort, lenient=True)[1]:
                if member.address == Path(section.address) and member.subject:
                    return member.subject
        return section.subject or section.name

    def _add(self, places: list[tuple[float, float, str]]) -> None:
        section = self._state.section
        assert section is not None
        concept, subject = self._concept(), self._subject(section)
        address = Path(section.address)
        there = {
            (example.concept, example.section, example.source, example.y_px, example.x_px)
            for example in self._examples
        }
        fresh = [
            ConceptExample(concept, address, subject, round(y, 1), round(x, 1), source)
            for y, x, source in places
        ]
        self._examples += [
            each
            for each in fresh
            if (each.concept, each.section, each.source, each.y_px, each.x_px) not in there
        ]
        self._show()

    def _add_fibres(self, fibres: list[int]) -> None:
        found = fibre_places(np.asarray(self._state.fibres.data), fibres)
        self._add([(y, x, f"fibre {fibre}") for fibre, (y, x) in found.items()])

    def _add_selected(self) -> None:
        self._concept()
        chosen = selected_in(self._state.fibres)
        if not chosen:
            raise MitoxaiError(
                "No fibre is selected: Shift-click fibres on the Fibres tab, or choose some in the plot of the OXPHOS tab."
            )
        self._add_fibres(chosen)

    def _add_where(self) -> None:
        self._concept()
        features, text = self._state.fibres.features, self._where.text().strip()
        if not text:
            raise MitoxaiError("There is no condition: write one, as NDUFB8_z < -3.")
        if "index" not in features:
            raise MitoxaiError("The fibres were not measured: measure them on the OXPHOS tab first.")
        chosen = features[fibres_where(features, text.split(" and "))]
        if chosen.empty:
            raise MitoxaiError(f"No fibre of this section meets {text}: ask for less.")
        self._add_fibres([int(fibre) for fibre in chosen["index"]])

    def _draw(self) -> None:
        section = self._state.section
        if section is not None:
            start_drawing(self._state, section, "drawn")

    def _add_shapes(self) -> None:
        section = self._state.section
        assert section is not None
        concept, layer = self._concept(), shapes_on_top(self._state)
        outlines = outlines_in(layer, section)
        assert layer is not None
        noted = layer.features["concept"].astype(str).tolist() if "concept" in layer.features else []
        noted += [""] * (len(outlines) - len(noted))
        there = {
            example.concept for example in self._examples
        }  # a concept that was removed gives its shapes back
        used = [name if name in there else "" for name in noted]
        if all(used):
            raise MitoxaiError("All drawn shapes are in the set already: draw another one first.")
        step = float(self.form.field("patch_size").value()) / 2
        places = []
        for number, outline in enumerate(outlines, start=1):
            if not used[number - 1]:
                places += [(y, x, f"shape {number}") for y, x in shape_places(outline, step)]
        layer.features = {"concept": [name or concept for name in used]}
        layer.feature_defaults = {"concept": ""}  # of what is drawn next
        self._add(places)

    def _remove(self) -> None:
        name = self._list.chosen()
        if not name:
            raise MitoxaiError("No concept is selected: click one in the list.")
        self._examples = [example for example in self._examples if example.concept != name]
        self._show()

    # --- showing --------------------

    def _show(self) -> None:
        self._list.show_examples(self._examples)
        name = self._name.currentText()
        self._name.clear()
        self._name.addItems(list(dict.fromkeys(example.concept for example in self._examples)))
        self._name.setCurrentText(name)
        self._say()
        self._show_points()
        self.refresh_starters()

    def _say(self, notes: list[str] | None = None) -> None:
        side = int(self.form.field("patch_size").value())
        told = counted_remarks(self._examples, side) if notes is None else notes
        self._remarks.setText("<br>".join(f"⚠ {escape(note)}" for note in told))
        self._remarks.setVisible(bool(told))

    def _show_points(self) -> None:
        """The middles of the patches in the section in use, a colour a concept."""
        section, viewer = self._state.section, self._state.viewer
        if section is None or viewer is None:
            return
        concepts = list(dict.fromkeys(example.concept for example in self._examples))
        own = [example for example in self._examples if example.section == Path(section.address)]
        shown = self._state.layers_of(section, "concepts").get("concepts")
        if not own:
            if shown is not None:
                viewer.layers.remove(shown)
            return
        active = viewer.layers.selection.active
        pixel = section.pixel_size_um
        facts = LayerFacts("concepts", section.name, str(section.address), "concepts")
        keywords = {
            "name": facts.name, "units": UNITS, "size": 24 * pixel, "border_width": 0.08, "border_color": "white", "opacity": 0.9,
            "face_color": [COLOURS[concepts.index(example.concept) % len(COLOURS)] for example in own],
            "features": {"concept": [example.concept for example in own], "source": [example.source for example in own]},
            "metadata": facts.metadata(),
        }  # fmt: skip
        places = [(example.y_px * pixel, example.x_px * pixel) for example in own]
        self._state.add_layer((places, keywords, "points"))
        if active is not None and active in viewer.layers:
            viewer.layers.selection.active = active

    # --- files --------------------

    def _browse(self) -> None:
        if self._examples != self._kept:
            raise MitoxaiError("The set was changed and is not saved: save it first, or remove its concepts.")
        start = self._state.section.path.parent if self._state.section is not None else Path.home()
        chosen = QFileDialog.getOpenFileName(self, "Open a concept set", str(start), "Tables (*.csv)")[0]
        if chosen:
            self.open_set(Path(chosen))

    def open_set(self, path: Path) -> None:
        """Go on with a set from a file."""
        self._examples = read_concepts(path)
        self._kept, self._file = list(self._examples), path
        self.form.set_values({"out": path, "overwrite": True})
        self._show()

    def _save(self) -> None:
        values = self.form.values()
        out, side = Path(values["out"]), int(values["patch_size"])
        if out.suffix.lower() != ".csv":
            raise MitoxaiError(
                f"{out.name or 'The set'} does not end in .csv: name it for example concepts.csv."
            )
        # a set that is in use may be saved again under its own name
        again = bool(self._kept) and out == self._file
        refuse_existing(out, overwrite=bool(values["overwrite"]) or again)
        examples = list(self._examples)
        members = {example.section: _member(example) for example in reversed(examples)}
        cohort = Cohort(tuple(members.values()), out)

        def work(progress: ProgressCallback, cancel: CancelToken) -> PlacedConcepts:
            progress(Progress("Looking at the places", 0, 0))
            placed = place_concepts(examples, cohort, PatchGeometry(side, side), cancel)
            write_concepts(out, examples, overwrite=bool(values["overwrite"]) or again)
            return placed

        def done(placed: PlacedConcepts) -> None:
            self._kept, self._file = examples, out
            self._say(list(placed.notes))

        self._state.runner.run("Saving concepts", work, on_done=done)


def _member(example: ConceptExample) -> Member:
    path, acquisition = split_address(example.section)
    place = path.parent.resolve() / path.name
    return Member(place, example.subject, "", acquisition=acquisition or "")
