"""What all docks of a viewer share: the section, the model and the cohort in use, and the task runner."""

import re
import weakref
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.channel_display import ChannelDisplay
from napari_mitoxai.napari.comparison import Comparison
from napari_mitoxai.napari.display import kept_display
from napari_mitoxai.napari.fibre_table import OUTLINES, colour_fibres
from napari_mitoxai.napari.layers import METADATA_KEY, LayerTuple, facts_of, unmarked
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.overview import OverviewRefresher
from napari_mitoxai.napari.recorder import Recorder
from napari_mitoxai.napari.runner import TaskRunner
from napari_mitoxai.napari.runs import RunSummary


class WindowState(QObject):
    """The coordinator of one viewer: docks listen to it and tell it, and never call each other."""

    section_changed = Signal(object)  # Section or None
    layers_changed = Signal()  # a layer came, went, or changed its visibility
    run_changed = Signal(object)  # RunSummary or None
    cohort_changed = Signal(object)  # Path or None

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        # a strong reference would keep a closed window alive
        self._viewer = weakref.ref(viewer)
        self.runner = TaskRunner()
        self.recorder = Recorder(self.runner)
        self.display = kept_display()
        self.channels = ChannelDisplay(self)
        self.comparison = Comparison(self)
        self.section: Section | None = None
        self.run: RunSummary | None = None
        self.cohort: Path | None = None
        self.suggestions: dict[str, Any] = {}
        self._windows: weakref.WeakSet[QWidget] = weakref.WeakSet()
        self._docks = 0
        self._overviews = OverviewRefresher(viewer, self.channels.settle)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        viewer.layers.selection.events.active.connect(self._on_active)
        for layer in viewer.layers:
            self._follow(layer)
        self._find_section()

    @property
    def viewer(self) -> Any:
        """The viewer; None once it is closed."""
        return self._viewer()

    def watch(self, dock: QWidget) -> None:
        """Stop the running task when the window that `dock` is in closes."""
        window = dock.window()
        if window is not None and window not in self._windows:
            self._windows.add(window)
            window.installEventFilter(self)

    @property
    def docks(self) -> int:
        """How many docks there are, each with the progress and the Cancel button of the running task."""
        return self._docks

    def dock_came(self) -> None:
        """Count a dock."""
        self._docks += 1

    def dock_gone(self) -> None:
        """Stop the running task when the last dock, and with it the Cancel button, is gone."""
        self._docks -= 1
        if self._docks <= 0:
            self.runner.cancel()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """See the window close."""
        if event is not None and event.type() == QEvent.Type.Close and event.isAccepted():
            self.runner.shut_down()
            self.comparison.halt()
        return False

    # --- layers --------------------

    def layers_of(self, section: Section, kind: str) -> dict[str, Any]:
        """The layers of a kind that show `section`, by what they show."""
        found = {}
        for layer in self.viewer.layers if self.viewer is not None else ():
            facts = facts_of(layer)
            if facts is not None and facts.kind == kind and facts.path == str(section.address):
                found[facts.what] = layer
        return found

    @property
    def fibres(self) -> Any:
        """The layer with the fibres of the section in use, or None."""
        return None if self.section is None else self.layers_of(self.section, "fibres").get("fibres")

    def add_layer(self, layer: LayerTuple) -> Any:
        """Add a layer, in the place of an earlier one that shows the same."""
        data, keywords, kind = layer
        viewer = self.viewer
        old = next(
            (
                each
                for each in viewer.layers
                if unmarked(each.name) == unmarked(keywords["name"]) and facts_of(each) is not None
            ),
            None,
        )
        self._uncover(keywords["metadata"][METADATA_KEY])
        if old is not None and _takes(old, data, keywords, kind):
            old.name = keywords["name"]
            return old
        if old is not None:
            viewer.layers.remove(old)
        added = getattr(viewer, f"add_{kind}")(data, **keywords)
        self._put_in_order(added)
        return added

    def _uncover(self, content: dict[str, Any]) -> None:
        """Show the fibres of a section by their outlines again, where filled ones would hide a map that comes."""
        if content.get("kind") != "map" or self.viewer is None:
            return
        for layer in self.viewer.layers:
            facts = facts_of(layer)
            if facts is not None and facts.kind == "fibres" and facts.path == content.get("path"):
                colour_fibres(layer, OUTLINES)

    def _put_in_order(self, layer: Any) -> None:
        """Pictures of the slide lie below channels, these below maps, and maps below the outlines of fibres."""
        layers, mine = self.viewer.layers, facts_of(layer)
        order = ("panorama", "channel", "blend", "map", "fibres", "preview", "concepts")
        for index, other in enumerate(layers):
            facts = facts_of(other)
            if mine is None or facts is None or (facts.path != mine.path and mine.kind != "panorama"):
                continue  # another section lies below or above as a whole; a slide is below all that lies on it
            if order.index(facts.kind) > order.index(mine.kind):
                if index < layers.index(layer):
                    layers.move(layers.index(layer), index)
                return

    def _on_layers(self, event: Any = None) -> None:
        value = getattr(event, "value", None)
        if getattr(event, "type", "") == "inserted" and value is not None:
            self._follow(value)
            facts = facts_of(value)
            if facts is not None and facts.kind in ("channel", "map") and self._is_another(facts.path):
                QTimer.singleShot(0, lambda: self.show_alone(facts.path))
            # after napari is done with adding it
            QTimer.singleShot(0, lambda: self._settle(value))
        self._find_section()
        self.layers_changed.emit()

    def _is_another(self, address: str) -> bool:
        return self.section is not None and str(self.section.address) != address

    def show_alone(self, address: str) -> None:
        """Hide the layers of all other sections, which lie at the same place, and fit the view; not in napari's grid.

        Its channels come into view with it, if all of them are hidden.
        """
        viewer = self.viewer
        if viewer is None or viewer.canvas.grid.enabled:
            return
        mine = []
        for layer in viewer.layers:
            facts = facts_of(layer)
            if facts is not None and facts.path == address:
                mine.append(layer)
            elif facts is not None:
                layer.visible = False
        channels = [layer for layer in mine if (of := facts_of(layer)) is not None and of.kind == "channel"]
        if not any(layer.visible for layer in channels):
            for layer in channels:
                layer.visible = True
        if mine:
            viewer.fit_to_view(layers=mine)

    def _follow(self, layer: Any) -> None:
        layer.events.visible.connect(self._on_visible)
        self.channels.watch(layer)
        self._overviews.look()

    def _settle(self, layer: Any) -> None:
        """What was dropped on the window lies where it would if a tab had shown it."""
        self._replace_twin(layer)
        facts, viewer = facts_of(layer), self.viewer
        if facts is not None and facts.kind == "map" and viewer is not None and layer in viewer.layers:
            self._uncover(layer.metadata[METADATA_KEY])
            self._put_in_order(layer)

    def _replace_twin(self, layer: Any) -> None:
        """Nothing is there twice: what is opened again takes the place of what was open.

        napari names a second layer ``name [1]``; a layer that the user duplicated has a name of its own and stays.
        """
        facts, viewer = facts_of(layer), self.viewer
        if (
            facts is None
            or viewer is None
            or layer not in viewer.layers
            or not re.fullmatch(re.escape(facts.name) + r" \[\d+\]", unmarked(layer.name))
        ):
            return
        for twin in [
            each for each in viewer.layers if unmarked(each.name) == facts.name and facts_of(each) is not None
        ]:
            viewer.layers.remove(twin)
            layer.name = re.sub(r" \[\d+\]$", "", layer.name)

    def _on_visible(self, event: Any = None) -> None:
        self.layers_changed.emit()

    def _on_active(self, event: Any = None) -> None:
        self._find_section()

    def _find_section(self) -> None:
        """The section of the selected layer; else the one in use if it is still there; else the last opened."""
        viewer = self.viewer
        if viewer is None:
            return
        facts = [facts for facts in (facts_of(layer) for layer in viewer.layers) if facts is not None]
        selected = viewer.layers.selection.active
        active = facts_of(selected) if selected is not None else None
        paths = [each.path for each in facts]
        if active is not None:
            path: str | None = active.path
        elif self.section is not None and str(self.section.address) in paths:
            path = str(self.section.address)
        else:
            path = paths[-1] if paths else None
        if path == (str(self.section.address) if self.section is not None else None):
            return
        try:
            self.section = open_section(path, self.display) if path else None
        except MitoxaiError:  # a map whose section was moved: it can be looked at, not explained again
            self.section = None
        self.section_changed.emit(self.section)

    # --- what is in use --------------------

    def reopen_section(self) -> None:
        """Look at the section in use anew: its roles were changed, or its pyramid was made."""
        if self.section is not None:
            self.section = open_section(self.section.address, self.display)
            self.section_changed.emit(self.section)

    def set_run(self, run: RunSummary | None) -> None:
        """Use a model."""
        self.run = run
        self.run_changed.emit(run)

    def set_cohort(self, cohort: Path | None, **suggestions: Any) -> None:
        """Use a cohort, with parameters that suit it."""
        self.cohort, self.suggestions = cohort, suggestions
        self.cohort_changed.emit(cohort)


_STATES: "weakref.WeakKeyDictionary[Any, WindowState]" = weakref.WeakKeyDictionary()


def state_of(viewer: Any) -> WindowState:
    """The shared state of a viewer; made on first use."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins get a proxy
    if viewer not in _STATES:
        _STATES[viewer] = WindowState(viewer)
    return _STATES[viewer]


def _takes(layer: Any, data: Any, keywords: dict[str, Any], kind: str) -> bool:
    """Give a map's layer new content, which is several times as quick as another layer; False if it cannot take it."""
    facts, several = facts_of(layer), isinstance(data, list)
    if facts is None or facts.kind != "map" or kind != "image" or bool(layer.multiscale) != several:
        return False
    layer.data = data
    for name in ("scale", "translate", "colormap", "metadata"):
        setattr(layer, name, keywords[name])
    layer.contrast_limits_range = layer.contrast_limits = keywords["contrast_limits"]
    layer.visible = keywords.get("visible", True)
    return True
