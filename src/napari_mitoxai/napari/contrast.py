"""Contrast limits from a few tiles, so that opening a section never reads the whole of it."""

from collections.abc import Sequence

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section

_POSITIONS = (1 / 2, 1 / 4, 3 / 4)
_LEAST = 256
_PERCENTILES = (1.0, 99.7)


def sampled_limits(section: Section, channels: Sequence[int]) -> list[tuple[float, float]]:
    """Contrast limits of some channels, from at most three blocks of stored tiles on the diagonal of each.

    Parameters
    ----------
    section : Section
        Whose planes.
    channels : sequence of int
        Which planes.

    Returns
    -------
    list of (float, float)
        Low and high, in counts, one a channel; low is always less than high.

    Raises
    ------
    MitoxaiError
        If the file is damaged, or was taken away since it was opened.
    """
    planes = [[section.data[channel, y, x] for y, x in _regions(section.data)] for channel in channels]
    try:
        samples = da.compute(planes, scheduler="threads")[0]
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise MitoxaiError(
            f"{section.path} cannot be read ({error}): the file is damaged or was moved; copy it again."
        ) from error
    return [limits_of(np.concatenate([np.ravel(block) for block in blocks])) for blocks in samples]


def _regions(data: da.Array) -> list[tuple[slice, slice]]:
    regions = {
        tuple(_stored(data.chunks[axis], int(position * data.shape[axis])) for axis in (1, 2))
        for position in _POSITIONS
    }
    return [(slice(*y), slice(*x)) for y, x in sorted(regions)]


def _stored(chunks: Sequence[int], position: int) -> tuple[int, int]:
    """Where the chunk around `position` begins and ends; thin strips are taken several at a time."""
    ends = np.cumsum(chunks)
    index = min(int(np.searchsorted(ends, position, side="right")), len(ends) - 1)
    start = int(ends[index]) - chunks[index]
    enough = int(np.searchsorted(ends, min(start + _LEAST, int(ends[-1]))))
    return start, int(ends[max(index, min(enough, len(ends) - 1))]) if chunks[index] < _LEAST else int(
        ends[index]
    )


def limits_of(values: NDArray[np.generic]) -> tuple[float, float]:
    """Low and high percentile of `values`; never equal, never not-a-number."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, _PERCENTILES))
    if high <= low:
        low, high = min(low, 0.0), float(finite.max())
    return (low, high) if high > low else (low, low + 1.0)
