"""The patches of sections as points: as the network sees them, and as what it makes of them. Imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.cohort import Member, patch_corners, read_patches, tissue_mask
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.models import Checkpoint, pick_device
from napari_mitoxai.tasks.inside import as_seen
from napari_mitoxai.training.penultimate import penultimate_features

Corner = tuple[int, int]


@dataclass(frozen=True)
class Places:
    """Which patches of a section are shown.

    Attributes
    ----------
    member : Member
        The section, whose it is and what the cohort says of it.
    name : str
        Of the section.
    corners : list of (y, x)
        Upper left, in pixels.
    """

    member: Member
    name: str
    corners: list[Corner]


def choose_places(
    members: Sequence[Member],
    checkpoint: Checkpoint,
    overlap: float,
    most: int,
    seed: int,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> list[Places]:
    """Lay patches over the tissue of sections; of too many, draw as many of each section as of the others.

    Raises
    ------
    MitoxaiError
        If a section cannot be read, lacks a channel, is smaller than a patch or has no tissue.
    """
    found = []
    for number, member in enumerate(members):
        progress(Progress("Looking for tissue", number, len(members), member.label))
        section = member.read()
        checkpoint.channels_in(section)
        checkpoint.geometry.check(section.shape, section.name)
        corners = patch_corners(
            section.shape, checkpoint.geometry, tissue_mask(section, cancel), overlap=overlap
        )
        if not corners:
            raise MitoxaiError(
                f"{section.name} has no patch with tissue in it: take it out, or check its channels."
            )
        found.append(Places(member, section.name, corners))
    quotas = _quotas([len(places.corners) for places in found], most)
    rng = np.random.default_rng(seed)
    return [
        Places(
            places.member,
            places.name,
            [places.corners[index] for index in sorted(rng.permutation(len(places.corners))[:quota])],
        )
        for places, quota in zip(found, quotas, strict=True)
    ]


def _quotas(numbers: Sequence[int], most: int) -> list[int]:
    """How many of each, together no more than `most` (but one of each), as evenly as there are."""
    quotas, left = [0] * len(numbers), most
    for done, index in enumerate(sorted(range(len(numbers)), key=lambda index: numbers[index])):
        quotas[index] = max(1, min(numbers[index], left // (len(numbers) - done)))
        left -= quotas[index]
    return quotas


def read_vectors(
    chosen: Sequence[Places],
    checkpoint: Checkpoint,
    mask: Path | None,
    scratch: Path,
    *,
    batch_size: int,
    device: str,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> dict[str, NDArray[np.float32]]:
    """Read all patches once, and ask the network about each.

    Returns
    -------
    dict of ndarray of float32
        ``pixels`` (N, C x input x input), the scaled patches, on the disk in `scratch`; ``features`` (N, F).
    """
    total = sum(len(places.corners) for places in chosen)
    side = checkpoint.geometry.input_size
    shape = (len(checkpoint.panel), side, side)
    pixels = np.memmap(scratch, np.float32, "w+", shape=(total, int(np.prod(shape))))
    network, where = checkpoint.model(), pick_device(device)
    features: list[NDArray[np.float32]] = []
    done = 0
    for places in chosen:
        section = places.member.read()
        planes = checkpoint.channels_in(section)
        patches = read_patches(as_seen(section, mask), planes, places.corners, checkpoint.geometry)
        batch: list[NDArray[np.float32]] = []
        for number, patch in enumerate(patches, start=1):
            batch.append(checkpoint.scaling(patch))
            if len(batch) < batch_size and number < len(places.corners):
                continue
            cancel.check()
            inputs = np.stack(batch)
            batch = []
            pixels[done : done + len(inputs)] = inputs.reshape(len(inputs), -1)
            features.append(
                penultimate_features(
                    network,
                    inputs,
                    len(checkpoint.classes),
                    batch_size=batch_size,
                    device=where,
                    cancel=cancel,
                )
            )
            done += len(inputs)
            progress(Progress("Asking the network", done, total, places.name))
    return {"pixels": pixels, "features": np.concatenate(features)}
