"""Contrast limits from a few windows, so that opening a section never reads the whole of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section
from napari_mitoxai.imc.limits import one_line
from napari_mitoxai.napari.display import PERCENTILES, Limits
from napari_mitoxai.napari.planes import ShownPlane

_WHOLE = 2**22  # pixels; a plane that is no larger is taken as a whole
_PLACES = 4  # windows a side of a larger one,
_WINDOW = 256  # pixels a side


def sampled_limits(
    section: Section, planes: Sequence[ShownPlane], percentiles: tuple[float, float] = PERCENTILES
) -> list[Limits]:
    """Contrast limits of some planes.

    Parameters
    ----------
    section : Section
        Whose planes; for the message.
    planes : sequence of ShownPlane
        What they decode for this is kept for the picture.
    percentiles : (float, float)
        Of the sampled counts.

    Returns
    -------
    list of (float, float)
        Low and high, in counts, one a plane; low is always less than high.

    Raises
    ------
    MitoxaiError
        If the file is damaged, or was taken away since it was opened.
    """
    try:
        return [limits_of(sample(plane), percentiles) for plane in planes]
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise MitoxaiError(
            f"{section.path} cannot be read ({one_line(error)}): the file is damaged or was moved; copy it again."
        ) from error


def sample(plane: ShownPlane) -> NDArray[np.generic]:
    """A plane's counts, or those of windows spread over it; raises what its file raises."""
    height, width = plane.shape
    if height * width <= _WHOLE:
        return plane.read(0, height, 0, width).ravel()
    tops, lefts = (
        np.linspace(0, size, _PLACES, endpoint=False).astype(int) + size // (2 * _PLACES)
        for size in plane.shape
    )
    windows = [
        plane.read(
            int(top), min(int(top) + _WINDOW, height), int(left), min(int(left) + _WINDOW, width)
        ).ravel()
        for top in tops
        for left in lefts
    ]
    return np.concatenate(windows)


def limits_of(values: NDArray[np.generic], percentiles: tuple[float, float] = PERCENTILES) -> Limits:
    """Low and high percentile of `values`; never equal, never not-a-number."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, percentiles))
    if high <= low:
        low, high = min(low, 0.0), float(finite.max())
    return (low, high) if high > low else (low, low + 1.0)


def pooled_limits(
    samples: Sequence[NDArray[np.generic]], percentiles: tuple[float, float] = PERCENTILES
) -> Limits:
    """Limits of several sections together, in which each counts as much as the others, however large it is."""
    fewest = min((len(values) for values in samples), default=0)
    if not fewest:
        return 0.0, 1.0
    return limits_of(np.concatenate([_thinned(values, fewest) for values in samples]), percentiles)


def _thinned(values: NDArray[np.generic], most: int) -> NDArray[np.generic]:
    """`most` values of a sample, evenly spread over its sorted values, so that its percentiles stay."""
    if len(values) == most:
        return values
    ordered = np.sort(values)
    return ordered[np.linspace(0, len(ordered) - 1, most).round().astype(int)]
