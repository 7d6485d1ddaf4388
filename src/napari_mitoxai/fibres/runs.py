"""Pixels of one fibre side by side in a row: far fewer than pixels, and enough for sizes, centres and hulls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.fibres.hulls import Corners


@dataclass(frozen=True)
class Runs:
    """Runs of pixels; each array is (runs,).

    Attributes
    ----------
    owner : ndarray of int
        Whose they are, from 0.
    row, start, length : ndarray of int
        Where: the row, the first column, how many pixels.
    """

    owner: NDArray[np.int64]
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def corners(self) -> Corners:
        """The corners of the runs, pixels taken as squares: all that a convex hull can need."""
        y, stop = self.row, self.start + self.length
        return (
            np.tile(self.owner, 4),
            np.concatenate([y, y, y + 1, y + 1]) - 0.5,
            np.concatenate([self.start, stop, self.start, stop]) - 0.5,
        )

    def edge_middles(self) -> Corners:
        """The middles of the outer sides of the runs' end pixels, of which scikit-image makes its convex hulls."""
        y, first, last = self.row, self.start, self.start + self.length - 1
        return (
            np.tile(self.owner, 6),
            np.concatenate([y - 0.5, y - 0.5, y + 0.5, y + 0.5, y, y]),
            np.concatenate([first, last, first, last, first - 0.5, last + 0.5]),
        )


def runs_in(rows: NDArray[np.integer], first: int) -> Runs:
    """The runs in some rows of a numbered image (see `Fibres.index`) that begin with row `first` and have a column of outside on either side."""
    row, column = np.nonzero(rows[:, 1:] != rows[:, :-1])
    # columns are shifted by the one of outside; where one run ends, another or the outside begins
    owner = rows[row, column + 1].astype(np.int64) - 1
    inside = owner >= 0
    length = np.append(column[1:], 0)[inside] - column[inside]
    return Runs(owner[inside], row[inside] + first, column[inside], length)
