"""The fibres of a label image, numbered without gaps whatever their ids are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError

_AT_ONCE = 2**22  # pixels
_TABLE = 2**24  # ids up to here are looked up in a table; beyond, the pixels are sorted


@dataclass(frozen=True)
class Fibres:
    """The fibres of a label image.

    Attributes
    ----------
    ids : ndarray of int64
        (N,), as in the image, ascending; there may be holes between them.
    index : ndarray of int32
        (Y, X); 0 outside, 1 + the position in `ids` inside.
    pixels : ndarray of int64
        (N,), how many each has.
    """

    ids: NDArray[np.int64]
    index: NDArray[np.int32]
    pixels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


def numbered(labels: NDArray[np.integer]) -> Fibres:
    """Number the fibres of a label image.

    Parameters
    ----------
    labels : ndarray of int
        (Y, X); 0 is outside. Ids need not be consecutive.

    Returns
    -------
    Fibres
        Possibly none.

    Raises
    ------
    MitoxaiError
        If `labels` is not one plane of whole numbers from 0.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise MitoxaiError(
            f"Fibres are one plane of whole numbers, not {labels.dtype} of shape {labels.shape}: give a label image."
        )
    if labels.size and labels.min() < 0:
        raise MitoxaiError("The fibres' labels go below 0: number the fibres from 1, with 0 outside.")
    largest = int(labels.max(initial=0))
    if largest < max(_TABLE, labels.size):
        counts = _counts(labels, largest)
        ids = np.flatnonzero(counts)
        if len(ids) == largest:  # 1 to n already
            return Fibres(ids, labels.astype(np.int32, copy=False), counts[ids])
        table = np.zeros(len(counts), np.int32)
        table[ids] = np.arange(1, len(ids) + 1)
        return Fibres(ids, table[labels], counts[ids])
    found, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    outside = int(found[0] == 0)
    index = (inverse.reshape(labels.shape) + (1 - outside)).astype(np.int32)
    return Fibres(found[outside:].astype(np.int64), index, counts[outside:])


def _counts(labels: NDArray[np.integer], largest: int) -> NDArray[np.int64]:
    """Pixels of each label but 0, some rows at a time: numpy makes 64-bit numbers of what it counts."""
    counts = np.zeros(largest + 1, np.int64)
    rows = max(1, _AT_ONCE // max(labels.shape[1], 1))
    for first in range(0, len(labels), rows):
        counts += np.bincount(labels[first : first + rows].ravel(), minlength=largest + 1)
    counts[0] = 0
    return counts
