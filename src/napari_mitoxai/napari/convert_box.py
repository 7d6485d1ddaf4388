"""The section in use written as an OME-Zarr image, with the channel names of a panel where it has none."""

from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_mitoxai.imc import Section
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.convert import ConvertParameters, ConvertResult
from napari_mitoxai.tasks.convert import run as convert


class ConvertBox(TaskPanel):
    """The form of converting, folded away; the image is opened when it is written."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "convert_box")
        self.form = Form(
            ConvertParameters, leave_out=("path", "acquisition"), browse={"out": "save", "panel": "open"}
        )
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(
            wrapped(
                "Opens at once however large it is, in this program and others; names can come from a panel.",
                dim=True,
            )
        )
        column.addWidget(self.form)
        column.addWidget(
            self.starter("Save as OME-Zarr", "convert", self._start, ready=lambda: state.section is not None)
        )
        folded = QCollapsible("Save as OME-Zarr, or name the channels")
        folded.setObjectName("convert_folded")
        folded.addWidget(inside)
        self._column.setContentsMargins(0, 0, 0, 0)
        folded.setContentsMargins(0, 0, 0, 0)
        self.add(folded)
        state.section_changed.connect(self._on_section)
        self._on_section(state.section)

    def _on_section(self, section: Section | None) -> None:
        self.setVisible(section is not None)
        if section is not None:
            self.form.set_values({"out": suggest(section.path, section.name, ".ome.zarr")})
        self.refresh_starters()

    def _start(self) -> None:
        section = self._state.section
        if section is None:
            return
        parameters = self.form.parameters(path=section.address)

        def show(result: ConvertResult) -> None:
            viewer: Any = self._state.viewer
            viewer.open(str(result.out), plugin="napari-mitoxai")

        self._state.runner.run(
            "Converting",
            lambda progress, cancel: convert(parameters, progress, cancel),
            on_done=show,
            step=parameters,
        )
