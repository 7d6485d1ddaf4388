"""The maps of one section, from one store or several, compared pair by pair on one grid and by fibre."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.fibres.compartments import Compartment
from napari_mitoxai.fibres.cover import Placing, Regions
from napari_mitoxai.fibres.relevance import POOLED, MapPlanes, sum_by_region
from napari_mitoxai.imc import read_labels
from napari_mitoxai.tasks.fibre_relevance import explained_pixels
from napari_mitoxai.trust import (
    rank_correlations,
    rank_correlations_within,
    similarities,
    top_overlaps,
)
from napari_mitoxai.trust.common_grid import averaged, common_reduction, common_shape, labels_on
from napari_mitoxai.trust.recorded import BASELINES

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.explain import MapStore

Window = tuple[slice, slice]


@dataclass(frozen=True)
class MapsOfSection:
    """The stores of one section.

    Attributes
    ----------
    name, subject : str
        Of the section.
    stores : tuple of MapStore
        Those with maps that are compared.
    methods : mapping of (MapStore, str)
        Where each map is, by its name: the method's, with the store's behind it where several stores have the method. In one order in all
        sections.
    """

    name: str
    subject: str
    stores: "tuple[MapStore, ...]"
    methods: "Mapping[str, tuple[MapStore, str]]"


@dataclass(frozen=True)
class Agreement:
    """How far the maps of a section agree.

    Attributes
    ----------
    pairs : pandas.DataFrame
        ``channel, method_a, method_b, measure, value, low, high, n``; the interval is empty.
    fibres : pandas.DataFrame or None
        Of the sum of channels, a row a fibre: ``fibre``, ``pixels`` of the common grid, ``agreement``, and the rank correlation of each
        pair inside the fibre.
    notes : list of str
        What a reader should know.
    """

    pairs: "pd.DataFrame"
    fibres: "pd.DataFrame | None"
    notes: list[str]


def named(method: str, store: "MapStore") -> str:
    """A method's name with the store's behind it."""
    return f"{method} ({_stem(store)})"


def _stem(store: "MapStore") -> str:
    return store.path.name.removesuffix(".ome.zarr")


def by_section(stores: "Sequence[MapStore]", only: Sequence[str] = ()) -> list[MapsOfSection]:
    """Put the stores of one section together, in the order of their first.

    Parameters
    ----------
    stores : sequence of MapStore
    only : sequence of str
        The maps to compare: methods, or a method's name with the store's behind it; all where it is empty.

    Raises
    ------
    MitoxaiError
        If a store is not finished or given twice, a map is not there, or a section has fewer than two maps.
    """
    there = {name for store in stores for method in store.methods for name in (method, named(method, store))}
    if unknown := [name for name in only if name not in there]:
        known = ", ".join(dict.fromkeys(method for store in stores for method in store.methods))
        raise MitoxaiError(f"No store has a map by {', '.join(unknown)}: choose of {known}.")
    found: dict[tuple[Any, ...], list[MapStore]] = {}
    for store in stores:
        if "verdict" not in store.info:
            raise MitoxaiError(
                f"{store.path} is not finished: run the same `mitoxai explain` again, it goes on."
            )
        about = store.info["section"]
        same = found.setdefault((about["name"], about["subject"], tuple(about["shape"])), [])
        if any(_stem(other) == _stem(store) for other in same):
            raise MitoxaiError(
                f"Two stores of {about['name']} are called {_stem(store)}: give each once, with a name of its own."
            )
        same.append(store)
    every = [_maps_of(own, only) for own in found.values()]
    order = list(dict.fromkeys(name for maps in every for name in maps))
    sections = []
    for (name, subject, _), maps in zip(found, every, strict=True):
        used = tuple(dict.fromkeys(store for store, _ in maps.values()))
        sections.append(
            MapsOfSection(
                str(name), str(subject or name), used, {each: maps[each] for each in order if each in maps}
            )
        )
    for section in sections:
        if len(section.methods) < 2:
            raise MitoxaiError(
                f"{section.name} has maps by one method only ({', '.join(section.methods)}): choose another one too, or explain it with one."
                if section.methods
                else f"{section.name} has no map by {', '.join(only)}: choose others, or leave its store out."
            )
    return sections


def _maps_of(stores: "list[MapStore]", only: Sequence[str]) -> "dict[str, tuple[MapStore, str]]":
    there = Counter(method for store in stores for method in store.methods)
    return {
        named(method, store) if there[method] > 1 else method: (store, method)
        for store in stores
        for method in store.methods
        if not only or method in only or named(method, store) in only
    }


def compare(
    section: MapsOfSection,
    fibres: Path | None,
    *,
    values: str,
    by_channel: bool,
    top: float,
    most_pixels: int,
    cancel: CancelToken,
) -> Agreement:
    """Compare the maps of a section pair by pair.

    Parameters
    ----------
    section : MapsOfSection
    fibres : Path, optional
        Its label image.
    values : str
        ``signed``, ``positive`` or ``magnitude``: what is taken of every map pixel, of channels that are summed of their sum.
    by_channel : bool
        Whether channels are compared one by one too.
    top : float
        Share of the pixels, or fibres.
    most_pixels : int
        Of the common grid.
    cancel : CancelToken

    Returns
    -------
    Agreement
    """
    import pandas as pd

    shapes = _shapes(section)
    reduction = common_reduction(shapes, most_pixels)
    shape = common_shape(shapes, reduction)
    notes = []
    if (finest := min(shapes)) != reduction:
        notes.append(
            f"The maps of {section.name} were averaged from pixels of {finest} to {reduction} section pixels a side, so that "
            f"{'all have the same grid' if len(shapes) > 1 else f'no more than {most_pixels} are compared'}."
        )
    explained = _explained(section, shape, reduction)
    if not explained.any():
        raise MitoxaiError(
            f"The maps of {section.name} have no pixel in common that was explained: explain the same area."
        )
    labels = None if fibres is None else _labels(fibres, section)
    frames, inside = [], None
    for channel in _channels(section, by_channel):
        planes = {
            name: plane for name in section.methods if (plane := _plane(section, name, channel, values))
        }
        if len(planes) < 2:
            continue
        maps = []
        for name, plane in planes.items():
            cancel.check()
            store = section.methods[name][0]
            depth = len(store.channels(section.methods[name][1]))
            maps.append(
                averaged(lambda part, plane=plane: plane.read(part)[0], store.grid.shape, store.grid.reduction, shape, reduction, depth)  # type: ignore[misc]
            )  # fmt: skip
        pixels = np.stack([each[explained] for each in maps])
        notes += _silent(pixels, list(planes), channel, section.name)
        found = {
            "rank_correlation_pixels": (rank_correlations(pixels), pixels.shape[1]),
            "top_overlap_pixels": (top_overlaps(pixels, top), pixels.shape[1]),
        }
        if labels is not None and channel == POOLED:
            of_pixels = labels_on(labels, shape, reduction)[explained]
            inside = _inside_fibres(pixels, of_pixels, list(planes))
        del pixels
        cancel.check()
        similar = similarities(maps, explained)
        found["ssim"] = (similar, int(explained.sum()))
        if np.isnan(similar).all():
            notes.append(
                f"{section.name}, {channel}: no structural similarity, as maps are constant or no pixel lies 5 pixels inside what was explained."
            )
        if labels is not None:
            of_fibres = _of_fibres(section, planes, labels, cancel)
            notes += _silent(of_fibres, list(planes), f"{channel}, by fibre", section.name)
            found["rank_correlation_fibres"] = (rank_correlations(of_fibres), of_fibres.shape[1])
            found["top_overlap_fibres"] = (top_overlaps(of_fibres, top), of_fibres.shape[1])
        frames.append(_long(found, list(planes), channel))
    return Agreement(pd.concat(frames, ignore_index=True), inside, notes)


def _shapes(section: MapsOfSection) -> dict[int, tuple[int, int]]:
    """By section pixels a side of a map pixel: the smallest map that has such."""
    shapes: dict[int, tuple[int, int]] = {}
    for store in section.stores:
        own = store.grid.shape
        known = shapes.get(store.grid.reduction, own)
        shapes[store.grid.reduction] = (min(own[0], known[0]), min(own[1], known[1]))
    return shapes


def _explained(section: MapsOfSection, shape: tuple[int, int], reduction: int) -> NDArray[np.bool_]:
    """The pixels of the common grid that every store explained wholly."""
    explained = np.ones(shape, bool)
    for store in section.stores:
        own = explained_pixels(store)
        share = averaged(lambda part, own=own: own[part], own.shape, store.grid.reduction, shape, reduction)  # type: ignore[misc]
        explained &= share > 1 - 1e-9
    return explained


def _labels(path: Path, section: MapsOfSection) -> NDArray[np.integer]:
    labels, shape = read_labels(path), section.stores[0].info["section"]["shape"][1:]
    if list(labels.shape) != list(shape):
        raise MitoxaiError(
            f"{path.name} has {labels.shape[0]} x {labels.shape[1]} pixels and {section.name} has {shape[0]} x {shape[1]}: "
            "give the labels of this section, in the order of the maps."
        )
    if not labels.any():
        raise MitoxaiError(f"{path.name} holds no fibre: segment the section first.")
    return labels


def _channels(section: MapsOfSection, by_channel: bool) -> list[str]:
    """The sum of channels, and each channel that any map tells apart."""
    named = [name for store, method in section.methods.values() for name in store.channels(method)]
    return [POOLED, *(name for name in dict.fromkeys(named) if name != POOLED)] if by_channel else [POOLED]


def _plane(section: MapsOfSection, name: str, channel: str, values: str) -> MapPlanes | None:
    """One channel of a map, or the sum of all; None if it has no such channel."""
    store, method = section.methods[name]
    channels = store.channels(method)
    if channel != POOLED and channel not in channels:
        return None

    def read(part: Window) -> NDArray[np.floating]:
        planes = store.read_region(method, part)
        if not np.isfinite(planes).all():
            raise MitoxaiError(
                f"The map by {name} has values that are not finite: explain {section.name} again, or leave it out."
            )
        plane = (
            planes.sum(0, keepdims=True, dtype=np.float64)
            if channel == POOLED
            else planes[[channels.index(channel)]]
        )
        if values == "positive":
            return np.maximum(plane, 0)
        return np.abs(plane) if values == "magnitude" else plane

    return MapPlanes(name, (channel,), read)


def _of_fibres(
    section: MapsOfSection, planes: dict[str, MapPlanes], labels: NDArray[np.integer], cancel: CancelToken
) -> NDArray[np.float64]:
    """The mean of each map in each fibre that all of them explained at least in part, (maps, fibres)."""
    parts = np.where(labels > 0, Compartment.CORE, Compartment.BACKGROUND).astype(np.uint8)
    regions = Regions.of(labels, parts)
    means = {}
    for store in section.stores:
        reduction = store.grid.reduction
        own = [plane for name, plane in planes.items() if section.methods[name][0] is store]
        placing = Placing(store.grid.shape, reduction, ((reduction - 1) / 2,) * 2)
        for each in sum_by_region(own, regions, placing, explained_pixels(store), cancel=cancel):
            means[each.method] = each.fibres().mean[:, 0]
    stacked = np.stack([means[name] for name in planes])
    return stacked[:, np.isfinite(stacked).all(0)]


def _inside_fibres(
    pixels: NDArray[np.float64], fibres: NDArray[np.integer], names: list[str]
) -> "pd.DataFrame":
    """A row a fibre: how far the maps agree on where in it the relevance is."""
    import pandas as pd

    ids, found, sizes = rank_correlations_within(pixels, fibres)
    pairs = {
        f"agreement {names[a]} / {names[b]}": found[:, a, b] for a, b in combinations(range(len(names)), 2)
    }
    # maps that know nothing of the network do not count
    own = [place for place, name in enumerate(names) if name.split("@")[0].split(" (")[0] not in BASELINES]
    every = np.array([found[:, a, b] for a, b in combinations(own, 2)]).reshape(-1, len(ids))
    known = np.isfinite(every)
    mean = np.divide(
        np.where(known, every, 0).sum(0), known.sum(0), out=np.full(len(ids), np.nan), where=known.any(0)
    )
    return pd.DataFrame({"fibre": ids, "pixels": sizes, "agreement": mean, **pairs})


def _silent(pixels: NDArray[np.float64], names: list[str], channel: str, section: str) -> list[str]:
    """Sentences on maps that cannot be compared."""
    if not pixels.size:
        return [f"{section}, {channel}: nothing was explained by all of them; there is nothing to compare."]
    notes = []
    for name, own in zip(names, pixels, strict=True):
        if own.min() == own.max():
            notes.append(
                f"{section}, {channel}: the map by {name} is {own[0]:g} everywhere; its values are empty."
            )
        elif own.max() <= 0:
            notes.append(
                f"{section}, {channel}: the map by {name} has no positive relevance; it has no top to overlap."
            )
    return notes


def _long(
    found: dict[str, tuple[NDArray[np.float64], int]], names: list[str], channel: str
) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "channel": channel, "method_a": names[a], "method_b": names[b], "measure": measure,
                "value": float(matrix[a, b]), "low": np.nan, "high": np.nan, "n": number,
            }
            for measure, (matrix, number) in found.items()
            for a, b in combinations(range(len(names)), 2)
        ]
    )  # fmt: skip
