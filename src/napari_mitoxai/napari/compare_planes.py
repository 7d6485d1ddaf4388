"""What the cells of a comparison show, as arrays that compute what is asked for: tissue in colour, outlines, a curtain."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.napari.overview import Enlarged

_STEPS = 256  # of a channel's colours
_SMALLEST = 160  # pixels a side: what a cell of many may have on the screen
_WINDOWS = 4  # kept of an array: every cell of a section asks for the same ones


class LazyPlane:
    """A picture of which windows are computed when they are asked for, and the last ones kept.

    Parameters
    ----------
    shape : tuple of int
        (Y, X), or (Y, X, 3) for colours.
    dtype : data type
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.ndim, self.size = len(shape), int(np.prod(shape))
        self._kept: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()

    def compute(self, rows: slice, columns: slice) -> NDArray[Any]:
        """A window; the slices have a start, a stop and a positive step."""
        raise NotImplementedError

    @property
    def settled(self) -> bool:
        """Whether a window looks the same whenever it is asked for."""
        return True

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:, :], dtype=dtype)

    def __getitem__(self, key: Any) -> Any:
        full = key if isinstance(key, tuple) else (key,)
        full = (*full, *(slice(None),) * (2 - len(full)))
        rows, columns, *colour = full
        if not all(isinstance(part, slice) and (part.step or 1) > 0 for part in (rows, columns)):
            return np.asarray(self)[key]
        window = self._window(slice(*rows.indices(self.shape[0])), slice(*columns.indices(self.shape[1])))
        return window[:, :, *colour] if colour else window

    def _window(self, rows: slice, columns: slice) -> NDArray[Any]:
        place = (rows.start, rows.stop, rows.step, columns.start, columns.stop, columns.step)
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        window = self.compute(rows, columns)
        if self.settled:
            self._kept[place] = window
            while len(self._kept) > _WINDOWS:
                self._kept.popitem(last=False)
        return window


@dataclass(frozen=True)
class Ingredient:
    """A channel of a composite.

    Attributes
    ----------
    name : str
        Its target.
    levels : sequence of arrays (Y, X)
        Its pyramid, finest first.
    limits : (float, float)
        Counts at which its colour begins and is full.
    colours : ndarray (256, 3)
        What counts between the limits look like, 0 to 1.
    """

    name: str
    levels: Sequence[Any]
    limits: tuple[float, float]
    colours: NDArray[np.floating]


