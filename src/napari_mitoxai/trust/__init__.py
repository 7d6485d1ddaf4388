"""Whether a map may be trusted: does it find a planted truth."""

from napari_mitoxai.trust.truth import TruthScore, area_share, relevance_mass, relevance_rank, score_truth

__all__ = ["TruthScore", "area_share", "relevance_mass", "relevance_rank", "score_truth"]
