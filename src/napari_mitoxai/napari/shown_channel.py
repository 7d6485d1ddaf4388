"""Which protein a map shows: the relevance of all channels together, or that of one."""

from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QComboBox

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.layers import METADATA_KEY, facts_of, robust_limit
from napari_mitoxai.napari.probability import PROBABILITY
from napari_mitoxai.napari.runner import State
from napari_mitoxai.napari.state import WindowState

ALL = "all channels"


class ShownChannel(QComboBox):
    """A choice for all maps of the section in use that know channels apart."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("shown_channel")
        self.setToolTip(
            wrapping(
                "Whose relevance the maps of this section show. Maps that cannot tell channels apart stay as they are."
            )
        )
        self._state = state
        self.activated.connect(lambda _: self._show())
        state.section_changed.connect(self.refresh)
        state.runner.state_changed.connect(self.refresh)
        if state.viewer is not None:
            for event in (state.viewer.layers.events.inserted, state.viewer.layers.events.removed):
                event.connect(self.refresh)
        self.refresh()

    def refresh(self, _: Any = None) -> None:
        """Offer the channels that the section's maps have."""
        shown = self.currentText()
        names = list(dict.fromkeys(name for layer in self._maps() for name in _channels(layer)))
        self.clear()
        self.addItems([ALL, *names])
        self.setCurrentIndex(max(self.findText(shown), 0))
        self.setEnabled(bool(names) and self._state.runner.state is State.IDLE)

    def _maps(self) -> list[Any]:
        """The map layers of the section in use that have a plane for each channel."""
        section, viewer = self._state.section, self._state.viewer
        if section is None or viewer is None:
            return []
        found = []
        for layer in viewer.layers:
            facts = facts_of(layer)
            if facts is None or facts.kind != "map" or facts.path != str(section.address):
                continue
            if facts.what != PROBABILITY and len(_channels(layer)) > 1:  # whose planes are classes
                found.append(layer)
        return found

    def _show(self) -> None:
        try:
            for layer in self._maps():
                show_channel(layer, self.currentText())
        except MitoxaiError as error:  # the store was taken away meanwhile
            show_error(str(error))


def _channels(layer: Any) -> list[str]:
    """What the planes of a layer's map are."""
    facts = facts_of(layer)
    methods = layer.metadata.get(METADATA_KEY, {}).get("provenance", {}).get("methods", {})
    return list(methods.get(facts.what, {}).get("channels", [])) if facts is not None else []


def show_channel(layer: Any, channel: str) -> None:
    """Let a map layer show one channel, or `ALL`.

    Raises
    ------
    MitoxaiError
        If its store cannot be opened any more.
    """
    facts = facts_of(layer)
    names = _channels(layer)
    if facts is None or (channel != ALL and channel not in names):
        return
    from napari_mitoxai.explain import open_maps

    store = open_maps(facts.source)
    levels = store.levels(facts.what)
    planes = [level.sum(0) if channel == ALL else level[names.index(channel)] for level in levels]
    limit = robust_limit(planes[-1])
    limits = (-limit if store.signed(facts.what) else 0.0, limit)
    # a map that was made in this window may have other levels than its store
    layer.data = planes if layer.multiscale else planes[0]
    layer.contrast_limits_range = limits
    layer.contrast_limits = limits
    layer.metadata[METADATA_KEY]["channel"] = channel
