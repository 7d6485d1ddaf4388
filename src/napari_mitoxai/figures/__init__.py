"""Figures for papers: a section, its maps on the same scale rules, and everything needed to read them.

Arrays and plain values go in, a matplotlib figure comes out. matplotlib is imported when a figure is drawn,
not before.
"""

from typing import TYPE_CHECKING, Any

from napari_mitoxai.figures.cells import (
    Extent,
    FibreCell,
    FigureRow,
    LegendEntry,
    MapCell,
    PictureCell,
    PlotCell,
)
from napari_mitoxai.figures.channels import (
    ROLE_COLOURS,
    ChannelImage,
    Composite,
    choose_channels,
    composite,
    grey,
)
from napari_mitoxai.figures.outlines import outlines
from napari_mitoxai.figures.scales import block_mean, map_limit, nice_length
from napari_mitoxai.figures.spec import FigureLook, FigureSpec, Panel, Row, preset_panels

if TYPE_CHECKING:
    from napari_mitoxai.figures.composition import compose
    from napari_mitoxai.figures.saving import FORMATS, save_figure, write_sidecar

_DRAWING = {"compose": "composition", "save_figure": "saving", "write_sidecar": "saving", "FORMATS": "saving"}

__all__ = [
    "FORMATS",
    "ROLE_COLOURS",
    "ChannelImage",
    "Composite",
    "Extent",
    "FibreCell",
    "FigureLook",
    "FigureRow",
    "FigureSpec",
    "LegendEntry",
    "MapCell",
    "Panel",
    "PictureCell",
    "PlotCell",
    "Row",
    "block_mean",
    "choose_channels",
    "compose",
    "composite",
    "grey",
    "map_limit",
    "nice_length",
    "outlines",
    "preset_panels",
    "save_figure",
    "write_sidecar",
]


def __getattr__(name: str) -> Any:
    """Import what draws on first use, so that importing this package does not import matplotlib."""
    if name in _DRAWING:
        import importlib

        return getattr(importlib.import_module(f"napari_mitoxai.figures.{_DRAWING[name]}"), name)
    raise AttributeError(f"module 'napari_mitoxai.figures' has no attribute {name!r}")
