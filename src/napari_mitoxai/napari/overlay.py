"""Maps that appear in the window while they are computed."""

import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.explain import Watcher
from napari_mitoxai.imc import Section, halved
from napari_mitoxai.napari.layers import LayerFacts, facts_of, map_layer, robust_limit
from napari_mitoxai.napari.state import WindowState

if TYPE_CHECKING:
    from napari_mitoxai.explain.store import MapStore

_REFRESH_S = 0.25
_COARSEST = 1024  # map pixels; a level that fits in this is the last of the pyramid
_SAMPLE = 16  # every so many pixels of a block count for the colour scale

Region = tuple[slice, slice]


class LivePyramid:
    """A map (Y, X) in memory that blocks are put into, with its coarser levels.

    Memory that nothing was written to is not taken: a section that is mostly empty slide costs little.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.levels = [np.zeros(shape, np.float32)]
        while max(shape) > _COARSEST:
            shape = (shape[0] // 2, shape[1] // 2)
            self.levels.append(np.zeros(shape, np.float32))
        self._samples: dict[tuple[int, int], NDArray[np.float32]] = {}

    def put(self, region: Region, values: NDArray[np.float32]) -> None:
        """Put a block (y, x) in; it starts at a multiple of its side."""
        self._samples[region[0].start, region[1].start] = values.ravel()[::_SAMPLE].copy()
        y, x = region[0].start, region[1].start
        for level in self.levels:
            height, width = (
                min(length, space - start)
                for length, space, start in zip(values.shape, level.shape, (y, x), strict=True)
            )
            level[y : y + height, x : x + width] = values[:height, :width]
            even = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2]
            values = halved(even)
            y, x = y // 2, x // 2

    def limit(self) -> float:
        """The end of its colour scale."""
        return robust_limit(np.concatenate(list(self._samples.values())) if self._samples else np.zeros(1))


class LiveMaps(Watcher):
    """Layers on maps that are being made; a `napari_mitoxai.explain.Watcher`.

    The engine's threads call `on_store`, `on_block` and `view`, which only touch arrays; the window calls `refresh`,
    which only touches layers.
    """

    def __init__(self, state: WindowState, section: Section) -> None:
        self._state, self.section = state, section
        self._lock = threading.Lock()
        self._store: MapStore | None = None
        self._maps: dict[str, LivePyramid] = {}
        self._layers: dict[str, Any] = {}
        self._dirty = False
        self._refreshed = 0.0
        self._view: Region | None = None
        self.first_pixels: float | None = None  # when they were shown, for whoever measures

    # --- the engine's threads --------------------

    def on_store(self, store: "MapStore") -> None:
        """The store stands; it may hold blocks of an earlier run."""
        maps = {label: LivePyramid(store.grid.shape) for label in store.methods}
        for region in store.finished_regions():
            for label, pyramid in maps.items():
                pyramid.put(region, store.read_region(label, region).sum(0))
        with self._lock:
            self._store, self._maps, self._dirty = store, maps, bool(store.finished_blocks())

    def on_block(self, region: Region, maps: dict[str, NDArray[np.float32]], *, finished: bool) -> None:
        """A block has come, or more of one."""
        for label, values in maps.items():
            self._maps[label].put(region, values.sum(0))
        with self._lock:
            self._dirty = True

    def view(self) -> Region | None:
        """What is on the screen, in pixels of the section."""
        return self._view

    # --- the window's thread --------------------

    def refresh(self, *, now: bool = False) -> None:
        """Show what has come, four times a second at most."""
        soon = now or (self._dirty and self.first_pixels is None)
        if self._state.viewer is None or (not soon and time.monotonic() - self._refreshed < _REFRESH_S):
            return
        self._view = on_screen(self._state.viewer, self.section)
        with self._lock:
            store, dirty, self._dirty = self._store, self._dirty, False
        if store is None:
            return
        if not self._layers:
            self._add_next(store)
        elif dirty or now:
            for label, layer in self._layers.items():
                if layer in self._state.viewer.layers:
                    self._show(layer, self._maps[label].limit(), store.signed(label))
        if self.first_pixels is not None or now:
            while self._add_next(store) and now:
                pass
        if dirty and self.first_pixels is None:
            self.first_pixels = time.monotonic()
        self._refreshed = time.monotonic()

    def finish(self, path: Path, verdict: dict[str, Any], left_out: Collection[str]) -> None:
        """The store is whole and has its own name."""
        self.refresh(now=True)
        for label, layer in self._layers.items():
            if label in left_out and layer in self._state.viewer.layers:
                self._state.viewer.layers.remove(layer)
            kept = layer.metadata["mitoxai"]
            kept["source"], kept["provenance"] = str(path), {**kept["provenance"], "verdict": verdict}

    def _add_next(self, store: "MapStore") -> bool:
        """Add the layer of one more map, the last one first, which alone is seen; False if there is none left."""
        left = [label for label in store.methods if label not in self._layers]
        if not left:
            return False
        label = left[-1]
        facts = LayerFacts(
            "map",
            self.section.name,
            str(self.section.address),
            label,
            store.explained,
            str(store.path),
        )
        pyramid = self._maps[label]
        layer = map_layer(
            pyramid.levels if len(pyramid.levels) > 1 else pyramid.levels[0],
            facts,
            signed=store.signed(label),
            limit=pyramid.limit(),
            scale_um=store.grid.scale_um,
            translate_um=(store.grid.translate_um,) * 2,
            provenance=store.info,
        )
        layer[1]["visible"] = not self._layers  # overlays on top of each other cannot be read
        added, layers = self._state.add_layer(layer), self._state.viewer.layers
        above = next((self._layers[other] for other in reversed(self._layers)), None)  # the one added before
        if above in layers and layers.index(added) > layers.index(above):
            layers.move(layers.index(added), layers.index(above))
        self._layers[label] = added
        seen = next(iter(self._layers.values()))
        if seen in layers:
            layers.selection.active = seen
        return True

    def _show(self, layer: Any, limit: float, signed: bool) -> None:
        limits = (-limit if signed else 0.0, limit)
        layer.contrast_limits_range = limits
        layer.contrast_limits = limits
        layer.refresh()


def on_screen(viewer: Any, section: Section) -> Region | None:
    """The rows and columns of a section, in its pixels, that a viewer shows; None if it shows none of its channels."""
    for layer in viewer.layers:
        facts = facts_of(layer)
        if (
            facts is None
            or facts.kind != "channel"
            or facts.path != str(section.address)
            or not layer.visible
        ):
            continue
        corners = np.asarray(layer.corner_pixels)[:, -2:]
        if getattr(layer, "multiscale", False):
            corners = corners * np.asarray(layer.downsample_factors[layer.data_level])[-2:]
        (top, left), (bottom, right) = corners
        if bottom > top and right > left:
            return slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)
    return None
