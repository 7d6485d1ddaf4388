"""A part of a section to explain: a rectangle, drawn shapes, or fibres."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.draw import polygon2mask

from napari_mitoxai.common import MitoxaiError


@dataclass(frozen=True, eq=False)
class Area:
    """Which pixels of a section are asked for.

    Attributes
    ----------
    kind : str
        ``rectangle``, ``shape`` or ``fibres``.
    origin : (y, x)
        Where the mask lies, in pixels of the section.
    mask : ndarray of bool (Y, X)
        The pixels.
    """

    kind: str
    origin: tuple[int, int]
    mask: NDArray[np.bool_]

    def touches(self, corner: tuple[int, int], side: int) -> bool:
        """Whether any of its pixels is in the square with this upper left corner, in pixels of the section."""
        return bool(self._part(slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side)).any())

    def on_grid(self, y: slice, x: slice, reduction: int) -> NDArray[np.bool_]:
        """Which map pixels, of this part of the map, hold any of its pixels.

        Parameters
        ----------
        y, x : slice
            In map pixels.
        reduction : int
            Section pixels a map pixel, along each axis.
        """
        shape = (y.stop - y.start, x.stop - x.start)
        pixels = np.zeros((shape[0] * reduction, shape[1] * reduction), bool)
        top, left = y.start * reduction, x.start * reduction
        part = self._part(slice(top, top + pixels.shape[0]), slice(left, left + pixels.shape[1]))
        first = (max(self.origin[0] - top, 0), max(self.origin[1] - left, 0))
        pixels[first[0] : first[0] + part.shape[0], first[1] : first[1] + part.shape[1]] = part
        return np.asarray(pixels.reshape(shape[0], reduction, shape[1], reduction).any((1, 3)))

    def _part(self, y: slice, x: slice) -> NDArray[np.bool_]:
        rows, columns = (
            slice(max(wanted.start - start, 0), max(wanted.stop - start, 0))
            for wanted, start in zip((y, x), self.origin, strict=True)
        )
        return self.mask[rows, columns]

    def describe(self) -> dict[str, Any]:
        """Plain values that tell two areas apart, for provenance: the bounds, and a digest of what is not a rectangle."""
        height, width = self.mask.shape
        said: dict[str, Any] = {
            "kind": self.kind,
            "rows": [self.origin[0], self.origin[0] + height],
            "columns": [self.origin[1], self.origin[1] + width],
        }
        if self.kind != "rectangle":
            said["sha256"] = hashlib.sha256(np.packbits(self.mask).tobytes()).hexdigest()
        return said


def rectangle(rows: tuple[float, float], columns: tuple[float, float], shape: Sequence[int]) -> Area:
    """The pixels from a first to below a last row and column, as far as the section goes.

    Parameters
    ----------
    rows, columns : (first, last)
        In pixels of the section.
    shape : (..., Y, X)
        Of the section.

    Raises
    ------
    MitoxaiError
        If nothing of it lies on the section.
    """
    (top, bottom), (left, right) = (
        (max(int(np.floor(first)), 0), min(int(np.ceil(last)), length))
        for (first, last), length in zip((rows, columns), shape[-2:], strict=True)
    )
    if bottom <= top or right <= left:
        raise MitoxaiError(
            f"Rows {rows[0]:g} to {rows[1]:g} and columns {columns[0]:g} to {columns[1]:g} are not on the section, "
            f"which is {shape[-1]} x {shape[-2]} px: choose a part of it."
        )
    # a view of one value: an area as large as the section costs nothing
    return Area("rectangle", (top, left), np.broadcast_to(np.True_, (bottom - top, right - left)))


def polygons(outlines: Sequence[ArrayLike], shape: Sequence[int]) -> Area:
    """The pixels inside any of several polygons.

    Parameters
    ----------
    outlines : sequence of array (N, 2)
        Corners (y, x) of each, in pixels of the section.
    shape : (..., Y, X)
        Of the section.

    Raises
    ------
    MitoxaiError
        If nothing of them lies on the section.
    """
    corners = [np.asarray(outline, dtype=float).reshape(-1, 2) for outline in outlines]
    everything = np.concatenate(corners) if corners else np.zeros((1, 2))
    (top, left), (bottom, right) = everything.min(0), everything.max(0)
    bounds = rectangle((top, bottom + 1), (left, right + 1), shape)
    mask = np.zeros(bounds.mask.shape, bool)
    for outline in corners:
        mask |= polygon2mask(mask.shape, outline - bounds.origin)
    if not mask.any():
        raise MitoxaiError("The shape holds no pixel of the section: draw a larger one.")
    return Area("shape", bounds.origin, mask)


def fibres(labels: NDArray[np.integer[Any]], ids: Collection[int], shape: Sequence[int]) -> Area:
    """The pixels of chosen fibres.

    Parameters
    ----------
    labels : array of int (Y, X)
        0 outside.
    ids : collection of int
        The chosen ones; all if it is empty.
    shape : (..., Y, X)
        Of the section.

    Raises
    ------
    MitoxaiError
        If the labels are of another size, or there is no such fibre.
    """
    if labels.shape != tuple(shape[-2:]):
        raise MitoxaiError(
            f"The fibres are of a picture of {labels.shape[1]} x {labels.shape[0]} px and the section is {shape[-1]} x {shape[-2]}: "
            "give those of this section."
        )
    chosen = np.isin(labels, list(ids)) if ids else labels > 0
    if missing := sorted(set(ids) - set(np.unique(labels[chosen]).tolist())):
        raise MitoxaiError(
            f"There is no fibre {', '.join(map(str, missing))}: choose from those in the labels."
        )
    rows, columns = np.flatnonzero(chosen.any(1)), np.flatnonzero(chosen.any(0))
    if not len(rows):
        raise MitoxaiError("The labels hold no fibre: segment the section first.")
    mask = chosen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Area("fibres", (int(rows[0]), int(columns[0])), mask)
