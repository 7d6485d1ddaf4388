"""What a study holds before it is trained on: channels that are missing, patches of tissue, pictures that are there twice."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.cohort.patches import PatchGeometry, patch_corners
from napari_mitoxai.cohort.table import Member
from napari_mitoxai.cohort.tissue import tissue_mask
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.imc import Section
from napari_mitoxai.imc.names import POSITION
from napari_mitoxai.imc.panel import canonical

_AT_ONCE = 2**25  # values read at once
_SMALL = 32  # side of the reduced planes that tell pictures apart
_ALIKE = 0.9  # measured: five people at most 0.25 with each other, one section and its clipped 8-bit export 0.98 and more


@dataclass(frozen=True)
class Look:
    """What is known of a section without its pixels.

    Attributes
    ----------
    channels : dict
        The targets that have a name, by the key that they are matched by.
    shape : (C, Y, X) or None
        None where it cannot be opened.
    notes : tuple of str
        What a user should know about how it was read.
    problem : str
        Why it cannot be opened or read; empty where it can.
    """

    channels: dict[str, str] = field(default_factory=dict)
    shape: tuple[int, int, int] | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Pixels:
    """What a look at the pixels of a section leaves.

    Attributes
    ----------
    tissue : ndarray of bool
        From `tissue_mask`.
    hashes : dict
        SHA-256 of each channel's counts; of none that is constant, as such planes are alike by nature.
    small : dict
        Each of these channels averaged to at most 32 x 32, flat.
    size : (Y, X)
        Of the section.
    depth : int
        Bytes of a stored value: of two copies, the deeper one is the better.
    """

    tissue: NDArray[np.bool_]
    hashes: dict[str, str]
    small: dict[str, NDArray[np.float64]]
    size: tuple[int, int]
    depth: int


@dataclass(frozen=True)
class SamePicture:
    """Two sections of a cohort that show the same.

    Attributes
    ----------
    first, second : int
        Which members; the second is the one to leave out.
    identical : tuple of str
        Keys of the channels with the same value in every pixel.
    complete : bool
        Whether these are all that the two have in common.
    whole : bool
        Whether it is the same picture: complete, or the same in other numbers, as a file and its export as JPEG.
    """

    first: int
    second: int
    identical: tuple[str, ...]
    complete: bool
    whole: bool

    def sentence(self, members: Sequence[Member]) -> str:
        """What is the same, and what to do about it."""
        first, second = members[self.first], members[self.second]
        if self.complete:
            how = "are identical in every channel"
        elif self.whole:
            how = "show the same tissue in other numbers"
        else:
            how = f"are identical in {', '.join(self.identical)}"
        if first.subject == second.subject:
            return (
                f"{first.label} and {second.label} of {first.subject} {how}: {second.label} adds nothing; leave it out."
                if self.whole
                else f"{first.label} and {second.label} of {first.subject} {how}: check which file is the right one."
            )
        return (
            f"{first.label} of {first.subject} and {second.label} of {second.subject} {how}: "
            "give both the same subject, or leave one out."
        )


def look_at(member: Member) -> tuple[Look, Section | None]:
    """Open a section; what goes wrong becomes its problem."""
    try:
        section = member.read()
    except MitoxaiError as error:
        return Look(problem=str(error)), None
    named = [channel.target for channel in section.panel if channel.source != POSITION]
    return Look({canonical(target): target for target in named}, section.shape, section.notes), section


def read_pixels(section: Section, cancel: CancelToken | None = None) -> Pixels:
    """Read every pixel of a section once for its hashes, and its tissue.

    Raises
    ------
    MitoxaiError
        If the file is damaged.
    Cancelled
        If it was cancelled.
    """
    count, height, width = section.shape
    digests = [hashlib.sha256(f"{height} {width}".encode()) for _ in range(count)]
    rows, columns = (
        np.linspace(0, length, min(_SMALL, length) + 1).astype(int) for length in (height, width)
    )
    sums = np.zeros((count, len(rows) - 1, len(columns) - 1))
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    step = max(_AT_ONCE // (count * width), 1)
    for y in range(0, height, step):
        if cancel is not None:
            cancel.check()
        strip = section.read(y=slice(y, y + step))
        lowest = np.fmin(lowest, np.fmin.reduce(strip, axis=(1, 2)))
        highest = np.fmax(highest, np.fmax.reduce(strip, axis=(1, 2)))
        narrow = np.add.reduceat(strip, columns[:-1], axis=2, dtype=np.float64)
        bands = np.searchsorted(rows, np.arange(y, y + strip.shape[1]), side="right") - 1
        for band in np.unique(bands):
            sums[:, band] += narrow[:, bands == band].sum(1)
        for digest, plane in zip(digests, strip, strict=True):
            digest.update(np.ascontiguousarray(plane).data)
    small = sums / np.outer(np.diff(rows), np.diff(columns))
    keys = {
        index: canonical(channel.target)
        for index, channel in enumerate(section.panel)
        if highest[index] > lowest[index]
    }
    return Pixels(
        tissue_mask(section, cancel),
        {key: digests[index].hexdigest() for index, key in keys.items()},
        {key: np.nan_to_num(small[index].ravel()) for index, key in keys.items()},
        (height, width),
        section.data.dtype.itemsize,
    )


def count_patches(look: Look, pixels: Pixels, patch_size: int, overlap: float = 0.5) -> int:
    """How many patches of a size lie on the tissue, as training lays them; none where the section is smaller."""
    if look.shape is None or min(look.shape[1:]) < patch_size:
        return 0
    geometry = PatchGeometry(patch_size, min(PatchGeometry.input_size, patch_size))
    return len(patch_corners(look.shape, geometry, pixels.tissue, overlap=overlap))


class Survey:
    """The sections of a study with what is known of them; filled step by step, for somebody who looks on.

    Attributes
    ----------
    members : list of Member
        All rows; they may be replaced by edited ones at any time.
    looks : list of Look
        As far as they were looked at.
    pixels : list of Pixels or None
        As far as they were read; None for those left out, broken, or not asked for.
    patches : list of int or None
        With tissue, of the size last asked for.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        self.looks: list[Look] = []
        self.pixels: list[Pixels | None] = []
        self.patches: list[int | None] = []
        self._pairs: list[SamePicture] = []

    def look(self, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None) -> None:
        """Open every section that was not looked at yet.

        Raises
        ------
        Cancelled
            If it was cancelled; what was looked at is kept.
        """
        for done in range(len(self.looks), len(self.members)):
            if cancel is not None:
                cancel.check()
            member = self.members[done]
            progress(Progress("Looking at files", done, len(self.members), member.label))
            self.looks.append(look_at(member)[0])
            self.pixels.append(None)
            self.patches.append(None)

    def read(
        self,
        patch_size: int,
        overlap: float = 0.5,
        progress: ProgressCallback = no_progress,
        cancel: CancelToken | None = None,
    ) -> None:
        """Read the pixels of the sections that take part, once, count their patches, and compare them.

        Raises
        ------
        Cancelled
            If it was cancelled; what was read is kept.
        """
        self.patches[:] = [None] * len(self.patches)
        for done in range(len(self.looks)):
            member = self.members[done]
            progress(Progress("Reading images", done, len(self.looks), member.label))
            if member.include and not self.looks[done].problem and self.pixels[done] is None:
                try:
                    self.pixels[done] = read_pixels(member.read(), cancel)
                except MitoxaiError as error:
                    self.looks[done] = replace(self.looks[done], problem=str(error), shape=None)
            found = self.pixels[done]
            if found is not None:
                self.patches[done] = count_patches(self.looks[done], found, patch_size, overlap)
        self._pairs = _same_pictures(self.pixels)
        progress(Progress("Reading images", len(self.looks), len(self.looks)))

    def missing(self) -> list[list[str]]:
        """For each section looked at, the targets that others have and it has not; none for one that cannot be opened."""
        known: dict[str, str] = {}
        for look in self.looks:
            for key, target in look.channels.items():
                known.setdefault(key, target)
        return [
            [target for key, target in known.items() if key not in look.channels] if look.shape else []
            for look in self.looks
        ]

    def common(self) -> list[str]:
        """The targets that all sections have which take part, in the order of the first."""
        opened = [
            look
            for look, member in zip(self.looks, self.members, strict=False)
            if look.shape and member.include
        ]
        return [
            target
            for key, target in (opened[0].channels if opened else {}).items()
            if all(key in look.channels for look in opened)
        ]

    def same(self) -> list[SamePicture]:
        """The pictures that are there twice; what is there three times is told of the second and the third."""
        found, repeats = [], set[int]()
        for each in self._pairs:
            takes_part = self.members[each.first].include and self.members[each.second].include
            if not takes_part or each.first in repeats:
                continue
            if each.whole:
                repeats.add(each.second)
            found.append(each)
        return found

    def to_leave_out(self) -> set[int]:
        """The sections that cannot be read, and those that repeat a picture of the same subject."""
        broken = {index for index, look in enumerate(self.looks) if look.problem}
        return broken | {each.second for each in self.same() if each.whole and self.of_one_subject(each)}

    def of_one_subject(self, same: SamePicture) -> bool:
        """Whether the two sections are said to be of one person."""
        return self.members[same.first].subject == self.members[same.second].subject


def _same_pictures(pixels: Sequence[Pixels | None]) -> list[SamePicture]:
    """Pairs of sections with the same picture: to the bit, in single channels, or in other numbers; the better one first."""
    read = [(index, each) for index, each in enumerate(pixels) if each is not None and each.hashes]
    read.sort(key=lambda one: (-one[1].depth, one[0]))
    found = []
    for (first, one), (second, other) in combinations(read, 2):
        if one.size != other.size:
            continue
        shared = [key for key in one.hashes if key in other.hashes]
        identical = tuple(key for key in shared if one.hashes[key] == other.hashes[key])
        complete = bool(shared) and len(identical) == len(shared)
        whole = complete or _alike(one, other, shared)
        if identical or whole:
            found.append(SamePicture(first, second, identical, complete, whole))
    return found


def _alike(one: Pixels, other: Pixels, shared: Sequence[str]) -> bool:
    """Whether the reduced planes of the shared channels are the same but for their scale: the median channel counts."""
    correlations = [
        float(np.corrcoef(one.small[key], other.small[key])[0, 1])
        for key in shared
        if one.small[key].std() > 0 and other.small[key].std() > 0
    ]
    return bool(correlations) and float(np.median(correlations)) >= _ALIKE
