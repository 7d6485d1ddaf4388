"""Size and shape of every fibre at once, from counts of pixels and of their neighbours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken
from napari_mitoxai.fibres.hulls import Corners, hulls, sizes_of_hulls
from napari_mitoxai.fibres.intensities import bands
from napari_mitoxai.fibres.numbering import Fibres
from napari_mitoxai.fibres.runs import runs_in


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
        runs = runs_in(near[1:], first + 1)
        sum_y += np.bincount(runs.owner, runs.row * runs.length, number)
        sum_x += np.bincount(runs.owner, (runs.start + 0.5 * (runs.length - 1)) * runs.length, number)
        # a fibre's runs of pixels minus the overlaps of runs in neighbouring rows: its pieces minus its holes
        shared = runs_in(np.where(near[1:] == near[:-1], near[1:], 0), first + 1)
        euler += np.bincount(runs.owner, minlength=number) - np.bincount(shared.owner, minlength=number)
        points.append(hulls([runs.corners()]))  # of a band, and then of all: far fewer points are kept
    hull_area, feret_max, feret_min = sizes_of_hulls(hulls(points), number)
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
