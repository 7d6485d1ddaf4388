"""Training a classifier on a cohort, and what its figures can claim."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_mitoxai.training.concepts import Alignment
    from napari_mitoxai.training.data import ConceptPatches, PatchSet, gather_concepts, gather_patches
    from napari_mitoxai.training.evaluation import Evaluation, evaluate, predict
    from napari_mitoxai.training.examples import ScaledPatches
    from napari_mitoxai.training.frozen import features_of
    from napari_mitoxai.training.loop import Fit, fit
    from napari_mitoxai.training.permutation import permutation_test
    from napari_mitoxai.training.recipe import Recipe

__all__ = [
    "Alignment",
    "ConceptPatches",
    "Evaluation",
    "Fit",
    "PatchSet",
    "Recipe",
    "ScaledPatches",
    "evaluate",
    "features_of",
    "fit",
    "gather_concepts",
    "gather_patches",
    "permutation_test",
    "predict",
]

_ROOM = {
    "Alignment": "concepts",
    "ConceptPatches": "data",
    "gather_concepts": "data",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "predict": "evaluation",
    "Fit": "loop",
    "fit": "loop",
    "PatchSet": "data",
    "gather_patches": "data",
    "ScaledPatches": "examples",
    "features_of": "frozen",
    "permutation_test": "permutation",
    "Recipe": "recipe",
}


def __getattr__(name: str) -> Any:
    """Import on first use: torch and Lightning take seconds."""
    if name in _ROOM:
        return getattr(importlib.import_module(f"napari_mitoxai.training.{_ROOM[name]}"), name)
    raise AttributeError(f"module 'napari_mitoxai.training' has no attribute {name!r}")
