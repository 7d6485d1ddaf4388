"""Maps of one section by several checkpoints combined into one: each divided by its own scale, then averaged channel by channel.

Networks that read one channel each give one map with a plane a channel, the aggregate that S1 (explainable deep learning on imaging mass
cytometry) asks for; networks that read the same channels (folds, seeds) give their mean.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.explain.store import BLOCK, MapStore, slices_of

POOLED = "all channels"
ScaledBy = Literal["max", "positive", "rms", "none"]


@dataclass(frozen=True)
class Source:
    """One checkpoint's map.

    Attributes
    ----------
    store : MapStore
    method : str
    channels : tuple of str
        What its planes are; the one plane of a network that reads one channel is that channel's.
    scale : float
        What it is divided by.
    """

    store: MapStore
    method: str
    channels: tuple[str, ...]
    scale: float = 1.0


def source_of(store: MapStore, method: str) -> Source:
    """A store's map, with the channels that its planes speak of."""
    channels, panel = store.channels(method), store.info["checkpoint"]["panel"]
    return Source(store, method, tuple(panel if channels == [POOLED] and len(panel) == 1 else channels))


def scale_of(
    source: Source, scaled_by: ScaledBy, explained: NDArray[np.bool_], cancel: CancelToken | None = None
) -> float:
    """What a map is divided by before it is combined: one number for all its planes, so that channels keep their proportions.

    Zero stays zero: nothing is subtracted, since zero is what a map says where it says nothing.

    Parameters
    ----------
    source : Source
    scaled_by : {"max", "positive", "rms", "none"}
        ``max``: its largest magnitude. ``positive``: its positive relevance, summed over channels, per explained pixel. ``rms``: the root
        mean square of all its values. ``none``: 1.
    explained : ndarray of bool (Y, X)
        Over which pixels; block by block.
    cancel : CancelToken, optional

    Returns
    -------
    float
        Above 0.

    Raises
    ------
    MitoxaiError
        If a value is not finite, or the map has nothing to be scaled by.
    Cancelled
        If `cancel` was used.
    """
    if scaled_by == "none":
        return 1.0
    largest = total = 0.0
    for region in regions(source.store.grid.shape):
        if cancel is not None:
            cancel.check()
        inside = explained[region]
        if not inside.any():
            continue
        values = _read(source, region)[:, inside].astype(np.float64)
        if scaled_by == "max":
            largest = max(largest, float(np.abs(values).max()))
        elif scaled_by == "positive":
            total += float(np.maximum(values, 0).sum())
        else:
            total += float((values**2).mean(0).sum())
    pixels = int(explained.sum())
    scale = {"max": largest, "positive": total / pixels, "rms": float(np.sqrt(total / pixels))}[scaled_by]
    if scale <= 0:
        what = "no positive relevance" if scaled_by == "positive" else "nothing but zeros"
        raise MitoxaiError(
            f"The map by {source.method} in {source.store.path.name} has {what}: leave that store or that method out, or do not scale."
        )
    return scale


def combined_channels(sources: Sequence[Source]) -> list[str]:
    """The planes of the combined map, in the order of the sources.

    Raises
    ------
    MitoxaiError
        If some maps tell channels apart and others do not.
    """
    names = list(dict.fromkeys(name for source in sources for name in source.channels))
    if POOLED in names and len(names) > 1:
        whole = next(source.store.path.name for source in sources if POOLED in source.channels)
        raise MitoxaiError(
            f"The map by {sources[0].method} in {whole} has one plane for several channels, and others have a plane a channel: combine like with like."
        )
    return names


def combined(
    sources: Sequence[Source], region: tuple[slice, slice], explained: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """One region of the combined map.

    Parameters
    ----------
    sources : sequence of Source
        With their scales.
    region : (slice, slice)
        Rows and columns.
    explained : ndarray of bool (Y, X)
        Where all of them say something; elsewhere the map is 0.

    Returns
    -------
    ndarray (C, y, x)
        In the order of `combined_channels`: the mean over the maps that have this channel, each divided by its scale.
    """
    names = combined_channels(sources)
    inside = explained[region]
    total = np.zeros((len(names), *inside.shape))
    count = np.zeros(len(names))
    for source in sources:
        places = [names.index(name) for name in source.channels]
        total[places] += _read(source, region).astype(np.float64) / source.scale
        count[places] += 1
    return cast("NDArray[np.float32]", (total / count[:, None, None] * inside).astype(np.float32))


def regions(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """The blocks of a map, row by row."""
    for row in range(-(-shape[0] // BLOCK)):
        for column in range(-(-shape[1] // BLOCK)):
            yield slices_of((row, column), shape)


def _read(source: Source, region: tuple[slice, slice]) -> NDArray[np.float32]:
    values = source.store.read_region(source.method, region)
    if not np.isfinite(values).all():
        raise MitoxaiError(
            f"The map by {source.method} in {source.store.path.name} has values that are not finite: explain the section again, or leave it out."
        )
    return values
