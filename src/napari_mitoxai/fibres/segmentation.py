"""Fibres from their membrane, with classical image analysis; see `pieces` for the steps and `plausibility` for the judgement."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.fibres.tiling import Place, Window, segment_windows

_BRIGHT = 5.0  # one bright spot of a channel must not outweigh all others


def segment(
    membrane: NDArray[np.generic],
    *,
    density: NDArray[np.float32] | None = None,
    pixel_size_um: float = 1.0,
    fibre_size_um: float = 50.0,
    tile: int | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> NDArray[np.int32]:
    """Find muscle fibres in the image of their membrane.

    The counts are compressed (arcsinh), smoothed and compared with their neighbourhood, which gives the membrane;
    specks are dropped; a watershed on the distance to the membrane, and to the empty slide, divides what lies between;
    what leaks out of a piece is cut off; pieces that do not look like fibres are dropped; and the rest is grown back
    over half the membrane.

    Parameters
    ----------
    membrane : ndarray
        (Y, X), counts of dystrophin, laminin or the like; values that are not finite count as 0.
    density : ndarray of float32, optional
        (Y, X), what the other channels show, as `mean_density` gives it; tells fibres from gaps and from the slide.
    pixel_size_um : float
        Side of a pixel.
    fibre_size_um : float
        Usual diameter of a fibre; fibres of a fifth to nine times the area of such a disc are found.
    tile : int, optional
        Side in pixels of the tiles that are worked on one by one; by default as memory asks for.
    progress, cancel : callable, CancelToken
        Told, and looked at, between the steps.

    Returns
    -------
    ndarray of int32
        (Y, X), fibres 1..n from top to bottom, 0 outside; all 0 where there is no membrane.

    Raises
    ------
    MitoxaiError
        If `membrane` is not one plane, or `density` has another shape, or a size is not positive, or a fibre is less than 5
        pixels wide.
    Cancelled
        If `cancel` was used.
    """
    membrane = np.asarray(membrane)
    if membrane.ndim != 2 or membrane.size == 0:
        raise MitoxaiError(
            f"Fibres are found in one plane (Y, X), not in an array of shape {membrane.shape}: choose one channel."
        )
    if density is not None and density.shape != membrane.shape:
        raise MitoxaiError(
            f"A density of shape {density.shape} does not fit a membrane of shape {membrane.shape}: take both from one section."
        )
    check_sizes(pixel_size_um, fibre_size_um)

    def read(place: Place) -> Window:
        return Window(membrane[place], None if density is None else density[place])

    return segment_windows(
        read,
        (membrane.shape[0], membrane.shape[1]),
        pixel_size_um=pixel_size_um,
        fibre_size_um=fibre_size_um,
        tile=tile,
        progress=progress,
        cancel=cancel,
    )


def check_sizes(pixel_size_um: float, fibre_size_um: float) -> None:
    """Raise if fibres of a size cannot be found on pixels of a size."""
    if not (0 < pixel_size_um < np.inf and 5 * pixel_size_um <= fibre_size_um < np.inf):
        raise MitoxaiError(
            f"Fibres of {fibre_size_um} um cannot be found on pixels of {pixel_size_um} um: check both sizes."
        )


def mean_density(channels: Iterable[NDArray[np.generic]], levels: ArrayLike) -> NDArray[np.float32] | None:
    """What channels show together: the mean of their counts, each divided by its level in the tissue.

    Parameters
    ----------
    channels : ndarray, or iterable of ndarray
        (C, Y, X), counts, or C times (Y, X), so that not all need be held; values that are not finite count as 0.
    levels : array
        (C,), mean of each channel in the tissue; channels without counts are left out.

    Returns
    -------
    ndarray of float32 or None
        (Y, X); None if no channel has counts.
    """
    total: NDArray[np.float32] | None = None
    used = 0
    for plane, level in zip(channels, np.asarray(levels, dtype=float), strict=True):
        if not (np.isfinite(level) and level > 0):
            continue
        part = np.nan_to_num(plane.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        part = np.minimum(part / np.float32(level), np.float32(_BRIGHT))
        total = part if total is None else total + part
        used += 1
    return None if total is None else total / np.float32(used)
