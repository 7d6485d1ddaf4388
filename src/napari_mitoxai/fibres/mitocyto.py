"""mitocyto's own steps, for comparison with tables that it made (github CnrLwlss/mitocyto; Warren et al. 2020).

Its numbers are pixels, as published: they fit 1 um a pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress

_SMOOTH_DIAMETER, _SMOOTH_SIGMA = 6, 7
_BLOCK = 251
_AREA = (500.0, 17500.0)
_CONVEX = (0.75, 1.0)
_RATIO = (0.0, 10.0)


@dataclass(frozen=True)
class MitocytoFibres:
    """What mitocyto finds.

    Attributes
    ----------
    labels : ndarray of int32
        (Y, X), fibres 1..n in the order of its contours, 0 outside.
    area : ndarray of float64
        (n,), area of each contour in square pixels: its column ``Area``.
    centre : ndarray of int64
        (n, 2), x and y as whole pixels: its columns ``xCoord`` and ``yCoord``.
    """

    labels: NDArray[np.int32]
    area: NDArray[np.float64]
    centre: NDArray[np.int64]


def segment_mitocyto(
    membrane: NDArray[np.generic],
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> MitocytoFibres:
    """Find fibres as mitocyto does without painting by hand.

    A 5 to 95 percentile stretch to 8 bits, a bilateral filter, the stretch again, an adaptive Gaussian threshold (block 251);
    the outermost pixels become membrane, so that fibres cut by the border stay; holes in the membrane with a plausible area and
    convexity are fibres.

    Parameters
    ----------
    membrane : ndarray
        (Y, X), counts of dystrophin; values that are not finite count as 0.
    progress, cancel : callable, CancelToken
        Told, and looked at, between the steps.

    Raises
    ------
    MitoxaiError
        If OpenCV is not installed, or `membrane` is not one plane.
    Cancelled
        If `cancel` was used.
    """
    cv2 = _opencv()
    membrane = np.asarray(membrane)
    if membrane.ndim != 2 or membrane.size == 0:
        raise MitoxaiError(
            f"Fibres are found in one plane (Y, X), not in an array of shape {membrane.shape}: choose one channel."
        )
    tell = _teller(progress, cancel)
    tell(0, "membrane")
    counts = np.nan_to_num(membrane.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    smooth = cv2.bilateralFilter(_stretched(counts), _SMOOTH_DIAMETER, _SMOOTH_SIGMA, _SMOOTH_SIGMA)
    tell(1, "threshold")
    edge = cv2.adaptiveThreshold(
        _stretched(smooth), 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, _BLOCK, 0
    )
    edge[[0, -1]] = 255
    edge[:, [0, -1]] = 255
    tell(2, "contours")
    contours, tree = cv2.findContours(edge, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = (
        [] if tree is None else [one for one, node in zip(contours, tree[0], strict=True) if node[3] != -1]
    )
    kept = [contour for contour in holes if _is_fibre(cv2, contour)]
    labels = np.zeros(membrane.shape, np.int32)
    area, centre = np.zeros(len(kept)), np.zeros((len(kept), 2), np.int64)
    for index, contour in enumerate(kept):
        cv2.drawContours(labels, [contour], -1, index + 1, cv2.FILLED)
        moments = cv2.moments(contour)
        area[index] = cv2.contourArea(contour)
        centre[index] = int(moments["m10"] / moments["m00"]), int(moments["m01"] / moments["m00"])
    for contour in kept:  # which is membrane: a hole lies within its contour
        cv2.drawContours(labels, [contour], -1, 0, 1)
    return MitocytoFibres(labels, area, centre)


def _stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    """From the 5th to the 95th percentile to 8 bits; all 0 where those are the same."""
    low, high = np.percentile(values, [5, 95])
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = np.clip((values.astype(float) - low) * (255 / (high - low)), 0, 255)
    return np.asarray(np.round(scaled), dtype=np.uint8)


def _is_fibre(cv2: Any, contour: Any) -> bool:
    area = cv2.contourArea(contour)
    if not _AREA[0] < area < _AREA[1]:
        return False
    _, _, width, height = cv2.boundingRect(contour)
    hull = cv2.contourArea(cv2.convexHull(contour))
    return bool(_RATIO[0] < width / height < _RATIO[1] and _CONVEX[0] < area / hull < _CONVEX[1])


def _teller(progress: ProgressCallback, cancel: CancelToken | None) -> Callable[[int, str], None]:
    def tell(done: int, detail: str) -> None:
        if cancel is not None:
            cancel.check()
        progress(Progress("Finding fibres", done, 3, detail))

    return tell


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MitoxaiError(
            "mitocyto's steps need OpenCV, which is not installed: pip install 'napari-mitoxai[mitocyto]', or choose another mode."
        ) from error
    return cv2
