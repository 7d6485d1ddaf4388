"""A concept set on the simulated cohort, from its fibres: those that lost complex I, and others."""

import numpy as np
from skimage.measure import regionprops

from napari_mitoxai.cohort import ConceptExample, read_cohort, write_concepts
from napari_mitoxai.imc import read_labels


def write_fibre_concepts(table, path, subjects=None, count=6):
    """Write ``pale`` and ``normal``, a few fibres of every subject (of patients, for the first)."""
    examples = []
    for member in read_cohort(table).members:
        if subjects is not None and member.subject not in subjects:
            continue
        fibres = read_labels(table.parent / "fibres" / f"{member.subject}.tiff")
        pale = read_labels(table.parent / "truth" / f"{member.subject}.tiff") > 0
        regions = [
            region for region in regionprops(fibres) if 40 < min(region.centroid) < max(region.centroid) < 248
        ]
        for concept, lost in (("pale", True), ("normal", False)):
            own = [region for region in regions if pale[tuple(np.round(region.centroid).astype(int))] == lost]
            examples += [
                ConceptExample(
                    concept, member.address, member.subject, *region.centroid, f"fibre {region.label}"
                )
                for region in own[:count]
            ]
    return write_concepts(path, examples)
