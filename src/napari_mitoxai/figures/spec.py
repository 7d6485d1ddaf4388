"""What a figure is made of: how it should look, and what its panels show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

# folded away in forms
ADVANCED: JsonDict = {"advanced": True}


class FigureSpec(BaseModel):
    """How a figure looks: size, resolution, text and scale rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width_mm: float = Field(
        default=180.0,
        ge=40,
        le=600,
        title="Width",
        description="Width of the figure in mm; 180 is a full page, 85 a column.",
    )
    max_height_mm: float = Field(
        default=230.0,
        ge=40,
        le=900,
        title="Greatest height",
        description="Panels are laid out so that the figure stays below this height in mm.",
        json_schema_extra=ADVANCED,
    )
    dpi: int = Field(
        default=300,
        ge=72,
        le=1200,
        title="Resolution",
        description="Dots per inch; most journals ask for 300.",
        json_schema_extra=ADVANCED,
    )
    font_pt: float = Field(
        default=7.0,
        ge=4,
        le=16,
        title="Font size",
        description="Size of the text in points.",
        json_schema_extra=ADVANCED,
    )
    background: str = Field(
        default="white",
        title="Background",
        description="Colour of the page: a name or #rrggbb.",
        json_schema_extra=ADVANCED,
    )
    percentile: float = Field(
        default=99.5,
        gt=50,
        le=100,
        title="Map limits",
        description="Colours reach their end at this percentile of the absolute values, for each map by itself.",
        json_schema_extra=ADVANCED,
    )
    scale_bar_um: float | None = Field(
        default=None,
        gt=0,
        title="Scale bar",
        description="Length in um; chosen to fit where it is not given.",
        json_schema_extra=ADVANCED,
    )
    outlines: bool = Field(
        default=True, title="Fibre outlines", description="Draw the outlines of the fibres."
    )
    title: str = Field(
        default="", title="Title", description="A line above the figure; none where it is empty."
    )


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
    """A channel of the composite: name, colour (RGB in 0..1), and the counts shown as black and as full."""

    name: str
    colour: tuple[float, float, float]
    limits: tuple[float, float]


@dataclass(frozen=True)
class SectionPanel:
    """The section: the first panel, and the ground of every map.

    Attributes
    ----------
    title : str
        Above the panel: ``"P08: section"``.
    image : ndarray of float
        (Y, X, 3), RGB in 0..1.
    base : ndarray of float
        (Y, X), grey in 0..1, drawn dim under every map; usually the membrane.
    extent : Extent
        Where both lie.
    legend : sequence of LegendEntry
        The channels of the image.
    outlines : sequence of ndarray
        Closed polygons (N, 2) of (x, y) in um: the fibres.
    base_name : str
        What the base shows, for the note below the figure: ``"Dystrophin"``.
    """

    title: str
    image: NDArray[np.floating]
    base: NDArray[np.floating]
    extent: Extent
    legend: Sequence[LegendEntry] = ()
    outlines: Sequence[NDArray[np.floating]] = ()
    base_name: str = "the membrane channel"


@dataclass(frozen=True)
class MapPanel:
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
    """

    title: str
    values: NDArray[np.floating]
    extent: Extent
    signed: bool = True
    label: str = "relevance"
