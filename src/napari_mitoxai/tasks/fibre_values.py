"""What every map says of every fibre, without compartments or tests: quick enough to be asked for by a click."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.fibres.compartments import Compartment
from napari_mitoxai.fibres.cover import Placing, Regions
from napari_mitoxai.fibres.relevance import POOLED, MapPlanes, RegionSums, sum_by_region
from napari_mitoxai.tasks.fibre_relevance import explained_pixels

if TYPE_CHECKING:
    from napari_mitoxai.explain import MapStore


@dataclass(frozen=True)
class FibreValues:
    """One map by fibre; nan where a fibre was not explained.

    Attributes
    ----------
    ids : ndarray of int (fibres,)
        Their labels.
    mean : ndarray (fibres,)
        Mean value of the map, in its own unit.
    enrichment : ndarray (fibres,)
        Share of the section's positive relevance over share of the explained area: 1 is what an even map would give. No unit, so
        it can be compared between methods.
    rank : ndarray (fibres,)
        By the mean, 1 for the highest; ties at their best rank.
    """

    ids: NDArray[np.integer]
    mean: NDArray[np.float64]
    enrichment: NDArray[np.float64]
    rank: NDArray[np.float64]


def values_by_fibre(
    store: "MapStore",
    methods: Sequence[str],
    labels: NDArray[np.integer],
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> dict[tuple[str, str], FibreValues]:
    """Mean relevance, enrichment and rank of each fibre under each map.

    Parameters
    ----------
    store : MapStore
        A finished store.
    methods : sequence of str
        Maps of it.
    labels : ndarray of int (Y, X)
        Of its section.
    progress, cancel : callable, CancelToken

    Returns
    -------
    dict
        By method and channel; the sum of channels is `POOLED`.

    Raises
    ------
    MitoxaiError
        If the labels are not of the section, or a value is not finite.
    Cancelled
        If `cancel` was used.
    """
    about = store.info["section"]
    if list(labels.shape) != list(about["shape"][1:]):
        raise MitoxaiError(
            f"The fibres have {labels.shape[0]} x {labels.shape[1]} pixels and {about['name']} has {about['shape'][1]} x {about['shape'][2]}: "
            "open the fibres of this section."
        )
    parts = np.where(labels > 0, Compartment.CORE, Compartment.BACKGROUND).astype(np.uint8)
    reduction = store.grid.reduction
    maps = [
        MapPlanes(
            method,
            tuple(store.channels(method)),
            lambda part, method=method: store.read_region(method, part),  # type: ignore[misc]
        )
        for method in methods
    ]
    sums = sum_by_region(
        maps,
        Regions.of(labels, parts),
        Placing(store.grid.shape, reduction, ((reduction - 1) / 2,) * 2),
        explained_pixels(store),
        progress=progress,
        cancel=cancel,
    )
    return {
        (each.method, POOLED if len(each.planes) == 1 else plane): _of_plane(each, index)
        for each in sums
        for index, plane in enumerate(each.planes)
    }


def _of_plane(sums: RegionSums, plane: int) -> FibreValues:
    shares = sums.fibres()
    mean = shares.mean[:, plane]
    known = np.isfinite(mean)
    rank = np.full(mean.shape, np.nan)
    rank[known] = rankdata(-mean[known], "min")
    return FibreValues(np.asarray(sums.regions.ids), mean, shares.enrichment[:, plane], rank)
