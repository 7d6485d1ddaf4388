"""What is trained on: subjects and their groups, splits by subject, patches of tissue, scaling."""

from napari_mitoxai.cohort.cohort import Cohort, Member, read_cohort
from napari_mitoxai.cohort.patches import (
    TISSUE_BLOCK,
    PatchGeometry,
    patch_corners,
    read_patches,
    reduced,
    tissue_mask,
)
from napari_mitoxai.cohort.scaling import Scaling, fit_scaling
from napari_mitoxai.cohort.split import Split, split_subjects

__all__ = [
    "TISSUE_BLOCK",
    "Cohort",
    "Member",
    "PatchGeometry",
    "Scaling",
    "Split",
    "fit_scaling",
    "patch_corners",
    "read_cohort",
    "read_patches",
    "reduced",
    "split_subjects",
    "tissue_mask",
]
