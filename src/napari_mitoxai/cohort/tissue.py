"""Where the tissue of a section is."""

from collections.abc import Sequence
from itertools import chain, islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_mitoxai.common import CancelToken
from napari_mitoxai.imc import Role, Section

TISSUE_BLOCK = 16  # px; tissue is judged in blocks of this side
_STRIP = 512  # rows read at once
_TISSUE_SHARE = 0.2  # of the mean of the bright blocks: tissue is an order of magnitude above the empty slide
_SAMPLES = 6  # stored tiles along each axis that are looked at to guess the threshold
_SAMPLE_SIDE = 512  # px, at most, of one of them
_GUESSES = 3  # patches that are looked at, and as many near sampled tiles that show tissue
_ENOUGH = 0.25  # tissue in a patch that is shown first


def tissue_mask(section: Section, cancel: CancelToken | None = None) -> NDArray[np.bool_]:
    """Find the tissue, in blocks of `TISSUE_BLOCK` pixels.

    Counts of the membrane and mitochondrial mass channels (all channels where there are none) are averaged in blocks
    and smoothed; tissue is what exceeds a fifth of the mean of the bright blocks by Otsu's method (Otsu 1979).

    Parameters
    ----------
    section : Section
        Read once, strip by strip.
    cancel : CancelToken, optional
        Checked between strips.

    Returns
    -------
    ndarray of bool
        (ceil(Y / 16), ceil(X / 16)).
    """
    strips = []
    for y in range(0, section.shape[1], _STRIP):
        if cancel is not None:
            cancel.check()
        strips.append(_density(section, slice(y, y + _STRIP), slice(None)))
    density = _smoothed(np.concatenate(strips))
    if density.max() <= density.min():  # nothing at all, or a constant picture
        return np.full(density.shape, bool(density.max() > 0))
    return np.asarray(density > _threshold(density))


def first_on_tissue(
    section: Section, corners: Sequence[tuple[int, int]], side: int, cancel: CancelToken | None = None
) -> tuple[int, int] | None:
    """One of some patches that shows tissue, told from a sample of the section: quick where it is large.

    Parameters
    ----------
    section : Section
    corners : sequence of (y, x)
        Upper left corners in pixels, the best first.
    side : int
        Of a patch, in pixels.
    cancel : CancelToken, optional
        Checked between readings, of which the sample is one.

    Returns
    -------
    (y, x), or None
        None if none is found soon.
    """
    cancel = cancel or CancelToken()
    (ys, height), (xs, width) = (
        _sampled(length, sizes[0])
        for length, sizes in zip(section.shape[1:], section.data.chunks[1:], strict=True)
    )
    places = list(product(ys, xs))
    read = section.read_regions(
        [(slice(y, y + height), slice(x, x + width)) for y, x in places], _tissue_planes(section)
    )
    sample = {place: np.nan_to_num(_block_means(counts)) for place, counts in zip(places, read, strict=True)}
    density = np.concatenate([values.ravel() for values in sample.values()])
    if density.max() <= density.min():
        return None
    threshold = _threshold(density)
    bright = [place for place, values in sample.items() if (values > threshold).mean() >= _ENOUGH]
    near = (
        corner
        for corner in corners
        if any(max(abs(corner[0] - y), abs(corner[1] - x)) < side // 2 for y, x in bright)
    )
    for y, x in chain(corners[:_GUESSES], islice(near, _GUESSES)):
        cancel.check()
        patch = _smoothed(_density(section, slice(y, y + side), slice(x, x + side)))
        if (patch > threshold).mean() >= _ENOUGH:
            return y, x
    return None


def _sampled(length: int, stored: int) -> tuple[list[int], int]:
    """Where samples start along an axis, evenly spread, and their side: stored tiles, as nothing less can be read of them."""
    side = min(stored, _SAMPLE_SIDE, length)
    starts = np.linspace(0, length - side, _SAMPLES)
    return np.unique((starts // side * side).astype(int)).tolist(), side


def _smoothed(density: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(np.nan_to_num(density), 1.0))


def _threshold(density: NDArray[np.float32]) -> float:
    return float(_TISSUE_SHARE * density[density > threshold_otsu(density)].mean())


def _tissue_planes(section: Section) -> list[int] | None:
    """The channels that show tissue; all where the panel tells none."""
    return section.panel.with_role(Role.MEMBRANE) + section.panel.with_role(Role.MITOCHONDRIAL_MASS) or None


def _density(section: Section, y: slice, x: slice) -> NDArray[np.float32]:
    """Mean counts in blocks of a region."""
    return _block_means(section.read_stored(_tissue_planes(section), y=y, x=x))


def _block_means(counts: NDArray[Any]) -> NDArray[np.float32]:
    """Mean of counts (C, Y, X) in blocks; a block cut by the edge is the mean of what is there."""
    heights, widths = (np.diff([*range(0, length, TISSUE_BLOCK), length]) for length in counts.shape[1:])
    sums = np.zeros((len(heights), counts.shape[2]), np.float32)
    for offset in range(TISSUE_BLOCK):  # adding rows to rows is ten times as fast as a mean over blocks
        for plane in counts:
            rows = plane[offset::TISSUE_BLOCK]
            sums[: len(rows)] += rows
    blocks = np.add.reduceat(sums, np.arange(0, counts.shape[2], TISSUE_BLOCK), axis=1)
    return np.asarray(blocks / (np.outer(heights, widths) * len(counts)), dtype=np.float32)
