"""What layers show of a channel: windows of its planes, read once, whatever is damaged told in a sentence."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, product
from typing import Any

import dask.array as da
import numpy as np
from napari.utils.notifications import show_error
from numpy.typing import NDArray

from napari_mitoxai.imc import Section, halved
from napari_mitoxai.imc.limits import one_line

_LEAST = 256  # pixels; thinner stored strips are taken several at a time
_KEPT = 2**29  # bytes of decoded pieces, of all planes together
Key = tuple[int, int, int]


class _Pieces:
    """The pieces of planes that were decoded last, so that panning decodes only what is new."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._pieces: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> NDArray[Any] | None:
        with self._lock:
            if key in self._pieces:
                self._pieces.move_to_end(key)
            return self._pieces.get(key)

    def put(self, key: Key, piece: NDArray[Any]) -> None:
        with self._lock:
            if key not in self._pieces:
                self._pieces[key] = piece
                self._size += piece.nbytes
            while self._size > self._most:
                self._size -= self._pieces.popitem(last=False)[1].nbytes


_PIECES = _Pieces(_KEPT)
_numbers = count()
_told: set[str] = set()


class ShownPlane:
    """One plane of a section as an array that reads what it is asked for, and keeps what was decoded last.

    Indexing never raises, since nobody stands above a layer: what cannot be read is empty, and the user is told once, in a
    sentence.

    Parameters
    ----------
    section : Section
        For the message.
    plane : dask.array.Array
        (Y, X), lazy.
    dtype : data type, optional
        Of what is shown, where it is not that of the plane.
    """

    ndim = 2

    def __init__(self, section: Section, plane: da.Array, dtype: Any = None) -> None:
        self._section, self._plane = section, plane
        self._number = next(_numbers)
        self._edges = tuple(_edges(sizes) for sizes in plane.chunks)
        self.shape: tuple[int, int] = plane.shape
        self.dtype = np.dtype(plane.dtype if dtype is None else dtype)
        self.chunks = (
            _LEAST,
            _LEAST,
        )  # napari asks for whole ones, and draws as much more than the screen shows
        self.size = int(np.prod(self.shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:, :], dtype=dtype)

    def __getitem__(self, key: Any) -> Any:
        full = key if isinstance(key, tuple) else (key,)
        full = (*full, *(slice(None),) * (self.ndim - len(full)))
        if not all(isinstance(part, slice | int | np.integer) for part in full):
            return np.asarray(self)[key]
        parts = [
            part if isinstance(part, slice) else _one(part, size)
            for part, size in zip(full, self.shape, strict=True)
        ]
        bounds = [part.indices(size) for part, size in zip(parts, self.shape, strict=True)]
        if any(step < 1 for _, _, step in bounds):
            return np.asarray(self)[key]
        (top, bottom, down), (left, right, across) = bounds
        window = self._whatever_is_whole(top, max(bottom, top), left, max(right, left))[::down, ::across]
        return window[tuple(slice(None) if isinstance(part, slice) else 0 for part in full)]

    def _whatever_is_whole(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        try:
            return self.read(top, bottom, left, right)
        except Exception:  # noqa: BLE001 - then piece by piece, and what is wrong is told
            window = np.zeros((bottom - top, right - left), self.dtype)
        y, x = (edges.tolist() for edges in self._edges)
        for row, column in product(
            self._pieces_between(0, top, bottom), self._pieces_between(1, left, right)
        ):
            upper, lower = max(y[row], top), min(y[row + 1], bottom)
            first, last = max(x[column], left), min(x[column + 1], right)
            piece = read_or_tell(self._section, partial(self.read, upper, lower, first, last))
            if piece is not None:
                window[upper - top : lower - top, first - left : last - left] = piece
        return window

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """A window; what is damaged raises what its decoder raises."""
        window = np.zeros((bottom - top, right - left), self.dtype)
        if not window.size:
            return window
        rows, columns = self._pieces_between(0, top, bottom), self._pieces_between(1, left, right)
        places = [(row, column) for row in rows for column in columns]
        pieces = {place: _PIECES.get((self._number, *place)) for place in places}
        missing = [place for place in places if pieces[place] is None]
        for row, column in missing:
            if pieces[row, column] is None:  # else it came with another one
                pieces.update(self._decode(*_rectangle(row, column, missing)))
        for (row, column), piece in pieces.items():
            assert piece is not None
            y, x = int(self._edges[0][row]), int(self._edges[1][column])
            part = piece[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
            down, across = max(y - top, 0), max(x - left, 0)
            window[down : down + part.shape[0], across : across + part.shape[1]] = part
        return window

    def _pieces_between(self, axis: int, start: int, stop: int) -> range:
        edges = self._edges[axis]
        first = int(np.searchsorted(edges, start, side="right")) - 1
        return range(first, int(np.searchsorted(edges, stop, side="left")))

    def _decode(self, rows: range, columns: range) -> dict[tuple[int, int], NDArray[Any]]:
        """A rectangle of pieces, read together."""
        y, x = (edges.tolist() for edges in self._edges)
        top, left = y[rows[0]], x[columns[0]]
        height, width = y[rows[-1] + 1] - top, x[columns[-1] + 1] - left
        values = self._plane[top : top + height, left : left + width].compute(scheduler="threads")
        decoded = {}
        for row, column in product(rows, columns):
            piece = values[y[row] - top : y[row + 1] - top, x[column] - left : x[column + 1] - left]
            decoded[row, column] = np.array(piece)
            _PIECES.put((self._number, row, column), decoded[row, column])
        return decoded


class HalvedPlane:
    """A plane of half the size, made of means when it is first asked for, and kept.

    Parameters
    ----------
    finer : ShownPlane or HalvedPlane
        Small enough to be read as a whole.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, finer: "ShownPlane | HalvedPlane") -> None:
        self._finer = finer
        self._values: NDArray[Any] | None = None
        self.shape: tuple[int, int] = (finer.shape[0] // 2, finer.shape[1] // 2)
        self.size = int(np.prod(self.shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self._values is None:
            height, width = self.shape
            self._values = averaged(np.asarray(self._finer[: 2 * height, : 2 * width]), 2)
        return np.asarray(self._values, dtype=dtype)

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key]


def averaged(values: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Means of (Y, X) over blocks of `factor` x `factor` pixels, a power of two that divides both sides."""
    while factor > 1:
        values, factor = halved(values), factor // 2
    return np.asarray(values, np.float32)


def _one(index: int, size: int) -> slice:
    if not -size <= index < size:
        raise IndexError(f"{index} is not within {size}")
    return slice(int(index) % size, int(index) % size + 1)


def _edges(sizes: Sequence[int]) -> NDArray[np.intp]:
    """Where pieces begin and end along an axis, the last end included."""
    edges = [0]
    for end in np.cumsum(sizes).tolist():
        if end - edges[-1] >= _LEAST or end == sum(sizes):
            edges.append(end)
    return np.asarray(edges, np.intp)


def _rectangle(row: int, column: int, missing: Sequence[tuple[int, int]]) -> tuple[range, range]:
    """The largest rectangle of missing pieces whose upper left one is given: first to the right, then down."""
    left = set(missing)
    right = next(end for end in count(column) if (row, end) not in left)
    bottom = next(
        end for end in count(row) if not all((end, place) in left for place in range(column, right))
    )
    return range(row, bottom), range(column, right)


def read_or_tell(section: Section, read: Callable[[], NDArray[Any]]) -> NDArray[Any] | None:
    """What `read` returns; None, and a sentence for the user, the first time for a section, if it fails."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - a decoder may raise anything on a damaged file
        closing = (
            not threading.main_thread().is_alive()
        )  # then nothing can be read any more, and nobody is left to tell
        if str(section.address) not in _told and not closing:
            _told.add(str(section.address))
            show_error(
                f"Parts of {section.path.name} cannot be read and are shown empty ({one_line(error)}): the file is damaged or "
                "was moved; copy it again and open it anew."
            )
        return None
