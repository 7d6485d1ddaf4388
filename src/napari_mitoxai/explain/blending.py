"""Blending the maps of overlapping patches into one map without seams, block by block."""

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Block = tuple[int, int]


def blending_window(size: int) -> NDArray[np.float32]:
    """Weights of a patch's pixels: a squared sine (Hann) along both axes, largest in the middle, never zero.

    Parameters
    ----------
    size : int
        Side of the patch in map pixels.

    Returns
    -------
    ndarray of float32
        (size, size), above 0, at most 1.
    """
    ramp = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return (np.outer(ramp, ramp) + 1e-6).astype(np.float32)


class Blender:
    """Weighted mean of overlapping patches, held only for the blocks that still wait for patches.

    Parameters
    ----------
    shape : (Y, X)
        Of the whole map, in map pixels.
    corners : iterable of (y, x)
        Of all patches that will come, in map pixels.
    patch : int
        Side of a patch in map pixels.
    block : int
        Side of a block.
    wanted : collection of (row, column), optional
        The blocks to blend, each with all the patches that touch it; by default all.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        corners: Iterable[tuple[int, int]],
        patch: int,
        block: int,
        wanted: Collection[Block] | None = None,
    ) -> None:
        self._shape, self._patch, self._block = shape, patch, block
        self._window = blending_window(patch)
        self._wanted = wanted
        self._waiting: dict[Block, int] = {}
        for corner in corners:
            for touched in self._wanted_of(corner):
                self._waiting[touched] = self._waiting.get(touched, 0) + 1
        self._sums: dict[Block, dict[str, NDArray[np.float32]]] = {}
        self._weights: dict[Block, NDArray[np.float32]] = {}

    def blocks_of(self, corner: tuple[int, int]) -> Iterator[Block]:
        """The blocks that a patch touches."""
        rows, columns = (
            range(start // self._block, (start + self._patch - 1) // self._block + 1) for start in corner
        )
        return ((row, column) for row in rows for column in columns)

    def _wanted_of(self, corner: tuple[int, int]) -> Iterator[Block]:
        return (block for block in self.blocks_of(corner) if self._wanted is None or block in self._wanted)

    def add(
        self, corner: tuple[int, int], maps: Mapping[str, NDArray[np.float32]]
    ) -> Iterator[tuple[Block, dict[str, NDArray[np.float32]]]]:
        """Add the maps of one patch and give the blocks which it was the last to touch.

        Parameters
        ----------
        corner : (y, x)
            In map pixels.
        maps : mapping
            By method, (C, patch, patch).

        Yields
        ------
        block, maps
            The block's row and column, and by method its blended map (C, y, x), 0 where no patch lies.
        """
        for block in self._wanted_of(corner):
            inside, outside = zip(
                *(self._overlap(start, index) for start, index in zip(corner, block, strict=True)),
                strict=True,
            )
            window = self._window[inside]
            height, width = (
                min(self._block, length - index * self._block)
                for length, index in zip(self._shape, block, strict=True)
            )
            weights = self._weights.setdefault(block, np.zeros((height, width), np.float32))
            weights[outside] += window
            sums = self._sums.setdefault(
                block,
                {name: np.zeros((len(values), height, width), np.float32) for name, values in maps.items()},
            )
            for name, values in maps.items():
                sums[name][:, outside[0], outside[1]] += values[:, inside[0], inside[1]] * window
            self._waiting[block] -= 1
            if self._waiting[block] == 0:
                yield block, self._finish(block)

    def _overlap(self, start: int, index: int) -> tuple[slice, slice]:
        """Along one axis: the part of the patch in the block, in patch and in block coordinates."""
        first = max(start, index * self._block)
        last = min(start + self._patch, (index + 1) * self._block)
        return slice(first - start, last - start), slice(
            first - index * self._block, last - index * self._block
        )

    def _finish(self, block: Block) -> dict[str, NDArray[np.float32]]:
        blended = self.unfinished(block)
        del self._weights[block], self._sums[block]
        return blended

    def unfinished(self, block: Block) -> dict[str, NDArray[np.float32]]:
        """A block as far as its patches have come: by method its blended map (C, y, x), 0 where no patch lies yet."""
        weights = self._weights[block]
        inverse = np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0)
        return {name: sums * inverse for name, sums in self._sums[block].items()}

    def waiting_of(self, corner: tuple[int, int]) -> list[Block]:
        """The blocks of a patch that have some of their patches and wait for others."""
        return [block for block in self._wanted_of(corner) if block in self._sums]
