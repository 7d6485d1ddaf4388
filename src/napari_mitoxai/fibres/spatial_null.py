"""Would a map of the same texture do as well if it lay anywhere? Maps are turned and shifted, fibres stay.

A map has blobs, so that single pixels cannot be permuted. Instead the whole map, within what was explained, is mirrored or turned at
random and shifted round (what leaves on one side comes in on the other), which keeps its values and its texture and breaks its
tie with the fibres. Where a map knows nothing of the fibres, its p values are uniform.

What a small p means: this fibre or compartment has more than a place of its shape has anywhere. A map that only follows edges has
small p values at membranes too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.fibres.cover import Cover, Placing, Regions, covers
from napari_mitoxai.fibres.relevance import ROWS, MapPlanes, by_compartment, with_pooled
from napari_mitoxai.fibres.status_groups import Divided

# A draw that lays less than this share of a fibre on what was explained says nothing of it.
_LEAST = 0.5


@dataclass(frozen=True)
class NullResult:
    """What drawing said of one map; p are one-sided, for more positive relevance than by chance, nan where nothing was explained.

    Attributes
    ----------
    method : str
    planes : tuple of str
    fibres : ndarray (fibres, planes)
        p of each fibre's mean positive relevance.
    compartments : ndarray (5, planes)
        p of each compartment's, in the order of `ROWS`.
    groups : dict of ndarray (planes,)
        p that the fibres of a group have more than those it is compared with.
    draws : int
        How many there were; the smallest p is 1 / (draws + 1).
    """

    method: str
    planes: tuple[str, ...]
    fibres: NDArray[np.float64]
    compartments: NDArray[np.float64]
    groups: dict[str, NDArray[np.float64]]
    draws: int


def spatial_null(
    maps: Sequence[MapPlanes],
    regions: Regions,
    placing: Placing,
    explained: NDArray[np.bool_],
    *,
    groups: Mapping[str, Divided] | None = None,
    draws: int = 199,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> list[NullResult]:
    """Compare relevance in fibres with that of the same maps laid at random.

    Parameters
    ----------
    maps : sequence of MapPlanes
        Of one section; held whole, so that of large sections a coarser level is given.
    regions : Regions
    placing : Placing
        How these maps lie on the labels.
    explained : ndarray of bool
        (Y, X) of the maps: where they say anything. Only what lies in the rectangle around it is moved, and a place that comes
        from where nothing was explained does not count.
    groups : mapping of Divided, optional
        Fibres to compare with others, by name.
    draws : int
        How many.
    seed : int
        Of the draws, which are the same for all maps.
    progress, cancel : callable, CancelToken
        Told, and looked at, draw after draw.

    Returns
    -------
    list of NullResult
        One for each map.

    Raises
    ------
    MitoxaiError
        If there are no draws, or a map has values that are not finite.
    Cancelled
        If `cancel` was used.
    """
    if draws < 1:
        raise MitoxaiError(f"{draws} draws give no p value: ask for 19 or more.")
    if not explained.any():
        return [_nothing(each, regions, groups or {}, draws) for each in maps]
    box, placing = _cropped(placing, explained)
    parts = list(covers(regions, placing, cancel))
    full = np.zeros((regions.count, 1))
    for part in parts:
        part.add_to(
            full, np.ones((part.rows.stop - part.rows.start, part.columns.stop - part.columns.start, 1))
        )
    area = regions.by_fibre(full[:, 0]).sum(1)
    results = []
    for index, each in enumerate(maps):
        values = np.maximum(with_pooled(each.read(box), each.method), 0)
        planes = np.concatenate([values, explained[*box, None]], axis=-1, dtype=np.float32)
        seen = _Statistics(parts, regions, groups or {}, area)
        counts = _Counts(seen.of(planes, *(np.arange(length) for length in planes.shape[:2])))
        for done, (rows, columns, turned) in enumerate(_moves(planes.shape[:2], draws, seed)):
            if cancel is not None:
                cancel.check()
            if done % 10 == 0:
                progress(Progress("Moving maps about", index * draws + done, len(maps) * draws, each.method))
            counts.add(seen.of(planes.transpose(1, 0, 2) if turned else planes, rows, columns))
        results.append(counts.result(each, tuple(groups or {}), draws))
    return results


def adjusted(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p values (1995), all of an array together; nan stays nan and does not count."""
    from scipy.stats import false_discovery_control  # half a second to import

    known = np.isfinite(p)
    q = np.full(p.shape, np.nan)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q


