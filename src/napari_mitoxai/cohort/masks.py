"""Training on fibres only: label images that belong to the sections of a cohort."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.cohort.patches import PatchGeometry
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section, read_labels

_ENDINGS = (".ome.tiff", ".ome.tif", ".tiff", ".tif")


def find_labels(folder: Path, section: Section, subject: str = "") -> Path:
    """The label image of a section: itself if `folder` is a file, or the file in it named like the section or the subject.

    Raises
    ------
    MitoxaiError
        If there is none; it is said which names would do.
    """
    folder = Path(folder).expanduser()
    if folder.is_file():
        return folder
    stem = section.path.name
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    names = list(dict.fromkeys(name for name in (stem, section.name, subject) if name))
    for name in names:
        for ending in _ENDINGS:
            if (folder / f"{name}{ending}").is_file():
                return folder / f"{name}{ending}"
    raise MitoxaiError(
        f"{folder} has no label image for {section.name}: put {names[0]}.tiff there, as `mitoxai segment` writes it."
    )


def read_mask(path: Path, section: Section) -> NDArray[np.integer]:
    """Read the labels of a section (Y, X).

    Raises
    ------
    MitoxaiError
        If they are not of its size, or there is no fibre in them.
    """
    labels = read_labels(path)
    if labels.shape != section.shape[1:]:
        raise MitoxaiError(
            f"{path} is {labels.shape[1]} x {labels.shape[0]} px and {section.name} is "
            f"{section.shape[2]} x {section.shape[1]} px: segment this section."
        )
    if not labels.any():
        raise MitoxaiError(
            f"{path} has no fibre: segment {section.name} again, or take it out of the cohort."
        )
    return labels


def fibre_corners(
    labels: NDArray[np.integer], geometry: PatchGeometry
) -> tuple[list[tuple[int, int]], list[int]]:
    """Lay one patch around every fibre.

    Parameters
    ----------
    labels : ndarray of int
        (Y, X), 0 outside.
    geometry : PatchGeometry
        Side of a patch; a fibre that is larger is cut.

    Returns
    -------
    corners : list of (y, x)
        Upper left corners, inside the image.
    fibres : list of int
        The label of each.
    """
    from skimage.measure import regionprops

    side = geometry.patch_size
    corners, fibres = [], []
    for region in regionprops(labels):
        y, x = (
            int(np.clip(round(centre - side / 2), 0, length - side))
            for centre, length in zip(region.centroid, labels.shape, strict=True)
        )
        corners.append((y, x))
        fibres.append(int(region.label))
    return corners, fibres


def inside(
    counts: NDArray[np.float32], labels: NDArray[np.integer], corner: Sequence[int], fibre: int | None = None
) -> NDArray[np.float32]:
    """A patch (C, Y, X) with nothing outside the fibres, or outside one of them."""
    y, x = corner
    window = labels[y : y + counts.shape[1], x : x + counts.shape[2]]
    return counts * (window > 0 if fibre is None else window == fibre)


def inside_fibres(section: Section, masks: Path) -> Section:
    """A section with nothing outside its fibres, read as lazily as before.

    Parameters
    ----------
    section : Section
        In counts.
    masks : Path
        Its label image, or a folder with it; see `find_labels`.

    Raises
    ------
    MitoxaiError
        If there is no label image for it, or it is of another size or empty.
    """
    path = find_labels(masks, section, section.subject or "")
    fibres = read_mask(path, section) > 0
    digest = hashlib.sha256(np.packbits(fibres).tobytes()).hexdigest()[:16]
    lazy = da.from_array(fibres, chunks=section.data.chunks[1:], name=f"fibres-{digest}")
    return replace(
        section,
        data=section.data * lazy,
        coarser=(),
        notes=(*section.notes, f"Counts outside the fibres of {path.name} ({digest}) are taken as 0."),
    )
