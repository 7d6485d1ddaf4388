"""The patches of a cohort as what a network is fed with."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.cohort import (
    Cohort,
    Member,
    PatchGeometry,
    PlacedConcepts,
    PlacedExample,
    fibre_corners,
    find_labels,
    inside,
    patch_corners,
    patch_hashes,
    read_mask,
    read_patches,
    refuse_shared,
    tissue_mask,
)
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.imc import Panel, Section


@dataclass(frozen=True)
class ConceptPatches:
    """Patches that show concepts.

    Attributes
    ----------
    placed : PlacedConcepts
        Where they are from, in their order.
    patches : PatchSet
        Their labels are the numbers of the concepts.
    """

    placed: PlacedConcepts
    patches: "PatchSet"

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts."""
        return tuple(self.placed.concepts)


@dataclass(frozen=True)
class PatchSet:
    """Patches of a cohort, averaged to the network's input.

    Attributes
    ----------
    counts : ndarray of float32
        (N, C, input, input), mean counts a pixel, not scaled.
    subjects : ndarray of str
        (N,), whose patch it is.
    labels : ndarray of int64
        (N,), index into the cohort's classes.
    panel : Panel
        The channels, the same for all.
    notes : tuple of str
        What a user should know of the reading.
    concepts : ConceptPatches, optional
        The concepts that a network's axes are to be turned to; of all subjects, also in a part of the patches.
    """

    counts: NDArray[np.float32]
    subjects: NDArray[np.str_]
    labels: NDArray[np.int64]
    panel: Panel
    notes: tuple[str, ...] = field(default=())
    concepts: ConceptPatches | None = None

    def of(self, subjects: Sequence[str]) -> "PatchSet":
        """The patches of these subjects."""
        return self.take(np.flatnonzero(np.isin(self.subjects, list(subjects))))

    def take(self, indices: NDArray[np.intp]) -> "PatchSet":
        """The patches of these numbers."""
        return replace(
            self, counts=self.counts[indices], subjects=self.subjects[indices], labels=self.labels[indices]
        )

    def with_channels(self, targets: Sequence[str]) -> "PatchSet":
        """The same patches with these channels only, in this order."""
        planes = self.panel.match(targets, what="the cohort")
        panel = Panel(tuple(self.panel[plane] for plane in planes))
        concepts = self.concepts and replace(
            self.concepts, patches=self.concepts.patches.with_channels(targets)
        )
        return replace(self, counts=self.counts[:, planes], panel=panel, concepts=concepts)

    def digest(self) -> str:
        """SHA-256 of the counts, of their channels, and of whose they are; with concepts, of theirs too."""
        digest = hashlib.sha256(np.ascontiguousarray(self.counts).data)
        digest.update(json.dumps([self.subjects.tolist(), self.labels.tolist(), self.panel.targets]).encode())
        if self.concepts is not None:
            digest.update(json.dumps([self.concepts.names, self.concepts.patches.digest()]).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)


