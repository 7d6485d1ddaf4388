"""The Section tab: what is open, and its channels to show on demand."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Role, Section, write_panel
from napari_mitoxai.imc.panel import canonical
from napari_mitoxai.napari.channel_list import ChannelList
from napari_mitoxai.napari.composites import Composite, composites
from napari_mitoxai.napari.contrast_box import ContrastBox
from napari_mitoxai.napari.convert_box import ConvertBox
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.layers import channel_layers
from napari_mitoxai.napari.open_sections import OpenSections
from napari_mitoxai.napari.pyramid_offer import PyramidOffer, fill_cache_menu
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped

_FILES = "Sections (*.tif *.tiff *.mcd *.txt);;All files (*)"


class SectionPanel(QWidget):
    """Open a section, read what it is, tick the channels to see."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("section_panel")
        self._state = state
        open_file, open_folder = _button("Open file…", "open_file"), _button("Open folder…", "open_folder")
        open_file.setToolTip(wrapping("A TIFF or OME-TIFF stack, or an .mcd or .txt of the instrument."))
        open_folder.setToolTip(wrapping("An OME-Zarr image, or a folder with one image file a channel."))
        open_file.clicked.connect(self._open_file)
        open_folder.clicked.connect(self._open_folder)
        self._about, self._notes = wrapped(name="about"), wrapped(name="notes", dim=True)
        self._composites = QHBoxLayout()
        self._composites.setSpacing(2)
        self._search = QLineEdit()
        self._search.setObjectName("search")
        self._search.setPlaceholderText("Find a channel, an isotope or a role")
        self._search.setClearButtonEnabled(True)
        self._only_shown = QCheckBox("Shown")
        self._only_shown.setObjectName("only_shown")
        self._only_shown.setToolTip(wrapping("List only the channels that are shown now."))
        self.list = ChannelList()
        self._more = _button("⋯", "section_more")
        self._more.setFixedWidth(40)
        self._more.setToolTip(wrapping("Save the panel; the folder of pyramids."))
        menu = QMenu(self._more)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(lambda: self._fill_more(menu))
        self._more.setMenu(menu)
        layout = QVBoxLayout(self)
        _add(layout, open_file, open_folder, self._more)
        layout.addWidget(self._about)
        layout.addWidget(OpenSections(state))
        layout.addWidget(self._notes)
        layout.addWidget(PyramidOffer(state))
        layout.addLayout(self._composites)
        _add(layout, self._search, self._only_shown)
        layout.addWidget(self.list, 1)
        self._contrast = ContrastBox(state)
        layout.addWidget(self._contrast)
        layout.addWidget(ConvertBox(state))
        self._search.textChanged.connect(self._filter)
        self._only_shown.toggled.connect(self._filter)
        self.list.ticked.connect(lambda channel, shown: self.show_channels([channel], shown))
        self.list.colour_chosen.connect(self._on_colour)
        self.list.role_chosen.connect(self.set_role)
        state.section_changed.connect(self._fill)
        state.layers_changed.connect(self._follow_layers)
        self._fill(state.section)

    # --- opening --------------------

    def _open_file(self) -> None:
        chosen = QFileDialog.getOpenFileName(self, "Open a section", self._start(), _FILES)[0]
        if chosen:
            self.open(chosen)

    def _open_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Open an OME-Zarr, or a folder with one file a channel", self._start()
        )
        if chosen:
            self.open(chosen)

    def _start(self) -> str:
        return str(self._state.section.path.parent if self._state.section else Path.home())

    def open(self, path: str) -> None:
        """Open a file or a folder as layers; what goes wrong is told in a sentence."""
        try:
            self._state.viewer.open(path, plugin="napari-mitoxai")
        except ValueError:  # npe2 refuses what the reader's patterns do not cover
            show_error(
                f"{Path(path).name} is not a section that can be read: choose a TIFF, an OME-Zarr, an .mcd or .txt of the instrument, "
                "or a folder with one image file a channel."
            )

    # --- what is open --------------------

    def _fill(self, section: Section | None) -> None:
        for widget in (self._search, self._only_shown, self.list, self._contrast):
            widget.setEnabled(section is not None)
        self._notes.setVisible(section is not None and bool(section.notes))
        _clear(self._composites)
        if section is None:
            self.list.clear()
            self._about.setText(
                "No section is open. Open a file or a folder here, drop one on the window, or try File › Open Sample › MitoXAI."
            )
            self._about.setToolTip("")
            return
        self._about.setText(_about(section))
        self._about.setToolTip(str(section.path))
        self._notes.setText(" ".join(section.notes))
        self.list.fill(section.panel)
        self._add_composites(section)
        self._follow_layers()

    def _add_composites(self, section: Section) -> None:
        offered = composites(section.panel)
        if offered:
            self._composites.addWidget(QLabel("Show"))
        for composite in offered:
            button = QToolButton()
            button.setText(composite.name)
            button.setObjectName(f"composite_{composite.name}")
            button.setToolTip(wrapping(composite.about))
            button.clicked.connect(lambda _, chosen=composite: self.show_composite(chosen))
            self._composites.addWidget(button)
        self._composites.addStretch(1)

    def _filter(self, _: Any = None) -> None:
        self.list.filter(self._search.text(), only_shown=self._only_shown.isChecked())

    def _follow_layers(self) -> None:
        """Ticks follow the eyes of napari's layer list."""
        section = self._state.section
        if section is None:
            return
        layers = self._state.layers_of(section, "channel")
        for index, channel in enumerate(section.panel):
            layer = layers.get(channel.target)
            colour = self._state.display.colour(channel)
            if layer is not None:
                colour = layer.metadata["mitoxai"].get("colour", colour)
            self.list.show_state(index, layer is not None and layer.visible, colour)
        self._filter()

    # --- showing --------------------

    def show_channels(self, channels: Sequence[int], shown: bool = True) -> None:
        """Show or hide channels of the section in use; a channel becomes a layer when it is first shown."""
        section = self._state.section
        if section is None:
            return
        layers = self._state.layers_of(section, "channel")
        missing = []
        for channel in channels:
            layer = layers.get(section.panel[channel].target)
            if layer is not None:
                layer.visible = shown
            elif shown:
                missing.append(channel)
        try:
            for layer_tuple in (
                channel_layers(section, missing, display=self._state.display) if missing else ()
            ):
                self._state.add_layer(layer_tuple)
        except MitoxaiError as error:
            show_error(str(error))
            self._follow_layers()

    def show_composite(self, composite: Composite) -> None:
        """Show the channels of a composite in its colours, and no others."""
        section = self._state.section
        if section is None:
            return
        others = [index for index in range(len(section.panel)) if index not in composite.colours]
        self.show_channels(others, shown=False)
        self.show_channels(list(composite.colours))
        layers = self._state.layers_of(section, "channel")
        for index, colour in composite.colours.items():
            layer = layers.get(section.panel[index].target)
            if layer is not None:
                self._state.channels.paint(layer, colour)
                layer.opacity = composite.opacity
        self._follow_layers()

    def _on_colour(self, channel: int, colour: str) -> None:
        section = self._state.section
        if section is not None:
            self._state.channels.choose_colour(section.panel[channel].target, colour)
            self._follow_layers()

    def set_role(self, channel: int, role: Role) -> None:
        """Say what a target tells about a fibre, in all sections; it is remembered."""
        section = self._state.section
        if section is None:
            return
        target = section.panel[channel].target
        self._state.display.roles[canonical(target)] = role
        self._state.display.save()
        self._state.reopen_section()
        layer = self._state.layers_of(section, "channel").get(target)
        if layer is not None and self._state.section is not None:
            layer.metadata["mitoxai"]["role"] = role.value
            self._state.channels.paint(layer, self._state.display.colour(self._state.section.panel[channel]))
            self._follow_layers()

    # --- more --------------------

    def _fill_more(self, menu: QMenu) -> None:
        menu.clear()
        save = menu.addAction("Save the panel as CSV…")
        assert save is not None
        save.setObjectName("save_panel")
        save.setEnabled(self._state.section is not None)
        save.setToolTip("Names, isotopes and roles, for `--panel` and for other sections.")
        save.triggered.connect(self._ask_and_save_panel)
        menu.addSeparator()
        fill_cache_menu(menu)

    def _ask_and_save_panel(self) -> None:
        chosen = QFileDialog.getSaveFileName(
            self, "Save the panel", str(Path(self._start()) / "panel.csv"), "Panels (*.csv)"
        )[0]
        if chosen:
            self.save_panel(Path(chosen))

    def save_panel(self, path: Path) -> None:
        """Write the panel of the section in use, with the roles as they are set."""
        if self._state.section is None:
            return
        try:
            write_panel(path, self._state.section.panel, overwrite=True)  # the dialog has asked
            show_info(f"The panel is in {path}.")
        except MitoxaiError as error:
            show_error(str(error))


def _button(text: str, name: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    return button


def _add(layout: QVBoxLayout, *widgets: QWidget) -> None:
    line = QHBoxLayout()
    for widget in widgets:
        line.addWidget(widget)
    layout.addLayout(line)


def _clear(layout: QLayout) -> None:
    while layout.count():
        item = layout.takeAt(0)
        widget = item.widget() if item is not None else None
        if widget is not None:
            widget.hide()  # it is painted until it is gone
            widget.deleteLater()


def _about(section: Section) -> str:
    _, height, width = section.shape
    size = section.pixel_size_um
    whose = (
        f"<br>Subject {escape(section.subject)}, {section.group}" if section.subject and section.group else ""
    )
    kind = f"{section.format}, {section.dialect}" if section.dialect else section.format
    return (
        f"<b>{escape(section.name)}</b> · {escape(kind)}{whose}<br>{len(section.panel)} channels · {width * size:,.0f} × "
        f"{height * size:,.0f} µm · {size:g} µm a pixel"
    )
