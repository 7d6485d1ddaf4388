"""What may be a fibre: the pieces between the membranes of one window, and what speaks for and against each.

The steps are those of mitocyto (Warren et al. 2020, Sci Rep 10:15336: local threshold of the membrane), with a
distance-transform watershed, which finds fibres where the membrane has holes, and a second, narrower threshold, which
finds loosely packed fibres. Where other channels are given, the empty slide that they show ends a fibre too.
Every step looks only a few fibres far, so that windows of a large section give what the whole would give.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import expand_labels, watershed

from napari_mitoxai.fibres.hulls import hulls, pixels_in_hulls
from napari_mitoxai.fibres.runs import runs_in
from napari_mitoxai.fibres.tops import tops

# Lengths in um, as tuned by mitocyto for muscle.
_SMOOTH_UM = 1.5
_WIDE_UM = 250.0 / 6  # the Gaussian of mitocyto's block of 251 pixels
_SPECK_UM2 = 400.0
_TENDRIL_UM = 2.0  # what is narrower than twice this is no part of a fibre's shape
_TRIM_UM = 3.0  # and is cut off beyond this
_RING_UM = 6.0
_AROUND_UM = 20.0
# The empty slide: smoothed density below a tenth of the tissue's mean.
_DENSITY_SMOOTH_UM = 2.0
_EMPTY = 0.1
# The rest follows the fibre: shares of its diameter, and of the area of a disc of that diameter.
_NARROW = 0.3
_DISTANCE_SMOOTH = 0.04
_DIP = 0.1  # two maxima of the distance are two fibres if it dips by this between them
_FAR = 2.0  # beyond this distance from any membrane all is far
_HOLE = 0.5  # an empty place or an island of tissue that is smaller does not count
_OWN_MARKER = 0.1  # closed places of this area are pieces, however thin
_SMALLEST = 0.2
_LARGEST = 9.0
_MARKER_STEPS = 25  # a fibre is this many pixels wide where its marker is looked for
_ROUNDING = 1e-4  # rounding alone must not make a membrane of a constant image

FEATURES = ("area", "solidity", "membrane", "ring", "density", "density_ring", "density_around")


@dataclass(frozen=True)
class Pieces:
    """The pieces of a window.

    Attributes
    ----------
    labels : ndarray of int32
        (Y, X), pieces 1..n of plausible area, 0 elsewhere.
    features : ndarray of float64
        (n, len(FEATURES)): area as a share of that of a usual fibre; solidity; mean membrane counts inside and on a
        ring outside; mean density of the other channels inside, on the ring and in the surroundings, nan without them.
    """

    labels: NDArray[np.int32]
    features: NDArray[np.float64]


def marker_stride(size: float) -> int:
    """The grid on which markers are looked for, in pixels: windows start on it."""
    return max(1, round(size / _MARKER_STEPS))


def find_pieces(
    membrane: NDArray[np.generic],
    density: NDArray[np.float32] | None,
    pixel_size_um: float,
    fibre_size_um: float,
    step: Callable[[str], None],
) -> Pieces:
    """Find what may be a fibre.

    Parameters
    ----------
    membrane : ndarray
        (Y, X), counts; values that are not finite count as 0.
    density : ndarray of float32, optional
        (Y, X), the other channels, each divided by its mean in the tissue, averaged.
    pixel_size_um, fibre_size_um : float
        Side of a pixel, usual diameter of a fibre.
    step : callable
        Called with a word before each step.
    """
    size = fibre_size_um / pixel_size_um
    area = np.pi / 4 * size**2
    counts = np.nan_to_num(membrane.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    step("membrane")
    edge = _membrane_mask(counts, pixel_size_um, fibre_size_um)
    if not edge.any():
        return Pieces(np.zeros(counts.shape, np.int32), np.zeros((0, len(FEATURES))))
    barrier = edge
    if density is not None:
        density = ndimage.gaussian_filter(density, _DENSITY_SMOOTH_UM / pixel_size_um)
        empty = _without_small(density < _EMPTY, _HOLE * area)
        barrier = edge | ~_without_small(~empty, _HOLE * area)
    step("distances")
    distance = ndimage.distance_transform_edt(~barrier).astype(np.float32)
    np.minimum(distance, np.float32(_FAR * size), out=distance)
    distance = ndimage.gaussian_filter(distance, _DISTANCE_SMOOTH * size)
    step("markers")
    markers = _markers(distance, barrier, size, area)
    step("watershed")
    pieces = watershed(-distance, markers, mask=~barrier)
    step("shapes")
    labels, opened = _without_tendrils(pieces, pixel_size_um)
    labels, opened = _of_plausible_area(labels, opened, area)
    return Pieces(labels, _features(labels, opened, counts, density, pixel_size_um, area))


def _membrane_mask(
    counts: NDArray[np.float32], pixel_size_um: float, fibre_size_um: float
) -> NDArray[np.bool_]:
    """Where the membrane is brighter than its wide and its narrow neighbourhood, without specks."""
    bright = ndimage.gaussian_filter(np.arcsinh(counts), _SMOOTH_UM / pixel_size_um)
    # the wide mean alone takes a fibre in empty surroundings for membrane all over
    around = np.maximum(
        ndimage.gaussian_filter(bright, _WIDE_UM / pixel_size_um, truncate=3),
        ndimage.gaussian_filter(bright, _NARROW * fibre_size_um / pixel_size_um, truncate=3),
    )
    return _without_small(bright > around + _ROUNDING, _SPECK_UM2 / pixel_size_um**2, diagonal=True)


def _without_small(mask: NDArray[np.bool_], pixels: float, *, diagonal: bool = False) -> NDArray[np.bool_]:
    """Drop patches with fewer pixels."""
    patches, number = ndimage.label(mask, np.ones((3, 3)) if diagonal else None)
    large = np.bincount(patches.ravel(), minlength=number + 1) >= pixels
    large[0] = False
    kept: NDArray[np.bool_] = large[patches]
    return kept


def _markers(
    distance: NDArray[np.float32], barrier: NDArray[np.bool_], size: float, area: float
) -> NDArray[np.int32]:
    """One marker a fibre, on the tops of `distance`; looked for on a coarser grid, as the distance is smooth."""
    stride = marker_stride(size)
    high = tops(np.ascontiguousarray(distance[::stride, ::stride]), _DIP * size)
    markers = np.zeros(distance.shape, dtype=np.int32)
    markers[::stride, ::stride], number = ndimage.label(high, np.ones((3, 3)))
    # a closed place too thin to have a top of its own is a fibre's too
    places, count = ndimage.label(~barrier)
    thin = np.bincount(places.ravel(), minlength=count + 1) >= _OWN_MARKER * area
    thin[np.unique(places[markers > 0])] = False
    thin[0] = False
    inside = np.flatnonzero(thin[places])
    place, height = places.ravel()[inside], distance.ravel()[inside]
    order = np.lexsort((inside, -height, place))  # the first of the highest of each place
    first = order[np.append(True, place[order][1:] != place[order][:-1])[: len(order)]]
    markers.ravel()[inside[first]] = number + 1 + np.arange(len(first))
    return markers


def _without_tendrils(
    pieces: NDArray[np.int32], pixel_size_um: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Cut off what leaks out of a piece through a narrow gap; beside it, the same without anything narrow."""
    width = 2 * max(1, round(_TENDRIL_UM / pixel_size_um)) + 1
    # a pixel is core if all around it belongs to the same piece; so cores of two pieces never touch
    core = np.where(ndimage.minimum_filter(pieces, width) == ndimage.maximum_filter(pieces, width), pieces, 0)
    parts, number = ndimage.label(core)
    pixels = np.bincount(parts.ravel(), minlength=number + 1)
    piece_of = np.zeros(number + 1, np.int64)
    piece_of[parts.ravel()] = core.ravel()
    largest = np.zeros(number + 1, bool)
    # of each piece the largest part; the first of several equal ones
    order = np.lexsort((np.arange(number + 1), -pixels))
    order = order[piece_of[order] > 0]
    _, first = np.unique(piece_of[order], return_index=True)
    largest[order[first]] = True
    opened = ndimage.maximum_filter(np.where(largest[parts], core, 0), width)
    reach = 2 * max(1, round(_TRIM_UM / pixel_size_um)) + 1
    near = ndimage.maximum_filter(opened > 0, reach)
    return np.where(near, pieces, 0), opened


