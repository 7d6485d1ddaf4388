"""Where in a fibre a pixel lies: on its membrane, below it, in its core; or outside, in a gap or on the background.

A pixel's depth is the distance from its centre to the fibre's edge, so that a ring of 2 um on pixels of 1 um is two pixels
wide. Beyond the image's border nothing is known: a fibre that is cut there has no membrane along the cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress

_TILE = 2048  # pixels; a tile and its margin are all that is held beside the labels and the answer

Window = tuple[slice, slice]


class Compartment(IntEnum):
    """The values of a compartment image."""

    BACKGROUND = 0
    GAP = 1
    MEMBRANE = 2
    SUBMEMBRANE = 3
    CORE = 4

    @property
    def title(self) -> str:
        """For people: ``sub-membrane``."""
        return {"SUBMEMBRANE": "sub-membrane"}.get(self.name, self.name.lower())


INSIDE = (Compartment.MEMBRANE, Compartment.SUBMEMBRANE, Compartment.CORE)
OUTSIDE = (Compartment.GAP, Compartment.BACKGROUND)


@dataclass(frozen=True)
class Widths:
    """How wide the compartments are, in um.

    Attributes
    ----------
    membrane : float
        Of the ring along a fibre's edge; labels reach half over the membrane.
    submembrane : float
        Of the ring inside of that; what is deeper is core.
    gap : float
        Widest gap between two fibres; what is outside and further from fibres is background.
    """

    membrane: float = 2.0
    submembrane: float = 5.0
    gap: float = 25.0

    def check(self) -> None:
        """Raise `MitoxaiError` unless all widths are lengths."""
        for name, width in self.__dict__.items():
            if not 0 <= width < np.inf:
                raise MitoxaiError(f"The width of the {name} is {width} um: give a length of 0 or more.")


def compartments(
    labels: NDArray[np.integer],
    *,
    pixel_size_um: float = 1.0,
    widths: Widths | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> NDArray[np.uint8]:
    """Divide a section into compartments.

    Parameters
    ----------
    labels : ndarray of int
        (Y, X); 0 is outside. Ids need not be consecutive; fibres may touch and have holes.
    pixel_size_um : float
        Side of a pixel.
    widths : Widths, optional
        Of the rings and gaps. A thin fibre may have no core.
    progress, cancel : callable, CancelToken
        Told before, and looked at before, each tile.

    Returns
    -------
    ndarray of uint8
        (Y, X), values of `Compartment`.

    Raises
    ------
    MitoxaiError
        If the labels are not one plane, or a length makes no sense.
    Cancelled
        If `cancel` was used.
    """
    widths = widths or Widths()
    widths.check()
    if labels.ndim != 2:
        raise MitoxaiError(f"Fibres are one plane (Y, X), not of shape {labels.shape}: give one label image.")
    if not 0 < pixel_size_um < np.inf:
        raise MitoxaiError(f"A pixel of {pixel_size_um} um makes no sense: check the pixel size.")
    parts = np.zeros(labels.shape, np.uint8)
    windows = list(tiles(labels.shape, _TILE))
    # what a pixel is depends on fibres no further than this
    margin = int(np.ceil(max(widths.membrane + widths.submembrane, widths.gap) / pixel_size_um)) + 2
    for done, window in enumerate(windows):
        if cancel is not None:
            cancel.check()
        progress(Progress("Finding compartments", done, len(windows)))
        wide: Window = tuple(  # type: ignore[assignment]
            slice(max(part.start - margin, 0), part.stop + margin) for part in window
        )
        found = _of_tile(labels[wide], pixel_size_um, widths)
        inner = tuple(
            slice(part.start - around.start, part.stop - around.start)
            for part, around in zip(window, wide, strict=True)
        )
        parts[window] = found[inner]
    return parts


def tiles(shape: tuple[int, ...], side: int) -> Iterator[Window]:
    """The windows (rows, columns) that a plane is worked through in, row by row."""
    for y in range(0, shape[0], side):
        for x in range(0, shape[1], side):
            yield slice(y, min(y + side, shape[0])), slice(x, min(x + side, shape[1]))


def _of_tile(labels: NDArray[np.integer], pixel_size_um: float, widths: Widths) -> NDArray[np.uint8]:
    fibre = labels > 0
    parts = np.where(_between(fibre, widths.gap / pixel_size_um), Compartment.GAP, Compartment.BACKGROUND)
    parts = parts.astype(np.uint8)
    parts[fibre] = Compartment.CORE
    # small numbers, whatever the ids are
    numbers = np.searchsorted(np.unique(labels[fibre]), labels, side="right")
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        if box is None:
            continue
        # one pixel more, so that the fibre's edge is seen; not beyond the image, where nothing is known
        around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
        own = numbers[around] == number
        if own.all():  # nothing but this fibre: no edge in sight
            continue
        depth = (ndimage.distance_transform_edt(own) - 0.5) * pixel_size_um
        ring = np.where(depth <= widths.membrane, Compartment.MEMBRANE, Compartment.SUBMEMBRANE)
        shallow = own & (depth <= widths.membrane + widths.submembrane)
        parts[around][shallow] = ring[shallow]
    return parts


def _between(fibre: NDArray[np.bool_], width: float) -> NDArray[np.bool_]:
    """What lies outside but between fibres: where a disc of this diameter, in pixels, that touches no fibre does not reach."""
    if not fibre.any() or fibre.all() or width <= 0:
        return np.zeros(fibre.shape, bool)
    room = ndimage.distance_transform_edt(~fibre) > width / 2
    if not room.any():
        return ~fibre
    return np.asarray(~fibre & (ndimage.distance_transform_edt(~room) > width / 2))
