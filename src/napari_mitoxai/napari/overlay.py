"""Maps that appear in the window while they are computed."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.imc import Section
from napari_mitoxai.napari.layers import LayerFacts, map_layer, robust_limit
from napari_mitoxai.napari.state import WindowState

if TYPE_CHECKING:
    from napari_mitoxai.explain.store import MapStore

_REFRESH_S = 0.25


class LiveMaps:
    """Layers on a store that is being filled.

    The engine's thread calls `on_store` and `on_block`, which only touch arrays; the window calls `refresh`, which
    only touches layers.
    """

    def __init__(self, state: WindowState, section: Section) -> None:
        self._state, self.section = state, section
        self._lock = threading.Lock()
        self._store: MapStore | None = None
        self._arrays: dict[str, NDArray[np.float32]] = {}
        self._layers: dict[str, Any] = {}
        self._dirty = False
        self._refreshed = 0.0

    # --- the engine's thread --------------------

    def on_store(self, store: "MapStore") -> None:
        """The store stands; it may hold blocks of an earlier run."""
        arrays = {method: store.read(method).sum(0) for method in store.methods}
        with self._lock:
            self._store, self._arrays, self._dirty = store, arrays, True

    def on_block(self, region: tuple[slice, slice]) -> None:
        """A block is stored."""
        store = self._store
        if store is None:
            return
        for method, array in self._arrays.items():
            array[region] = np.asarray(
                store.levels(method)[0][(slice(None), *region)].compute(scheduler="sync")
            ).sum(0)
        with self._lock:
            self._dirty = True

    # --- the window's thread --------------------

    def refresh(self, *, now: bool = False) -> None:
        """Show what has come, four times a second at most."""
        if (
            self._store is None
            or self._state.viewer is None
            or (not now and time.monotonic() - self._refreshed < _REFRESH_S)
        ):
            return
        with self._lock:
            dirty, self._dirty = self._dirty, False
        if not self._layers:
            self._add_layers(self._store)
        elif dirty or now:
            for method, layer in self._layers.items():
                if layer in self._state.viewer.layers:
                    self._show(layer, self._arrays[method], self._store.signed(method))
        self._refreshed = time.monotonic()

    def finish(self, path: Path, verdict: dict[str, Any]) -> None:
        """The store is whole and has its own name."""
        self.refresh(now=True)
        for layer in self._layers.values():
            kept = layer.metadata["mitoxai"]
            kept["source"], kept["provenance"] = str(path), {**kept["provenance"], "verdict": verdict}

    def _add_layers(self, store: "MapStore") -> None:
        for index, method in enumerate(store.methods):
            facts = LayerFacts(
                "map",
                self.section.name,
                str(self.section.path),
                method,
                store.info["target"],
                str(store.path),
            )
            layer = map_layer(
                self._arrays[method],
                facts,
                signed=store.signed(method),
                limit=robust_limit(self._arrays[method]),
                scale_um=store.grid.scale_um,
                translate_um=(store.grid.translate_um,) * 2,
                provenance=store.info,
            )
            layer[1]["visible"] = (
                index == len(store.methods) - 1
            )  # overlays on top of each other cannot be read
            self._layers[method] = self._state.add_layer(layer)

    def _show(self, layer: Any, array: NDArray[np.float32], signed: bool) -> None:
        limit = robust_limit(array)
        limits = (-limit if signed else 0.0, limit)
        layer.contrast_limits_range = limits
        layer.contrast_limits = limits
        layer.refresh()
