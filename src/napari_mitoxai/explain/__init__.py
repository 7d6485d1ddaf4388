"""Explanation methods, and the engine that maps whole sections with them."""

import importlib
from typing import TYPE_CHECKING, Any

from napari_mitoxai.explain.description import Method, MethodParameters, Unsuitable
from napari_mitoxai.explain.registry import available, faults, method, resolve

if TYPE_CHECKING:
    from napari_mitoxai.explain.attribution import Attributions, attribute, attribute_many
    from napari_mitoxai.explain.engine import BlockCallback, StoreCallback, explain_section
    from napari_mitoxai.explain.store import MapGrid, MapStore, open_maps

# These need torch or zarr, which take seconds to import: a menu that lists methods must not wait for them.
_LAZY = {
    "Attributions": "attribution",
    "attribute": "attribution",
    "attribute_many": "attribution",
    "BlockCallback": "engine",
    "StoreCallback": "engine",
    "explain_section": "engine",
    "MapGrid": "store",
    "MapStore": "store",
    "open_maps": "store",
}

__all__ = [
    "Attributions",
    "BlockCallback",
    "MapGrid",
    "MapStore",
    "Method",
    "MethodParameters",
    "StoreCallback",
    "Unsuitable",
    "attribute",
    "attribute_many",
    "available",
    "explain_section",
    "faults",
    "method",
    "open_maps",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"napari_mitoxai.explain.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'napari_mitoxai.explain' has no attribute {name!r}")
