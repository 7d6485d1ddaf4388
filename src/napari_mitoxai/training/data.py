"""The patches of a cohort as what a network is fed with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, WeightedRandomSampler

from napari_mitoxai.cohort import Cohort, PatchGeometry, Scaling, patch_corners, read_patches, tissue_mask
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.imc import Panel, read_section


@dataclass(frozen=True)
class PatchSet:
    """All tissue patches of a cohort, averaged to the network's input.

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
    """

    counts: NDArray[np.float32]
    subjects: NDArray[np.str_]
    labels: NDArray[np.int64]
    panel: Panel

    def of(self, subjects: Sequence[str]) -> "PatchSet":
        """The patches of these subjects."""
        chosen = np.isin(self.subjects, list(subjects))
        return PatchSet(self.counts[chosen], self.subjects[chosen], self.labels[chosen], self.panel)

    def __len__(self) -> int:
        return len(self.labels)


def gather_patches(
    cohort: Cohort,
    geometry: PatchGeometry,
    *,
    channels: Sequence[str] = (),
    overlap: float = 0.5,
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
    progress, cancel
        Reported and checked after every section.

    Returns
    -------
    PatchSet
        At least one patch of every subject.

    Raises
    ------
    MitoxaiError
        If a section cannot be read, is smaller than a patch, has no tissue, or lacks a channel.
    """
    sections = [read_section(member.path) for member in cohort.members]
    if channels:
        panel_channels = [
            sections[0].panel[i] for i in sections[0].panel.match(channels, what=sections[0].name)
        ]
    else:
        panel_channels = list(sections[0].panel)
    panel = Panel(tuple(panel_channels))
    counts, subjects, labels = [], [], []
    for done, (member, section) in enumerate(zip(cohort.members, sections, strict=True)):
        progress(Progress("Reading patches", done, len(sections), section.name))
        planes = section.panel.match(panel.targets, what=f"{section.name} in the cohort")
        geometry.check(section.shape, section.name)
        corners = patch_corners(section.shape, geometry, tissue_mask(section), overlap=overlap)
        if not corners:
            raise MitoxaiError(
                f"{section.name} has no patch with tissue in it: take it out of the cohort, or check its channels."
            )
        for patch in read_patches(section, planes, corners, geometry):
            if cancel is not None:
                cancel.check()
            counts.append(patch)
        subjects += [member.subject] * len(corners)
        labels += [cohort.classes.index(member.group)] * len(corners)
    progress(Progress("Reading patches", len(sections), len(sections), f"{len(labels)} patches"))
    return PatchSet(np.stack(counts), np.asarray(subjects), np.asarray(labels, dtype=np.int64), panel)


class ScaledPatches(Dataset[tuple[Tensor, Tensor]]):
    """Scaled patches, augmented where `jitter` is given.

    Parameters
    ----------
    patches : PatchSet
        In counts.
    scaling : Scaling
        Of the training subjects.
    jitter : float, optional
        Turns and flips each patch at random and multiplies the counts of each channel by a random gain, whose logarithm
        has this standard deviation: staining differs between subjects by such gains, so they must not be learnt.
    seed : int
        Of the augmentation.
    """

    def __init__(
        self, patches: PatchSet, scaling: Scaling, *, jitter: float | None = None, seed: int = 0
    ) -> None:
        self._patches, self._scaling, self._jitter = patches, scaling, jitter
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._patches)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        counts = self._patches.counts[index]
        if self._jitter is not None:
            # tissue has no up or down: the eight symmetries of a square are as likely as each other
            turns, flip = divmod(int(self._rng.integers(8)), 2)
            counts = np.rot90(counts, turns, (1, 2))
            counts = counts[:, :, ::-1] if flip else counts
            gain = np.exp(self._rng.normal(0, self._jitter, (len(counts), 1, 1)))
            counts = counts * gain.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(self._scaling(counts))), torch.tensor(
            self._patches.labels[index]
        )


def balanced_sampler(patches: PatchSet, seed: int) -> WeightedRandomSampler:
    """Draw classes equally often, and within a class its subjects, however many patches each has."""
    weights = np.zeros(len(patches))
    for label in np.unique(patches.labels):
        of_class = patches.labels == label
        subjects = np.unique(patches.subjects[of_class])
        for subject in subjects:
            own = patches.subjects == subject
            weights[own] = 1 / (len(subjects) * own.sum())
    return WeightedRandomSampler(
        weights.tolist(), len(patches), generator=torch.Generator().manual_seed(seed)
    )
