"""Training a classifier on a cohort, and what its figures can claim."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_mitoxai.training.data import PatchSet, gather_patches
    from napari_mitoxai.training.evaluation import Evaluation, evaluate, predict
    from napari_mitoxai.training.loop import Fit, fit

__all__ = ["Evaluation", "Fit", "PatchSet", "evaluate", "fit", "gather_patches", "predict"]

_ROOM = {
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "predict": "evaluation",
    "Fit": "loop",
    "fit": "loop",
    "PatchSet": "data",
    "gather_patches": "data",
}


def __getattr__(name: str) -> Any:
    """Import on first use: torch and Lightning take seconds."""
    if name in _ROOM:
        return getattr(importlib.import_module(f"napari_mitoxai.training.{_ROOM[name]}"), name)
    raise AttributeError(f"module 'napari_mitoxai.training' has no attribute {name!r}")
