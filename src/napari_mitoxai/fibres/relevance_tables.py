"""Tables of relevance: one row a fibre, method and channel, and one a compartment, method and channel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_mitoxai.fibres.compartments import INSIDE
from napari_mitoxai.fibres.relevance import POOLED, ROWS, RegionSums
from napari_mitoxai.fibres.spatial_null import NullResult, adjusted

BEYOND = "beyond the labels"
_WIDE_POOLED = "all"
_DENSITIES = [f"{part.name.lower()}_density" for part in INSIDE]
QUANTITIES = ("sum", "mean", "positive", "share", "enrichment", *_DENSITIES, "p", "q")


def fibre_table(
    sums: Sequence[RegionSums], nulls: Sequence[NullResult | None], *, map_pixel_um2: float
) -> pd.DataFrame:
    """One row a fibre, method and channel.

    Parameters
    ----------
    sums : sequence of RegionSums
        A map each.
    nulls : sequence of NullResult or None
        Of the same maps; None where nothing was drawn.
    map_pixel_um2 : float
        Area of a map pixel.

    Returns
    -------
    pandas.DataFrame
        ``fibre, method, channel, explained_um2, sum, mean`` (value of the map), ``positive`` (sum of what is above 0), ``share`` (of the
        section's positive relevance), ``enrichment`` (that share over the share of the explained area), ``membrane_density,
        submembrane_density, core_density`` (sum a µm²), ``p`` (see `spatial_null`), ``q`` (p adjusted over the fibres of a method and
        channel). Where nothing of a fibre was explained, or it has no such compartment, there is no number.
    """
    frames = []
    for each, null in zip(sums, nulls, strict=True):
        fibres, parts = each.fibres(), each.fibre_parts()
        p = np.full(fibres.total.shape, np.nan) if null is None else null.fibres
        with np.errstate(invalid="ignore", divide="ignore"):
            density = parts.total / (parts.explained[..., None] * map_pixel_um2)
        for plane, channel in enumerate(each.planes):
            frames.append(
                {
                    "fibre": each.regions.ids,
                    "method": each.method,
                    "channel": channel,
                    "explained_um2": fibres.explained * map_pixel_um2,
                    "sum": fibres.total[:, plane],
                    "mean": fibres.mean[:, plane],
                    "positive": fibres.positive[:, plane],
                    "share": fibres.share[:, plane],
                    "enrichment": fibres.enrichment[:, plane],
                    **{name: density[:, part, plane] for part, name in enumerate(_DENSITIES)},
                    "p": p[:, plane],
                    "q": adjusted(p[:, plane]),
                }
            )
    return _together(frames, ["fibre", "method", "channel", "explained_um2", *QUANTITIES])


def compartment_table(
    sums: Sequence[RegionSums], nulls: Sequence[NullResult | None], *, map_pixel_um2: float
) -> pd.DataFrame:
    """One row a compartment, method and channel; the sums of a method and channel add up to the sum of its map.

    Parameters
    ----------
    sums, nulls, map_pixel_um2
        As for `fibre_table`.

    Returns
    -------
    pandas.DataFrame
        ``compartment`` (the last: what of the map lies beyond the labels), ``method, channel, explained_um2, sum, mean, positive, share,
        enrichment, p, q`` (adjusted over compartments and channels of a method).
    """
    frames = []
    for each, null in zip(sums, nulls, strict=True):
        parts = each.compartments()
        p = np.full(parts.total.shape, np.nan) if null is None else null.compartments
        q = adjusted(p)
        nothing = np.array([np.nan])
        with np.errstate(invalid="ignore", divide="ignore"):
            share_beyond = each.positive_beyond / each.section_positive
            mean_beyond = each.beyond / each.explained_beyond
            enriched = share_beyond / (each.explained_beyond / each.section_explained)
        for plane, channel in enumerate(each.planes):
            frames.append(
                {
                    "compartment": [part.title for part in ROWS] + [BEYOND],
                    "method": each.method,
                    "channel": channel,
                    "explained_um2": np.append(parts.explained, each.explained_beyond) * map_pixel_um2,
                    "sum": np.append(parts.total[:, plane], each.beyond[plane]),
                    "mean": np.append(parts.mean[:, plane], mean_beyond[plane]),
                    "positive": np.append(parts.positive[:, plane], each.positive_beyond[plane]),
                    "share": np.append(parts.share[:, plane], share_beyond[plane]),
                    "enrichment": np.append(parts.enrichment[:, plane], enriched[plane]),
                    "p": np.append(p[:, plane], nothing),
                    "q": np.append(q[:, plane], nothing),
                }
            )
    columns = ["compartment", "method", "channel", "explained_um2"]
    return _together(frames, [*columns, "sum", "mean", "positive", "share", "enrichment", "p", "q"])


def wide(table: pd.DataFrame, ids: NDArray[np.integer[Any]]) -> pd.DataFrame:
    """A row a fibre, with columns ``<method>_<channel>_<quantity>``.

    Parameters
    ----------
    table : pandas.DataFrame
        As `fibre_table` gives it.
    ids : ndarray of int (fibres,)
        The fibres, in the order wanted.

    Returns
    -------
    pandas.DataFrame
        The sum of all channels is the channel ``all``.
    """
    columns = {}
    for (method, channel), rows in table.groupby(["method", "channel"], sort=False):
        of_fibre = rows.set_index("fibre").reindex(ids)
        short = _WIDE_POOLED if channel == POOLED else channel
        for quantity in QUANTITIES:
            columns[f"{method}_{short}_{quantity}"] = of_fibre[quantity].to_numpy()
    return pd.DataFrame(columns, index=pd.RangeIndex(len(ids)))


def _together(frames: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    filled = [pd.DataFrame(frame) for frame in frames]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(columns))
