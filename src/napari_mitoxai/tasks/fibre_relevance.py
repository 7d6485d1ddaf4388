"""Relevance in the fibres of one section: an explanation's maps joined with fibres, compartments and OXPHOS status."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.fibres.answers import Answer, answers
from napari_mitoxai.fibres.compartments import Widths, compartments
from napari_mitoxai.fibres.cover import Placing, Regions
from napari_mitoxai.fibres.relevance import MapPlanes, RegionSums, sum_by_region
from napari_mitoxai.fibres.relevance_tables import compartment_table, fibre_table
from napari_mitoxai.fibres.spatial_null import NullResult, spatial_null
from napari_mitoxai.fibres.status_groups import StatusGroup

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.imc import Section

# Maps are moved about whole; of larger ones the first level of the pyramid that is no larger.
_MOVED_PIXELS = 2**23
_STATUS = "_status"
_PLACES = ("labels", "x_um", "y_um")


@dataclass(frozen=True)
class FibreRelevance:
    """Where the relevance of a section's maps falls.

    Attributes
    ----------
    sums : list of RegionSums
        A map each, by fibre and compartment.
    nulls : list of NullResult or None
        What moving the maps about gave; None without draws.
    map_pixel_um2 : float
        Area of a map pixel.
    answers : list of Answer
        In sentences.
    counted : ndarray of bool (fibres,)
        The fibres that count in them.
    """

    sums: list[RegionSums]
    nulls: Sequence[NullResult | None]
    map_pixel_um2: float
    answers: list[Answer]
    counted: NDArray[np.bool_]

    def fibres(self) -> "pd.DataFrame":
        """One row a fibre, method and channel."""
        return fibre_table(self.sums, self.nulls, map_pixel_um2=self.map_pixel_um2)

    def compartments(self) -> "pd.DataFrame":
        """One row a compartment, method and channel."""
        return compartment_table(self.sums, self.nulls, map_pixel_um2=self.map_pixel_um2)


def relevance_in_fibres(
    section: "Section",
    labels: NDArray[np.integer],
    store: "MapStore",
    *,
    widths: Widths | None = None,
    groups: Mapping[str, StatusGroup] | None = None,
    left_out: Collection[int] = (),
    draws: int = 199,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> FibreRelevance:
    """Sum the maps of a section over its fibres, and answer the questions.

    Parameters
    ----------
    section : Section
        Whose maps and fibres they are; its counts are not read.
    labels : ndarray of int
        (Y, X) of its fibres.
    store : MapStore
        A finished store.
    widths : Widths, optional
        Of the compartments.
    groups : mapping of StatusGroup, optional
        Fibres by OXPHOS status, as ``deficient in NDUFB8``.
    left_out : collection of int
        Fibres that do not count in the answers, as they are not analysable; the tables have them all the same.
    draws : int
        How often maps are moved about; 0 gives no p values.
    seed : int
        Of the draws.
    progress, cancel : callable, CancelToken

    Raises
    ------
    MitoxaiError
        If maps or labels are not of this section, or the maps are not finished.
    Cancelled
        If `cancel` was used.
    """
    check_maps(section, store)
    if labels.shape != section.shape[1:]:
        raise MitoxaiError(
            f"The labels have {labels.shape[0]} x {labels.shape[1]} pixels and {section.name} has {section.shape[1]} x {section.shape[2]}: "
            "give the labels of this section."
        )
    parts = compartments(
        labels, pixel_size_um=section.pixel_size_um, widths=widths, progress=progress, cancel=cancel
    )
    regions = Regions.of(labels, parts)
    grid, explained = store.grid, explained_pixels(store)
    maps = [_planes(store, method) for method in store.methods]
    sums = sum_by_region(
        maps, regions, _placing(grid.reduction, grid.shape), explained, progress=progress, cancel=cancel
    )
    analysable = ~np.isin(regions.ids, list(left_out))
    divided = {name: group.among(regions.ids, analysable) for name, group in (groups or {}).items()}
    nulls: Sequence[NullResult | None] = [None] * len(maps)
    if draws:
        level = _moved_level(store)
        coarse = [_planes(store, method, level) for method in store.methods]
        shape = store.levels(store.methods[0])[level].shape[1:]
        nulls = spatial_null(
            coarse,
            regions,
            _placing(grid.reduction * 2**level, shape),
            _coarser(explained, 2**level, shape),
            groups=divided,
            draws=draws,
            seed=seed,
            progress=progress,
            cancel=cancel,
        )
    said = answers(sums, nulls, divided, analysable)
    return FibreRelevance(sums, nulls, grid.scale_um**2, said, analysable)


def check_maps(section: "Section", store: "MapStore") -> None:
    """Raise `MitoxaiError` unless the store is finished and of this section."""
    if "verdict" not in store.info:
        raise MitoxaiError(f"{store.path} is not finished: run the same `mitoxai explain` again, it goes on.")
    if list(section.shape[1:]) != store.info["section"]["shape"][1:]:
        raise MitoxaiError(
            f"{store.path.name} was made of {store.info['section']['name']}, which has another size than {section.name}: "
            "give the maps of this section."
        )
    made_of = store.info["section"]
    if made_of["name"] != section.name and Path(made_of["path"]) != section.address:
        raise MitoxaiError(
            f"{store.path.name} was made of {made_of['name']}, and the section is {section.name}: give the maps of this section."
        )


def explained_pixels(store: "MapStore") -> NDArray[np.bool_]:
    """Where the maps of a store say anything: under the patches that were looked at, within the area that was asked for.

    Parameters
    ----------
    store : MapStore

    Returns
    -------
    ndarray of bool
        (Y, X) of the maps.
    """
    grid = store.grid
    side = store.info["checkpoint"]["patch_size"] // grid.reduction
    explained = np.zeros(grid.shape, bool)
    for y, x in store.patch_probabilities():
        top, left = y // grid.reduction, x // grid.reduction
        explained[top : top + side, left : left + side] = True
    area = store.info.get("area")
    if area is not None:
        (top, bottom), (left, right) = (
            (first // grid.reduction, -(-last // grid.reduction))
            for first, last in (area["rows"], area["columns"])
        )
        within = np.zeros(grid.shape, bool)
        within[top:bottom, left:right] = True
        explained &= within
        if area["kind"] != "rectangle":  # of other shapes only the box is kept
            explained &= _not_empty(store)
    return explained


def _not_empty(store: "MapStore", deep: int = 512) -> NDArray[np.bool_]:
    found = np.zeros(store.grid.shape, bool)
    for method in store.methods:
        for first in range(0, len(found), deep):
            rows = slice(first, first + deep)
            found[rows] |= store.read_region(method, (rows, slice(None))).any(0)
    return found


def _planes(store: "MapStore", method: str, level: int = 0) -> MapPlanes:
    """A method's map at one level of its pyramid."""
    values = store.levels(method)[level]

    def read(part: tuple[slice, slice]) -> NDArray[np.float32]:
        return np.asarray(values[:, *part].compute(scheduler="threads"), np.float32)

    return MapPlanes(method, tuple(store.channels(method)), read)


