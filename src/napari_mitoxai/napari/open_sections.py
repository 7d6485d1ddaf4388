"""Which section is looked at: another open one, or another acquisition of its file; its pictures of the slide."""

from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QPushButton, QWidget

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section, read_panoramas
from napari_mitoxai.imc.mcd import MCD_SUFFIXES
from napari_mitoxai.imc.panel import canonical
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.layers import channel_layers, facts_of, panorama_layer, shown_first
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.state import WindowState


class OpenSections(QWidget):
    """A choice among the open sections, one among the acquisitions of a file, and its panorama."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("open_sections")
        self._state = state
        self._sections = _combo(
            "section_choice", "Look at another open section: the same channels of it, and only of it."
        )
        self._acquisitions = _combo("acquisition", "The file holds several acquisitions: choose one.")
        self._panorama = QPushButton("Show the slide around it")
        self._panorama.setObjectName("panorama")
        self._panorama.setToolTip(
            wrapping(
                "Show the instrument's picture of the slide as a layer, where it lies around this acquisition."
            )
        )
        self._rows = QFormLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.addRow("Section", self._sections)
        self._rows.addRow("Acquisition", self._acquisitions)
        self._rows.addRow("", self._panorama)
        self._sections.activated.connect(lambda _: self.look_at(str(self._sections.currentData())))
        self._acquisitions.activated.connect(lambda _: self.look_at(str(self._acquisitions.currentData())))
        self._panorama.clicked.connect(self.show_panoramas)
        state.section_changed.connect(self._refresh)
        state.layers_changed.connect(self._refresh_sections)
        self._refresh(state.section)

    def _refresh(self, section: Section | None) -> None:
        self._refresh_sections()
        acquisitions = section.acquisitions if section is not None else ()
        self._acquisitions.clear()
        for index, each in enumerate(acquisitions):
            assert section is not None
            size = f" · {each.shape[2]} × {each.shape[1]} px" if each.shape is not None else ""
            self._acquisitions.addItem(
                f"{each.description or each.id}{size}{' · cannot be opened' if each.problem else ''}",
                str(section.path.with_name(f"{section.path.name}#{each.id}")),
            )
            self._acquisitions.setItemData(index, wrapping(each.problem), Qt.ItemDataRole.ToolTipRole)
            model: Any = self._acquisitions.model()
            model.item(index).setEnabled(not each.problem)
            if each.id == section.acquisition:
                self._acquisitions.setCurrentIndex(index)
        self._rows.setRowVisible(self._acquisitions, len(acquisitions) > 1)
        self._rows.setRowVisible(
            self._panorama, section is not None and section.path.name.lower().endswith(MCD_SUFFIXES)
        )

    def _refresh_sections(self) -> None:
        viewer = self._state.viewer
        facts = [facts_of(layer) for layer in viewer.layers] if viewer is not None else []
        names = {each.path: each.section for each in facts if each is not None and each.kind == "channel"}
        self._sections.clear()
        for path, name in names.items():
            self._sections.addItem(name, path)
        if self._state.section is not None:
            self._sections.setCurrentIndex(self._sections.findData(str(self._state.section.address)))
        self._rows.setRowVisible(self._sections, len(names) > 1)

    def look_at(self, address: str) -> None:
        """Show a section in place of the others, with the channels that are shown now."""
        try:
            look_at(self._state, address)
        except MitoxaiError as error:
            show_error(str(error))
            self._refresh(self._state.section)

    def show_panoramas(self) -> None:
        """Add the pictures of the slide around the acquisition in use; what has no place is told."""
        section = self._state.section
        if section is None:
            return
        try:
            panoramas = read_panoramas(section.path)
            corner = section.corner_um
            if not panoramas or corner is None:
                raise MitoxaiError(
                    f"{section.path.name} has no picture of the slide, or does not say where this acquisition lies on it."
                )
            for panorama in panoramas:
                self._state.add_layer(panorama_layer(panorama, section, corner))
        except MitoxaiError as error:
            show_error(str(error))
            return
        self._state.show_alone(str(section.address))


def look_at(state: WindowState, address: str) -> None:
    """Show a section in place of the others, with the channels that are shown now; it is opened if it is not open.

    Raises
    ------
    MitoxaiError
        If it cannot be opened.
    """
    section = open_section(address, state.display)
    wanted = _shown_targets(state)
    channels = [index for index, channel in enumerate(section.panel) if canonical(channel.target) in wanted]
    there = state.layers_of(section, "channel")
    if not channels and not there:
        channels = shown_first(section.panel)
    missing = [index for index in channels if section.panel[index].target not in there]
    for layer_tuple in channel_layers(section, missing, display=state.display):
        state.add_layer(layer_tuple)
    targets = {section.panel[index].target for index in channels}
    for target, layer in state.layers_of(section, "channel").items():
        layer.visible = target in targets
    for layer in state.layers_of(section, "panorama").values():
        layer.visible = True
    shown = [layer for target, layer in state.layers_of(section, "channel").items() if target in targets]
    state.viewer.layers.selection.active = shown[-1]
    state.show_alone(address)


def _shown_targets(state: WindowState) -> set[str]:
    section = state.section
    shown = state.layers_of(section, "channel") if section is not None else {}
    return {canonical(target) for target, layer in shown.items() if layer.visible}


def _combo(name: str, tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setToolTip(wrapping(tip))
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)
    return combo
