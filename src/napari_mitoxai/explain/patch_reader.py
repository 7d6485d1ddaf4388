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
        # a file whose rows are stored in one piece is decoded in one piece: then better read all of it that is needed
        stored = -(-section.data.chunks[2][0] // (_CELL * self._reduction))
        affordable = _READ_BYTES // (cell_bytes * self._reduction**2)
        self._widest = max(min(max(8, stored), affordable), 1)

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
        """Read a cell and those to its right that will be needed too."""
        row, first = cell
        last = first + 1
        while (
            last - first < self._widest
            and self._needed.get((row, last), 0) > 0
            and (row, last) not in self._cells
        ):
            last += 1
        top, bottom, left, right = (
            row * _CELL,
            min((row + 1) * _CELL, self._shape[0]),
            first * _CELL,
            min(last * _CELL, self._shape[1]),
        )
        side = self._reduction
        counts = self._section.read(
            self._channels, y=slice(top * side, bottom * side), x=slice(left * side, right * side)
        )
        if side > 1:
            counts = F.avg_pool2d(
                torch.from_numpy(counts), side
            ).numpy()  # five times faster than numpy's mean
        if not np.isfinite(counts).all():
            _, y, x = np.argwhere(~np.isfinite(counts))[0]
            raise MitoxaiError(
                f"{self._section.name} holds values that are not numbers near ({(left + x) * side}, {(top + y) * side}) px: "
                "repair the file first."
            )
        values = self._scaling(counts) if self._whole else counts
        for index, column in enumerate(range(first, last)):
            self._cells[row, column] = np.ascontiguousarray(values[:, :, index * _CELL : (index + 1) * _CELL])
