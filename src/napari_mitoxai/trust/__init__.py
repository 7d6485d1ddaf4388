"""Whether a map may be trusted: does it find a planted truth, do methods agree."""

from napari_mitoxai.trust.agreement import mean_and_interval, rank_correlations, similarities, top_overlaps
from napari_mitoxai.trust.truth import TruthScore, area_share, relevance_mass, relevance_rank, score_truth

__all__ = [
    "TruthScore",
    "area_share",
    "mean_and_interval",
    "rank_correlations",
    "relevance_mass",
    "relevance_rank",
    "score_truth",
    "similarities",
    "top_overlaps",
]
