"""Planes that lie uncompressed in a file: any window of them is read without the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

_CHUNK = 1024  # pixels; what a viewer asks for at once, though any window could be read


class StoredPlanes:
    """Uncompressed planes of a file as an array that dask can slice.

    A window is read through a map of the file that is closed again: pages of the file that nobody looks at are never
    loaded, and a file that was cut short since is an error, not a crash.

    Parameters
    ----------
    path : Path
        The file.
    offsets : sequence of int
        Where each plane begins, in bytes.
    size : (Y, X)
        Of a plane, in pixels.
    dtype : numpy.dtype
        As stored, its byte order included.
    """

    ndim = 3

    def __init__(
        self, path: Path, offsets: Sequence[int], size: tuple[int, int], dtype: np.dtype[Any]
    ) -> None:
        self._path = path
        self._offsets = tuple(offsets)
        self._stored = dtype
        self.shape = (len(offsets), *size)
        self.dtype = dtype.newbyteorder("=")

    def __getitem__(self, key: tuple[slice | int, ...]) -> NDArray[np.generic]:
        (planes, y, x), whole = as_slices(key, self.shape)
        windows = [
            np.memmap(self._path, self._stored, "r", offset, self.shape[1:])[y, x].astype(self.dtype)
            for offset in self._offsets[planes]
        ]
        return np.stack(windows)[whole]


def as_slices(
    key: tuple[slice | int, ...], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice | int, ...]]:
    """What dask asks an array for, as slices, and what takes the axes out again that it asked a single place of."""
    full = (*key, *(slice(None),) * (len(shape) - len(key)))
    slices = tuple(
        part if isinstance(part, slice) else slice(part % size, part % size + 1)
        for part, size in zip(full, shape, strict=True)
    )
    return slices, tuple(slice(None) if isinstance(part, slice) else 0 for part in full)


def lazy_planes(stored: StoredPlanes) -> da.Array:
    """The planes as a lazy (C, Y, X) array."""
    _, height, width = stored.shape
    chunks = (1, min(height, _CHUNK), min(width, _CHUNK))
    planes: da.Array = da.from_array(
        stored,
        chunks,
        name=False,
        asarray=False,
        fancy=False,
        inline_array=True,
        meta=np.empty((0, 0, 0), stored.dtype),
    )
    return planes