class HalvedPlane(LazyPlane):
    """The mean of two by two pixels of another picture; a last odd row or column is left out.

    Parameters
    ----------
    plane : array (Y, X) or (Y, X, 3)
    """

    def __init__(self, plane: Any) -> None:
        self._plane = plane
        super().__init__((plane.shape[0] // 2, plane.shape[1] // 2, *plane.shape[2:]), plane.dtype)

    @property
    def settled(self) -> bool:
        """Whether the other picture looks the same whenever it is asked for."""
        return bool(getattr(self._plane, "settled", True))

    def compute(self, rows: slice, columns: slice) -> NDArray[Any]:
        """A window of the means."""
        window = self._plane[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]
        values = np.asarray(window, np.float32)
        height, width = values.shape[0] // 2, values.shape[1] // 2
        means = values.reshape(height, 2, width, 2, *values.shape[2:]).mean((1, 3))
        means = means[:: rows.step, :: columns.step]
        return (np.rint(means) if self.dtype.kind in "iu" else means).astype(self.dtype)


def with_smaller(levels: Sequence[Any], smallest: int = _SMALLEST) -> list[Any]:
    """A pyramid with further levels, down to the size of a small cell: of one that is larger, napari would show single pixels.

    Parameters
    ----------
    levels : sequence of array
        Finest first.
    smallest : int
        The last level is no larger than twice this, in pixels of its longer side.
    """
    longer = list(levels)
    while max(longer[-1].shape[:2]) > 2 * smallest:
        longer.append(HalvedPlane(longer[-1]))
    return longer


class CompositePlane(LazyPlane):
    """Channels added up in their colours, (Y, X, 3) uint8.

    Parameters
    ----------
    ingredients : sequence of Ingredient
    level : int
        Of their pyramids.
    """

    def __init__(self, ingredients: Sequence[Ingredient], level: int) -> None:
        self._planes = [each.levels[level] for each in ingredients]
        self._limits = [each.limits for each in ingredients]
        self._colours = [np.rint(255 * each.colours).astype(np.uint16) for each in ingredients]
        super().__init__((*self._planes[0].shape, 3), np.uint8)

    @property
    def settled(self) -> bool:
        """Whether none of its channels waits for an overview."""
        return all(not isinstance(plane, Enlarged) or plane.overview.finished for plane in self._planes)

    def compute(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """A window of the composite."""
        total: Any = 0
        for plane, (low, high), colours in zip(self._planes, self._limits, self._colours, strict=True):
            counts = np.asarray(plane[rows, columns], np.float32)
            step = np.nan_to_num((counts - low) * ((_STEPS - 1) / max(high - low, 1e-12)))
            total = total + colours[np.clip(step, 0, _STEPS - 1).astype(np.uint8)]
        return np.asarray(np.minimum(total, 255).astype(np.uint8))


def composite_levels(ingredients: Sequence[Ingredient]) -> list[LazyPlane]:
    """The pyramid of a composite, finest first."""
    depth = min(len(each.levels) for each in ingredients)
    return with_smaller([CompositePlane(ingredients, level) for level in range(depth)])


class OutlinePlane(LazyPlane):
    """Where fibres end, 255 and else 0 as (Y, X) uint8, one pixel wide whatever the factor.

    Parameters
    ----------
    labels : ndarray of int (Y, X)
        0 is outside; read when a window is asked for.
    factor : int
        Of which every so many rows and columns are looked at.
    """

    def __init__(self, labels: NDArray[np.integer], factor: int = 1) -> None:
        height, width = (length // factor for length in labels.shape)
        self._labels = labels[factor // 2 :: factor, factor // 2 :: factor][:height, :width]
        super().__init__((height, width), np.uint8)

    def compute(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """A window of the outlines: the pixels of a fibre that have another label beside or below them."""
        top, left = max(rows.start - 1, 0), max(columns.start - 1, 0)
        labels = self._labels[top : rows.stop + 1, left : columns.stop + 1]
        edge = np.zeros(labels.shape, bool)
        down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
        edge[:-1] |= down
        edge[1:] |= down
        edge[:, :-1] |= across
        edge[:, 1:] |= across
        edge &= labels > 0
        inner = edge[rows.start - top :, columns.start - left :]
        inner = inner[: rows.stop - rows.start, : columns.stop - columns.start]
        return inner[:: rows.step, :: columns.step] * np.uint8(255)


def outline_levels(labels: NDArray[np.integer], most: int = 2048) -> list[LazyPlane]:
    """The pyramid of outlines, finest first: one pixel wide down to `most` pixels a side, then fainter, so that maps stay in sight."""
    factor, levels = 1, [OutlinePlane(labels)]
    while max(levels[-1].shape) > most:
        factor *= 2
        levels.append(OutlinePlane(labels, factor))
    return with_smaller(levels)


class CurtainedPlane(LazyPlane):
    """One side of a map, and 0, which is transparent, on the other.

    Parameters
    ----------
    plane : array (Y, X)
        One level of the map.
    place : callable
        Where the curtain hangs, in pixels of the map's finest level from its left edge.
    factor : int
        How many of these pixels one of this level is wide.
    left : bool
        Which side is shown.
    """

    def __init__(self, plane: Any, place: Callable[[], float], factor: int, *, left: bool) -> None:
        super().__init__(tuple(plane.shape), np.float32)
        self._plane, self._place, self._factor, self._left = plane, place, factor, left

    def compute(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """A window of the map, as if there were no curtain."""
        return np.asarray(self._plane[rows, columns], np.float32)

    def __getitem__(self, key: Any) -> Any:
        full = key if isinstance(key, tuple) else (key,)
        full = (*full, *(slice(None),) * (2 - len(full)))
        rows, columns = full
        if not all(isinstance(part, slice) and (part.step or 1) > 0 for part in (rows, columns)):
            return np.asarray(self)[key]
        rows, columns = (
            slice(*part.indices(size)) for part, size in zip((rows, columns), self.shape, strict=True)
        )
        window = self._window(rows, columns)
        middles = np.arange(columns.start, columns.stop, columns.step) + 0.5
        on_left = middles * self._factor < self._place()
        return np.where(on_left == self._left, window, np.float32(0))
