"""Fibres: finding them by their membrane, drawing their outlines, comparing two segmentations."""

from napari_mitoxai.fibres.evaluation import Match, match
from napari_mitoxai.fibres.outline import outlines
from napari_mitoxai.fibres.segmentation import keep_in_tissue, segment

__all__ = ["Match", "keep_in_tissue", "match", "outlines", "segment"]
