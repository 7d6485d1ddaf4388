"""The contours that OpenCV traces around holes in a membrane, measured as mitocyto measures them, without OpenCV.

Such a contour goes through the centres of the pixels that share a side with the hole. Between four pixel centres lies a
unit square: all of it is inside the contour if two or more of its corners are in the hole, and half of it if one is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_mitoxai.fibres.intensities import bands
from napari_mitoxai.fibres.numbering import Fibres


@dataclass(frozen=True)
class Contours:
    """Contours around fibres, in pixels; each array is (N,).

    Attributes
    ----------
    area, perimeter : ndarray
        As ``cv2.contourArea`` and ``cv2.arcLength``.
    y, x : ndarray
        Centroid, as ``cv2.moments``.
    height, width : ndarray
        As ``cv2.boundingRect``.
    """

    area: NDArray[np.float64]
    perimeter: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    height: NDArray[np.float64]
    width: NDArray[np.float64]


def contours(fibres: Fibres) -> Contours:
    """Measure the contours around fibres that are the inside of a membrane, without its pixels."""
    number, (height, width) = len(fibres), fibres.index.shape
    sums = np.zeros((4, number))
    for rows in bands(height, width):
        last = rows.stop == height
        near = np.pad(
            fibres.index[max(rows.start - 1, 0) : rows.stop], ((int(rows.start == 0), int(last)), (1, 1))
        )
        # the first pixel of `near` is one above and one left of the band's
        sums += _of_squares(near, rows.start - 1, number)
    area, perimeter, moment_y, moment_x = sums
    sides = [[place.stop - place.start + 2 for place in box] for box in ndimage.find_objects(fibres.index)]
    tall, wide = np.array(sides, float).reshape(-1, 2).T
    return Contours(area, perimeter, moment_y / area, moment_x / area, tall, wide)


def _of_squares(near: NDArray[np.int32], first: int, number: int) -> NDArray[np.float64]:
    """Area, perimeter and first moments that the squares between the pixels of some rows add to each fibre."""
    corners = {
        (down, right): near[down : near.shape[0] - 1 + down, right : near.shape[1] - 1 + right]
        for down in (0, 1)
        for right in (0, 1)
    }
    total = np.zeros((4, number))
    for (down, right), own in corners.items():
        row, column = np.nonzero(own)
        fibre = own[row, column]
        beside, below, across = (
            corners[place][row, column] == fibre
            for place in ((down, 1 - right), (1 - down, right), (1 - down, 1 - right))
        )
        inside = 1 + beside + below + across
        alone, diagonal = inside == 1, (inside == 2) & across
        area = np.choose(inside - 1, [0.5, 0.5, 1 / 3, 0.25])
        perimeter = np.where(alone | diagonal, np.sqrt(2), np.where(inside == 2, 0.5, 0.0))
        # the centroid of half a square lies a third of the way from its corner
        from_corner = np.where(alone, 1 / 3, 0.5)
        y = row + first + np.where(down, 1 - from_corner, from_corner)
        x = column - 1 + np.where(right, 1 - from_corner, from_corner)
        for place, weights in enumerate((area, perimeter, area * y, area * x)):
            total[place] += np.bincount(fibre - 1, weights, number)
    return total
