"""A section of tissue that is read only where it is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.panel import Panel

_STRIP = 512  # rows read at once


@dataclass(frozen=True)
class Section:
    """One imaged tissue section.

    Attributes
    ----------
    name : str
        What to call it: the file's or folder's name without its ending.
    data : dask.array.Array
        Counts, axes (C, Y, X), lazy; nothing is read before it is asked for.
    panel : Panel
        One channel a plane.
    pixel_size_um : float
        Side of a pixel in micrometres.
    path : Path
        The file or folder it was read from.
    subject, group : str or None
        Whose section it is, where the folder layout tells.
    notes : tuple of str
        What a user should know about how it was read: lossy files, a guessed pixel size, channels read as time.
    """

    name: str
    data: da.Array
    panel: Panel
    pixel_size_um: float
    path: Path
    subject: str | None = None
    group: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, Y, X)."""
        channels, height, width = self.data.shape
        return channels, height, width

    def read(
        self, channels: Sequence[int] | None = None, *, y: slice = slice(None), x: slice = slice(None)
    ) -> NDArray[np.float32]:
        """Read a region now.

        Parameters
        ----------
        channels : sequence of int, optional
            Planes, in the order wanted; all by default.
        y, x : slice
            The region in pixels.

        Returns
        -------
        ndarray of float32
            (C, Y, X), counts as stored.

        Raises
        ------
        MitoxaiError
            If the file is damaged, or was taken away since it was opened.
        """
        planes = self.data if channels is None else self.data[list(channels)]
        try:
            return np.asarray(planes[:, y, x].compute(scheduler="threads"), dtype=np.float32)
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise MitoxaiError(
                f"{self.path} cannot be read ({error}): the file is damaged or was moved; copy it again."
            ) from error

    def read_reduced(self, channels: Sequence[int] | None = None, *, factor: int) -> NDArray[np.float32]:
        """Read whole planes averaged over blocks of `factor` x `factor` pixels, a strip at a time.

        Parameters
        ----------
        channels : sequence of int, optional
            Planes, in the order wanted; all by default.
        factor : int
            Side of a block; what is left over at the far edges is dropped.

        Returns
        -------
        ndarray of float32
            (C, Y // factor, X // factor), mean counts a pixel.
        """
        if factor == 1:
            return self.read(channels)
        _, height, width = self.shape
        rows, columns = height // factor, width // factor
        step = max(_STRIP // factor, 1)
        strips = []
        for first in range(0, rows, step):
            last = min(first + step, rows)
            strip = self.read(channels, y=slice(first * factor, last * factor), x=slice(0, columns * factor))
            strips.append(strip.reshape(len(strip), last - first, factor, columns, factor).mean((2, 4)))
        return np.concatenate(strips, axis=1)
