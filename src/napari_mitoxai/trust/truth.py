"""How much of a map lies where the truth is known to be.

Relevance mass and rank accuracy are those of Arras, Osman and Samek, "CLEVR-XAI: A benchmark dataset for the ground truth
evaluation of neural network explanations", Information Fusion 81 (2022) 14-40, with relevance summed over channels and
its positive part taken ("sum,pos").
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError

_Kind = TypeVar("_Kind", bound=np.generic)


@dataclass(frozen=True)
class TruthScore:
    """How well a map finds a planted truth.

    Attributes
    ----------
    mass : float
        Share of the map's positive relevance that lies in the truth, 0 to 1; nan for a map without any.
    rank : float
        Share of the truth among as many of the map's highest pixels, 0 to 1; nan likewise.
    area_share : float
        Share of the truth in the tissue: what a map that knows nothing scores in both.
    """

    mass: float
    rank: float
    area_share: float

    @property
    def enrichment(self) -> float:
        """Mass over area share: 1 is chance; nan where there is no truth."""
        return self.mass / self.area_share if self.area_share > 0 else float("nan")


def score_truth(
    relevance: NDArray[np.generic], truth: NDArray[np.bool_], *, tissue: NDArray[np.bool_] | None = None
) -> TruthScore:
    """Score a map against a planted truth in every way there is here.

    Parameters
    ----------
    relevance : ndarray
        (Y, X) or (C, Y, X), signed or not.
    truth : ndarray of bool
        (Y, X), on the grid of the map.
    tissue : ndarray of bool, optional
        (Y, X), where to look; everywhere by default.

    Returns
    -------
    TruthScore

    Raises
    ------
    MitoxaiError
        If the shapes differ, or the map has values that are not finite.
    """
    return TruthScore(
        mass=relevance_mass(relevance, truth, tissue=tissue),
        rank=relevance_rank(relevance, truth, tissue=tissue),
        area_share=area_share(truth, tissue=tissue),
    )


def relevance_mass(
    relevance: NDArray[np.generic], truth: NDArray[np.bool_], *, tissue: NDArray[np.bool_] | None = None
) -> float:
    """Share of the positive relevance that lies in the truth (relevance mass accuracy).

    Parameters and errors are those of `score_truth`.

    Returns
    -------
    float
        0 to 1; nan where no pixel has positive relevance: such a map says nothing, rightly or wrongly.
    """
    positive, inside = _pooled(relevance, truth, tissue)
    total = positive.sum()
    return float(positive[inside].sum() / total) if total > 0 else float("nan")


def relevance_rank(
    relevance: NDArray[np.generic], truth: NDArray[np.bool_], *, tissue: NDArray[np.bool_] | None = None
) -> float:
    """Share of the truth among the K pixels of highest relevance, K the size of the truth (relevance rank accuracy).

    Pixels that tie for the last places count by their share, so that the answer does not hang on their order.
    Parameters and errors are those of `score_truth`.

    Returns
    -------
    float
        0 to 1; nan where no pixel has positive relevance, or there is no truth.
    """
    positive, inside = _pooled(relevance, truth, tissue)
    size = int(inside.sum())
    if size == 0 or not positive.any():
        return float("nan")
    last = np.partition(positive, len(positive) - size)[len(positive) - size]
    above, tied = positive > last, positive == last
    from_ties = (size - above.sum()) * inside[tied].mean()
    return float((inside[above].sum() + from_ties) / size)


def area_share(truth: NDArray[np.bool_], *, tissue: NDArray[np.bool_] | None = None) -> float:
    """Share of the truth in the tissue.

    Parameters
    ----------
    truth : ndarray of bool
        (Y, X).
    tissue : ndarray of bool, optional
        (Y, X); everywhere by default.

    Returns
    -------
    float
        0 to 1; nan where there is no tissue.

    Raises
    ------
    MitoxaiError
        If the shapes differ.
    """
    inside = _within(np.asarray(truth, dtype=bool), tissue, truth.shape)
    return float(inside.mean()) if inside.size else float("nan")


def _pooled(
    relevance: NDArray[np.generic], truth: NDArray[np.bool_], tissue: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Positive relevance summed over channels, and the truth, of each pixel of the tissue; both (pixels,)."""
    if relevance.ndim not in (2, 3) or relevance.shape[-2:] != truth.shape:
        raise MitoxaiError(
            f"A map of shape {relevance.shape} cannot be scored on a truth of shape {truth.shape}: "
            "bring both to one grid, (Y, X)."
        )
    # in double precision: a map has millions of pixels
    summed = relevance.astype(np.float64) if relevance.ndim == 2 else relevance.sum(axis=0, dtype=np.float64)
    pooled = _within(summed, tissue, truth.shape)
    if not np.isfinite(pooled).all():
        raise MitoxaiError(
            "The map has values that are not finite: explain the section again, or use another method."
        )
    return np.maximum(pooled, 0), _within(np.asarray(truth, dtype=bool), tissue, truth.shape)


def _within(
    image: NDArray[_Kind], tissue: NDArray[np.bool_] | None, shape: tuple[int, ...]
) -> NDArray[_Kind]:
    """The pixels of `image` that are tissue, (pixels,)."""
    if tissue is None:
        return image.ravel()
    if tissue.shape != shape:
        raise MitoxaiError(
            f"Tissue of shape {tissue.shape} does not fit a truth of shape {shape}: bring both to one grid, (Y, X)."
        )
    within: NDArray[_Kind] = image[np.asarray(tissue, dtype=bool)]
    return within
