"""A coarse picture of a large plane that has no pyramid, filled in the background while one looks at it."""

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_mitoxai.imc import Section
from napari_mitoxai.napari.planes import averaged, read_or_tell

_SIDE = 2048  # pixels; an overview is no larger
_STRIP = 2**24  # pixels read at once
_REFRESH_MS = 400


class Overview:
    """A plane averaged over blocks; it fills from above once it is asked for the first time.

    Parameters
    ----------
    section : Section
        For messages.
    plane : dask.array.Array
        (Y, X), lazy.
    """

    def __init__(self, section: Section, plane: da.Array) -> None:
        self._section, self._plane = section, plane
        height, width = plane.shape
        self.factor = 1
        while max(height, width) // self.factor > _SIDE:
            self.factor *= 2
        self.values: NDArray[Any] = np.zeros((height // self.factor, width // self.factor), np.float32)
        self.rows = 0  # that are filled
        self._asked = False

    @property
    def finished(self) -> bool:
        """Whether all of it is filled."""
        return self.rows == len(self.values)

    def ask(self) -> None:
        """Begin to fill it, after those that were asked for before."""
        if not self._asked:
            self._asked = True
            _WAITING.put(weakref.ref(self))
            _begin()

    def fill_some(self) -> None:
        """Fill the next rows; in the background's thread."""
        height, width = self.values.shape
        rows = max(_STRIP // (self._plane.shape[1] * self.factor), 1)
        # a stored piece is decoded as a whole: take all its rows
        rows = max(rows, -(-self._plane.chunksize[0] // self.factor))
        first, last = self.rows, min(self.rows + rows, height)
        strip = self._plane[first * self.factor : last * self.factor, : width * self.factor]
        values = read_or_tell(self._section, lambda: np.asarray(strip.compute(scheduler="threads")))
        if values is not None:
            self.values[first:last] = averaged(values, self.factor)
        self.rows = last


class Enlarged:
    """An overview as a plane of another size: what a layer shows between the overview and the section's own pixels.

    Parameters
    ----------
    overview : Overview
    factor : int
        How many pixels of the section one of this plane is wide; divides the overview's.
    """

    ndim = 2

    def __init__(self, overview: Overview, factor: int) -> None:
        self.overview = overview
        self._times = overview.factor // factor
        height, width = overview.values.shape
        self.shape = (height * self._times, width * self._times)
        self.dtype = overview.values.dtype
        self.size = self.shape[0] * self.shape[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self._times == 1:  # the overview itself: who keeps it sees it fill
            self.overview.ask()
            return np.asarray(self.overview.values, dtype=dtype)
        return np.asarray(self[:, :], dtype=dtype)

    def __getitem__(self, key: Any) -> Any:
        self.overview.ask()
        full = key if isinstance(key, tuple) else (key,)
        full = (*full, *(slice(None),) * (self.ndim - len(full)))
        if not all(isinstance(part, slice | int | np.integer) for part in full):
            return np.repeat(np.repeat(self.overview.values, self._times, 0), self._times, 1)[key]
        rows, columns = (
            np.arange(size)[part] // self._times for part, size in zip(full, self.shape, strict=True)
        )
        picked = self.overview.values[np.ix_(np.atleast_1d(rows), np.atleast_1d(columns))]
        return picked[tuple(slice(None) if isinstance(part, slice) else 0 for part in full)]


_WAITING: "queue.Queue[weakref.ref[Overview]]" = queue.Queue()
_starting = threading.Lock()
_thread: threading.Thread | None = None


def _begin() -> None:
    global _thread
    with _starting:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_work, name="mitoxai-overviews", daemon=True)
            _thread.start()


def _work() -> None:
    """Fill overviews one after the other; one whose layer was closed is gone, and forgotten."""
    while True:
        reference = _WAITING.get()
        while True:
            overview = reference()
            if overview is None or overview.finished:
                break
            overview.fill_some()
            del overview  # so that it can go


def overview_of(layer: Any) -> Overview | None:
    """What a layer shows in place of a pyramid; None for other layers."""
    coarsest = layer.data[-1] if getattr(layer, "multiscale", False) else None
    return coarsest.overview if isinstance(coarsest, Enlarged) else None


class OverviewRefresher(QObject):
    """Draws layers anew while their overviews fill.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    on_whole : callable
        Gets each layer whose overview has become whole.
    """

    def __init__(self, viewer: Any, on_whole: Callable[[Any], None]) -> None:
        super().__init__()
        self._on_whole = on_whole
        self._viewer = weakref.ref(viewer)
        self._seen: weakref.WeakKeyDictionary[Overview, int] = weakref.WeakKeyDictionary()
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self._refresh)

    def look(self) -> None:
        """Watch the layers, if any of them has an overview that is not whole."""
        viewer = self._viewer()
        if viewer is not None and any(self._unseen(layer) for layer in viewer.layers):
            self._timer.start()

    def _unseen(self, layer: Any) -> bool:
        overview = overview_of(layer)
        return overview is not None and self._seen.get(overview, 0) < len(overview.values)

    def _refresh(self) -> None:
        viewer = self._viewer()
        waiting = [layer for layer in viewer.layers if self._unseen(layer)] if viewer is not None else []
        for layer in waiting:
            overview = overview_of(layer)
            assert overview is not None
            rows = overview.rows
            if rows > self._seen.get(overview, 0):
                self._seen[overview] = rows
                if layer.visible:
                    layer.refresh(extent=False)
                if overview.finished:
                    self._on_whole(layer)
        if not waiting:
            self._timer.stop()
