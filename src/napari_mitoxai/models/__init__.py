"""Architectures by name, their adaptation to any number of channels, and checkpoints."""

import importlib
from typing import TYPE_CHECKING, Any

from napari_mitoxai.models.registry import available

if TYPE_CHECKING:
    from napari_mitoxai.models.architectures import create
    from napari_mitoxai.models.cancelling import CancellingMode
    from napari_mitoxai.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from napari_mitoxai.models.devices import pick_device
    from napari_mitoxai.models.mixing import ChannelMixing
    from napari_mitoxai.models.whitened import Whitening
    from napari_mitoxai.models.whitening import ConceptWhitening

__all__ = [
    "CancellingMode",
    "ChannelMixing",
    "Checkpoint",
    "ConceptWhitening",
    "Whitening",
    "available",
    "create",
    "load_checkpoint",
    "pick_device",
    "save_checkpoint",
]

# These need torch, which takes seconds to import: a menu that lists architectures must not wait for it.
_NEEDS_TORCH = {
    "create": "architectures",
    "CancellingMode": "cancelling",
    "Checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "pick_device": "devices",
    "ChannelMixing": "mixing",
    "ConceptWhitening": "whitening",
    "Whitening": "whitened",
}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(importlib.import_module(f"napari_mitoxai.models.{_NEEDS_TORCH[name]}"), name)
    raise AttributeError(f"module 'napari_mitoxai.models' has no attribute {name!r}")
