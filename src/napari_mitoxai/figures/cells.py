"""What panels hold once files are read: arrays, where they lie, and what they are called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Extent:
    """Where an image lies, edge to edge, in um; y points down.

    The centre of a section's first pixel is at (0, 0), as in napari and OME-Zarr.
    """

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        pixel_um: float | Sequence[float],
        translate_um: Sequence[float] = (0.0, 0.0),
    ) -> "Extent":
        """Extent of an image of shape (..., Y, X) from its pixel size and first pixel's centre (y, x)."""
        step_y, step_x = (pixel_um, pixel_um) if isinstance(pixel_um, (int, float)) else pixel_um
        top, left = translate_um[0] - step_y / 2, translate_um[1] - step_x / 2
        return cls(left, top, left + shape[-1] * step_x, top + shape[-2] * step_y)

    @property
    def width(self) -> float:
        """Width in um."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in um."""
        return self.bottom - self.top


@dataclass(frozen=True)
class LegendEntry:
    """A channel of a composite: name, colour (RGB in 0..1), and the counts shown as black and as full."""

    name: str
    colour: tuple[float, float, float]
    limits: tuple[float, float]


@dataclass(frozen=True)
class PictureCell:
    """A composite.

    Attributes
    ----------
    title : str
        Above the panel.
    image : ndarray of float
        (Y, X, 3), RGB in 0..1; it lies where its row's section lies.
    legend : sequence of LegendEntry
        Its channels.
    """

    title: str
    image: NDArray[np.floating]
    legend: Sequence[LegendEntry] = ()


@dataclass(frozen=True)
class MapCell:
    """One map.

    Attributes
    ----------
    title : str
        The method's name: ``"LRP epsilon"``.
    values : ndarray of float
        (Y, X), channels already joined; NaN where nothing was computed.
    extent : Extent
        Where it lies; its pixels may be larger than the section's.
    signed : bool
        Whether the sign means for and against: a diverging scale around 0. An unsigned map starts at 0.
    label : str
        What the colour bar measures: ``"relevance for patient"``.
    key : str
        Maps of one key have the same limit in all rows, where limits are shared.
    ground : ndarray of float or None
        (Y, X, 3), RGB in 0..1, which the map in blue is added to; else it lies over the row's section.
    alone : bool
        Without the section below it.
    limit : float or None
        Where its colours end; by default a percentile.
    warning : str
        Why it deserves no belief: ``"fails the sanity check"``.
    note : str
        Its scores, in one line.
    """

    title: str
    values: NDArray[np.floating]
    extent: Extent
    signed: bool = True
    label: str = "relevance"
    key: str = ""
    ground: NDArray[np.floating] | None = None
    alone: bool = False
    limit: float | None = None
    warning: str = ""
    note: str = ""


@dataclass(frozen=True)
class FibreCell:
    """Fibres filled with colours.

    Attributes
    ----------
    title : str
        Above the panel.
    colours : ndarray of float
        (fibres, 4), RGBA in 0..1, in the order of the row's outlines.
    legend : sequence of LegendEntry
        What colours mean, of a status.
    bar : tuple of (name of a matplotlib colour map, low, high) or None
        What colours mean, of a number.
    label : str
        What the numbers are.
    """

    title: str
    colours: NDArray[np.floating]
    legend: Sequence[LegendEntry] = ()
    bar: tuple[str, float, float] | None = None
    label: str = ""


@dataclass(frozen=True)
class PlotCell:
    """A plot with axes of its own.

    Attributes
    ----------
    title : str
        Above the panel.
    draw : callable
        Gets empty matplotlib axes, the colour of ink, and the size of text in points.
    """

    title: str
    draw: Callable[[Any, str, float], None]


FigureCell = PictureCell | MapCell | FibreCell | PlotCell


@dataclass(frozen=True)
class FigureRow:
    """A section and its panels.

    Attributes
    ----------
    title : str
        The section, for the row's label.
    extent : Extent
        What of it is shown, in every panel of the row.
    base : ndarray of float
        (Y, X), grey in 0..1, drawn under maps; usually the membrane.
    base_extent : Extent
        Where that, and the images of the row's pictures, lie.
    cells : sequence of FigureCell
        The panels.
    outlines : sequence of ndarray
        Closed polygons (N, 2) of (x, y) in um: the fibres.
    base_name : str
        What the base shows, for the note below the figure: ``"Dystrophin"``.
    verdict : str
        What the model calls it, how sure it is, whether it was held out from training.
    """

    title: str
    extent: Extent
    base: NDArray[np.floating]
    base_extent: Extent
    cells: Sequence[FigureCell]
    outlines: Sequence[NDArray[np.floating]] = ()
    base_name: str = "the membrane channel"
    verdict: str = ""


Align = Literal["left", "center", "right"]
