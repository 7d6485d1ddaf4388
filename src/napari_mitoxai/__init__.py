"""Explanation maps of muscle-biopsy classifiers that can be trusted: a napari plugin with a headless twin."""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = ("cohort", "explain", "fibres", "figures", "imc", "models", "simulate", "tasks", "training", "trust")

__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    """Import a room on first use, so that importing the package brings neither torch nor matplotlib."""
    if name in _ROOMS:
        return importlib.import_module(f"napari_mitoxai.{name}")
    raise AttributeError(f"module 'napari_mitoxai' has no attribute {name!r}")
