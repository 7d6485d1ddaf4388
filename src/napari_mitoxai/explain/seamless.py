"""The seamless mode: a network run once over large blocks of a section instead of on one patch after the other.

Where patches overlap by half, every pixel is computed four times. A convolutional body that runs over the whole picture
computes it once; the head then looks at windows of the feature map. This is another question than the per-patch mode asks:
a patch sees zeros beyond its border, a window sees tissue. So maps of the two modes are never mixed.

The score of a window is a function of its cells. Where windows overlap, each cell's share in the scores is the mean over
the windows that hold it, weighted as the blending of patches weights them, with h the blending weights at cells::

    signal(cell) = sum over windows of h(window, cell) * d score(window) / d cell   /   sum over windows of h(window, cell)

One way back from these signals gives the gradient, on the scale of the per-patch mode. It is linear in them, so blocks
with windows of their own add up to just what a single block as large as the section would give.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.registry import method as find_method
from napari_mitoxai.explain.seamless_network import BLOCK_SIDE, Block, Corner, SeamlessNetwork

_METHODS = ("gradient", "input_x_gradient", "integrated_gradients", "grad_cam")

Tile = tuple[int, int]
Maps = dict[str, NDArray[np.float32]]
Read = Callable[[slice, slice], NDArray[np.float32]]


def seamless_methods() -> tuple[str, ...]:
    """Names of the methods that the seamless mode has: those whose maps of windows add up on one way back.

    Those of guided backpropagation and Deconvnet do not, as they cut negative signals off. Those of LRP would, but its relative
    epsilon is a share of the largest activation of a patch.
    """
    return _METHODS


@dataclass(frozen=True)
class Part:
    """What a block adds to the answer.

    Attributes
    ----------
    corners : tuple of (y, x)
        Upper left corners of the block's windows, in input pixels.
    logits : ndarray of float32 (N, classes)
        What the network says of each window.
    tiles : dict
        By row and column of the tile: by method, the finished map (C or 1, y, x).
    """

    corners: tuple[Corner, ...]
    logits: NDArray[np.float32]
    tiles: dict[Tile, Maps]


def explain_blocks(
    network: SeamlessNetwork,
    read: Read,
    shape: tuple[int, int],
    corners: Sequence[Corner],
    methods: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
    target: int | Sequence[float],
    *,
    side: int = BLOCK_SIDE,
    tile: int = 128,
    finished: Collection[Tile] = frozenset(),
) -> Iterator[Part]:
    """Explain a whole picture in the seamless mode, block by block.

    A map's value is that of the mean over the windows that cover a pixel: see the head of this module. Pixels that no window
    covers are 0. The result does not depend on how the picture is cut into blocks; the network's zero padding is
    only met at the picture's own border.

    Parameters
    ----------
    network : SeamlessNetwork
    read : callable
        Gets rows and columns in input pixels and gives them scaled (C, h, w).
    shape : (Y, X)
        Of the picture, in input pixels.
    corners : sequence of (y, x)
        Those of `SeamlessNetwork.corners` that count, as the windows on tissue.
    methods : sequence of str, or mapping
        Of `seamless_methods`, or the parameters of each by name.
    target : int, or sequence of float
        The class whose logit is explained, or what each class counts, as (-1, 1) for the second against the first.
    side : int
        Largest side of a block: memory grows with its square.
    tile : int
        Side of the tiles in which maps are handed over, in input pixels.
    finished : collection of (row, column)
        Tiles that are not wanted again; blocks that would only add to them are not computed.

    Yields
    ------
    Part
        One a block, with the tiles that it was the last to add to.

    Raises
    ------
    MitoxaiError
        If the seamless mode does not have a method, a class does not exist, or a window depends on more than a block.
    """
    chosen = configured(network, methods)
    scores = network.class_weights(target)
    blocks = network.blocks(shape, corners, side)
    blending = network.blending_sums(shape, corners)
    tiles = _Tiles(network, shape, corners, blending > 0, tile, finished)
    for block in [block for block in blocks if tiles.expect(block)]:
        maps, logits = network.explain(block, read(block.rows, block.columns), chosen, scores, blending)
        arrays = {name: values.float().cpu().numpy() for name, values in maps.items()}
        yield Part(block.corners, logits.float().cpu().numpy(), dict(tiles.add(block, arrays)))


def configured(
    network: SeamlessNetwork, methods: Sequence[str] | Mapping[str, Mapping[str, Any] | None]
) -> dict[str, Any]:
    """The parameters of methods, by name.

    Raises
    ------
    MitoxaiError
        If there is none, the seamless mode does not have one of them, or it has no meaning for the network.
    """
    given = methods if isinstance(methods, Mapping) else dict.fromkeys(methods)
    if not given:
        raise MitoxaiError("No explanation method was chosen: name at least one.")
    for name in given:
        if name not in _METHODS:
            raise MitoxaiError(
                f"The seamless mode does not have {name}: choose of {', '.join(_METHODS)}, "
                "or explain patch by patch."
            )
    chosen = {name: find_method(name).configure(**(values or {})) for name, values in given.items()}
    if getattr(chosen.get("integrated_gradients"), "samples", 1) > 1:
        raise MitoxaiError(
            "The seamless mode does not smooth integrated gradients, as noise belongs to a patch: leave samples at 1, or explain "
            "patch by patch."
        )
    if "grad_cam" in chosen and network.cells == 1:
        raise MitoxaiError(
            "Grad-CAM needs a feature map larger than one cell, and this network's patches have none: give larger patches."
        )
    if getattr(chosen.get("grad_cam"), "layer", None) is not None:
        raise MitoxaiError(
            "The seamless mode has Grad-CAM on the last feature map only: leave the layer out, or explain patch by patch."
        )
    return chosen


class _Tiles:
    """Sums of what blocks add, held only for the tiles that still wait for blocks."""

    def __init__(
        self,
        network: SeamlessNetwork,
        shape: tuple[int, int],
        corners: Sequence[Corner],
        cells: NDArray[np.bool_],
        side: int,
        finished: Collection[Tile],
    ) -> None:
        self._network, self._shape, self._side, self._cells = network, shape, side, cells
        self._windows: dict[Tile, list[Corner]] = {}
        for y, x in corners:
            for tile in self._touched(slice(y, y + network.window), slice(x, x + network.window)):
                if tile not in finished:
                    self._windows.setdefault(tile, []).append((y, x))
        self._waiting: dict[Tile, int] = {}
        self._sums: dict[Tile, Maps] = {}

    def _touched(self, rows: slice, columns: slice) -> list[Tile]:
        """The tiles, within the picture, that a rectangle touches."""
        ranges = [
            range(part.start // self._side, (min(part.stop, length) - 1) // self._side + 1)
            for part, length in zip((rows, columns), self._shape, strict=True)
        ]
        return [(row, column) for row in ranges[0] for column in ranges[1]]

    def expect(self, block: Block) -> bool:
        """Announce a block; whether any tile wants it."""
        wanted = [tile for tile in self._touched(block.rows, block.columns) if tile in self._windows]
        for tile in wanted:
            self._waiting[tile] = self._waiting.get(tile, 0) + 1
        return bool(wanted)

    def add(self, block: Block, maps: Maps) -> Iterator[tuple[Tile, Maps]]:
        """Add what a block gives, and give the tiles for which it was the last."""
        for tile in self._touched(block.rows, block.columns):
            if tile not in self._waiting:
                continue
            extent = self._extent(tile)
            inside, outside = zip(
                *(
                    _overlap(mine, whole)
                    for mine, whole in zip(extent, (block.rows, block.columns), strict=True)
                ),
                strict=True,
            )
            sums = self._sums.setdefault(
                tile,
                {
                    name: np.zeros((len(values), *(part.stop - part.start for part in extent)), np.float32)
                    for name, values in maps.items()
                },
            )
            for name, values in maps.items():
                sums[name][:, inside[0], inside[1]] += values[:, outside[0], outside[1]]
            self._waiting[tile] -= 1
            if self._waiting[tile] == 0:
                yield tile, self._finish(tile)

    def _extent(self, tile: Tile) -> tuple[slice, slice]:
        rows, columns = (
            slice(index * self._side, min((index + 1) * self._side, length))
            for index, length in zip(tile, self._shape, strict=True)
        )
        return rows, columns

    def _finish(self, tile: Tile) -> Maps:
        maps, (rows, columns) = self._sums.pop(tile), self._extent(tile)
        covered = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
        for y, x in self._windows.pop(tile):
            top, left = max(y - rows.start, 0), max(x - columns.start, 0)
            bottom, right = y + self._network.window - rows.start, x + self._network.window - columns.start
            covered[top:bottom, left:right] = True
        if "grad_cam" in maps:
            weights = [
                self._network.interpolation(range(part.start, part.stop), range(length)).numpy()
                for part, length in zip((rows, columns), self._cells.shape, strict=True)
            ]
            shares = weights[0] @ self._cells.astype(np.float32) @ weights[1].T
            maps["grad_cam"] /= np.where(covered, shares, 1)
        return {name: values * covered for name, values in maps.items()}


def _overlap(mine: slice, other: slice) -> tuple[slice, slice]:
    """What two ranges share, counted from the start of each."""
    first, last = max(mine.start, other.start), min(mine.stop, other.stop)
    return slice(first - mine.start, last - mine.start), slice(first - other.start, last - other.start)
