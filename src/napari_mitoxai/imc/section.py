"""A section of tissue that is read only where it is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.acquisitions import Acquisition
from napari_mitoxai.imc.limits import one_line
from napari_mitoxai.imc.panel import Panel

_STRIP = 512  # rows read at once
_SAMPLE = 2**22  # pixels a channel's contrast is judged by,
_SAMPLED_BANDS = 8  # from this many places


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
    coarser : tuple of dask.array.Array
        The coarser levels of a stored pyramid, finest first, each (C, Y, X) and lazy; empty where the file has none.
    format, dialect : str
        What kind of file it was read from, ``"OME-TIFF"``, and who writes such, ``"xtiff"``.
    acquisition : str or None
        Which of `acquisitions` this is.
    acquisitions : tuple of Acquisition
        All that the file holds, where it holds several; also those that cannot be opened.
    corner_um : (x, y) or None
        Where the upper left corner of the section lies on the instrument's slide, in micrometres, y upwards; None where the
        file does not say.
    """

    name: str
    data: da.Array
    panel: Panel
    pixel_size_um: float
    path: Path
    subject: str | None = None
    group: str | None = None
    notes: tuple[str, ...] = ()
    coarser: tuple[da.Array, ...] = ()
    format: str = ""
    dialect: str = ""
    acquisition: str | None = None
    acquisitions: tuple[Acquisition, ...] = ()
    corner_um: tuple[float, float] | None = None

    @property
    def address(self) -> Path:
        """What `read_section` opens as just this section: its path, with ``#`` and the acquisition in a file of several."""
        return (
            self.path
            if self.acquisition is None
            else self.path.with_name(f"{self.path.name}#{self.acquisition}")
        )

    @property
    def levels(self) -> tuple[da.Array, ...]:
        """The pyramid, finest first; the data alone where the file has none."""
        return (self.data, *self.coarser)

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
        return np.asarray(self.read_stored(channels, y=y, x=x), dtype=np.float32)

    def read_stored(
        self, channels: Sequence[int] | None = None, *, y: slice = slice(None), x: slice = slice(None)
    ) -> NDArray[Any]:
        """Read a region now, in the file's own type such as uint16; see `read`."""
        return self.read_regions([(y, x)], channels)[0]

    def read_regions(
        self, regions: Sequence[tuple[slice, slice]], channels: Sequence[int] | None = None
    ) -> list[NDArray[Any]]:
        """Read several regions (y, x) at once, which is quicker than one after the other; see `read_stored`."""
        # first the region: taking channels builds the graph of all chunks that are left
        parts = [self.data[:, y, x] for y, x in regions]
        if channels is not None:
            parts = [part[list(channels)] for part in parts]
        try:
            return [np.asarray(counts) for counts in dask.compute(*parts, scheduler="threads")]  # type: ignore[attr-defined,no-untyped-call]
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise MitoxaiError(
                f"{self.path} cannot be read ({one_line(error)}): the file is damaged or was moved; copy it again."
            ) from error

    def percentiles(self, channel: int, percents: Sequence[float]) -> list[float]:
        """Percentiles of a channel's counts, for display: from the coarsest level, or a sample of its rows.

        Parameters
        ----------
        channel : int
            Which plane.
        percents : sequence of float
            0 to 100.

        Returns
        -------
        list of float
            Counts; 0 where nothing in the plane is a number.

        Raises
        ------
        MitoxaiError
            If the file is damaged, or was taken away since it was opened.
        """
        plane = self.levels[-1][channel]
        height, width = plane.shape
        rows = max(_SAMPLE // width, _SAMPLED_BANDS)
        if height > rows:
            deep = rows // _SAMPLED_BANDS
            starts = np.linspace(0, height - deep, _SAMPLED_BANDS).astype(int)
            plane = da.concatenate([plane[start : start + deep] for start in starts.tolist()])
        try:
            values = np.asarray(plane.compute(scheduler="threads"))
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise MitoxaiError(
                f"{self.path} cannot be read ({one_line(error)}): the file is damaged or was moved; copy it again."
            ) from error
        values = values[np.isfinite(values)]
        return (
            [float(value) for value in np.percentile(values, percents)]
            if values.size
            else [0.0] * len(percents)
        )

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
