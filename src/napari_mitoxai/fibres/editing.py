"""Changing labels by hand: each edit says which pixels get which label, so that a window can undo it."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.draw import line as pixels_between

from napari_mitoxai.common import MitoxaiError

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


@dataclass(frozen=True)
class Edit:
    """Pixels and the labels that they get.

    Attributes
    ----------
    where : tuple of ndarray of int64
        Rows and columns.
    values : ndarray of int32
        One a pixel.
    changed : tuple of int
        The fibres that it changes; those that it makes, or that stay after a merge, last.
    """

    where: tuple[NDArray[np.int64], NDArray[np.int64]]
    values: NDArray[np.int32]
    changed: tuple[int, ...]

    def apply(self, labels: NDArray[np.integer]) -> None:
        """Write the pixels into `labels`."""
        labels[self.where] = self.values


def delete(labels: NDArray[np.integer], fibres: Collection[int]) -> Edit:
    """Remove fibres: their pixels become outside.

    Raises
    ------
    MitoxaiError
        If no fibre is given, or one is not there.
    """
    where = _pixels(labels, fibres)
    return Edit(where, np.zeros(len(where[0]), np.int32), tuple(sorted(fibres)))


def merge(labels: NDArray[np.integer], fibres: Collection[int], *, gap: int = 12) -> Edit:
    """Make one fibre of several that lie beside each other; it keeps the lowest id.

    The membrane between them, up to `gap` pixels wide, becomes part of it, unless it belongs to another fibre.

    Raises
    ------
    MitoxaiError
        If fewer than two are given, or one is not there, or they are further apart than `gap`.
    """
    if len(set(fibres)) < 2:
        raise MitoxaiError("One fibre cannot be merged: select two or more that lie beside each other.")
    y, x = _pixels(labels, fibres)
    top, left = max(int(y.min()) - gap, 0), max(int(x.min()) - gap, 0)
    window = labels[top : int(y.max()) + gap + 1, left : int(x.max()) + gap + 1]
    mine = np.isin(window, list(fibres))
    # closing over the gap, with room around so that the border does not count as fibre
    padded = np.pad(mine, gap)
    near = ndimage.distance_transform_edt(~padded) <= gap / 2
    closed = (ndimage.distance_transform_edt(np.pad(near, 1))[1:-1, 1:-1] > gap / 2)[gap:-gap, gap:-gap]
    whole = mine | (closed & (window == 0))
    if ndimage.label(whole, np.ones((3, 3)))[1] > 1:
        raise MitoxaiError(
            f"These fibres are more than {gap} pixels apart, or another lies between them: merge neighbours only."
        )
    rows, columns = np.nonzero(whole)
    keep = min(fibres)
    gone = tuple(sorted(set(fibres) - {keep}))
    return Edit((rows + top, columns + left), np.full(len(rows), keep, np.int32), (*gone, keep))


def split(labels: NDArray[np.integer], line: ArrayLike, *, smallest: int = 20) -> Edit:
    """Cut every fibre that a line crosses from side to side.

    Parameters
    ----------
    labels : ndarray of int
        (Y, X).
    line : array
        (N, 2), at least two points (y, x) in pixels.
    smallest : int
        Parts with fewer pixels are not cut off.

    Returns
    -------
    Edit
        The largest part of a fibre keeps its id, the others get new ids.

    Raises
    ------
    MitoxaiError
        If the line crosses no fibre fully.
    """
    points = np.round(np.asarray(line, dtype=float)).astype(np.int64)
    if points.ndim != 2 or len(points) < 2 or points.shape[1] != 2:
        raise MitoxaiError("A cut needs a line of at least two points: draw it across the fibre.")
    cut = np.zeros(labels.shape, dtype=bool)
    for start, end in pairwise(points):
        y, x = pixels_between(*start, *end)
        inside = (y >= 0) & (y < labels.shape[0]) & (x >= 0) & (x < labels.shape[1])
        cut[y[inside], x[inside]] = True
    crossed = [int(fibre) for fibre in np.unique(labels[cut]) if fibre > 0]
    new = int(labels.max(initial=0)) + 1
    rows, columns, values, changed, made = [], [], [], [], []
    for fibre in crossed:
        y, x = _pixels(labels, [fibre])
        box = slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1)
        mine = labels[box] == fibre
        # a line of pixels that touch at corners divides what is joined by sides only
        parts, number = ndimage.label(mine & ~cut[box], _CROSS)
        pixels = np.bincount(parts.ravel(), minlength=number + 1)
        pixels[0] = 0
        large = np.flatnonzero(pixels >= smallest)
        if len(large) < 2:
            continue
        large = large[np.argsort(-pixels[large], kind="stable")]
        seeds = np.where(np.isin(parts, large), parts, 0)
        # the cut itself, and what is too small, goes to the nearest part
        nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
        owner = seeds[tuple(nearest)]
        changed.append(fibre)
        for part in large[1:]:
            at = np.nonzero(mine & (owner == part))
            rows.append(at[0] + box[0].start)
            columns.append(at[1] + box[1].start)
            values.append(np.full(len(at[0]), new, np.int32))
            made.append(new)
            new += 1
    if not made:
        raise MitoxaiError(
            "The line crosses no fibre from side to side: draw it right across, from outside to outside."
        )
    return Edit((np.concatenate(rows), np.concatenate(columns)), np.concatenate(values), (*changed, *made))


def _pixels(
    labels: NDArray[np.integer], fibres: Collection[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    wanted = {int(fibre) for fibre in fibres} - {0}
    if not wanted:
        raise MitoxaiError("No fibre is selected: click on one first.")
    y, x = np.nonzero(np.isin(labels, list(wanted)))
    missing = wanted - set(np.unique(labels[y, x]).tolist())
    if missing:
        raise MitoxaiError(f"There is no fibre {min(missing)}: it may have been deleted; select again.")
    return y, x
