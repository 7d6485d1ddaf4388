"""How far maps of one section agree: rank correlation, overlap of what is highest, structural similarity.

That two maps agree does not make either right, and two baselines that know nothing may agree with a method too. Maps are compared
by ranks and after scaling, since values of different methods have no common unit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import norm, rankdata, t
from skimage.metrics import structural_similarity

from napari_mitoxai.common import MitoxaiError

TOP_SHARE = 0.1
LEAST_PIXELS = 10  # of a fibre, for a rank correlation inside it
SCALED_BY = 99.0  # percentile of the magnitudes that becomes 1 before structural similarity
_SIGMA = 1.5  # of the window of Wang et al. 2004, in pixels
_REACH = 5  # pixels from the window's middle to its edge


def rank_correlations(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman's rank correlation (1904) between every pair of maps.

    Parameters
    ----------
    values : ndarray (maps, n)
        The same pixels, or fibres, of each.

    Returns
    -------
    ndarray (maps, maps)
        -1 to 1, ties at their mean rank; nan for a map that is constant, also with itself.

    Raises
    ------
    MitoxaiError
        If a value is not finite.
    """
    _check(values)
    scores = np.empty(values.shape)
    for index, each in enumerate(values):
        ranks = rankdata(each)
        ranks -= ranks.mean() if ranks.size else 0
        length = np.sqrt(ranks @ ranks)
        scores[index] = ranks / length if length > 0 else np.nan
    return np.asarray(np.clip(scores @ scores.T, -1, 1))


def rank_correlations_within(
    values: NDArray[np.floating], groups: NDArray[np.integer], least: int = LEAST_PIXELS
) -> tuple[NDArray[np.integer], NDArray[np.float64], NDArray[np.int64]]:
    """`rank_correlations` in each group of pixels by itself: in each fibre.

    Parameters
    ----------
    values : ndarray (maps, n)
        The same pixels of each map.
    groups : ndarray of int (n,)
        The fibre that each lies in; 0 is none.
    least : int
        Pixels, below which a fibre has no number.

    Returns
    -------
    ids : ndarray of int (fibres,)
        In ascending order.
    correlations : ndarray (fibres, maps, maps)
        -1 to 1; nan also for a map that is constant in the fibre.
    sizes : ndarray of int (fibres,)
        How many pixels each has.

    Raises
    ------
    MitoxaiError
        If a value is not finite.
    """
    _check(values)
    inside = groups > 0
    own, groups = values[:, inside], groups[inside]
    order = np.argsort(groups, kind="stable")
    ids, first, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    found = np.full((len(ids), len(values), len(values)), np.nan)
    for place, (start, size) in enumerate(zip(first, sizes, strict=True)):
        if size >= least:
            found[place] = rank_correlations(own[:, order[start : start + size]])
    return ids, found, sizes


def top_overlaps(values: NDArray[np.floating], share: float = TOP_SHARE) -> NDArray[np.float64]:
    """What every pair of maps has in common among its places of highest positive relevance.

    The top of a map is the share of all places that is highest, of which only positive ones count; those that tie for the last
    places count by their share. The overlap is Dice's (1945): twice what is in both tops, over the size of both. Of two full tops it
    is what they have in common over the size of one, and `share` is chance.

    Parameters
    ----------
    values : ndarray (maps, n)
        The same pixels, or fibres, of each.
    share : float
        Of the places, above 0 and at most 1.

    Returns
    -------
    ndarray (maps, maps)
        0 to 1; nan for a map without positive relevance, and for one that is constant.

    Raises
    ------
    MitoxaiError
        If a value is not finite, or the share is out of bounds.
    """
    _check(values)
    if not 0 < share <= 1:
        raise MitoxaiError(f"The top cannot be {share:g} of a map: choose a share above 0 and at most 1.")
    tops = np.zeros(values.shape, np.float32)
    for index, each in enumerate(values):
        tops[index] = _top(each, share)
    sizes = tops.sum(1, dtype=np.float64)
    overlaps = np.full((len(tops),) * 2, np.nan)
    for a in range(len(tops)):
        for b in range(a, len(tops)):
            if sizes[a] > 0 and sizes[b] > 0:
                both = np.minimum(tops[a], tops[b]).sum(dtype=np.float64)
                overlaps[a, b] = overlaps[b, a] = 2 * both / (sizes[a] + sizes[b])
    return overlaps


