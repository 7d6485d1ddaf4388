"""The maps that can be compared: a tree of the stores whose maps are in the window or were added, with their methods to tick."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.probability import PROBABILITY
from napari_mitoxai.napari.state import WindowState

Chosen = tuple[str, str]
"""A store's path and a method."""

_METHOD = Qt.ItemDataRole.UserRole
_ROWS = 9  # in sight


class MapTree(QWidget):
    """Stores with their methods to tick; those of the section in use are ticked at first."""

    changed = Signal()

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("map_tree")
        self._state = state
        self._added: list[str] = []
        self._channels: dict[str, list[str]] = {}
        self._sections: dict[str, str] = {}
        self._tree = QTreeWidget()
        self._tree.setObjectName("maps")
        self._tree.setHeaderHidden(True)
        self._tree.setFixedHeight(_ROWS * 22)
        viewer = state.viewer
        if viewer is not None:
            self._follow(viewer.theme)
            viewer.events.theme.connect(lambda event: self._follow(event.value))
        self._tree.itemChanged.connect(lambda *_: self.changed.emit())
        add = QPushButton("Add maps…")
        add.setObjectName("add_maps")
        add.setToolTip("Maps of another checkpoint, or of another subject's section.")
        add.clicked.connect(self._ask)
        line = QHBoxLayout()
        line.addWidget(add)
        line.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._tree)
        column.addLayout(line)

    def _follow(self, theme: str) -> None:
        """The colour of lists: on a tree's own, boxes that are not ticked cannot be seen."""
        self._tree.setStyleSheet(f"QTreeWidget {{background: {get_theme(theme).foreground.as_hex()}}}")

    def chosen(self) -> list[Chosen]:
        """What is ticked, from above."""
        return [
            (str(store.data(0, _METHOD)), str(item.data(0, _METHOD)))
            for store in self._stores()
            for item in _children(store)
            if item.checkState(0) == Qt.CheckState.Checked
        ]

    def choose(self, chosen: Iterable[Chosen]) -> None:
        """Tick these, and no others."""
        wanted = set(chosen)
        self._tree.blockSignals(True)
        for store in self._stores():
            for item in _children(store):
                ticked = (store.data(0, _METHOD), item.data(0, _METHOD)) in wanted
                item.setCheckState(0, Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self._tree.blockSignals(False)
        self.changed.emit()

    def stores(self) -> list[str]:
        """The paths of all stores in it."""
        return [str(item.data(0, _METHOD)) for item in self._stores()]

    def methods_of(self, store: str) -> list[str]:
        """The methods of a store, ticked or not."""
        return [
            str(child.data(0, _METHOD))
            for item in self._stores()
            if item.data(0, _METHOD) == store
            for child in _children(item)
        ]

    def section_of(self, store: str) -> str:
        """The name of a store's section."""
        return self._sections[store]

    def channels(self) -> list[str]:
        """The channels that ticked maps tell apart."""
        names = [name for store, method in self.chosen() for name in self._channels[f"{store}/{method}"]]
        return list(dict.fromkeys(names))

    def channels_of(self, store: str, method: str) -> list[str]:
        """The channels that a map tells apart; empty where it has one plane."""
        return self._channels[f"{store}/{method}"]

    def add(self, path: Path | str) -> None:
        """Offer the maps of a store.

        Raises
        ------
        MitoxaiError
            If it is not a finished store of maps.
        """
        from napari_mitoxai.explain import open_maps

        store = open_maps(path)
        if "verdict" not in store.info:
            raise MitoxaiError(
                f"{store.path} is not finished: run the same `mitoxai explain` again, it goes on."
            )
        if str(store.path) not in self._added:
            self._added.append(str(store.path))
        self.refresh()

    def refresh(self) -> None:
        """Look which stores the window shows."""
        known, shown = self.stores(), list(dict.fromkeys([*stores_shown(self._state), *self._added]))
        if known == shown:
            return
        ticked = set(self.chosen())
        self._tree.blockSignals(True)
        self._tree.clear()
        for path in shown:
            self._add_store(path, ticked, new=path not in known)
        self._tree.blockSignals(False)
        self.changed.emit()

    def _stores(self) -> list[QTreeWidgetItem]:
        return [
            item
            for place in range(self._tree.topLevelItemCount())
            if (item := self._tree.topLevelItem(place))
        ]

    def _add_store(self, path: str, ticked: set[Chosen], *, new: bool) -> None:
        from napari_mitoxai.explain import open_maps

        try:
            store = open_maps(path)
        except MitoxaiError:  # taken away meanwhile
            self._added = [each for each in self._added if each != path]
            return
        item = QTreeWidgetItem([f"{store.info['section']['name']}, {store.explained} ({store.path.name})"])
        self._sections[path] = str(store.info["section"]["name"])
        item.setData(0, _METHOD, path)
        item.setToolTip(0, path)
        self._tree.addTopLevelItem(item)
        section = self._state.section
        own = section is not None and store.info["section"]["path"] == str(section.address)
        for method in store.methods:
            child = QTreeWidgetItem([store.title(method)])
            child.setData(0, _METHOD, method)
            child.setToolTip(0, method)
            on = (path, method) in ticked or (new and (own or path in self._added))
            child.setCheckState(0, Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
            item.addChild(child)
            names = store.channels(method)
            self._channels[f"{path}/{method}"] = names if len(names) > 1 else []
        item.setExpanded(True)

    def _ask(self, _: Any = None) -> None:
        path = QFileDialog.getExistingDirectory(self, "Maps that `mitoxai explain` wrote", "")
        if not path:
            return
        try:
            self.add(path)
        except MitoxaiError as error:
            show_error(str(error))


def stores_shown(state: WindowState) -> list[str]:
    """The stores whose maps are in the window, each once, those on top first; not those that are still being made."""
    viewer = state.viewer
    every = [facts_of(layer) for layer in viewer.layers] if viewer is not None else []
    stores = [
        facts.source
        for facts in reversed(every)
        if facts is not None
        and facts.kind == "map"
        and facts.what != PROBABILITY
        and facts.source
        and not Path(facts.source).name.startswith(".")
    ]
    return list(dict.fromkeys(stores))


def _children(item: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    return [child for place in range(item.childCount()) if (child := item.child(place))]
