"""What is open in the window, as the rows and panels of a figure."""

from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Shapes

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures.spec import Box, Limits, Panel, Row
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.layers import LayerFacts, facts_of
from napari_mitoxai.napari.overlay import on_screen
from napari_mitoxai.napari.state import WindowState

COMPOSITE, FIBRES = "composite", "fibres"


def _facts(state: WindowState) -> list[tuple[Any, LayerFacts]]:
    layers = state.viewer.layers if state.viewer is not None else ()
    found = [(layer, facts_of(layer)) for layer in layers]
    return [(layer, facts) for layer, facts in found if facts is not None]


def open_rows(state: WindowState) -> dict[str, Row]:
    """The open sections by address, each with the maps and the fibres that are shown of it and lie on the disk."""
    rows: dict[str, Row] = {}
    every = _facts(state)
    for _, of_section in every:
        if of_section.kind != "channel" or of_section.path in rows:
            continue
        own = [(layer, facts) for layer, facts in every if facts.path == of_section.path and facts.source]
        maps = _stores([(layer, facts) for layer, facts in own if facts.kind == "map"])
        fibres = [Path(facts.source) for _, facts in own if facts.kind == "fibres"]
        rows[of_section.path] = Row(
            section=Path(of_section.path),
            # a store that is being made has a name of its own, that of a section's channels is no store
            maps=[path for path in maps if path.is_dir() and path.name[0] != "."],
            fibres=next((path for path in fibres if path.is_file()), None),
        )
    return rows


def _stores(maps: list[tuple[Any, LayerFacts]]) -> list[Path]:
    """The stores of maps; those first whose maps are shown, since a figure takes a method from the first that has it."""
    shown = {facts.what: facts.source for _, facts in maps}
    hidden = {
        facts.source: sum(shown.get(name, facts.source) != facts.source for name in _methods(layer))
        for layer, facts in maps
    }
    return [Path(source) for source in sorted(hidden, key=lambda source: hidden[source])]


def _methods(layer: Any) -> dict[str, Any]:
    """All methods of the store that a map's layer shows a method of."""
    return dict(layer.metadata["mitoxai"].get("provenance", {}).get("methods", {}))


def open_panels(state: WindowState) -> dict[str, str]:
    """What can be shown of the open sections, by key, with what it is called; a map's key is its method."""
    panels = {COMPOSITE: "Section"}
    for layer, facts in _facts(state):
        if facts.kind == "map" and facts.source and Path(facts.source).name[0] != ".":
            known = _methods(layer)
            if facts.what in known:
                title = str(known[facts.what].get("title", facts.what))
                preset = facts.what.partition("@")[2]
                panels[facts.what] = title + (f" ({preset})" if preset else "")
    if any(row.fibres for row in open_rows(state).values()):
        panels[FIBRES] = "Fibres"
    return panels


def panel_of(key: str, show: str, channels: list[str]) -> Panel:
    """The panel of a key of `open_panels`.

    Parameters
    ----------
    key : str
    show : str
        How maps are shown: ``overlay``, ``map`` or ``merge``.
    channels : list of str
        Of the composite.
    """
    if key == COMPOSITE:
        return Panel(show="composite", channels=channels)
    if key == FIBRES:
        return Panel(show="fibres")
    return Panel.model_validate({"show": show, "method": key})


def shown_channels(state: WindowState, section: Section | None) -> tuple[list[str], dict[str, str]]:
    """The visible channels of a section in the order of its panel, and their colours."""
    if section is None:
        return [], {}
    layers = state.layers_of(section, "channel")
    seen = [
        channel.target
        for channel in section.panel
        if channel.target in layers and layers[channel.target].visible
    ]
    return seen, {name: str(layers[name].metadata["mitoxai"]["colour"]) for name in seen}


def shown_limits(state: WindowState, address: str) -> dict[str, Limits]:
    """The contrast limits of a section's channels in the window."""
    return {
        facts.what: (float(layer.contrast_limits[0]), float(layer.contrast_limits[1]))
        for layer, facts in _facts(state)
        if facts.kind == "channel" and facts.path == address
    }


def crop_of_view(state: WindowState, section: Section) -> Box:
    """What of a section is on the screen, in um.

    Raises
    ------
    MitoxaiError
        If it is not on the screen.
    """
    view = on_screen(state.viewer, section)
    if view is None:
        raise MitoxaiError(f"{section.name} is not on the screen: show one of its channels first.")
    rows, columns = view
    side = section.pixel_size_um
    top, bottom = max(rows.start, 0), min(rows.stop, section.shape[1])
    left, right = max(columns.start, 0), min(columns.stop, section.shape[2])
    return (left - 0.5) * side, (top - 0.5) * side, (right - 0.5) * side, (bottom - 0.5) * side


def crop_of_shape(state: WindowState) -> Box:
    """The box around the shape that was drawn last, in um.

    Raises
    ------
    MitoxaiError
        If nothing is drawn.
    """
    layers = [layer for layer in state.viewer.layers if isinstance(layer, Shapes) and len(layer.data)]
    if not layers:
        raise MitoxaiError(
            "Nothing is drawn: add a shapes layer and draw a rectangle around what the figure should show."
        )
    corners = np.array([layers[-1].data_to_world(corner)[-2:] for corner in layers[-1].data[-1]])
    (top, left), (bottom, right) = corners.min(0), corners.max(0)
    return float(left), float(top), float(right), float(bottom)
