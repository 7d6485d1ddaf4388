"""Shapes that a user draws on a section, as outlines in its pixels."""

from typing import Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.layers import UNITS
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.tasks.areas import outline


def shapes_on_top(state: WindowState) -> Shapes | None:
    """The uppermost layer of shapes, or None."""
    layers = [layer for layer in state.viewer.layers if isinstance(layer, Shapes)]
    return layers[-1] if layers else None


def start_drawing(state: WindowState, section: Section, what: str) -> None:
    """Take the polygon tool on the uppermost layer of shapes; on a new one, named for what is drawn, where there is none."""
    viewer = state.viewer
    if viewer is None:
        return
    layer = shapes_on_top(state)
    if layer is None:
        side = section.pixel_size_um
        layer = viewer.add_shapes(
            name=f"{section.name} / {what}", ndim=2, scale=(side, side), units=UNITS,
            face_color="transparent", edge_color="yellow", edge_width=4,
        )  # fmt: skip
    viewer.layers.selection.active = layer
    layer.mode = "add_polygon"


def outlines_in(layer: Any, section: Section) -> list[NDArray[np.float64]]:
    """The outlines (N, 2) of the shapes of a layer, as (y, x) in pixels of the section.

    Raises
    ------
    MitoxaiError
        If nothing is drawn, or a shape has no inside.
    """
    if layer is None or not len(layer.data):
        raise MitoxaiError("Nothing is drawn: press Draw, and draw around what you mean.")
    found = []
    for kind, corners in zip(layer.shape_type, layer.data, strict=True):
        world = np.array([layer.data_to_world(corner)[-2:] for corner in outline(kind, corners)])
        found.append(world / section.pixel_size_um)
    return found
