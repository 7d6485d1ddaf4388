"""The channels of a section as a list: tick, colour, isotope, role."""

from qtpy.QtCore import QPoint, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QCursor, QIcon, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QColorDialog, QHeaderView, QMenu, QTreeWidget, QTreeWidgetItem

from napari_mitoxai.imc import Channel, Panel, Role
from napari_mitoxai.napari.fields import wrapping

_NAME, _COLOUR, _ROLE = range(3)
_SWATCH = 14
_SHORT = {
    Role.MITOCHONDRIAL_MASS: "mass",
    **{role: role.removeprefix("OXPHOS ") for role in Role if "OXPHOS" in role},
}
_SAYS = {
    "panel file": "in the panel file",
    "OME name": "in the file's OME channel names",
    "page name": "in the page names of the TIFF",
    "ImageJ label": "in the ImageJ labels of the TIFF",
    "file name": "in the name of the file",
    "column header": "in the column headers of the text file",
    "acquisition": "in the channel labels of the acquisition",
    "position": "nowhere: it is the channel's place in the file",
}


class ChannelList(QTreeWidget):
    """One row a channel; a click on the colour or the role changes it."""

    ticked = Signal(int, bool)  # channel, whether it is to be shown
    colour_chosen = Signal(int, str)  # channel, #rrggbb
    role_chosen = Signal(int, object)  # channel, Role

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("channels")
        self.setColumnCount(3)
        self.setHeaderLabels(["Channel", "", "Role"])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setAlternatingRowColors(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(150)
        header = self.header()
        assert header is not None
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(_SWATCH + 10)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_COLOUR, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(_ROLE, QHeaderView.ResizeMode.ResizeToContents)
        header.resizeSection(_COLOUR, _SWATCH + 12)
        self._filling = False
        self._panel = Panel(())
        self.itemChanged.connect(self._on_changed)
        self.itemClicked.connect(self._on_clicked)

    # --- what is shown --------------------

    def fill(self, panel: Panel) -> None:
        """Show the channels of a panel, none ticked."""
        self._filling = True
        self.clear()
        self._panel = panel
        for channel in panel:
            item = QTreeWidgetItem([channel.label, "", _SHORT.get(channel.role, channel.role.value)])
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(_NAME, Qt.CheckState.Unchecked)
            item.setToolTip(_NAME, wrapping(_origin(channel)))
            item.setToolTip(
                _COLOUR, wrapping(f"The colour of {channel.target} in all sections: click to change it.")
            )
            item.setToolTip(
                _ROLE,
                wrapping(
                    f"{channel.role.value.capitalize()}: click to say what {channel.target} tells about a fibre."
                ),
            )
            self.addTopLevelItem(item)
        self._filling = False

    def rows(self) -> list[QTreeWidgetItem]:
        """The rows, in the order of the panel."""
        found = [self.topLevelItem(index) for index in range(self.topLevelItemCount())]
        return [item for item in found if item is not None]

    def show_state(self, index: int, shown: bool, colour: str) -> None:
        """Tick a channel or not, and paint its swatch."""
        item = self.topLevelItem(index)
        if item is None:
            return
        self._filling = True
        item.setCheckState(_NAME, Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked)
        if item.data(_COLOUR, Qt.ItemDataRole.UserRole) != colour:
            item.setData(_COLOUR, Qt.ItemDataRole.UserRole, colour)
            item.setIcon(_COLOUR, _swatch(colour))
        self._filling = False

    def filter(self, text: str, *, only_shown: bool = False) -> int:
        """Hide the channels in whose name, isotope or role no part has all words of `text`; how many are left."""
        words = text.lower().split()
        left = 0
        for item, channel in zip(self.rows(), self._panel, strict=True):
            about = f"{channel.label} {channel.role.value} {channel.metal}{channel.mass}".lower()
            fits = all(word in about for word in words)
            if only_shown:
                fits = fits and item.checkState(_NAME) == Qt.CheckState.Checked
            item.setHidden(not fits)
            left += fits
        return left

    # --- what the user does --------------------

    def _on_changed(self, item: QTreeWidgetItem, column: int) -> None:
        if not self._filling and column == _NAME:
            self.ticked.emit(self.indexOfTopLevelItem(item), item.checkState(_NAME) == Qt.CheckState.Checked)

    def _on_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        index = self.indexOfTopLevelItem(item)
        if column == _COLOUR:
            self._ask_colour(index, str(item.data(_COLOUR, Qt.ItemDataRole.UserRole)))
        elif column == _ROLE:
            self.role_menu(index).popup(QCursor.pos() + QPoint(2, 2))

    def _ask_colour(self, index: int, colour: str) -> None:
        dialog = QColorDialog(QColor(colour), self)
        dialog.setObjectName("colour_dialog")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(f"Colour of {self._panel[index].target}")
        dialog.colorSelected.connect(lambda chosen: self.colour_chosen.emit(index, chosen.name()))
        dialog.open()

    def role_menu(self, index: int) -> QMenu:
        """The roles to choose from for a channel."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for role in Role:
            action = menu.addAction(role.value)
            assert action is not None
            action.setCheckable(True)
            action.setChecked(role == self._panel[index].role)
            action.triggered.connect(lambda _, chosen=role: self.role_chosen.emit(index, chosen))
        return menu


def _origin(channel: Channel) -> str:
    isotope = f" on {channel.mass}{channel.metal}" if channel.metal else ""
    return f"{channel.target}{isotope}, {channel.role.value}. The name was found {_SAYS.get(channel.source, channel.source)}."


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(_SWATCH, _SWATCH)
    pixmap.fill(QColor(colour))
    return QIcon(pixmap)
