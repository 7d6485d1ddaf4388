"""Size and shape of every fibre at once, from counts of pixels and of their neighbours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken
from napari_mitoxai.fibres.intensities import bands
from napari_mitoxai.fibres.numbering import Fibres

Corners = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Points of all fibres: whose they are, ascending, y and x."""


_PAIRS = 2**20  # pairs of corners that are looked at together


@dataclass(frozen=True)
class Shapes:
    """Size and shape of fibres, in pixels; each array is (N,).

    Attributes
    ----------
    area : ndarray
        Number of pixels.
    y, x : ndarray
        Centroid; the centre of the image's first pixel is at (0, 0).
    perimeter : ndarray
        By Crofton's formula over four directions, unbiased on average over directions; holes count too.
    hull_area : ndarray
        Area of the convex hull of the pixels, these taken as squares.
    feret_max, feret_min : ndarray
        Largest and smallest distance between two parallel lines that touch the fibre on either side, of that hull.
    euler : ndarray of int
        Pieces (sharing sides) minus holes: 1 for a whole fibre.
    border : ndarray of bool
        Whether it touches the image's border.
    """

    area: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    perimeter: NDArray[np.float64]
    hull_area: NDArray[np.float64]
    feret_max: NDArray[np.float64]
    feret_min: NDArray[np.float64]
    euler: NDArray[np.int64]
    border: NDArray[np.bool_]


def shapes(fibres: Fibres, cancel: CancelToken | None = None) -> Shapes:
    """Measure the shape of every fibre, a band of rows at a time.

    Parameters
    ----------
    fibres : Fibres
        What to measure.
    cancel : CancelToken, optional
        Looked at for each band.

    Raises
    ------
    Cancelled
        If `cancel` was used.
    """
    number, (height, width) = len(fibres), fibres.index.shape
    sum_y, sum_x, crossings = np.zeros(number), np.zeros(number), np.zeros(number)
    euler = np.zeros(number, np.int64)
    points: list[Corners] = []
    for rows in bands(height, width):
        if cancel is not None:
            cancel.check()
        # one row more above, and outside all around, so that every pair of neighbours is seen once
        first, stop = rows.start - 1, rows.stop + int(rows.stop == height)
        near = np.pad(
            fibres.index[max(first, 0) : min(stop, height)],
            ((int(first < 0), int(stop > height)), (1, 1)),
        )
        crossings += _crossings(near, number)
        runs = _runs(near[1:], first + 1)
        sum_y += np.bincount(runs.owner, runs.row * runs.length, number)
        sum_x += np.bincount(runs.owner, (runs.start + 0.5 * (runs.length - 1)) * runs.length, number)
        # a fibre's runs of pixels minus the overlaps of runs in neighbouring rows: its pieces minus its holes
        shared = _runs(np.where(near[1:] == near[:-1], near[1:], 0), first + 1)
        euler += np.bincount(runs.owner, minlength=number) - np.bincount(shared.owner, minlength=number)
        points.append(runs.corners())
    hull_area, feret_max, feret_min = _of_hulls(_hulls(points), number)
    area = fibres.pixels.astype(np.float64)
    border = np.zeros(number + 1, bool)
    for edge in (fibres.index[:1], fibres.index[-1:], fibres.index[:, :1], fibres.index[:, -1:]):
        border[edge.ravel()] = True
    return Shapes(
        area=area,
        y=sum_y / area,
        x=sum_x / area,
        perimeter=np.pi / 8 * crossings,
        hull_area=hull_area,
        feret_max=feret_max,
        feret_min=feret_min,
        euler=euler,
        border=border[1:],
    )


def _crossings(near: NDArray[np.int32], number: int) -> NDArray[np.float64]:
    """How often lines in four directions cross the edge of each fibre, times the distance between the lines."""
    total = np.zeros(number + 1)
    diagonal = 1 / np.sqrt(2)
    pairs = (
        (near[1:, :-1], near[1:, 1:], 1.0),
        (near[:-1], near[1:], 1.0),
        (near[:-1, :-1], near[1:, 1:], diagonal),
        (near[:-1, 1:], near[1:, :-1], diagonal),
    )
    for one, other, apart in pairs:
        differ = one != other
        total += apart * np.bincount(one[differ], minlength=number + 1)
        total += apart * np.bincount(other[differ], minlength=number + 1)
    return total[1:]


