"""Reading the overlapping patches of a section so that every pixel is read, averaged and scaled once."""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_mitoxai.cohort import PatchGeometry, Scaling, reduced
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section

_CELL = 128  # map pixels; the side of what is kept
_KEPT_BYTES = 256 * 2**20
_READ_BYTES = 64 * 2**20

_Corner = tuple[int, int]
_Cell = tuple[int, int]


class PatchReader:
    """Scaled patches, cut out of cells that are kept while patches still need them.

    Parameters
    ----------
    section : Section
        To read from.
    channels : sequence of int
        Planes, in the order of the model's panel.
    geometry : PatchGeometry
        Sides of patch and input.
    scaling : Scaling
        Of the model.
    corners : sequence of (y, x)
        Upper left corners of all patches that will be asked for, in pixels, on the grid of the map.
    """

    def __init__(
        self,
        section: Section,
        channels: Sequence[int],
        geometry: PatchGeometry,
        scaling: Scaling,
        corners: Sequence[_Corner],
    ) -> None:
        self._section, self._channels = section, list(channels)
        self._geometry, self._scaling = geometry, scaling
        self._reduction = geometry.reduction
        self._side = geometry.patch_size // self._reduction
        # patches that are not a whole number of times as large as the input are resized one by one
        self._whole = self._side == geometry.input_size
        self._shape = tuple(length // self._reduction for length in section.shape[1:])
        self._needed = Counter(cell for corner in corners for cell in self._cells_of(corner))
        self._cells: OrderedDict[_Cell, NDArray[np.float32]] = OrderedDict()
        cell_bytes = len(self._channels) * _CELL**2 * 4
        across = -(-self._side // _CELL) + 1
        self._kept = max(_KEPT_BYTES // cell_bytes, across**2)
        # what is stored in one piece is decoded in one piece: better read all of it that is needed at once
        stored = [-(-sizes[0] // (_CELL * self._reduction)) for sizes in section.data.chunks[1:]]
        affordable = max(_READ_BYTES // (cell_bytes * self._reduction**2), 1)
        self._tallest = max(min(stored[0], affordable), 1)
        self._widest = max(min(max(8, stored[1]), affordable // self._tallest), 1)

    def read(self, corners: Sequence[_Corner]) -> NDArray[np.float32]:
        """The scaled patches (N, C, input, input) of some corners; each corner is asked for once.

        Raises
        ------
        MitoxaiError
            If the file cannot be read, or holds values that are not numbers.
        """
        patches = []
        for corner in corners:
            cells = list(self._cells_of(corner))
            for cell in cells:
                if cell not in self._cells:
                    self._fetch(cell)
                self._cells.move_to_end(cell)
            patches.append(self._assembled(corner, cells))
            self._forget(cells)
            while len(self._cells) > self._kept:  # not before the patch is cut out
                self._cells.popitem(last=False)
        return np.stack(patches)

    def _cells_of(self, corner: _Corner) -> Iterator[_Cell]:
        rows, columns = (
            range(start // _CELL, (start + self._side - 1) // _CELL + 1) for start in self._in_map(corner)
        )
        return ((row, column) for row in rows for column in columns)

    def _in_map(self, corner: _Corner) -> tuple[int, int]:
        return corner[0] // self._reduction, corner[1] // self._reduction

    def _assembled(self, corner: _Corner, cells: Sequence[_Cell]) -> NDArray[np.float32]:
        top, left = self._in_map(corner)
        patch = np.empty((len(self._channels), self._side, self._side), np.float32)
        for cell in cells:
            y, x = cell[0] * _CELL - top, cell[1] * _CELL - left  # of the cell, in the patch
            values = self._cells[cell]
            first_y, first_x = max(y, 0), max(x, 0)
            last_y, last_x = (
                min(y + values.shape[1], self._side),
                min(x + values.shape[2], self._side),
            )
            patch[:, first_y:last_y, first_x:last_x] = values[
                :, first_y - y : last_y - y, first_x - x : last_x - x
            ]
        return patch if self._whole else self._scaling(reduced(patch, self._geometry))

    def _forget(self, cells: Sequence[_Cell]) -> None:
        for cell in cells:
            self._needed[cell] -= 1
            if self._needed[cell] <= 0:
                self._cells.pop(cell, None)

    def _fetch(self, cell: _Cell) -> None:
        """Read a cell and those beside it that will be needed too."""
        row, first = cell
        top = row - row % self._tallest
        bottom = min(top + self._tallest, -(-self._shape[0] // _CELL))
        last = first + 1
        while last - first < self._widest and any(self._lacks((r, last)) for r in range(top, bottom)):
            last += 1
        while top < row and not any(self._lacks((top, column)) for column in range(first, last)):
            top += 1
        while bottom > row + 1 and not any(
            self._lacks((bottom - 1, column)) for column in range(first, last)
        ):
            bottom -= 1
        rows = slice(top * _CELL, min(bottom * _CELL, self._shape[0]))
        columns = slice(first * _CELL, min(last * _CELL, self._shape[1]))
        values = read_on_grid(self._section, self._channels, self._reduction, rows, columns)
        if self._whole:
            values = self._scaling(values)
        for r in range(top, bottom):
            for c in range(first, last):
                if self._lacks((r, c)):
                    y, x = (r - top) * _CELL, (c - first) * _CELL
                    self._cells[r, c] = values[:, y : y + _CELL, x : x + _CELL].copy()

    def _lacks(self, cell: _Cell) -> bool:
        return self._needed.get(cell, 0) > 0 and cell not in self._cells


def read_on_grid(
    section: Section, channels: Sequence[int], reduction: int, rows: slice, columns: slice
) -> NDArray[np.float32]:
    """Read a part of a section averaged down to map pixels, a strip at a time.

    Parameters
    ----------
    section : Section
    channels : sequence of int
        Planes, in the order wanted.
    reduction : int
        Section pixels a map pixel, along each axis.
    rows, columns : slice
        In map pixels.

    Returns
    -------
    ndarray of float32 (C, rows, columns)
        Mean counts a pixel.

    Raises
    ------
    MitoxaiError
        If the file cannot be read, or holds values that are not numbers.
    """
    width = (columns.stop - columns.start) * reduction
    step = max(_READ_BYTES // (4 * len(channels) * width * reduction), 1)
    strips = []
    for top in range(rows.start, rows.stop, step):
        bottom = min(top + step, rows.stop)
        counts = section.read(
            channels,
            y=slice(top * reduction, bottom * reduction),
            x=slice(columns.start * reduction, columns.stop * reduction),
        )
        if reduction > 1:
            counts = F.avg_pool2d(torch.from_numpy(counts), reduction).numpy()  # five times as fast as numpy
        if not np.isfinite(counts).all():
            _, y, x = np.argwhere(~np.isfinite(counts))[0]
            raise MitoxaiError(
                f"{section.name} holds values that are not numbers near "
                f"({(columns.start + x) * reduction}, {(top + y) * reduction}) px: repair the file first."
            )
        strips.append(counts)
    return strips[0] if len(strips) == 1 else np.concatenate(strips, axis=1)
