"""Fibres: finding them by their membrane, drawing their outlines, comparing two segmentations."""

from napari_mitoxai.fibres.evaluation import Match, match
from napari_mitoxai.fibres.outline import outlines
from napari_mitoxai.fibres.segmentation import segment

__all__ = ["Match", "match", "outlines", "segment"]
