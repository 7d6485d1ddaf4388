"""Windows of a section that give, together, what the whole section would give.

Pieces are found in overlapping windows. Each piece belongs to the one tile that holds its first pixel, and is taken from that tile's
window as a whole, so no fibre is cut or counted twice. What they are judged by is gathered from all tiles first.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import expand_labels

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.fibres.pieces import FEATURES, find_pieces, marker_stride
from napari_mitoxai.fibres.plausibility import plausible

_GROW_BACK_UM = 2.0
_REACH = 6.0  # fibre sizes that a window looks beyond its tile,
_REACH_UM = 125.0  # and what the wide neighbourhood of the membrane needs
_STEPS = 5
_ONE_WINDOW = 2**24  # pixels; a section of this size is one window
_IN_MEMORY = 2**26  # pixels; larger label images lie in a temporary file


@dataclass(frozen=True)
class Window:
    """What is known of a window of a section.

    Attributes
    ----------
    membrane : ndarray
        (Y, X), counts.
    density : ndarray of float32, optional
        (Y, X), the other channels, each divided by its mean in the tissue, averaged.
    tissue : ndarray of bool, optional
        (Y, X); pieces that lie mostly beside it are dropped.
    """

    membrane: NDArray[np.generic]
    density: NDArray[np.float32] | None = None
    tissue: NDArray[np.bool_] | None = None


Place = tuple[slice, slice]
ReadWindow = Callable[[Place], Window]


@dataclass
class _Found:
    """What the windows gave so far."""

    first: list[tuple[int, int]] = field(default_factory=list)
    features: list[NDArray[np.float64]] = field(default_factory=list)
    on_tissue: list[bool] = field(default_factory=list)


def segment_windows(
    read: ReadWindow,
    shape: tuple[int, int],
    *,
    pixel_size_um: float,
    fibre_size_um: float,
    tile: int | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> NDArray[np.int32]:
    """Find the fibres of a section that is read window by window.

    Parameters
    ----------
    read : callable
        Gets the rows and columns of a window, returns it.
    shape : (Y, X)
        Of the section.
    pixel_size_um, fibre_size_um : float
        Side of a pixel, usual diameter of a fibre.
    tile : int, optional
        Side of a tile in pixels; by default all at once where the section is not large, else 3000.
    progress, cancel : callable, CancelToken
        Told, and looked at, between the steps.

    Returns
    -------
    ndarray of int32
        (Y, X), fibres 1..n from top to bottom, 0 outside; of a very large section in a temporary file that goes with it.

    Raises
    ------
    Cancelled
        If `cancel` was used.
    """
    if tile is None:
        tile = max(shape) if shape[0] * shape[1] <= _ONE_WINDOW else 3000
    size = fibre_size_um / pixel_size_um
    stride = marker_stride(size)
    tile = max(stride, tile // stride * stride) if tile < max(shape) else max(shape)
    halo = -(-round(_REACH * size + _REACH_UM / pixel_size_um) // stride) * stride
    tiles = list(_tiles(shape, tile))
    step = _steps(progress, cancel, _STEPS * len(tiles) + 1)
    pieces = _zeros(shape)
    found = _Found()
    for core in tiles:
        place = _around(core, halo, shape)
        window = read(place)
        _take(find_in(window, pixel_size_um, fibre_size_um, step), window, core, place, pieces, found)
    step("outlines")
    number = _numbers(found)
    if len(tiles) == 1:
        return _grown(pieces, number, pixel_size_um)
    labels = _zeros(shape)
    margin = int(np.ceil(_GROW_BACK_UM / pixel_size_um)) + 1
    for core in tiles:
        if cancel is not None:
            cancel.check()
        place = _around(core, margin, shape)
        labels[core] = _grown(pieces[place], number, pixel_size_um)[_inside(core, place)]
    return labels


def find_in(
    window: Window, pixel_size_um: float, fibre_size_um: float, step: Callable[[str], None]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Find the pieces of one window: their labels and features."""
    pieces = find_pieces(window.membrane, window.density, pixel_size_um, fibre_size_um, step)
    return pieces.labels, pieces.features


