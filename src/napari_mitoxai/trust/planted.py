"""What a map of one patch is worth where the class signal is known to the pixel and to the channel.

Relevance mass and rank accuracy are those of `napari_mitoxai.trust.truth` (Arras et al. 2022). They read what speaks for the class:
relevance summed over channels, its positive part. A method that measures sensitivity, as the gradient does, has no such sign, so
both are also given of magnitudes summed over channels.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from napari_mitoxai.trust.truth import area_share, relevance_mass, relevance_rank

SCORES: dict[str, str] = {
    "mass": "relevance mass accuracy",
    "rank": "relevance rank accuracy",
    "auc": "area under the ROC curve of pixels",
    "average_precision": "average precision of pixels",
    "mass_of_magnitudes": "mass accuracy of magnitudes",
    "rank_of_magnitudes": "rank accuracy of magnitudes",
    "channel_share": "share of the positive relevance in the signal's channels",
    "channel_named": "the channel with most positive relevance is one of the signal's",
}
_TIE = 1e-6  # of the largest: sums of channels that get the same differ by rounding


def score_patch(
    relevance: NDArray[np.floating], truth: NDArray[np.bool_], channels: Collection[int] | None = None
) -> dict[str, float]:
    """Score the map of one patch in every way there is here.

    Parameters
    ----------
    relevance : ndarray (C or 1, Y, X)
        What speaks for the class is positive.
    truth : ndarray of bool (Y, X)
        Where the class signal is; neither empty nor everywhere.
    channels : collection of int, optional
        The planes of the map that carry the signal; None where the map, or the signal, does not tell channels apart.

    Returns
    -------
    dict of float
        By the names in `SCORES`, 0 to 1, 1 is best; and ``empty``, 1 for a map without positive relevance. Such a map says
        nothing: its mass and rank are those of chance. What has no meaning is nan.

    Raises
    ------
    MitoxaiError
        If the shapes differ, or the map has values that are not finite.
    """
    chance = area_share(truth)
    summed = relevance.sum(axis=0, dtype=np.float64)
    magnitudes = np.abs(relevance).sum(axis=0, dtype=np.float64)
    flat = truth.ravel()
    found = {
        "mass": relevance_mass(summed, truth),
        "rank": relevance_rank(summed, truth),
        "auc": float(roc_auc_score(flat, summed.ravel())),
        "average_precision": float(average_precision_score(flat, summed.ravel())),
        "mass_of_magnitudes": relevance_mass(magnitudes, truth),
        "rank_of_magnitudes": relevance_rank(magnitudes, truth),
    }
    found = {name: chance if np.isnan(value) else value for name, value in found.items()}
    share, named = channel_scores(relevance, channels) if channels else (float("nan"), float("nan"))
    empty = float(not (summed > 0).any())
    return {**found, "channel_share": share, "channel_named": named, "empty": empty}


def chance_of(
    truth: NDArray[np.bool_], planes: int, channels: Collection[int] | None = None
) -> dict[str, float]:
    """What a map that knows nothing scores, by the names in `SCORES`.

    Parameters
    ----------
    truth : ndarray of bool (Y, X)
    planes : int
        Channels of the map.
    channels : collection of int, optional
        As in `score_patch`.
    """
    area = area_share(truth)
    by_name = dict.fromkeys(SCORES, area) | {"auc": 0.5}
    channel = len(channels) / planes if channels else float("nan")
    return by_name | {"channel_share": channel, "channel_named": channel}


def channel_scores(relevance: NDArray[np.floating], channels: Collection[int]) -> tuple[float, float]:
    """Whether the planes of a map name the right channels.

    Parameters
    ----------
    relevance : ndarray (C, Y, X)
    channels : collection of int
        The planes that carry the signal.

    Returns
    -------
    share : float
        Of the positive relevance, each plane's own, that is in these planes.
    named : float
        1 if the plane with the most positive relevance is one of them, else 0; planes that tie count by their share.
        Both are chance for a map without positive relevance.
    """
    by_channel = np.maximum(relevance, 0).sum(axis=(1, 2), dtype=np.float64)
    right = np.isin(np.arange(len(by_channel)), list(channels))
    total = by_channel.sum()
    if total <= 0:
        return float(right.mean()), float(right.mean())
    most = by_channel >= by_channel.max() * (1 - _TIE)
    return float(by_channel[right].sum() / total), float(right[most].mean())
