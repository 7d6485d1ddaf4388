"""The outlines of fibres as polygons, for vector figures."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours


def outlines(labels: NDArray[np.integer]) -> dict[int, NDArray[np.float32]]:
    """Trace the outline of each fibre.

    Parameters
    ----------
    labels : ndarray of int
        (Y, X); 0 is outside. Ids need not be consecutive.

    Returns
    -------
    dict of int to ndarray of float32
        By id: (N, 2), closed (the first point is also the last), (y, x) in pixels, with the centre of the first
        pixel at (0, 0). Of a fibre in several parts, the part with the longest outline; holes are not traced.
    """
    polygons: dict[int, NDArray[np.float32]] = {}
    for index, box in enumerate(ndimage.find_objects(labels)):
        if box is None:
            continue
        # one pixel of outside all around closes the outline of a fibre that touches the image's border
        fibre = np.pad(labels[box] == index + 1, 1).astype(np.float32)
        longest = max(find_contours(fibre, 0.5), key=len)
        corner = np.array([box[0].start - 1, box[1].start - 1])
        polygons[index + 1] = (longest + corner).astype(np.float32)
    return polygons
