"""The Fibres tab: the muscle fibres of the section in use as labels beside its channels."""

import re
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QFileDialog

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback
from napari_mitoxai.imc import Role, Section, read_labels
from napari_mitoxai.napari.fibre_editor import FibreEditor
from napari_mitoxai.napari.fibre_preview import FibrePreview
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import LayerFacts, fibre_layer
from napari_mitoxai.napari.more_fields import CheckListField
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.segment import SegmentParameters, SegmentResult
from napari_mitoxai.tasks.segment import run as segment


class FibresPanel(TaskPanel):
    """The form of segmenting with a live preview, how many fibres were found, and their correction by hand."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "fibres_panel")
        self.form = Form(
            SegmentParameters,
            leave_out=("section",),
            choices={"channels": {}},
            browse={"out": "save", "weights": "open"},
        )
        self._preview = FibrePreview(state, self._chosen)
        self._editor = FibreEditor(state)
        self._missing = wrapped(
            "Open a section first: drop a file on the window, or use the Section tab.", "what_is_missing"
        )
        self._result = wrapped(name="fibres_found")
        self.add(self._missing)
        self.add(self.form)
        self.add(self._preview)
        bring = self.starter("Import labels…", "import_labels", self._import, ready=self._has_section)
        bring.setToolTip(
            "A label image of any tool: a TIFF, or a PNG with a number or a colour for each fibre."
        )
        self.add(self.starter("Find fibres", "segment", self._start, ready=self._has_section), bring)
        self.add(self._result)
        self.add(self._editor)
        self._save = self.starter(
            "Save labels", "save_fibres", self._save_labels, ready=lambda: self._editor.layer is not None
        )
        self._save.setToolTip(
            "Writes the labels, and the class of each fibre beside them, to the place under Labels."
        )
        self.add(self._save)
        self._column.addStretch(1)
        state.section_changed.connect(self._on_section)
        state.layers_changed.connect(self._on_layers)
        self._on_section(state.section)

    def _has_section(self) -> bool:
        return self._state.section is not None

    def _on_section(self, section: Section | None) -> None:
        self._missing.setVisible(section is None)
        self._result.clear()  # of the section before
        channels = self.form.field("channels")
        assert isinstance(channels, CheckListField)
        if section is None:
            channels.set_choices({})
        else:
            membranes = [section.panel[index].target for index in section.panel.with_role(Role.MEMBRANE)]
            # those that are ticked come first, where they are seen
            ordered = sorted(section.panel, key=lambda channel: channel.target not in membranes)
            channels.set_choices({channel.target: (channel.label, str(channel.role)) for channel in ordered})
            channels.set_value(membranes)
            self._suggest_place(section)
        self._on_layers()

    def _suggest_place(self, section: Section) -> None:
        self.form.set_values({"out": suggest(section.path, f"{section.name}_fibres", ".tiff")})

    def _start(self) -> None:
        section = self._state.section
        if section is None:
            return
        parameters = self.form.parameters(section=section.address)
        self._editor.refuse_unsaved()

        def work(progress: ProgressCallback, cancel: CancelToken) -> tuple[SegmentResult, Any]:
            result = segment(parameters, progress, cancel)
            return result, read_labels(result.labels)

        def show(done: tuple[SegmentResult, Any]) -> None:
            result, labels = done
            self._show(section, labels, result.labels, parameters.model_dump(mode="json"))
            self._result.setText(
                f"<b>{result.fibres:,} fibres</b> in {escape(section.name)}, {result.analysable:,} analysable by their shape, kept in {escape(result.labels.name)}"
            )
            self._result.setToolTip(str(result.labels))

        self._state.runner.run("Finding fibres", work, on_done=show, step=parameters)

    def _chosen(self) -> tuple[float, list[str]]:
        return float(self.form.field("fibre_size_um").value()), list(self.form.field("channels").value())

    def _on_layers(self) -> None:
        self._editor.attach(self._state.fibres)
        self._save.setVisible(self._editor.layer is not None)
        self.refresh_starters()

    def _show(self, section: Section, labels: Any, source: Path, provenance: dict[str, Any]) -> None:
        """Show labels as the fibres of a section, in the place of those that were shown."""
        facts = LayerFacts("fibres", section.name, str(section.address), "fibres", source=str(source))
        layer = self._state.add_layer(
            fibre_layer(labels, facts, pixel_size_um=section.pixel_size_um, provenance=provenance)
        )
        layer.contour = 1  # not an argument of add_labels
        self._preview.setChecked(False)
        self._editor.attach(layer)
        self._editor.load_classes(source)
        self._save.setVisible(True)
        self.refresh_starters()
        if self._state.section is not None:
            self._suggest_place(self._state.section)

    def _import(self) -> None:
        section = self._state.section
        if section is None:
            return
        self._editor.refuse_unsaved()
        chosen = QFileDialog.getOpenFileName(
            self, "Import labels", str(section.path.parent), "Labels (*.tif *.tiff *.png);;All files (*)"
        )[0]
        if chosen:
            self.import_labels(Path(chosen))

    def import_labels(self, path: Path) -> None:
        """Show the labels of a file as the fibres of the section in use."""
        section = self._state.section
        if section is None:
            return

        def work(progress: ProgressCallback, cancel: CancelToken) -> Any:
            labels = read_labels(path)
            if labels.shape != tuple(section.shape[-2:]):
                raise MitoxaiError(
                    f"{path.name} is {labels.shape[1]} x {labels.shape[0]} px and {section.name} is {section.shape[2]} x {section.shape[1]} px: choose the labels of this section."
                )
            return labels, int(np.count_nonzero(np.unique(labels)))

        def show(done: tuple[Any, int]) -> None:
            self._show(section, done[0], path, {"imported": str(path)})
            self._result.setText(f"<b>{done[1]:,} fibres</b> from {escape(path.name)}")
            self._result.setToolTip(str(path))

        self._state.runner.run("Importing labels", work, on_done=show)

    def _save_labels(self) -> None:
        section = self._state.section
        if section is not None:
            chosen = self.form.parameters(section=section.address)
            self._editor.save(
                chosen.out,
                pixel_size_um=section.pixel_size_um,
                section=section.path,
                overwrite=chosen.overwrite,
                on_done=lambda: self._suggest_after(chosen.out),
            )

    def _suggest_after(self, saved: Path) -> None:
        """A name for what is changed after this file was saved."""
        self.form.set_values({"out": suggest(saved, re.sub(r"_\d+$", "", saved.stem), saved.suffix)})
