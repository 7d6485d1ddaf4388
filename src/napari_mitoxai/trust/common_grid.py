"""Maps of one section brought to one grid: averaged by area over pixels of the same size, from bands of rows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Window = tuple[slice, slice]
Plane = Callable[[Window], NDArray[np.floating]]

_BAND = 2**22  # values held of a map while it is averaged


def common_reduction(shapes: dict[int, tuple[int, int]], most_pixels: int) -> int:
    """How many section pixels a side the pixels of the common grid have.

    Parameters
    ----------
    shapes : dict of (Y, X)
        Of the maps, by the section pixels a side of theirs.
    most_pixels : int
        How many pixels the common grid may have.

    Returns
    -------
    int
        The coarsest of the maps' own, or the smallest multiple of it that gives so few pixels.
    """
    coarsest = max(shapes)
    factor = 1
    while np.prod(common_shape(shapes, coarsest * factor), dtype=np.int64) > most_pixels:
        factor += 1
    return coarsest * factor


def common_shape(shapes: dict[int, tuple[int, int]], reduction: int) -> tuple[int, int]:
    """(Y, X) of the grid with pixels of `reduction` section pixels a side that lie in all the maps with their whole area."""
    y, x = (min(shape[axis] * own for own, shape in shapes.items()) // reduction for axis in (0, 1))
    return max(y, 1), max(x, 1)


def averaged(
    read: Plane,
    shape: tuple[int, int],
    reduction: int,
    to_shape: tuple[int, int],
    to_reduction: int,
    depth: int = 1,
) -> NDArray[np.float64]:
    """Average a map over the pixels of a coarser grid with the same upper left corner; each counts by its area.

    Parameters
    ----------
    read : callable
        Gives rows and columns of the map, (y, x).
    shape : (Y, X)
        Of the map.
    reduction : int
        Section pixels a map pixel, along each axis.
    to_shape, to_reduction
        Of the coarser grid.
    depth : int
        Values that `read` holds for each pixel that it gives: channels to be summed.

    Returns
    -------
    ndarray (Y, X) of `to_shape`
    """
    rows = _weights(shape[0], reduction, to_shape[0], to_reduction)
    columns = _weights(shape[1], reduction, to_shape[1], to_reduction)
    total = np.zeros(to_shape)
    deep = max(_BAND // (shape[1] * depth), 1)
    for first in range(0, shape[0], deep):
        band = slice(first, min(first + deep, shape[0]))
        values = np.asarray(read((band, slice(0, shape[1]))), np.float64)
        total += rows[:, band] @ (columns @ values.T).T
    return total


def labels_on(labels: NDArray[np.integer], shape: tuple[int, int], reduction: int) -> NDArray[np.integer]:
    """The label that covers more than half of each pixel of a coarser grid with the same upper left corner; 0 where none does.

    Parameters
    ----------
    labels : ndarray of int (Y, X)
        Of the section.
    shape : (Y, X)
        Of the grid, which lies in the section with its whole area.
    reduction : int
        Section pixels a side of its pixels.

    Returns
    -------
    ndarray of int (Y, X) of `shape`
    """
    found = np.zeros(shape, labels.dtype)
    deep = max(_BAND // (shape[1] * reduction**2), 1)
    for first in range(0, shape[0], deep):
        rows = min(deep, shape[0] - first)
        band = np.asarray(labels[first * reduction : (first + rows) * reduction, : shape[1] * reduction])
        blocks = band.reshape(rows, reduction, shape[1], reduction).swapaxes(1, 2).reshape(rows, shape[1], -1)
        # sorted, a label with more than half of the places has the one in the middle
        middle = np.partition(blocks, blocks.shape[-1] // 2, axis=-1)[..., blocks.shape[-1] // 2]
        most = 2 * (blocks == middle[..., None]).sum(-1) > blocks.shape[-1]
        found[first : first + rows] = np.where(most, middle, 0)
    return found


def _weights(length: int, side: int, to_length: int, to_side: int) -> sparse.csc_array:
    """What share of each coarse pixel is which fine one, along one axis."""
    edges = np.unique(np.concatenate([np.arange(length + 1) * side, np.arange(to_length + 1) * to_side]))
    edges = edges[edges <= min(length * side, to_length * to_side)]
    fine, coarse = edges[:-1] // side, edges[:-1] // to_side
    return sparse.coo_array((np.diff(edges) / to_side, (coarse, fine)), shape=(to_length, length)).tocsc()
