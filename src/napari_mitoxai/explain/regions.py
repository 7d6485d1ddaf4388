"""The regions of XRAI, and how an attribution ranks them; arrays only.

The constants are those of the authors' implementation, to which masks and rankings are equal.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import felzenszwalb
from skimage.transform import resize

Plane = NDArray[np.float64]

_SIDE = 224
_SCALES = (50, 100, 150, 250, 500, 1200)
_SIGMA = 0.8
_SMALLEST_SEGMENT = 150
_MARGIN = 5
_NEW_PIXELS = 50  # a region that adds fewer is left out


@dataclass(frozen=True)
class Region:
    """A part of a plane: a box and the mask in it."""

    rows: slice
    columns: slice
    mask: NDArray[np.bool_]

    def pixels(self, width: int) -> NDArray[np.int64]:
        """Its pixels' numbers in a plane of this width, row by row."""
        y, x = np.nonzero(self.mask)
        return (y + self.rows.start) * width + x + self.columns.start


def regions(picture: NDArray[np.float32]) -> tuple[Region, ...]:
    """Overlapping regions of a picture (Y, X, channels), from fine to coarse, each with a margin.

    Those of the pictures seen last are remembered, for other methods and classes.
    """
    return _regions(picture.tobytes(), picture.shape)


@lru_cache(maxsize=16)
def _regions(content: bytes, shape: tuple[int, ...]) -> tuple[Region, ...]:
    picture = np.frombuffer(content, np.float32).reshape(shape)
    low, high = float(picture.min()), float(picture.max())
    flat = low == high
    scaled = np.zeros_like(picture) if flat else (picture - picture.min()) / (picture.max() - picture.min())
    small = resize(
        scaled * 2 - 1,
        (_SIDE, _SIDE),
        order=3,
        mode="constant",
        preserve_range=True,
        anti_aliasing=True,
    )
    found: list[Region] = []
    for scale in _SCALES:
        labels = felzenszwalb(small, scale=scale, sigma=_SIGMA, min_size=_SMALLEST_SEGMENT)
        labels = resize(
            labels, shape[:2], order=0, preserve_range=True, mode="constant", anti_aliasing=False
        ).astype(int)
        found.extend(
            _with_margin(labels, label, box)
            for label, box in enumerate(ndimage.find_objects(labels + 1))
            if box is not None  # else lost when the picture was made small
        )
    return tuple(found)


def _with_margin(labels: NDArray[np.int64], label: int, box: tuple[slice, slice]) -> Region:
    rows, columns = (
        slice(max(part.start - _MARGIN, 0), min(part.stop + _MARGIN, length))
        for part, length in zip(box, labels.shape, strict=True)
    )
    distance = ndimage.distance_transform_edt(labels[rows, columns] != label)
    return Region(rows, columns, distance <= _MARGIN)


def rank_greedily(attribution: Plane, found: tuple[Region, ...]) -> Plane:
    """Again and again the region whose pixels not yet taken have the highest mean; they get that mean.

    Sums are kept: when pixels are taken, only the regions that hold them are updated.
    """
    flat = attribution.ravel()
    pixels = [region.pixels(attribution.shape[1]) for region in found]
    count = np.array([len(part) for part in pixels])
    total = np.array([flat[part].sum() for part in pixels])
    holder = np.repeat(np.arange(len(found)), count)
    held = np.concatenate(pixels)
    order = np.argsort(held, kind="stable")
    holder = holder[order]  # the regions of pixel p: holder[first[p]:first[p + 1]]
    first = np.searchsorted(held[order], np.arange(flat.size + 1))
    covered = np.zeros(flat.size, bool)
    result = np.empty_like(flat)
    waiting = np.ones(len(found), bool)
    while True:
        waiting &= count >= _NEW_PIXELS
        if not waiting.any():
            break
        mean = np.where(waiting, total / np.maximum(count, 1), -np.inf)
        best = int(mean.argmax())
        new = pixels[best][~covered[pixels[best]]]
        result[new], covered[new], waiting[best] = flat[new].mean(), True, False
        holders = first[new + 1] - first[new]
        ends = np.cumsum(holders)
        touched = holder[np.arange(ends[-1]) + np.repeat(first[new] - (ends - holders), holders)]
        total -= np.bincount(touched, weights=np.repeat(flat[new], holders), minlength=len(found))
        count -= np.bincount(touched, minlength=len(found))
    return _filled(result, flat, covered).reshape(attribution.shape)


def rank_once(attribution: Plane, found: tuple[Region, ...]) -> Plane:
    """The regions by their mean, once; each gives its pixels not yet taken their own mean."""
    flat = attribution.ravel()
    pixels = [region.pixels(attribution.shape[1]) for region in found]
    means = np.array([flat[part].mean() for part in pixels])
    covered = np.zeros(flat.size, bool)
    result = np.empty_like(flat)
    for index in np.argsort(-means, kind="stable"):
        new = pixels[index][~covered[pixels[index]]]
        if len(new) >= _NEW_PIXELS:
            result[new], covered[new] = flat[new].mean(), True
    return _filled(result, flat, covered).reshape(attribution.shape)


def _filled(result: Plane, attribution: Plane, covered: NDArray[np.bool_]) -> Plane:
    if not covered.all():
        result[~covered] = attribution[~covered].mean()
    return result