def _top(values: NDArray[np.floating], share: float) -> NDArray[np.float64]:
    """How much each place belongs to the top, 0 to 1."""
    positive = np.maximum(values, 0)
    if not positive.size or positive.max() == values.min():  # nothing positive, or one value everywhere
        return np.zeros(values.shape)
    size = max(round(share * len(positive)), 1)
    last = np.partition(positive, len(positive) - size)[len(positive) - size]
    if last <= 0:  # fewer positive places than the top has room for
        return np.asarray(positive > 0, np.float64)
    above, tied = positive > last, positive == last
    return np.asarray(above + tied * ((size - above.sum()) / tied.sum()))


def similarities(maps: Sequence[NDArray[np.floating]], explained: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Structural similarity (SSIM; Wang et al. 2004) between every pair of maps, as scikit-image computes it.

    Every map is divided by the 99th percentile of its magnitudes over the explained pixels, clipped to -1 to 1, and moved to 0 to 1, so that
    0 becomes a half: around 0 the measure would take a map and its negative for alike, as two of its factors would change their sign.
    The window is Gaussian, sigma 1.5 pixels; the range of values is 1.

    Parameters
    ----------
    maps : sequence of ndarray (Y, X)
        0 where nothing was explained.
    explained : ndarray of bool (Y, X)
        Averaged over these, but for those that have any pixel within 5 that is not explained.

    Returns
    -------
    ndarray (maps, maps)
        -1 to 1; nan for a map that is constant, and where no pixel is far enough inside.

    Raises
    ------
    MitoxaiError
        If a value is not finite, or a map is not on the grid of `explained`.
    """
    for each in maps:
        _check(each)
        if each.shape != explained.shape:
            raise MitoxaiError(
                f"A map of shape {each.shape} is not on a grid of shape {explained.shape}: bring both to one, (Y, X)."
            )
    found = np.full((len(maps),) * 2, np.nan)
    inside = ndimage.binary_erosion(explained, np.ones((2 * _REACH + 1,) * 2), border_value=0)
    if not inside.any():
        return found
    scaled = [_scaled(each, explained) for each in maps]
    for a, first in enumerate(scaled):
        for b, second in enumerate(scaled[: a + 1]):
            if first is None or second is None:
                continue
            _, similarity = structural_similarity(
                first, second, data_range=1.0, gaussian_weights=True, sigma=_SIGMA, use_sample_covariance=False, full=True
            )  # fmt: skip
            found[a, b] = found[b, a] = similarity[inside].mean()
    return found


def _scaled(values: NDArray[np.floating], explained: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """A map between 0 and 1, its 0 at a half; None if it is constant."""
    own = values[explained].astype(np.float64)
    if own.min() == own.max():
        return None
    magnitudes = np.abs(own)
    # where nearly all is 0, the largest
    unit = np.percentile(magnitudes, SCALED_BY) or magnitudes.max()
    return np.where(explained, (np.clip(values / unit, -1, 1) + 1) / 2, 0.5)


def mean_and_interval(
    values: Sequence[float], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """The mean over subjects, and its 95 % bootstrap interval by expanded percentiles.

    The 2.5th and 97.5th percentile of the bootstrap's means (Efron 1979) hold the true mean too seldom: of 8 normal values in 87 % of
    cases, as they take the spread for known and divide it by n instead of n - 1. Percentiles further out make up for both: those of
    the normal distribution at -t sqrt(n / (n - 1)), with Student's t (Hesterberg 2015, The American Statistician 69: 371).

    Parameters
    ----------
    values : sequence of float
        One a subject; nan is left out.
    draws : int
        How often subjects are drawn with replacement.
    seed : int
        Of the draws.

    Returns
    -------
    mean, low, high : float
        nan without any subject; the interval also with only one, about whose kind nothing is known. Of two or three it goes from the
        least to the largest, which is too narrow still.
    """
    every = np.asarray(values, float)
    known = every[np.isfinite(every)]
    if not known.size:
        return (float("nan"),) * 3
    if known.size == 1:
        return float(known[0]), float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, known.size, (draws, known.size))
    reach = np.sqrt(known.size / (known.size - 1)) * t.ppf(0.975, known.size - 1)
    low, high = np.quantile(known[drawn].mean(1), norm.cdf([-reach, reach]))
    return float(known.mean()), float(low), float(high)


def _check(values: NDArray[np.floating]) -> None:
    if not np.isfinite(values).all():
        raise MitoxaiError(
            "A map has values that are not finite: explain the section again, or leave its method out."
        )
