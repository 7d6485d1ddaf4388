"""The Fibres tab: the muscle fibres of the section in use as labels beside its channels."""

from html import escape
from typing import Any

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.imc import Role, Section, read_labels
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
    """The form of segmenting, and how many fibres were found."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "fibres_panel")
        self.form = Form(
            SegmentParameters, leave_out=("section",), choices={"channels": {}}, browse={"out": "save"}
        )
        self._missing = wrapped(
            "Open a section first: drop a file on the window, or use the Section tab.", "what_is_missing"
        )
        self._result = wrapped(name="fibres_found")
        self.add(self._missing)
        self.add(self.form)
        self.add(self.starter("Find fibres", "segment", self._start, ready=lambda: state.section is not None))
        self.add(self._result)
        self._column.addStretch(1)
        state.section_changed.connect(self._on_section)
        self._on_section(state.section)

    def _on_section(self, section: Section | None) -> None:
        self._missing.setVisible(section is None)
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
        self.refresh_starters()

    def _suggest_place(self, section: Section) -> None:
        self.form.set_values({"out": suggest(section.path, f"{section.name}_fibres", ".tiff")})

    def _start(self) -> None:
        section = self._state.section
        if section is None:
            return
        parameters = self.form.parameters(section=section.address)

        def work(progress: ProgressCallback, cancel: CancelToken) -> tuple[SegmentResult, Any]:
            result = segment(parameters, progress, cancel)
            return result, read_labels(result.labels)

        def show(done: tuple[SegmentResult, Any]) -> None:
            result, labels = done
            facts = LayerFacts(
                "fibres", section.name, str(section.address), "fibres", source=str(result.labels)
            )
            layer = self._state.add_layer(
                fibre_layer(
                    labels,
                    facts,
                    pixel_size_um=section.pixel_size_um,
                    provenance=parameters.model_dump(mode="json"),
                )
            )
            layer.contour = 1  # not an argument of add_labels
            self._result.setText(
                f"<b>{result.fibres:,} fibres</b> in {escape(section.name)}, kept in {escape(result.labels.name)}"
            )
            self._result.setToolTip(str(result.labels))
            if self._state.section is not None:
                self._suggest_place(self._state.section)

        self._state.runner.run("Finding fibres", work, on_done=show)
