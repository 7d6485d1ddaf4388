"""What is trained on: subjects and their groups, splits by subject, patches of tissue, scaling."""

from napari_mitoxai.cohort.cohort import TABLE, Cohort, keep_table, read_cohort, read_members
from napari_mitoxai.cohort.concepts import (
    CONCEPTS_TABLE,
    ConceptExample,
    PlacedConcepts,
    PlacedExample,
    place_concepts,
    read_concepts,
    write_concepts,
)
from napari_mitoxai.cohort.duplicates import patch_hashes, refuse_shared
from napari_mitoxai.cohort.folds import LEAVE_ONE_OUT, split_patches, subject_folds
from napari_mitoxai.cohort.masks import fibre_corners, find_labels, inside, inside_fibres, read_mask
from napari_mitoxai.cohort.patches import (
    PatchGeometry,
    all_corners,
    patch_corners,
    read_patches,
    reduced,
    with_tissue,
)
from napari_mitoxai.cohort.scaling import Scaling, fit_scaling
from napari_mitoxai.cohort.split import Split, split_subjects
from napari_mitoxai.cohort.survey import Look, Pixels, SamePicture, Survey, count_patches, read_pixels
from napari_mitoxai.cohort.table import Member, read_table, write_table
from napari_mitoxai.cohort.tissue import TISSUE_BLOCK, first_on_tissue, tissue_mask
from napari_mitoxai.cohort.tree import read_tree, with_groups

__all__ = [
    "CONCEPTS_TABLE",
    "LEAVE_ONE_OUT",
    "TABLE",
    "TISSUE_BLOCK",
    "Cohort",
    "ConceptExample",
    "Look",
    "Member",
    "PatchGeometry",
    "Pixels",
    "PlacedConcepts",
    "PlacedExample",
    "SamePicture",
    "Scaling",
    "Split",
    "Survey",
    "all_corners",
    "count_patches",
    "fibre_corners",
    "find_labels",
    "first_on_tissue",
    "fit_scaling",
    "inside",
    "inside_fibres",
    "keep_table",
    "patch_corners",
    "patch_hashes",
    "place_concepts",
    "read_cohort",
    "read_concepts",
    "read_mask",
    "read_members",
    "read_patches",
    "read_pixels",
    "read_table",
    "read_tree",
    "reduced",
    "refuse_shared",
    "split_patches",
    "split_subjects",
    "subject_folds",
    "tissue_mask",
    "with_groups",
    "with_tissue",
    "write_concepts",
    "write_table",
]