def _placing(scale: int, shape: tuple[int, ...]) -> Placing:
    return Placing((shape[0], shape[1]), scale, ((scale - 1) / 2,) * 2)


def _moved_level(store: "MapStore") -> int:
    levels = store.levels(store.methods[0])
    small = [index for index, level in enumerate(levels) if level.shape[1] * level.shape[2] <= _MOVED_PIXELS]
    return small[0] if small else len(levels) - 1


def _coarser(mask: NDArray[np.bool_], factor: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels of a coarser level of which at least half were explained."""
    fine = mask[: shape[0] * factor, : shape[1] * factor]
    share = fine.reshape(shape[0], factor, shape[1], factor).mean((1, 3))
    return np.asarray(share >= 0.5)


def read_calls(path: Path, section: str) -> "pd.DataFrame":
    """The calls of a section's fibres, from the table of `mitoxai oxphos`.

    Parameters
    ----------
    path : Path
        CSV or Parquet with a row a fibre: ``section, fibre``, and ``<protein>_status`` for every protein; or its long form.
    section : str
        Whose rows are taken; a table without the column ``section`` is all of one.

    Returns
    -------
    pandas.DataFrame
        A row a fibre: ``fibre``, ``<protein>_status``, and ``labels, x_um, y_um`` where the table has them.

    Raises
    ------
    MitoxaiError
        If it is not there, or has no calls of this section.
    """
    table = read_table(path, "the calls of `mitoxai oxphos`")
    if {"section", "fibre", "protein", "status"} <= set(table):  # the long form
        keys = ["section", "fibre"]
        places = table.drop_duplicates(keys).set_index(keys)[[name for name in _PLACES if name in table]]
        wide = table.pivot_table(index=keys, columns="protein", values="status", aggfunc="first")
        table = wide.add_suffix(_STATUS).join(places).reset_index()
    if "fibre" not in table or not any(str(name).endswith(_STATUS) for name in table):
        raise MitoxaiError(
            f"{path.name} has no columns fibre and NAME{_STATUS}: give the calls of `mitoxai oxphos`."
        )
    if "section" in table:
        table = table[table["section"].astype(str) == section]
    if table.empty:
        raise MitoxaiError(f"{path.name} has no calls of {section}: call its fibres first.")
    return table


def read_table(path: Path, what: str) -> "pd.DataFrame":
    """Read a CSV or Parquet table.

    Raises
    ------
    MitoxaiError
        If it is not there or no table.
    """
    import pandas as pd

    if not path.is_file():
        raise MitoxaiError(f"{path} is not there: give {what}.")
    try:
        return pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise MitoxaiError(f"{path} cannot be read as a table ({reason}): give {what}.") from error
