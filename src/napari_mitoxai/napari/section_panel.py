"""The Section tab: what is open, and its channels to show on demand."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.contrast import sampled_limits
from napari_mitoxai.napari.layers import channel_layers, shown_first
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.styles import role_colour
from napari_mitoxai.napari.top import wrapped


class SectionPanel(QWidget):
    """Open a section, read what it is, tick the channels to see."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("section_panel")
        self._state = state
        self._filling = False
        open_file, open_folder = _button("Open file…", "open_file"), _button("Open folder…", "open_folder")
        open_file.setToolTip("An OME-TIFF or TIFF stack of one section.")
        open_folder.setToolTip("A folder with one image file a channel.")
        open_file.clicked.connect(self._open_file)
        open_folder.clicked.connect(self._open_folder)
        self._about = wrapped(name="about")
        self._notes = wrapped(name="notes")
        self._search = QLineEdit()
        self._search.setObjectName("search")
        self._search.setPlaceholderText("Find a channel, an isotope or a role")
        self._search.setClearButtonEnabled(True)
        self._search.textChanged.connect(self._filter)
        self._list = QListWidget()
        self._list.setObjectName("channels")
        self._list.setMinimumHeight(120)
        self._list.itemChanged.connect(self._on_ticked)
        self._contrast = _button("Auto-contrast", "auto_contrast")
        self._contrast.setToolTip("Set the contrast of every shown channel from a sample of its tiles.")
        self._contrast.clicked.connect(self.auto_contrast)
        self._usual = _button("Usual channels", "usual_channels")
        self._usual.setToolTip("Show a membrane, a mitochondrial mass and a complex; hide the others.")
        self._usual.clicked.connect(self._show_usual)
        layout = QVBoxLayout(self)
        for row in (
            [open_file, open_folder],
            self._about,
            self._notes,
            self._search,
            self._list,
            [self._usual, self._contrast],
        ):
            if isinstance(row, list):
                line = QHBoxLayout()
                for widget in row:
                    line.addWidget(widget)
                layout.addLayout(line)
            else:
                layout.addWidget(row, int(row is self._list))
        state.section_changed.connect(self._fill)
        state.layers_changed.connect(self._tick_visible)
        self._fill(state.section)

    # --- opening --------------------

    def _open_file(self) -> None:
        chosen = QFileDialog.getOpenFileName(
            self, "Open a section", self._start(), "Sections (*.tif *.tiff);;All files (*)"
        )[0]
        if chosen:
            self.open(chosen)

    def _open_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Open a folder with one file a channel", self._start()
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
                f"{Path(path).name} is not a section that can be read: choose a TIFF, an OME-TIFF or a folder with one image file a channel."
            )

    # --- showing --------------------

    def _fill(self, section: Section | None) -> None:
        self._filling = True
        self._list.clear()
        for widget in (self._search, self._list, self._contrast, self._usual):
            widget.setEnabled(section is not None)
        self._notes.setVisible(section is not None and bool(section.notes))
        if section is None:
            self._about.setText(
                "No section is open. Open a file or a folder here, drop one on the window, or try File › Open Sample › MitoXAI."
            )
        else:
            self._about.setText(_about(section))
            self._about.setToolTip(str(section.path))
            self._notes.setText(" ".join(section.notes))
            for index, channel in enumerate(section.panel):
                item = QListWidgetItem(_swatch(role_colour(channel)), channel.label)
                item.setToolTip(str(channel.role))
                item.setData(Qt.ItemDataRole.UserRole, index)
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                item.setCheckState(Qt.CheckState.Unchecked)
                self._list.addItem(item)
        self._filling = False
        self._filter(self._search.text())
        self._tick_visible()

    def _items(self) -> list[QListWidgetItem]:
        found = [self._list.item(row) for row in range(self._list.count())]
        return [item for item in found if item is not None]

    def _filter(self, text: str) -> None:
        for item in self._items():
            item.setHidden(text.strip().lower() not in f"{item.text()} {item.toolTip()}".lower())

    def _tick_visible(self) -> None:
        """Ticks follow the eyes of napari's layer list."""
        section = self._state.section
        if section is None or self._filling:
            return
        layers = self._state.layers_of(section, "channel")
        self._filling = True
        for item in self._items():
            layer = layers.get(section.panel[item.data(Qt.ItemDataRole.UserRole)].target)
            shown = layer is not None and layer.visible
            item.setCheckState(Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked)
        self._filling = False

    def _on_ticked(self, item: QListWidgetItem) -> None:
        if not self._filling:
            self.show_channels(
                [item.data(Qt.ItemDataRole.UserRole)], item.checkState() == Qt.CheckState.Checked
            )

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
            for layer_tuple in channel_layers(section, missing, visible=missing) if missing else ():
                self._state.add_layer(layer_tuple)
        except MitoxaiError as error:
            show_error(str(error))

    def _show_usual(self) -> None:
        section = self._state.section
        if section is not None:
            usual = shown_first(section.panel)
            self.show_channels(
                [index for index in range(len(section.panel)) if index not in usual], shown=False
            )
            self.show_channels(usual)

    def auto_contrast(self) -> None:
        """Set the contrast of all visible channels anew."""
        section = self._state.section
        if section is None:
            return
        visible = {
            what: layer for what, layer in self._state.layers_of(section, "channel").items() if layer.visible
        }
        try:
            limits = sampled_limits(section, [section.panel.index(target) for target in visible])
        except MitoxaiError as error:
            show_error(str(error))
            return
        for layer, low_high in zip(visible.values(), limits, strict=True):
            layer.contrast_limits = low_high


def _button(text: str, name: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    return button


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(colour))
    return QIcon(pixmap)


def _about(section: Section) -> str:
    _, height, width = section.shape
    size = section.pixel_size_um
    whose = (
        f"<br>Subject {escape(section.subject)}, {section.group}" if section.subject and section.group else ""
    )
    return (
        f"<b>{escape(section.name)}</b>{whose}<br>{len(section.panel)} channels · {width * size:,.0f} × {height * size:,.0f} µm · "
        f"{size:g} µm a pixel"
    )
