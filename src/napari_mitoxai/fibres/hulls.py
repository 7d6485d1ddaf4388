"""Convex hulls of all fibres at once."""

import numpy as np
from numpy.typing import NDArray

Corners = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Points of all fibres: whose they are, y and x."""

_PAIRS = 2**20  # pairs of corners that are looked at together
_ROUNDING = 1e-9  # of a pixel: a centre on a side of the hull is in it


def hulls(points: list[Corners]) -> Corners:
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


def sizes_of_hulls(
    corners: Corners, number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Area, and largest and smallest width, of each hull, (N,) each."""
    owner, y, x = corners
    area, largest, smallest = np.zeros(number), np.zeros(number), np.zeros(number)
    sizes = np.bincount(owner, minlength=number)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        same = np.flatnonzero(sizes == size)
        for some in np.array_split(same, 1 + len(same) * size**2 // _PAIRS):
            place = starts[some][:, None] + np.arange(size)
            each = np.stack([y[place], x[place]], -1)
            sides = np.roll(each, -1, axis=1) - each
            # from the first corner, so that large coordinates do not cost digits
            away = each - each[:, :1]
            area[some] = 0.5 * np.abs(np.sum(away[..., 1] * sides[..., 0] - away[..., 0] * sides[..., 1], 1))
            apart = each[:, :, None] - each[:, None]
            largest[some] = np.sqrt((apart**2).sum(-1).max((1, 2)))
            across = (
                np.stack([-sides[..., 1], sides[..., 0]], 1) / np.hypot(sides[..., 0], sides[..., 1])[:, None]
            )
            smallest[some] = np.ptp(each @ across, axis=1).min(1)
    return area, largest, smallest


def pixels_in_hulls(corners: Corners, number: int) -> NDArray[np.int64]:
    """How many pixels have their centre in each hull or on its side, (N,): of `Runs.edge_middles` scikit-image's ``area_convex``.

    Parameters
    ----------
    corners : Corners
        As `hulls` gives them.
    number : int
        Of fibres.
    """
    owner, y, x = corners
    if not len(owner):
        return np.zeros(number, np.int64)
    ends = np.flatnonzero(np.append(owner[1:] != owner[:-1], True))
    following = np.arange(1, len(owner) + 1)
    following[ends] = np.append(0, ends[:-1] + 1)
    # where each side crosses the rows; one along a row adds nothing to the sides beside it
    slope = y[following] - y
    top, bottom = np.minimum(y, y[following]), np.maximum(y, y[following])
    first = np.ceil(top).astype(np.int64)
    crossed = np.where(slope != 0, np.floor(bottom).astype(np.int64) - first + 1, 0)
    side = np.repeat(np.arange(len(owner)), crossed)
    row = first[side] + np.arange(len(side)) - np.repeat(np.cumsum(crossed) - crossed, crossed)
    at = x[side] + (row - y[side]) * (x[following] - x)[side] / slope[side]
    order = np.lexsort((at, row, owner[side]))
    fibre, row, at = owner[side][order], row[order], at[order]
    fresh = np.append(True, (fibre[1:] != fibre[:-1]) | (row[1:] != row[:-1]))
    left, right = at[fresh], at[np.append(fresh[1:], True)]
    inside = np.floor(right + _ROUNDING) - np.ceil(left - _ROUNDING) + 1
    return np.bincount(fibre[fresh], inside, number).astype(np.int64)