def _take(
    pieces: tuple[NDArray[np.int32], NDArray[np.float64]],
    window: Window,
    core: Place,
    place: Place,
    out: NDArray[np.int32],
    found: _Found,
) -> None:
    """Copy the pieces that begin in a tile to `out`, numbered on, and note their features."""
    labels, features = pieces
    region = out[place]
    for index, box in enumerate(ndimage.find_objects(labels)):
        if box is None or _is_cut(box, place, out.shape):
            continue
        inside = labels[box] == index + 1
        y = box[0].start + place[0].start
        x = box[1].start + place[1].start + int(np.argmax(inside[0]))
        if not (core[0].start <= y < core[0].stop and core[1].start <= x < core[1].stop):
            continue
        found.first.append((y, x))
        found.features.append(features[index])
        found.on_tissue.append(window.tissue is None or window.tissue[box][inside].mean() >= 0.5)
        part = region[box]
        part[inside & (part == 0)] = len(found.first)


def _is_cut(box: Place, place: Place, shape: tuple[int, ...]) -> bool:
    """Whether a piece touches an edge of the window that is no edge of the section."""
    return any(
        (one.start == 0 and whole.start > 0) or (one.stop == whole.stop - whole.start and whole.stop < length)
        for one, whole, length in zip(box, place, shape, strict=True)
    )


def _numbers(found: _Found) -> NDArray[np.int32]:
    """The final number of each piece, 0 of one that is no fibre."""
    number = np.zeros(len(found.first) + 1, np.int32)
    if found.first:
        kept = plausible(np.array(found.features).reshape(-1, len(FEATURES))) & np.array(found.on_tissue)
        y, x = np.array(found.first).T
        order = np.lexsort((x, y))
        order = order[kept[order]]
        number[order + 1] = np.arange(1, len(order) + 1)
    return number


def _grown(pieces: NDArray[np.int32], number: NDArray[np.int32], pixel_size_um: float) -> NDArray[np.int32]:
    """The fibres among the pieces, grown back over half the membrane."""
    return np.asarray(expand_labels(number[pieces], _GROW_BACK_UM / pixel_size_um), dtype=np.int32)


def _tiles(shape: tuple[int, int], tile: int) -> Iterator[Place]:
    for y in range(0, shape[0], tile):
        for x in range(0, shape[1], tile):
            yield slice(y, min(y + tile, shape[0])), slice(x, min(x + tile, shape[1]))


def _around(core: Place, halo: int, shape: tuple[int, int]) -> Place:
    y, x = (
        slice(max(0, one.start - halo), min(length, one.stop + halo))
        for one, length in zip(core, shape, strict=True)
    )
    return y, x


def _inside(core: Place, place: Place) -> Place:
    y, x = (
        slice(one.start - whole.start, one.stop - whole.start) for one, whole in zip(core, place, strict=True)
    )
    return y, x


def _zeros(shape: tuple[int, int]) -> NDArray[np.int32]:
    if shape[0] * shape[1] <= _IN_MEMORY:
        return np.zeros(shape, np.int32)
    # the file has no name any more, and is gone with the array
    with tempfile.TemporaryDirectory(prefix="mitoxai-", ignore_cleanup_errors=True) as folder:
        return np.memmap(Path(folder) / "labels", np.int32, "w+", shape=shape)


def _steps(progress: ProgressCallback, cancel: CancelToken | None, total: int) -> Callable[[str], None]:
    """Make a function that starts the next step: it looks at `cancel` and tells `progress`."""
    done = 0

    def step(detail: str) -> None:
        nonlocal done
        if cancel is not None:
            cancel.check()
        progress(Progress("Finding fibres", done, total, detail))
        done += 1

    return step
