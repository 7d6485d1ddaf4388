"""Relevance in fibres: the values of explanation maps summed over fibres, their compartments and what lies outside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.fibres.compartments import INSIDE, Compartment
from napari_mitoxai.fibres.cover import Placing, Regions, beyond, covers

POOLED = "all channels"

Window = tuple[slice, slice]


@dataclass(frozen=True)
class MapPlanes:
    """A map to be summed.

    Attributes
    ----------
    method : str
        What made it.
    channels : tuple of str
        What its planes are.
    read : callable
        Gives rows and columns of it, (planes, y, x); it is asked for one part after the other.
    """

    method: str
    channels: tuple[str, ...]
    read: Callable[[Window], NDArray[np.floating]]

    @property
    def planes(self) -> tuple[str, ...]:
        """Its channels and, where there are several, their sum."""
        return self.channels if len(self.channels) == 1 else (*self.channels, POOLED)


def with_pooled(values: NDArray[np.floating], method: str) -> NDArray[np.float64]:
    """Planes (C, y, x) and, where there are several, their sum as one more; as (y, x, planes).

    Raises
    ------
    MitoxaiError
        If a value is not finite.
    """
    planes = np.ascontiguousarray(np.moveaxis(values, 0, -1), np.float64)
    if not np.isfinite(planes).all():
        raise MitoxaiError(
            f"The map by {method} has values that are not finite: explain the section again, or leave it out."
        )
    if planes.shape[-1] == 1:
        return planes
    return np.concatenate([planes, planes.sum(-1, keepdims=True)], axis=-1)


@dataclass(frozen=True)
class RegionSums:
    """A map in numbers: what lies in each region of the section.

    Attributes
    ----------
    method : str
    planes : tuple of str
        Channels, and their sum.
    regions : Regions
    explained : ndarray (regions,)
        Map pixels of each region that were explained.
    total, positive : ndarray (regions, planes)
        Sum of the values, and of those above 0. The positive relevance of all channels is that of their sum, pixel by pixel.
    beyond, positive_beyond : ndarray (planes,)
        The same beyond the labels, where the map reaches further.
    explained_beyond : float
        Map pixels there.
    """

    method: str
    planes: tuple[str, ...]
    regions: Regions
    explained: NDArray[np.float64]
    total: NDArray[np.float64]
    positive: NDArray[np.float64]
    beyond: NDArray[np.float64]
    positive_beyond: NDArray[np.float64]
    explained_beyond: float

    @property
    def section_total(self) -> NDArray[np.float64]:
        """The sum of the map, (planes,)."""
        return np.asarray(self.total.sum(0) + self.beyond)

    @property
    def section_positive(self) -> NDArray[np.float64]:
        """The positive relevance of the section, (planes,)."""
        return np.asarray(self.positive.sum(0) + self.positive_beyond)

    @property
    def section_explained(self) -> float:
        """Map pixels that were explained."""
        return float(self.explained.sum() + self.explained_beyond)

    def fibres(self) -> "Shares":
        """What each fibre has, (fibres, planes)."""
        return self._shares(*(self.regions.by_fibre(values).sum(1) for values in self._values()))

    def fibre_parts(self) -> "Shares":
        """What each compartment of each fibre has, (fibres, membrane to core, planes)."""
        return self._shares(*(self.regions.by_fibre(values) for values in self._values()))

    def compartments(self) -> "Shares":
        """What all membranes, sub-membrane rings, cores, gaps and the background have, (5, planes)."""
        return self._shares(*(by_compartment(self.regions, values) for values in self._values()))

    def _values(self) -> tuple[NDArray[np.float64], ...]:
        return self.total, self.positive, self.explained

    def _shares(
        self, total: NDArray[np.float64], positive: NDArray[np.float64], explained: NDArray[np.float64]
    ) -> "Shares":
        with np.errstate(invalid="ignore", divide="ignore"):
            area = explained[..., None]
            share = positive / self.section_positive
            return Shares(
                explained, total, positive, total / area, share, share / (area / self.section_explained)
            )


@dataclass(frozen=True)
class Shares:
    """Relevance of some parts of a section; all (..., planes) but `explained`; nan where nothing was explained.

    Attributes
    ----------
    explained : ndarray (...)
        Map pixels.
    total, positive : ndarray
        Sums.
    mean : ndarray
        Mean value of the map.
    share : ndarray
        Share of the section's positive relevance; nan where it has none.
    enrichment : ndarray
        That share over the share of the explained area: 1 is what an even map would give.
    """

    explained: NDArray[np.float64]
    total: NDArray[np.float64]
    positive: NDArray[np.float64]
    mean: NDArray[np.float64]
    share: NDArray[np.float64]
    enrichment: NDArray[np.float64]


ROWS = (*INSIDE, Compartment.GAP, Compartment.BACKGROUND)  # of `by_compartment`


def by_compartment(regions: Regions, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of values of regions, (regions, ...): their sums by compartment, in the order of `ROWS`."""
    outside = values[len(INSIDE) * len(regions.ids) :]
    return np.concatenate([regions.by_fibre(values).sum(0), outside])


def sum_by_region(
    maps: Sequence[MapPlanes],
    regions: Regions,
    placing: Placing,
    explained: NDArray[np.bool_],
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> list[RegionSums]:
    """Sum maps of one section over its fibres and compartments.

    Fibres, what is outside of them and what is beyond the labels together have the sum of the map. A fibre is counted once,
    however the section is divided for the work; of a map pixel over several regions each has its share by area.

    Parameters
    ----------
    maps : sequence of MapPlanes
    regions : Regions
    placing : Placing
        How the maps lie on the labels.
    explained : ndarray of bool
        (Y, X) of the maps: where they say anything.
    progress, cancel : callable, CancelToken
        Told, and looked at, part after part.

    Returns
    -------
    list of RegionSums
        One for each map.

    Raises
    ------
    MitoxaiError
        If a map has values that are not finite.
    Cancelled
        If `cancel` was used.
    """
    total = [np.zeros((regions.count, len(each.planes))) for each in maps]
    positive = [np.zeros_like(values) for values in total]
    lost, lost_positive = ([np.zeros(len(each.planes)) for each in maps] for _ in range(2))
    area = np.zeros((regions.count, 1))
    outside = beyond(placing, regions.shape)
    done = 0.0
    for cover in covers(regions, placing, cancel):
        part = cover.rows, cover.columns
        progress(Progress("Summing relevance", done, outside.size))
        done += outside[part].size
        cover.add_to(area, explained[*part, None])
        for index, each in enumerate(maps):
            values = with_pooled(each.read(part), each.method)
            cover.add_to(total[index], values)
            cover.add_to(positive[index], np.maximum(values, 0))
    for rows in _bands_with_any(outside):
        for index, each in enumerate(maps):
            values = with_pooled(each.read((rows, slice(0, placing.shape[1]))), each.method)
            lost[index] += np.einsum("yx,yxp->p", outside[rows], values)
            lost_positive[index] += np.einsum("yx,yxp->p", outside[rows], np.maximum(values, 0))
    return [
        RegionSums(
            each.method,
            each.planes,
            regions,
            area[:, 0],
            total[index],
            positive[index],
            lost[index],
            lost_positive[index],
            float((outside * explained).sum()),
        )
        for index, each in enumerate(maps)
    ]


def _bands_with_any(outside: NDArray[np.float64], deep: int = 512) -> list[slice]:
    """Rows of the map, some at a time, in which anything lies beyond the labels."""
    bands = [slice(first, min(first + deep, len(outside))) for first in range(0, len(outside), deep)]
    return [rows for rows in bands if outside[rows].any()]
