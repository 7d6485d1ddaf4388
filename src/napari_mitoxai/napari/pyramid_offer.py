"""Offers to make a pyramid for a large section that has none; nothing is written before the user says so."""

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFrame, QHBoxLayout, QMenu, QMessageBox, QPushButton, QVBoxLayout

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.layers import shown_levels
from napari_mitoxai.napari.pyramids import (
    clear_pyramids,
    kept_bytes,
    make_pyramid,
    needs_pyramid,
    pyramids_folder,
    size_on_disk,
)
from napari_mitoxai.napari.runner import State
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped


class PyramidOffer(QFrame):
    """Says what a pyramid is good for and how large it gets; makes it in the background and puts it in the layers."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("pyramid_offer")
        self._state = state
        self._declined: set[str] = set()
        self._text = wrapped(name="pyramid_text")
        self._make = QPushButton("Make a pyramid")
        self._make.setObjectName("make_pyramid")
        self._make.clicked.connect(self.make)
        decline = QPushButton("Not now")
        decline.setObjectName("decline_pyramid")
        decline.clicked.connect(self._decline)
        buttons = QHBoxLayout()
        buttons.addWidget(self._make, 1)
        buttons.addWidget(decline)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addLayout(buttons)
        state.section_changed.connect(self._refresh)
        state.runner.state_changed.connect(self._on_state)
        self._refresh(state.section)
        self._on_state(state.runner.state)

    def _refresh(self, section: Section | None) -> None:
        offered = (
            section is not None and needs_pyramid(section) and str(section.address) not in self._declined
        )
        self.setVisible(offered)
        if offered and section is not None:
            self._text.setText(
                "The section is large and has no pyramid: from afar it is shown coarse, and slowly. A pyramid takes about "
                f"{_bytes(size_on_disk(section))} in the cache folder, and is used whenever the file is opened."
            )
            self._text.setToolTip(str(pyramids_folder()))

    def _on_state(self, state: State) -> None:
        self._make.setEnabled(state is State.IDLE)

    def _decline(self) -> None:
        if self._state.section is not None:
            self._declined.add(str(self._state.section.address))
        self.hide()

    def make(self) -> None:
        """Make the pyramid of the section in use; its layers show it as soon as it is whole."""
        section = self._state.section
        if section is not None:
            self._state.runner.run(
                "Making the pyramid",
                lambda progress, cancel: make_pyramid(section, progress, cancel),
                on_done=self._show,
            )

    def _show(self, section: Section) -> None:
        for layer in self._state.layers_of(section, "channel").values():
            index = layer.metadata["mitoxai"]["channel"]
            if layer.multiscale:
                layer.data = shown_levels(section, index)
                self._state.channels.settle(layer)
        used = self._state.section
        if used is not None and used.address == section.address:
            self._state.reopen_section()


def fill_cache_menu(menu: QMenu) -> None:
    """What can be done with the pyramids that were made: see them, remove them."""
    folder = pyramids_folder()
    show = menu.addAction("Show the folder of pyramids")
    clear = menu.addAction(f"Remove all pyramids ({_bytes(kept_bytes())})…")
    assert show is not None
    assert clear is not None
    show.setObjectName("show_pyramids")
    clear.setObjectName("clear_pyramids")
    for action in (show, clear):
        action.setEnabled(folder.is_dir())
        action.setToolTip(str(folder))
    show.triggered.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))))
    clear.triggered.connect(lambda: ask_and_clear(menu))


def ask_and_clear(menu: QMenu) -> None:
    """Remove all pyramids after a question."""
    box = QMessageBox(
        QMessageBox.Icon.Question,
        "Remove all pyramids",
        f"Remove all pyramids in {pyramids_folder()}? They can be made again; your own files stay as they are.",
        QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.Cancel,
        menu.parentWidget(),
    )
    box.setObjectName("clear_question")
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.accepted.connect(_clear)
    box.open()


def _clear() -> None:
    try:
        clear_pyramids()
        show_info("All pyramids were removed; open sections show theirs until they are opened again.")
    except MitoxaiError as error:
        show_error(str(error))


def _bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.0f} MB"
