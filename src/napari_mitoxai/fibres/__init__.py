"""Fibres: finding them by their membrane, drawing their outlines, comparing two segmentations."""

from napari_mitoxai.fibres.classes import FibreClass, classes_path, classify, read_classes, write_classes
from napari_mitoxai.fibres.editing import Edit, delete, merge, split
from napari_mitoxai.fibres.evaluation import Match, causes, match
from napari_mitoxai.fibres.outline import outlines
from napari_mitoxai.fibres.segmentation import mean_density, segment
from napari_mitoxai.fibres.tiling import Window, segment_windows

__all__ = [
    "Edit",
    "FibreClass",
    "Match",
    "Window",
    "causes",
    "classes_path",
    "classify",
    "delete",
    "match",
    "mean_density",
    "merge",
    "outlines",
    "read_classes",
    "segment",
    "segment_windows",
    "split",
    "write_classes",
]