@dataclass(frozen=True)
class _Runs:
    """Pixels of one fibre side by side in a row: whose they are, the row, the first column and how many."""

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


def _runs(near: NDArray[np.int32], first: int) -> _Runs:
    """The runs in some rows that begin with row `first` and have a column of outside on either side."""
    row, column = np.nonzero(near[:, 1:] != near[:, :-1])
    # columns are shifted by the one of outside; where one run ends, another or the outside begins
    owner = near[row, column + 1].astype(np.int64) - 1
    inside = owner >= 0
    length = np.append(column[1:], 0)[inside] - column[inside]
    return _Runs(owner[inside], row[inside] + first, column[inside], length)


def _hulls(points: list[Corners]) -> Corners:
    """The convex hulls of the points of each fibre, all fibres at once; their corners in order."""
    owner, y, x = (np.concatenate(parts) for parts in zip(*points, strict=True))
    order = np.lexsort((y, x, owner))
    owner, y, x = owner[order], y[order], x[order]
    # a point that is there twice would hide itself from its neighbours
    fresh = np.ones(len(owner), bool)
    fresh[1:] = (owner[1:] != owner[:-1]) | (y[1:] != y[:-1]) | (x[1:] != x[:-1])
    owner, y, x = owner[fresh], y[fresh], x[fresh]
    chains = []
    for sign in (1, -1):  # the lower chain from left to right, the upper one back
        order = np.lexsort((sign * y, sign * x, owner))
        chains.append(_chain(owner[order], y[order], x[order]))
    # each chain ends where the other begins
    parts = []
    for part_owner, part_y, part_x in chains:
        inner = np.zeros(len(part_owner), bool)
        inner[:-1] = part_owner[1:] == part_owner[:-1]
        parts.append((part_owner[inner], part_y[inner], part_x[inner]))
    owner, y, x = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(owner, kind="stable")
    return owner[order], y[order], x[order]


def _chain(owner: NDArray[np.int64], y: NDArray[np.float64], x: NDArray[np.float64]) -> Corners:
    """Drop points until every turn goes the same way.

    A point that does not turn that way between two others of its fibre is no corner of the hull, whichever these
    are, so that all such points may go at once.
    """
    while True:
        before, at, after = slice(None, -2), slice(1, -1), slice(2, None)
        turn = (x[at] - x[before]) * (y[after] - y[before]) - (y[at] - y[before]) * (x[after] - x[before])
        inner = (owner[before] == owner[at]) & (owner[at] == owner[after])
        keep = np.ones(len(owner), bool)
        keep[at] = ~inner | (turn > 0)
        if keep.all():
            return owner, y, x
        owner, y, x = owner[keep], y[keep], x[keep]


def _of_hulls(
    hulls: Corners, number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Area, and largest and smallest width, of each hull."""
    owner, y, x = hulls
    area, largest, smallest = np.zeros(number), np.zeros(number), np.zeros(number)
    sizes = np.bincount(owner, minlength=number)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        same = np.flatnonzero(sizes == size)
        for some in np.array_split(same, 1 + len(same) * size**2 // _PAIRS):
            place = starts[some][:, None] + np.arange(size)
            corners = np.stack([y[place], x[place]], -1)
            sides = np.roll(corners, -1, axis=1) - corners
            # from the first corner, so that large coordinates do not cost digits
            away = corners - corners[:, :1]
            area[some] = 0.5 * np.abs(np.sum(away[..., 1] * sides[..., 0] - away[..., 0] * sides[..., 1], 1))
            apart = corners[:, :, None] - corners[:, None]
            largest[some] = np.sqrt((apart**2).sum(-1).max((1, 2)))
            across = (
                np.stack([-sides[..., 1], sides[..., 0]], 1) / np.hypot(sides[..., 0], sides[..., 1])[:, None]
            )
            smallest[some] = np.ptp(corners @ across, axis=1).min(1)
    return area, largest, smallest
