"""What of a map is ranked, and in which order its places are removed."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = Literal["signed", "magnitude"]


def planes(maps: NDArray[np.floating], values: Values) -> NDArray[np.float64]:
    """Maps with one value a pixel.

    Parameters
    ----------
    maps : ndarray (N, C or 1, H, W)
    values : {"signed", "magnitude"}
        ``signed``: the sum over channels, as the window shows a map; ``magnitude``: the sum of magnitudes over channels.

    Returns
    -------
    ndarray (N, H, W)
    """
    wide = np.asarray(maps, np.float64)
    return np.asarray((wide if values == "signed" else np.abs(wide)).sum(1))


def places(
    maps: NDArray[np.floating], side: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """When each value of a map is removed, if squares of it go one after the other, the highest mean first.

    Ties are broken by lot: a map that is 0 in half of its squares says nothing about their order, and to go through them row by row
    would be a choice.

    Parameters
    ----------
    maps : ndarray (N, K, H, W)
        Of which every plane's squares are units of their own: one plane for all channels, or one a channel.
    side : int
        Of a square in pixels; 1 for single pixels. Those at the lower and right edge may be smaller.
    rng : numpy.random.Generator
        Of the lots; the same for every map that is compared.

    Returns
    -------
    places : ndarray of int (N, K, H, W)
        Place of the pixel's square in the order, 0 first.
    units : ndarray of int (N, K, y, x)
        The same for each square.
    """
    means = _square_means(np.asarray(maps, np.float64), side)
    flat = means.reshape(len(means), -1)
    lots = rng.permuted(np.tile(np.arange(flat.shape[1]), (len(flat), 1)), axis=1)
    order = np.lexsort((lots, -flat), axis=1)
    units = np.empty_like(order)
    np.put_along_axis(units, order, np.arange(flat.shape[1])[None], axis=1)
    units = units.reshape(means.shape)
    height, width = maps.shape[2:]
    return units.repeat(side, 2).repeat(side, 3)[:, :, :height, :width], units


def _square_means(maps: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    rows, columns = (np.arange(0, length, side) for length in maps.shape[2:])
    sums = np.add.reduceat(np.add.reduceat(maps, rows, axis=2), columns, axis=3)
    heights, widths = (
        np.diff([*starts, length]) for starts, length in zip((rows, columns), maps.shape[2:], strict=True)
    )
    return np.asarray(sums / (heights[:, None] * widths))