def _of_plausible_area(
    labels: NDArray[np.int32], opened: NDArray[np.int32], area: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Keep pieces of plausible area, numbered from 1."""
    pixels = np.bincount(labels.ravel())
    kept = (pixels > _SMALLEST * area) & (pixels < _LARGEST * area)
    kept &= np.bincount(opened.ravel(), minlength=len(pixels)) > 0
    kept[0] = False
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return number[labels], number[opened]


def _features(
    labels: NDArray[np.int32],
    opened: NDArray[np.int32],
    counts: NDArray[np.float32],
    density: NDArray[np.float32] | None,
    pixel_size_um: float,
    area: float,
) -> NDArray[np.float64]:
    """What speaks for and against each piece; see `Pieces`."""
    number = int(labels.max(initial=0))
    found = np.full((number, len(FEATURES)), np.nan)
    found[:, 0] = np.bincount(labels.ravel(), minlength=number + 1)[1:] / area
    runs = runs_in(np.pad(opened, ((0, 0), (1, 1))), 0)
    found[:, 1] = np.bincount(opened.ravel(), minlength=number + 1)[1:]
    found[:, 1] /= pixels_in_hulls(hulls([runs.edge_middles()]), number)
    ring = expand_labels(labels, _RING_UM / pixel_size_um)
    ring[labels > 0] = 0
    found[:, 2] = _means(counts, labels, number)
    found[:, 3] = _means(counts, ring, number)
    if density is not None:
        wide = ndimage.gaussian_filter(density, _AROUND_UM / pixel_size_um, truncate=2.5)
        found[:, 4] = _means(density, labels, number)
        found[:, 5] = _means(density, ring, number)
        found[:, 6] = _means(wide, labels, number)
    return found


def _means(values: NDArray[np.float32], labels: NDArray[np.int32], number: int) -> NDArray[np.float64]:
    """Mean of each label, 0 of one without a pixel."""
    place = labels > 0
    where = labels[place]
    pixels = np.bincount(where, minlength=number + 1)
    sums = np.bincount(where, weights=values[place], minlength=number + 1)
    means: NDArray[np.float64] = (sums / np.maximum(pixels, 1))[1:]
    return means
