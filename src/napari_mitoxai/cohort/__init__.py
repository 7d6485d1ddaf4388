"""What is trained on: subjects and their groups, splits by subject, patches of tissue, scaling."""

from napari_mitoxai.cohort.cohort import Cohort, Member, read_cohort
from napari_mitoxai.cohort.duplicates import patch_hashes, refuse_shared
from napari_mitoxai.cohort.folds import LEAVE_ONE_OUT, split_patches, subject_folds
from napari_mitoxai.cohort.masks import fibre_corners, find_labels, inside, inside_fibres, read_mask
from napari_mitoxai.cohort.patches import (
    TISSUE_BLOCK,
    PatchGeometry,
    all_corners,
    patch_corners,
    read_patches,
    reduced,
    tissue_mask,
    with_tissue,
)
from napari_mitoxai.cohort.scaling import Scaling, fit_scaling
from napari_mitoxai.cohort.split import Split, split_subjects

__all__ = [
    "LEAVE_ONE_OUT",
    "TISSUE_BLOCK",
    "Cohort",
    "Member",
    "PatchGeometry",
    "Scaling",
    "Split",
    "all_corners",
    "fibre_corners",
    "find_labels",
    "fit_scaling",
    "inside",
    "inside_fibres",
    "patch_corners",
    "patch_hashes",
    "read_cohort",
    "read_mask",
    "read_patches",
    "reduced",
    "refuse_shared",
    "split_patches",
    "split_subjects",
    "subject_folds",
    "tissue_mask",
    "with_tissue",
]