def _cropped(placing: Placing, explained: NDArray[np.bool_]) -> tuple[tuple[slice, slice], Placing]:
    """The rectangle around what was explained, and how a map cut to it lies."""
    sides = [np.flatnonzero(explained.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    y, x = (
        offset + placing.scale * part.start
        for offset, part in zip(placing.translate, (rows, columns), strict=True)
    )
    shape = rows.stop - rows.start, columns.stop - columns.start
    return (rows, columns), Placing(shape, placing.scale, (y, x))


def _moves(
    shape: tuple[int, ...], draws: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], bool]]:
    """Which rows and columns to take, and whether of the turned map: only a square one can be turned by a right angle."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        rows, columns = (
            (int(rng.integers(length)) + rng.choice((-1, 1)) * np.arange(length)) % length for length in shape
        )
        turned = bool(rng.integers(2)) and shape[0] == shape[1]
        yield rows, columns, turned


@dataclass(frozen=True)
class _Seen:
    """Statistics of one laying of a map; nan where too little of a place was explained."""

    fibres: NDArray[np.float64]  # (fibres, planes)
    compartments: NDArray[np.float64]  # (5, planes)
    groups: NDArray[np.float64]  # (groups, planes)

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        return iter((self.fibres, self.compartments, self.groups))


class _Statistics:
    """What is compared between a map as it lies and as it was moved: means, so that places half explained count too."""

    def __init__(
        self,
        parts: Sequence[Cover],
        regions: Regions,
        groups: Mapping[str, Divided],
        area: NDArray[np.float64],
    ) -> None:
        self._parts, self._regions, self._area = parts, regions, area
        self._groups = list(groups.values())

    def of(self, planes: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> _Seen:
        """Of a map (y, x, planes and, last, what was explained), taken in this order of rows and columns."""
        sums = np.zeros((self._regions.count, planes.shape[-1]))
        for part in self._parts:
            part.add_to(sums, planes[rows[part.rows, None], columns[None, part.columns]])
        fibre = self._regions.by_fibre(sums).sum(1)
        fibre[fibre[:, -1] < _LEAST * self._area] = 0
        compartment = by_compartment(self._regions, sums)
        group = [_mean(fibre[each.chosen].sum(0)) - _mean(fibre[each.others].sum(0)) for each in self._groups]
        shape = len(group), planes.shape[-1] - 1
        return _Seen(_mean(fibre), _mean(compartment), np.array(group).reshape(shape))


def _mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of sums (..., planes and area)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(sums[..., -1:] > 0, sums[..., :-1] / sums[..., -1:], np.nan))


class _Counts:
    """How often a moved map reached what the map reached as it lies."""

    def __init__(self, seen: _Seen) -> None:
        self._seen = seen
        self._reached = [np.zeros(values.shape) for values in seen]
        self._valid = [np.zeros(values.shape) for values in seen]

    def add(self, moved: _Seen) -> None:
        for reached, valid, own, other in zip(self._reached, self._valid, self._seen, moved, strict=True):
            known = np.isfinite(other)
            # sums of the same numbers in another order differ in the last bits
            reached += known & (other >= own - 1e-9 * np.abs(own))
            valid += known

    def result(self, each: MapPlanes, groups: tuple[str, ...], draws: int) -> NullResult:
        fibres, compartments, group = (
            np.where(np.isfinite(own), (1 + reached) / (1 + valid), np.nan)
            for own, reached, valid in zip(self._seen, self._reached, self._valid, strict=True)
        )
        by_name = dict(zip(groups, group, strict=True))
        return NullResult(each.method, each.planes, fibres, compartments, by_name, draws)


def _nothing(each: MapPlanes, regions: Regions, groups: Mapping[str, Divided], draws: int) -> NullResult:
    planes = len(each.planes)
    return NullResult(
        each.method,
        each.planes,
        np.full((len(regions.ids), planes), np.nan),
        np.full((len(ROWS), planes), np.nan),
        {name: np.full(planes, np.nan) for name in groups},
        draws,
    )
