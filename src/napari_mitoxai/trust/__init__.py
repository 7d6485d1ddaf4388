"""Whether a map may be trusted: does it find a planted truth, do methods agree, is it faithful, is it more than the picture."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_mitoxai.trust.agreement import (
        mean_and_interval,
        rank_correlations,
        rank_correlations_within,
        similarities,
        top_overlaps,
    )
    from napari_mitoxai.trust.truth import TruthScore, area_share, relevance_mass, relevance_rank, score_truth

# These need SciPy's statistics and scikit-image, which take a second to import: the command line must not wait for them.
_LAZY = {
    "TruthScore": "truth",
    "area_share": "truth",
    "mean_and_interval": "agreement",
    "rank_correlations": "agreement",
    "rank_correlations_within": "agreement",
    "relevance_mass": "truth",
    "relevance_rank": "truth",
    "score_truth": "truth",
    "similarities": "agreement",
    "top_overlaps": "agreement",
}

__all__ = [
    "TruthScore",
    "area_share",
    "mean_and_interval",
    "rank_correlations",
    "rank_correlations_within",
    "relevance_mass",
    "relevance_rank",
    "score_truth",
    "similarities",
    "top_overlaps",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"napari_mitoxai.trust.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'napari_mitoxai.trust' has no attribute {name!r}")
