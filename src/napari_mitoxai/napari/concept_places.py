"""Where the examples of a concept lie: fibres by their number, drawn shapes by a grid of patches in them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import points_in_poly

from napari_mitoxai.cohort import Member
from napari_mitoxai.cohort.concepts import ConceptExample, PlacedExample, remarks


def fibre_places(labels: NDArray[np.integer], fibres: Sequence[int]) -> dict[int, tuple[float, float]]:
    """The centres (y, x) of fibres in pixels; those that are not in the image are left out."""
    wanted = np.isin(labels, [fibre for fibre in fibres if fibre > 0])
    there = np.unique(labels[wanted])
    centres = ndimage.center_of_mass(wanted, labels, there)
    return {int(fibre): (float(y), float(x)) for fibre, (y, x) in zip(there, centres, strict=True)}


def shape_places(outline: NDArray[np.floating], step: float) -> list[tuple[float, float]]:
    """Places in a drawn shape: its middle, and around it as many as lie inside on a grid.

    Parameters
    ----------
    outline : ndarray (N, 2)
        Its corners (y, x) in pixels.
    step : float
        Of the grid, in pixels.

    Returns
    -------
    list of (y, x)
        At least one: the mean of the corners where the shape is smaller than the grid, or has its middle outside.
    """
    middle = outline.mean(0)
    reach = np.abs(outline - middle).max(0)
    rows, columns = (np.arange(-int(length // step), int(length // step) + 1) * step for length in reach)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2) + middle
    inside = grid[points_in_poly(grid, outline)]
    return [(float(y), float(x)) for y, x in (inside if len(inside) else [middle])]


def counted_remarks(examples: Sequence[ConceptExample], side: int) -> list[str]:
    """What is weak in a concept set by its counts and places alone, without a look at the sections.

    Parameters
    ----------
    examples : sequence of ConceptExample
    side : int
        Of a patch in pixels.
    """
    placed = [
        PlacedExample(
            example, Member(Path(example.section), example.subject, ""), (round(example.y_px - side / 2), round(example.x_px - side / 2))
        )
        for example in examples
    ]  # fmt: skip
    return remarks(placed, side)
