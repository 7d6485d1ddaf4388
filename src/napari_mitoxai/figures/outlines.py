"""Outlines of fibres as the polygons that a figure draws."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def outlines(
    labels: NDArray[np.integer],
    pixel_um: float,
    translate_um: Sequence[float] = (0.0, 0.0),
    *,
    tolerance_px: float = 0.6,
) -> list[NDArray[np.float64]]:
    """Outline every fibre, with few points.

    Parameters
    ----------
    labels : ndarray of int
        (Y, X); 0 is outside.
    pixel_um : float
        Side of a pixel in um.
    translate_um : sequence of float
        Centre (y, x) of the first pixel, in um.
    tolerance_px : float
        How far a simplified outline may leave the traced one; fewer points make a smaller PDF.

    Returns
    -------
    list of ndarray
        A closed polygon (N, 2) of (x, y) in um for each label.
    """
    # scikit-image takes a second to import: only when something is drawn
    from skimage.measure import approximate_polygon

    from napari_mitoxai.fibres import outlines as trace

    polygons = []
    for line in trace(labels).values():
        simple = approximate_polygon(line, tolerance_px)
        polygon = simple if len(simple) >= 4 else line
        polygons.append(polygon[:, ::-1].astype(np.float64) * pixel_um + np.asarray(translate_um)[::-1])
    return polygons
