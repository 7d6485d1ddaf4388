"""Explanation methods, and the engine that maps whole sections with them."""

import importlib
from typing import TYPE_CHECKING, Any

from napari_mitoxai.explain.description import Method, MethodParameters, Unsuitable
from napari_mitoxai.explain.plan import Request
from napari_mitoxai.explain.registry import available, faults, method, resolve
from napari_mitoxai.explain.watcher import Watcher

if TYPE_CHECKING:
    from napari_mitoxai.explain.area import Area, fibres, polygons, rectangle
    from napari_mitoxai.explain.attribution import Attributions, attribute, attribute_many
    from napari_mitoxai.explain.engine import explain_section
    from napari_mitoxai.explain.store import MapGrid, MapStore, open_maps

# These need torch or zarr, which take seconds to import: a menu that lists methods must not wait for them.
_LAZY = {
    "Attributions": "attribution",
    "attribute": "attribution",
    "attribute_many": "attribution",
    "Area": "area",
    "fibres": "area",
    "polygons": "area",
    "rectangle": "area",
    "explain_section": "engine",
    "MapGrid": "store",
    "MapStore": "store",
    "open_maps": "store",
}

__all__ = [
    "Area",
    "Attributions",
    "MapGrid",
    "MapStore",
    "Method",
    "MethodParameters",
    "Request",
    "Unsuitable",
    "Watcher",
    "attribute",
    "attribute_many",
    "available",
    "explain_section",
    "faults",
    "fibres",
    "method",
    "open_maps",
    "polygons",
    "rectangle",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"napari_mitoxai.explain.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'napari_mitoxai.explain' has no attribute {name!r}")
