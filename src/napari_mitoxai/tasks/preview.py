"""Look at what a training would be fed with, before it starts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.tasks.train import TrainParameters, refuse_unfit_settings

_VIEWS = 3


@dataclass(frozen=True)
class Shown:
    """One training patch, as read and as augmented.

    Attributes
    ----------
    subject, group : str
        Whose it is.
    pictures : list of ndarray of float32
        (Y, X, 3), 0 to 1: the patch as read, then augmented; one colour scale for all of them.
    """

    subject: str
    group: str
    pictures: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Preview:
    """What a training would be fed with.

    Attributes
    ----------
    balance : dict
        By use (``train``, ``validation``, ``test``; with folds ``tested in turn``) and group: how many subjects and patches.
    shown : list of Shown
        A patch of each group.
    notes : list of str
        What the split cannot claim.
    """

    balance: dict[str, dict[str, tuple[int, int]]]
    shown: list[Shown]
    notes: list[str]


def run(
    parameters: TrainParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> Preview:
    """Read the patches of a training, count them, and augment one of each group as the training would.

    Raises
    ------
    MitoxaiError
        If the cohort does not hold together, or cannot be trained on like this.
    Cancelled
        If it was cancelled.
    """
    refuse_unfit_settings(parameters)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.cohort import read_cohort
    from napari_mitoxai.figures.channels import ChannelImage, choose_channels, composite
    from napari_mitoxai.tasks.training_run import divided, gather, refuse_unfit
    from napari_mitoxai.training import PatchSet
    from napari_mitoxai.training.augmentation import augmented

    cohort = read_cohort(parameters.cohort).where(parameters.where)
    refuse_unfit(parameters, cohort)
    patches = gather(parameters, cohort, progress, cancel or CancelToken())
    if parameters.folds == "none":
        parts = divided(parameters, cohort, patches)
        uses = {"train": parts.training, "validation": parts.validation, "test": parts.test}
        notes = [*patches.notes, *parts.notes]
    else:
        uses, notes = {"tested in turn": patches}, list(patches.notes)

    def counted(part: PatchSet) -> dict[str, tuple[int, int]]:
        of = {name: part.labels == label for label, name in enumerate(cohort.classes)}
        return {name: (len(np.unique(part.subjects[own])), int(own.sum())) for name, own in of.items()}

    planes = choose_channels([str(channel.role) for channel in patches.panel])

    def pictures(counts: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        rng = np.random.default_rng(parameters.seed)
        views = [augmented(counts, parameters.augmentation, parameters.jitter, rng) for _ in range(_VIEWS)]
        side = np.concatenate([counts, *views], axis=2)[
            planes
        ]  # side by side, so that they share a colour scale
        images = [
            ChannelImage(patches.panel[plane].target, str(patches.panel[plane].role), values)
            for plane, values in zip(planes, side, strict=True)
        ]
        return np.split(composite(images).image, _VIEWS + 1, axis=1)

    trained = next(iter(uses.values()))
    shown = []
    for label, group in enumerate(cohort.classes):
        own = np.flatnonzero(trained.labels == label)
        # the one with most tissue says most
        best = own[trained.counts[own].mean((1, 2, 3)).argmax()]
        shown.append(Shown(str(trained.subjects[best]), group, pictures(trained.counts[best])))
    return Preview({use: counted(part) for use, part in uses.items()}, shown, notes)
