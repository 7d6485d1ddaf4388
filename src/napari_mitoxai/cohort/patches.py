"""Where patches lie on the tissue of a section, and how one is read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from napari_mitoxai.cohort.tissue import TISSUE_BLOCK
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Section


@dataclass(frozen=True)
class PatchGeometry:
    """What of a section the classifier sees at once.

    Attributes
    ----------
    patch_size : int
        Side of a patch in pixels of the section.
    input_size : int
        Side of the network's input; the patch is resized to it by averaging.
    """

    patch_size: int = 512
    input_size: int = 128

    @property
    def reduction(self) -> int:
        """Side in section pixels of one pixel of the maps: the whole factor of the resizing, or 1 if there is none."""
        factor, rest = divmod(self.patch_size, self.input_size)
        return factor if rest == 0 else 1

    def check(self, shape: Sequence[int], name: str) -> None:
        """Raise if a section of this (C, Y, X) shape has too few pixels for a patch."""
        if min(shape[-2:]) < self.patch_size:
            raise MitoxaiError(
                f"{name} is {shape[-1]} x {shape[-2]} px, smaller than a patch of {self.patch_size} px: "
                "use a larger section, or train with a smaller --patch-size."
            )


def patch_corners(
    shape: Sequence[int],
    geometry: PatchGeometry,
    tissue: NDArray[np.bool_],
    *,
    overlap: float = 0.5,
    min_tissue: float = 0.25,
) -> list[tuple[int, int]]:
    """Lay overlapping patches over the tissue of a section.

    Parameters
    ----------
    shape : (C, Y, X)
        Of the section.
    geometry : PatchGeometry
        Side of a patch.
    tissue : ndarray of bool
        From `tissue_mask`.
    overlap : float
        Share of a patch's side that its neighbour covers too, 0 to below 1.
    min_tissue : float
        Patches with a smaller share of tissue are left out.

    Returns
    -------
    list of (y, x)
        Upper left corners, row by row, in pixels; the last row and column end at the section's edge (less than one
        map pixel away from it).
    """
    return with_tissue(all_corners(shape, geometry, overlap=overlap), geometry.patch_size, tissue, min_tissue)


def all_corners(
    shape: Sequence[int], geometry: PatchGeometry, *, overlap: float = 0.5
) -> list[tuple[int, int]]:
    """Lay overlapping patches over a whole section, tissue or not; see `patch_corners`."""
    rows, columns = (_starts(length, geometry, overlap) for length in shape[-2:])
    return [(y, x) for y in rows for x in columns]


def with_tissue(
    corners: Sequence[tuple[int, int]], side: int, tissue: NDArray[np.bool_], min_tissue: float
) -> list[tuple[int, int]]:
    """Those of some patches of this side that have at least this share of tissue."""
    shares = ((corner, tissue[_blocks(corner[0], side), _blocks(corner[1], side)]) for corner in corners)
    return [corner for corner, window in shares if window.size and window.mean() >= min_tissue]


def _starts(length: int, geometry: PatchGeometry, overlap: float) -> list[int]:
    """Starts of patches along an axis, evenly spread, on the grid of the maps' pixels."""
    grid = geometry.reduction
    last = (length - geometry.patch_size) // grid  # in map pixels
    step = max(round(geometry.patch_size * (1 - overlap)) // grid, 1)
    count = -(-last // step) + 1
    return [int(start) * grid for start in np.unique(np.linspace(0, last, count).round())]


def _blocks(start: int, length: int) -> slice:
    return slice(start // TISSUE_BLOCK, -(-(start + length) // TISSUE_BLOCK))


def read_patches(
    section: Section,
    channels: Sequence[int],
    corners: Sequence[tuple[int, int]],
    geometry: PatchGeometry,
    change: Callable[[int, NDArray[np.float32]], NDArray[np.float32]] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Read patches and average each down to the network's input.

    Neighbours in a row overlap, so a run of them is read at once instead of every stored tile several times.

    Parameters
    ----------
    section : Section
        To read from.
    channels : sequence of int
        Planes, in the order of the model's panel.
    corners : sequence of (y, x)
        Upper left corners in pixels.
    geometry : PatchGeometry
        Sides of patch and input.
    change : callable, optional
        ``change(number, counts)`` is asked for what to take in place of the counts of each patch, before it is averaged.

    Yields
    ------
    ndarray of float32
        (C, input, input), mean counts a pixel, in the order of `corners`.

    Raises
    ------
    MitoxaiError
        If the file cannot be read, or holds values that are not numbers.
    """
    side = geometry.patch_size
    number = 0
    for run in _runs(corners, side):
        y, first = run[0]
        strip = section.read(channels, y=slice(y, y + side), x=slice(first, run[-1][1] + side))
        for _, x in run:
            counts = strip[:, :, x - first : x - first + side]
            if not np.isfinite(counts).all():
                raise MitoxaiError(
                    f"{section.name} holds values that are not numbers near ({x}, {y}) px: repair the file first."
                )
            yield reduced(counts if change is None else change(number, counts), geometry)
            number += 1


def _runs(corners: Sequence[tuple[int, int]], side: int) -> Iterator[list[tuple[int, int]]]:
    """Split corners into runs that touch each other along a row and stay within a strip of eight patches."""
    run: list[tuple[int, int]] = []
    for corner in corners:
        if run and not (
            corner[0] == run[0][0]
            and 0 <= corner[1] - run[-1][1] <= side
            and corner[1] - run[0][1] <= 7 * side
        ):
            yield run
            run = []
        run.append(corner)
    if run:
        yield run


def reduced(counts: NDArray[np.float32], geometry: PatchGeometry) -> NDArray[np.float32]:
    """A patch (C, patch, patch) averaged down, or resized, to the network's input (C, input, input)."""
    side, target = geometry.patch_size, geometry.input_size
    if side == target:
        return counts
    if side % target == 0:
        factor = side // target
        blocks = counts.reshape(len(counts), target, factor, target, factor)
        return np.asarray(blocks.mean((2, 4)), dtype=np.float32)
    resized = resize(
        counts, (len(counts), target, target), order=1, anti_aliasing=side > target, preserve_range=True
    )
    return np.asarray(resized, dtype=np.float32)
