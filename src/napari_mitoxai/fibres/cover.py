"""How the pixels of a map lie over fibres and their compartments: what share of a map pixel belongs to which.

A map is often coarser than the labels, and may be shifted against them. A map pixel that lies over several fibres is shared
among them by area, so that nothing is lost and nothing counted twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.fibres.compartments import INSIDE, OUTSIDE, Compartment, tiles
from napari_mitoxai.fibres.numbering import Fibres, numbered

_TILE = 1024  # pixels of the labels; what is held while a part of the map is shared out


@dataclass(frozen=True)
class Placing:
    """How a map lies on a section.

    Attributes
    ----------
    shape : (Y, X)
        In map pixels.
    scale : float
        Side of a map pixel, in pixels of the section.
    translate : (y, x)
        Centre of the first map pixel, in pixels of the section, whose first pixel's centre is at 0.
    """

    shape: tuple[int, int]
    scale: float
    translate: tuple[float, float]


@dataclass(frozen=True)
class Regions:
    """The fibres and compartments of a section, numbered: three for each fibre, then gap, then background.

    Attributes
    ----------
    fibres : Fibres
        Which fibre a pixel lies in.
    parts : ndarray of uint8 (Y, X)
        Values of `Compartment`, as `compartments` gives them.
    """

    fibres: Fibres
    parts: NDArray[np.uint8]

    @classmethod
    def of(cls, labels: NDArray[np.integer], parts: NDArray[np.uint8]) -> "Regions":
        """Number them.

        Raises
        ------
        MitoxaiError
            If the compartments are not those of these labels.
        """
        if labels.shape != parts.shape:
            raise MitoxaiError(
                f"Compartments of shape {parts.shape} do not belong to fibres of shape {labels.shape}: take both from one section."
            )
        return cls(numbered(labels), parts)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The fibres' labels in ascending order, (fibres,)."""
        return self.fibres.ids

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X) of the labels."""
        return self.parts.shape

    @property
    def count(self) -> int:
        """How many regions there are."""
        return len(INSIDE) * len(self.ids) + len(OUTSIDE)

    def by_fibre(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of values of regions, (regions, ...): those in fibres, as (fibres, membrane to core, ...)."""
        inside = values[: len(INSIDE) * len(self.ids)]
        return inside.reshape(len(self.ids), len(INSIDE), *values.shape[1:])

    def numbers(self, window: tuple[slice, slice]) -> NDArray[np.int64]:
        """The region of each pixel of a part of the section."""
        index, parts = self.fibres.index[window].astype(np.int64), self.parts[window]
        inside = len(INSIDE) * (index - 1) + parts - Compartment.MEMBRANE
        outside = len(INSIDE) * len(self.ids) + (parts == Compartment.BACKGROUND)
        return np.where(index > 0, inside, outside)


@dataclass(frozen=True)
class Cover:
    """What share of the pixels of a part of a map lies in which regions.

    Attributes
    ----------
    rows, columns : slice
        The part, in map pixels.
    regions : ndarray of int (n,)
        The regions that it touches.
    shares : sparse array (n, map pixels of the part)
    """

    rows: slice
    columns: slice
    regions: NDArray[np.int64]
    shares: sparse.csr_array

    def add_to(self, total: NDArray[np.float64], values: NDArray[np.generic]) -> None:
        """Share out the values of the part, (y, x, planes), among the regions of `total`, (regions, planes)."""
        total[self.regions] += self.shares @ values.reshape(-1, values.shape[-1])


def covers(regions: Regions, placing: Placing, cancel: CancelToken | None = None) -> Iterator[Cover]:
    """Share out the pixels of a map, a part of the section after the other.

    Parts of the map overlap where map pixels lie over the border between two parts of the section: each gives only what
    lies in its own.

    Parameters
    ----------
    regions : Regions
    placing : Placing
        How the map lies on the labels.
    cancel : CancelToken, optional
        Looked at before each part.
    """
    over_y, over_x = (
        _overlaps(length, side, placing.scale, offset)
        for length, side, offset in zip(placing.shape, regions.shape, placing.translate, strict=True)
    )
    for window in tiles(regions.shape, _TILE):
        if cancel is not None:
            cancel.check()
        row, y, height = over_y.within(window[0])
        column, x, width = over_x.within(window[1])
        if not len(row) or not len(column):
            continue
        rows = slice(int(row.min()), int(row.max()) + 1)
        columns = slice(int(column.min()), int(column.max()) + 1)
        numbers = regions.numbers(window)
        there = np.bincount(numbers.ravel(), minlength=regions.count) > 0
        touched = np.flatnonzero(there)
        numbers = (np.cumsum(there) - 1)[numbers]
        region = numbers[(y - window[0].start)[:, None], (x - window[1].start)[None]]
        pixel = (row - rows.start)[:, None] * (columns.stop - columns.start) + (column - columns.start)[None]
        shape = len(touched), (rows.stop - rows.start) * (columns.stop - columns.start)
        # the pixels of a map pixel that lie in one region become one entry
        shares = sparse.coo_array(
            ((height[:, None] * width[None]).ravel(), (region.ravel(), pixel.ravel())), shape=shape
        ).tocsr()
        yield Cover(rows, columns, touched, shares)


def beyond(placing: Placing, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """What share of each map pixel lies beyond labels of this shape, (Y, X)."""
    inside = [
        np.bincount(over.index, over.share, minlength=length)
        for length, over in (
            (length, _overlaps(length, side, placing.scale, offset))
            for length, side, offset in zip(placing.shape, shape, placing.translate, strict=True)
        )
    ]
    return np.asarray(1 - inside[0][:, None] * inside[1][None])


@dataclass(frozen=True)
class _Overlaps:
    """Along one axis: which map pixel lies over which pixel of the section, and with what share of itself."""

    index: NDArray[np.int64]
    pixel: NDArray[np.int64]
    share: NDArray[np.float64]

    def within(self, part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        first, last = np.searchsorted(self.pixel, [part.start, part.stop])
        return self.index[first:last], self.pixel[first:last], self.share[first:last]


def _overlaps(length: int, side: int, scale: float, translate: float) -> _Overlaps:
    """Overlaps of `length` map pixels with `side` pixels of the section, by ascending pixel."""
    # edges in pixels of the section, whose first pixel reaches from 0 to 1
    edges = (np.arange(length + 1) - 0.5) * scale + translate + 0.5
    edges = np.where(np.abs(edges - np.rint(edges)) < 1e-9 * max(scale, 1), np.rint(edges), edges)
    cuts = np.unique(np.clip(np.concatenate([edges, np.arange(side + 1)]), max(edges[0], 0), None))
    cuts = cuts[cuts <= min(edges[-1], side)]
    if len(cuts) < 2:
        nothing = np.zeros(0, np.int64)
        return _Overlaps(nothing, nothing, np.zeros(0))
    middle = (cuts[1:] + cuts[:-1]) / 2
    index = np.searchsorted(edges, middle) - 1
    return _Overlaps(index, np.floor(middle).astype(np.int64), np.diff(cuts) / np.diff(edges)[index])
