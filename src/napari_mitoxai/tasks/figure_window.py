"""Which part of a section a figure shows, in um and in the pixels of the section and of its maps."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures.cells import Extent
from napari_mitoxai.figures.spec import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.imc import Section


@dataclass(frozen=True)
class Window:
    """What of a section is shown: in um, and in whole pixels that cover it."""

    extent: Extent
    y: slice
    x: slice
    whole: bool


def window_of(section: "Section", row: Row) -> Window:
    """The part of a section that a row shows.

    Raises
    ------
    MitoxaiError
        If the crop lies beside the section.
    """
    pixel = section.pixel_size_um
    whole = Extent.of(section.shape[1:], pixel)
    if row.crop_px is not None:
        left, top, right, bottom = (edge * pixel - pixel / 2 for edge in row.crop_px)
    elif row.crop_um is not None:
        left, top, right, bottom = row.crop_um
    else:
        return Window(whole, slice(0, section.shape[1]), slice(0, section.shape[2]), whole=True)
    seen = Extent(
        max(left, whole.left), max(top, whole.top), min(right, whole.right), min(bottom, whole.bottom)
    )
    if seen.width < pixel or seen.height < pixel:
        raise MitoxaiError(
            f"The crop of {section.name} lies beside it: the section reaches from 0 to {whole.right:g} µm across and to {whole.bottom:g} µm down."
        )

    def cover(low: float, high: float, length: int) -> slice:
        return slice(
            max(math.floor(low / pixel + 0.5 + 1e-6), 0), min(math.ceil(high / pixel + 0.5 - 1e-6), length)
        )

    return Window(
        seen,
        cover(seen.top, seen.bottom, section.shape[1]),
        cover(seen.left, seen.right, section.shape[2]),
        whole=False,
    )


def map_extent(store: "MapStore") -> Extent:
    """Where the maps of a store lie."""
    grid = store.grid
    return Extent.of(grid.shape, grid.scale_um, [grid.translate_um] * 2)


def cut_to(values: "NDArray[Any]", extent: Extent, seen: Extent) -> "tuple[NDArray[Any], Extent]":
    """The pixels of a map that cover what is seen, and where they lie."""
    step = extent.width / values.shape[1]

    def cover(low: float, high: float, length: int) -> tuple[int, int]:
        start = min(max(math.floor(low / step + 1e-6), 0), length - 1)
        return start, max(min(math.ceil(high / step - 1e-6), length), start + 1)

    top, bottom = cover(seen.top - extent.top, seen.bottom - extent.top, values.shape[0])
    left, right = cover(seen.left - extent.left, seen.right - extent.left, values.shape[1])
    place = Extent(
        extent.left + left * step,
        extent.top + top * step,
        extent.left + right * step,
        extent.top + bottom * step,
    )
    return values[top:bottom, left:right], place
