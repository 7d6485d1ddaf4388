"""Fibres from their membrane, with classical image analysis.

The steps are those of mitocyto (Warren et al. 2020, Sci Rep 10:15336: local threshold of the membrane, limits of area
and convexity), with a distance-transform watershed between them, which finds fibres where the membrane has holes, and
with a second, narrower threshold, which finds loosely packed fibres.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops
from skimage.morphology import h_maxima
from skimage.segmentation import expand_labels, watershed

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress

# Lengths in um, as tuned by mitocyto for muscle and checked on one hand-labelled section.
_SMOOTH_UM = 1.5
_WIDE_UM = 250.0 / 6  # the Gaussian of mitocyto's block of 251 pixels
_SPECK_UM2 = 400.0
_GROW_BACK_UM = 2.0
# The rest follows the fibre: shares of its diameter, and of the area of a disc of that diameter.
_NARROW = 0.3
_DISTANCE_SMOOTH = 0.04
_DIP = 0.1  # two maxima of the distance are two fibres if it dips by this between them
_SMALLEST = 0.2
_LARGEST = 9.0
_CONVEX = 0.75
_MARKER_STEPS = 25  # a fibre is this many pixels wide where its marker is looked for


def segment(
    membrane: NDArray[np.generic],
    *,
    pixel_size_um: float = 1.0,
    fibre_size_um: float = 50.0,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> NDArray[np.int32]:
    """Find muscle fibres in the image of their membrane.

    The counts are compressed (arcsinh), smoothed and compared with their neighbourhood, which gives the membrane;
    specks are dropped; a watershed on the distance to the membrane divides what lies between; pieces of implausible
    area or shape are dropped; and the rest is grown back over half the membrane.

    Parameters
    ----------
    membrane : ndarray
        (Y, X), counts of dystrophin, laminin or the like; values that are not finite count as 0.
    pixel_size_um : float
        Side of a pixel.
    fibre_size_um : float
        Usual diameter of a fibre; fibres of a fifth to nine times the area of such a disc are kept.
    progress, cancel : callable, CancelToken
        Told, and looked at, between the steps.

    Returns
    -------
    ndarray of int32
        (Y, X), fibres 1..n, 0 outside; all 0 where there is no membrane.

    Raises
    ------
    MitoxaiError
        If `membrane` is not one plane, or a size is not positive, or a fibre is less than 5 pixels wide.
    Cancelled
        If `cancel` was used.
    """
    membrane = np.asarray(membrane)
    if membrane.ndim != 2 or membrane.size == 0:
        raise MitoxaiError(
            f"Fibres are found in one plane (Y, X), not in an array of shape {membrane.shape}: choose one channel."
        )
    if not (0 < pixel_size_um < np.inf and 5 * pixel_size_um <= fibre_size_um < np.inf):
        raise MitoxaiError(
            f"Fibres of {fibre_size_um} um cannot be found on pixels of {pixel_size_um} um: check both sizes."
        )
    step = _steps(progress, cancel)
    size = fibre_size_um / pixel_size_um
    step("membrane")
    edge = _membrane_mask(membrane, pixel_size_um, fibre_size_um)
    if not edge.any():
        return np.zeros(membrane.shape, dtype=np.int32)
    step("distances")
    distance = ndimage.distance_transform_edt(~edge).astype(np.float32)
    distance = ndimage.gaussian_filter(distance, _DISTANCE_SMOOTH * size)
    step("markers")
    markers = _markers(distance, size)
    step("watershed")
    pieces = watershed(-distance, markers, mask=~edge)
    step("shapes")
    fibres = _plausible(pieces, area=np.pi / 4 * size**2)
    step("outlines")
    grown = expand_labels(fibres, _GROW_BACK_UM / pixel_size_um)
    return np.asarray(grown, dtype=np.int32)


def _steps(progress: ProgressCallback, cancel: CancelToken | None, total: int = 6) -> Callable[[str], None]:
    """Make a function that starts the next step: it looks at `cancel` and tells `progress`."""
    done = iter(range(total))

    def step(detail: str) -> None:
        if cancel is not None:
            cancel.check()
        progress(Progress("Finding fibres", next(done), total, detail))

    return step


def _membrane_mask(
    membrane: NDArray[np.generic], pixel_size_um: float, fibre_size_um: float
) -> NDArray[np.bool_]:
    """Where the membrane is brighter than its wide and its narrow neighbourhood, without specks."""
    counts = np.nan_to_num(membrane.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    bright = ndimage.gaussian_filter(np.arcsinh(counts), _SMOOTH_UM / pixel_size_um)
    # the wide mean alone takes a fibre in empty surroundings for membrane all over
    around = np.maximum(
        ndimage.gaussian_filter(bright, _WIDE_UM / pixel_size_um, truncate=3),
        ndimage.gaussian_filter(bright, _NARROW * fibre_size_um / pixel_size_um, truncate=3),
    )
    # rounding alone must not make a membrane of a constant image
    around += 1e-5 * max(float(bright.max()), 1.0)
    parts, number = ndimage.label(bright > around, np.ones((3, 3)))
    large = np.bincount(parts.ravel(), minlength=number + 1) * pixel_size_um**2 >= _SPECK_UM2
    large[0] = False
    mask: NDArray[np.bool_] = large[parts]
    return mask


def _markers(distance: NDArray[np.float32], size: float) -> NDArray[np.int32]:
    """One marker a fibre, on the tops of `distance`; looked for on a coarser grid, as the distance is smooth."""
    stride = max(1, round(size / _MARKER_STEPS))
    coarse = np.ascontiguousarray(distance[::stride, ::stride])
    tops = h_maxima(coarse, _DIP * size)
    tops, _ = ndimage.label(tops, np.ones((3, 3)))
    markers = np.zeros(distance.shape, dtype=np.int32)
    markers[::stride, ::stride] = tops
    return markers


def _plausible(pieces: NDArray[np.int32], area: float) -> NDArray[np.int32]:
    """Keep pieces of plausible size and convexity, numbered from 1."""
    pixels = np.bincount(pieces.ravel())
    kept = (pixels > _SMALLEST * area) & (pixels < _LARGEST * area)
    kept[0] = False
    # the convex hull is the costly part: only of what is left
    for region in regionprops(np.where(kept[pieces], pieces, 0)):
        kept[region.label] = region.solidity > _CONVEX
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    fibres: NDArray[np.int32] = number[pieces]
    return fibres


def keep_in_tissue(
    labels: NDArray[np.integer], tissue: NDArray[np.bool_], block: int = 1
) -> NDArray[np.int32]:
    """Drop labels that lie mostly on the empty slide.

    The membrane alone cannot tell a large gap from a fibre: both are dark and have a rim.

    Parameters
    ----------
    labels : ndarray of int
        (Y, X); 0 is outside.
    tissue : ndarray of bool
        (ceil(Y / block), ceil(X / block)).
    block : int
        Side in pixels of what a pixel of `tissue` stands for.

    Returns
    -------
    ndarray of int32
        (Y, X), without the labels that have less than half of their area on tissue, numbered 1 to n again.
    """
    y, x = (np.arange(length) // block for length in labels.shape)
    area = np.bincount(labels.ravel())
    on_tissue = np.bincount(labels.ravel(), weights=tissue[np.ix_(y, x)].ravel())
    keep = on_tissue >= 0.5 * area
    keep[0] = False
    number = np.zeros(len(area), np.int32)
    number[keep & (area > 0)] = np.arange(1, 1 + np.count_nonzero(keep & (area > 0)))
    return np.asarray(number[labels], dtype=np.int32)