def gather_patches(
    cohort: Cohort,
    geometry: PatchGeometry,
    *,
    channels: Sequence[str] = (),
    overlap: float = 0.5,
    masks: Path | None = None,
    one_a_fibre: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> PatchSet:
    """Read the tissue patches of every section of a cohort.

    Parameters
    ----------
    cohort : Cohort
        To read.
    geometry : PatchGeometry
        Sides of patch and input.
    channels : sequence of str
        Targets to use; by default all channels of the first section, which every other section must have.
    overlap : float
        Share of a patch's side that its neighbour covers too.
    masks : Path, optional
        A folder with a label image a section: everything outside the fibres is 0 then.
    one_a_fibre : bool
        One patch around each fibre, with nothing but this fibre in it, in place of a grid; needs `masks`.
    progress, cancel
        Reported and checked after every section.

    Returns
    -------
    PatchSet
        At least one patch of every subject; a picture that a subject has twice is there once, which `notes` says.

    Raises
    ------
    MitoxaiError
        If a section cannot be read, is smaller than a patch, has no tissue, or lacks a channel, or if two subjects
        have the same picture.
    """
    sections = [member.read() for member in cohort.members]
    if channels:
        panel_channels = [
            sections[0].panel[i] for i in sections[0].panel.match(channels, what=sections[0].name)
        ]
    else:
        panel_channels = list(sections[0].panel)
    panel = Panel(tuple(panel_channels))
    every_planes = []
    for section in sections:  # what does not fit is said before minutes of reading
        every_planes.append(section.panel.match(panel.targets, what=f"{section.name} in the cohort"))
        geometry.check(section.shape, section.name)
    counts: list[NDArray[np.float32]] = []
    owners: list[Member] = []
    for done, (member, section, planes) in enumerate(
        zip(cohort.members, sections, every_planes, strict=True)
    ):
        progress(Progress("Reading patches", done, len(sections), section.name))
        before = len(counts)
        for patch in _patches_of(section, member, planes, geometry, overlap, masks, one_a_fibre):
            if cancel is not None:
                cancel.check()
            counts.append(patch)
        if len(counts) == before:
            raise MitoxaiError(
                f"{section.name} has no patch with tissue in it: take it out of the cohort, or check its channels."
            )
        owners += [member] * (len(counts) - before)
    hashes = patch_hashes(counts)
    repeated = set(
        refuse_shared(hashes, [owner.subject for owner in owners], [owner.label for owner in owners])
    )
    kept = [index for index in range(len(counts)) if index not in repeated]
    twice = sorted({owners[index].label for index in repeated})
    notes = (
        (f"{', '.join(twice)} repeats images of the same subject, which were used once.",) if twice else ()
    )
    progress(Progress("Reading patches", len(sections), len(sections), f"{len(kept)} patches"))
    return PatchSet(
        np.stack([counts[index] for index in kept]),
        np.asarray([owners[index].subject for index in kept]),
        np.asarray([cohort.classes.index(owners[index].group) for index in kept], dtype=np.int64),
        panel,
        notes,
    )


def _patches_of(
    section: Section,
    member: Member,
    planes: Sequence[int],
    geometry: PatchGeometry,
    overlap: float,
    masks: Path | None,
    one_a_fibre: bool,
) -> Iterator[NDArray[np.float32]]:
    if masks is None:
        corners = patch_corners(section.shape, geometry, tissue_mask(section), overlap=overlap)
        yield from read_patches(section, planes, corners, geometry)
        return
    labels = read_mask(find_labels(masks, section, member.subject), section)
    fibres: Sequence[int | None]
    if one_a_fibre:
        corners, fibres = fibre_corners(labels, geometry)
    else:
        corners = patch_corners(section.shape, geometry, tissue_mask(section), overlap=overlap)
        fibres = [None] * len(corners)

    def masked(number: int, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        return inside(counts, labels, corners[number], fibres[number])

    yield from read_patches(section, planes, corners, geometry, masked)


def gather_concepts(
    placed: PlacedConcepts,
    panel: Panel,
    geometry: PatchGeometry,
    *,
    masks: Path | None = None,
    one_a_fibre: bool = False,
    concepts: Sequence[str] = (),
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> ConceptPatches:
    """Read the patches of a concept set, as those of the cohort are read.

    Parameters
    ----------
    placed : PlacedConcepts
        From `place_concepts`.
    panel : Panel
        The channels of the cohort's patches.
    geometry, masks, one_a_fibre, progress, cancel
        As in `gather_patches`; the one fibre is that at the centre of a patch, or the nearest to it in the patch.
    concepts : sequence of str
        Their numbers; by default in the order of the set.

    Raises
    ------
    MitoxaiError
        If a section cannot be read or lacks a channel, or there is no fibre in a patch that is to show one.
    """
    counts: dict[int, NDArray[np.float32]] = {}
    names = list(concepts) or placed.concepts
    members = list(dict.fromkeys(item.member.address for item in placed.examples))
    for done, address in enumerate(members):
        progress(Progress("Reading concepts", done, len(members), address.name))
        if cancel is not None:
            cancel.check()
        own = [number for number, item in enumerate(placed.examples) if item.member.address == address]
        member = placed.examples[own[0]].member
        section = member.read()
        planes = section.panel.match(panel.targets, what=f"{section.name} in the cohort")
        labels = None if masks is None else read_mask(find_labels(masks, section, member.subject), section)
        for number in own:
            item = placed.examples[number]
            counts[number] = _concept_patch(section, planes, item, geometry, labels, one_a_fibre)
    progress(Progress("Reading concepts", len(members), len(members), f"{len(counts)} examples"))
    patches = PatchSet(
        np.stack([counts[number] for number in range(len(placed.examples))]),
        np.asarray([item.member.subject for item in placed.examples]),
        np.asarray([names.index(item.example.concept) for item in placed.examples], dtype=np.int64),
        panel,
        placed.notes,
    )
    return ConceptPatches(placed, patches)


def _concept_patch(
    section: Section,
    planes: Sequence[int],
    item: PlacedExample,
    geometry: PatchGeometry,
    labels: NDArray[np.integer] | None,
    one_a_fibre: bool,
) -> NDArray[np.float32]:
    if labels is None:
        return next(read_patches(section, planes, [item.corner], geometry))
    fibre = _fibre_at(labels, item, geometry.patch_size) if one_a_fibre else None

    def masked(_: int, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        return inside(counts, labels, item.corner, fibre)

    return next(read_patches(section, planes, [item.corner], geometry, masked))


def _fibre_at(labels: NDArray[np.integer], item: PlacedExample, side: int) -> int:
    """The fibre at the place of an example, or the one that comes nearest to it in the patch."""
    top, left = item.corner
    ys, xs = np.nonzero(labels[top : top + side, left : left + side])
    if not len(ys):
        raise MitoxaiError(
            f"The concept {item.example.concept} has an example at ({item.example.x_px:g}, {item.example.y_px:g}) px of "
            f"{item.member.label}, where no fibre is: place it on a fibre, or leave --crops fibres out."
        )
    nearest = np.argmin((ys + top - item.example.y_px) ** 2 + (xs + left - item.example.x_px) ** 2)
    return int(labels[top + ys[nearest], left + xs[nearest]])
