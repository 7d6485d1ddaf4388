"""What the channels hold in each fibre, read a band of rows at a time."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.fibres.numbering import Fibres

ReadRows = Callable[[int, slice], NDArray[np.floating]]
"""Gives some rows of a channel: (rows, X), by its position and the rows."""

_BAND = 2**22  # pixels of a channel that are looked at together


def bands(height: int, width: int, chunks: Sequence[int] = ()) -> Iterator[slice]:
    """Cut rows into bands of some million pixels that end where a file's chunks end.

    Parameters
    ----------
    height, width : int
        Of the section.
    chunks : sequence of int, optional
        Heights of the chunks that it is stored in: no chunk is decoded twice.

    Yields
    ------
    slice
        In order, together all rows.
    """
    wanted = max(_BAND // max(width, 1), 1)
    start = 0
    for end in np.cumsum(list(chunks) or [height]).tolist():
        while end - start > 2 * wanted and len(chunks) == 0:
            yield slice(start, start + wanted)
            start += wanted
        if end - start >= wanted or end == height:
            yield slice(start, end)
            start = end


def intensities(
    fibres: Fibres,
    read: ReadRows,
    channels: int,
    *,
    percents: Sequence[float] = (),
    outline: bool = False,
    chunks: Sequence[int] = (),
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Summarise every channel in every fibre.

    The rows are gone through once; the pixels of a fibre are kept from its first row to its last, and no longer, so
    that memory is bounded by a band of rows and the fibres it cuts.

    Parameters
    ----------
    fibres : Fibres
        What to look at.
    read : callable
        Gives the rows of a channel.
    channels : int
        How many there are.
    percents : sequence of float
        Percentiles to take, 0 to 100, linear between the two nearest values.
    outline : bool
        Look at the line of pixels just outside each fibre instead of at its inside, as mitocyto does since
        version 0.0.20; a pixel on the line of two fibres counts for both.
    chunks : sequence of int
        Heights of the chunks that the channels are stored in.
    progress, cancel : callable, CancelToken
        Told, and looked at, for each channel of each band.

    Returns
    -------
    dict of str to ndarray
        ``mean``, ``sd`` (of the pixels: divided by their number), ``median``, ``log_mean`` (the mean of log(value + 1))
        and ``p5`` and so on, each (N, channels). Values that are not finite are left out; nan where none is left.

    Raises
    ------
    Cancelled
        If `cancel` was used.
    """
    number = len(fibres)
    names = ["mean", "sd", "median", "log_mean", *(f"p{percent:g}" for percent in percents)]
    results = {name: np.full((number, channels), np.nan) for name in names}
    if not number or not channels:
        return results
    height, width = fibres.index.shape
    last = _last_rows(fibres) + int(outline)
    kept = np.zeros(0, np.int32)
    kept_values = [np.zeros(0, np.float32) for _ in range(channels)]
    cut = list(bands(height, width, chunks))
    for done, rows in enumerate(cut):
        owner, place = (_outline_pixels if outline else _inside_pixels)(fibres.index, rows)
        owner = np.concatenate([kept, owner])
        complete = (last[owner] < rows.stop) | (rows.stop == height)
        # stable: the pixels of a fibre side by side
        order = np.flatnonzero(complete)
        order = order[np.argsort(owner[order], kind="stable")]
        here, starts = np.unique(owner[order], return_index=True)
        for channel in range(channels):
            if cancel is not None:
                cancel.check()
            progress(Progress("Measuring", done * channels + channel, len(cut) * channels))
            values = np.concatenate([kept_values[channel], read(channel, rows).ravel()[place]])
            if len(here):
                summary = _summary(values[order], starts, percents)
                for name, numbers in summary.items():
                    results[name][here, channel] = numbers
            kept_values[channel] = values[~complete]
        kept = owner[~complete]
    return results


def _last_rows(fibres: Fibres) -> NDArray[np.int64]:
    """The last row of each fibre."""
    return np.array([box[0].stop - 1 for box in ndimage.find_objects(fibres.index)], np.int64)


def _inside_pixels(index: NDArray[np.int32], rows: slice) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Which fibre each pixel inside one belongs to, and its place in these rows."""
    flat = index[rows].ravel()
    place = np.flatnonzero(flat)
    return flat[place] - 1, place


def _outline_pixels(index: NDArray[np.int32], rows: slice) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The pixels beside each fibre that share a side with it, and whose they are."""
    height = len(index)
    first, stop = max(rows.start - 1, 0), min(rows.stop + 1, height)
    near = np.pad(index[first:stop], ((int(rows.start == 0), int(rows.stop == height)), (1, 1)))
    middle = near[1:-1, 1:-1]
    owners, places = [], []
    for beside in (near[:-2, 1:-1], near[2:, 1:-1], near[1:-1, :-2], near[1:-1, 2:]):
        place = np.flatnonzero((beside != middle) & (beside > 0))
        owners.append(beside.ravel()[place].astype(np.int64) - 1)
        places.append(place)
    # a pixel in a corner has the same fibre on two sides, and counts once
    pairs = np.unique(np.concatenate(owners) * middle.size + np.concatenate(places))
    return (pairs // middle.size).astype(np.int32), pairs % middle.size


def _summary(
    values: NDArray[np.floating], starts: NDArray[np.int64], percents: Sequence[float]
) -> dict[str, NDArray[np.float64]]:
    """Statistics of consecutive groups of `values`, each beginning at one of `starts`."""
    ends = np.append(starts[1:], len(values))
    finite = np.isfinite(values)
    if not finite.all():
        left = np.concatenate([[0], np.cumsum(finite)])
        values, starts, ends = values[finite], left[starts], left[ends]
    values = values.astype(np.float32)
    # sorted group by group: one sort by group and value of all together takes five times as long
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        values[start:end].sort()
    count = ends - starts
    some = count > 0
    wide = values.astype(np.float64)
    mean = np.full(len(count), np.nan)
    sd, log_mean = mean.copy(), mean.copy()

    def total(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.add.reduceat(numbers, starts[some])
        return sums

    if some.any():
        mean[some] = total(wide) / count[some]
        sd[some] = np.sqrt(total((wide - np.repeat(mean, count)) ** 2) / count[some])
        with np.errstate(divide="ignore", invalid="ignore"):  # a corrected image may go below -1
            log_mean[some] = total(np.log1p(wide)) / count[some]
    summary = {"mean": mean, "sd": sd, "median": _percentile(wide, starts, count, 50.0), "log_mean": log_mean}
    return summary | {f"p{percent:g}": _percentile(wide, starts, count, percent) for percent in percents}


def _percentile(
    values: NDArray[np.float64], starts: NDArray[np.int64], count: NDArray[np.int64], percent: float
) -> NDArray[np.float64]:
    """A percentile of sorted groups, as numpy's default computes it."""
    result = np.full(len(starts), np.nan)
    some = count > 0
    position = percent / 100 * (count[some] - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, count[some] - 1)
    below, above = values[starts[some] + low], values[starts[some] + high]
    result[some] = below + (position - low) * (above - below)
    return result
