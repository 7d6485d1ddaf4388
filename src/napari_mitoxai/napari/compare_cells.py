"""The cells of a comparison: which maps they show, how they are called, on which scale, and their layers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.fibres.relevance import POOLED
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.compare_planes import Ingredient, composite_levels, outline_levels, with_smaller
from napari_mitoxai.napari.layers import UNITS, LayerTuple, channel_layers, robust_limit
from napari_mitoxai.napari.styles import map_colormap, outline_colormap
from napari_mitoxai.trust.recorded import ARROWS, FAILS, rests_on

if TYPE_CHECKING:
    from napari_mitoxai.explain.store import MapStore

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ENDS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 10.0)
MOST = 20  # cells; more are too small to be read
# Under this key of layer.metadata a comparison marks its layers; they are no results, and no other tab looks at them.
COMPARED_KEY = "mitoxai_compare"


class Contrast(Enum):
    """Which maps have the same colour scale."""

    OWN = "each map its own"
    METHOD = "the same for maps by one method"
    SHARED = "the same for all maps"


@dataclass(frozen=True)
class MapChoice:
    """What a cell shows.

    Attributes
    ----------
    store : Path
        A finished store.
    method : str
        One of its maps.
    channel : str
        One of that map's planes, or `POOLED`: their sum.
    """

    store: Path
    method: str
    channel: str = POOLED


@dataclass(frozen=True)
class Tissue:
    """What lies under and over the maps of a section.

    Attributes
    ----------
    name, address : str
        Of the section.
    pixel_size_um : float
    ingredients : sequence of Ingredient
        Of its composite.
    labels : ndarray of int (Y, X), optional
        Its fibres.
    """

    name: str
    address: str
    pixel_size_um: float
    ingredients: Sequence[Ingredient]
    labels: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class CellMap:
    """A map that is ready to be shown.

    Attributes
    ----------
    choice : MapChoice
    store : MapStore
    label : str
        Its method for people, the channel where it is one, and the store where that tells it from other cells.
    levels : list of arrays (Y, X)
        Its pyramid, lazy.
    signed : bool
        Whether it speaks for and against the class.
    limit : float
        End of its colour scale.
    recorded : tuple of mapping
        Its trust scores, as `napari_mitoxai.trust.recorded.read_scores` gives them.
    fails : bool
        Whether it fails the sanity check.
    score : str
        The one that its cell tells, if it was made.
    where : str
        The name of its section, where cells are of several.
    """

    choice: MapChoice
    store: "MapStore"
    label: str
    levels: list[Any]
    signed: bool
    limit: float
    recorded: tuple[Mapping[str, Any], ...] = ()
    fails: bool = False
    score: str = ""
    where: str = ""

    @property
    def section(self) -> str:
        """The address of its section."""
        return str(self.store.info["section"]["path"])

    @property
    def title(self) -> str:
        """What it is called in the tab."""
        return f"{self.where}: {self.label}" if self.where else self.label

    @property
    def power(self) -> int:
        """The power of ten that its values are shown in, since napari's colour bar has no room for small numbers."""
        exact = math.floor(math.log10(self.limit) + 1e-9)
        return 0 if -2 <= exact <= 2 else exact

    @property
    def name(self) -> str:
        """What stands in its cell."""
        unit = f"in 10{str(self.power).translate(_RAISED)}" if self.power else ""
        fails = FAILS if self.fails else ""
        lines = [line for line in (self.where, self.label, fails, unit) if line]
        for row in self.recorded:
            if row["score"] == self.score:
                lines.append(f"{self.score} {ARROWS[row['better']]} {row['value']:.2g}")
                if row["low"] == row["low"]:
                    lines.append(f"{row['low']:.2g} to {row['high']:.2g}")
                lines += rests_on(row).split(", ")  # a cell is narrow
        return "\n".join(lines)

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of its colour scale as it is shown; zero is in the middle of a signed one."""
        end = self.limit / 10**self.power
        return (-end if self.signed else 0.0, end)

    def shown(self) -> list[Any]:
        """Its pyramid in the power of ten it is shown in."""
        unit = np.float32(10.0**self.power)
        return with_smaller([level / unit for level in self.levels] if self.power else self.levels)


def prepare(
    choices: Sequence[MapChoice], contrast: Contrast, cancel: CancelToken | None = None
) -> list[CellMap]:
    """Open the maps of a comparison and find their scales.

    Parameters
    ----------
    choices : sequence of MapChoice
    contrast : Contrast
    cancel : CancelToken, optional

    Raises
    ------
    MitoxaiError
        If there are too many, or one cannot be opened.
    Cancelled
        If `cancel` was used.
    """
    if len(choices) > MOST:
        raise MitoxaiError(
            f"{len(choices)} maps are too many to be read beside each other: choose {MOST} or fewer."
        )
    from napari_mitoxai.explain import open_maps

    stores = {path: open_maps(path) for path in dict.fromkeys(choice.store for choice in choices)}
    cells = []
    for choice in choices:
        if cancel is not None:
            cancel.check()
        cells.append(_cell(choice, stores[choice.store]))
    return on_one_scale(_told_apart(with_scores(cells)), contrast)


def with_scores(cells: Sequence[CellMap]) -> list[CellMap]:
    """The cells with the trust scores that are kept with their maps now.

    Raises
    ------
    MitoxaiError
        If a file with scores is damaged.
    """
    from napari_mitoxai.trust.recorded import read_scores, sanity_failures

    paths = {cell.choice.store for cell in cells}
    scores: dict[Path, Any] = {path: read_scores(path).to_dict("records") for path in paths}
    failures = {path: sanity_failures(path) for path in paths}
    return [
        replace(
            cell,
            recorded=tuple(row for row in scores[cell.choice.store] if row["method"] == cell.choice.method),
            fails=cell.choice.method in failures[cell.choice.store],
        )
        for cell in cells
    ]


def _cell(choice: MapChoice, store: "MapStore") -> CellMap:
    if "verdict" not in store.info:
        raise MitoxaiError(f"{store.path} is not finished: run the same `mitoxai explain` again, it goes on.")
    names, levels = store.channels(choice.method), store.levels(choice.method)
    if choice.channel != POOLED and choice.channel not in names:
        raise MitoxaiError(
            f"The map by {choice.method} in {store.path.name} has no channel {choice.channel} (it has {', '.join(names)})."
        )
    planes = [
        level.sum(0) if choice.channel == POOLED else level[names.index(choice.channel)] for level in levels
    ]
    label = store.title(choice.method) + ("" if choice.channel == POOLED else f", {choice.channel}")
    return CellMap(choice, store, label, planes, store.signed(choice.method), robust_limit(planes[-1]))


def _told_apart(cells: Sequence[CellMap]) -> list[CellMap]:
    """With the section before each label where there are several, and the store behind it where that is not enough."""
    several = len({cell.section for cell in cells}) > 1
    named = [
        replace(cell, where=str(cell.store.info["section"]["name"])) if several else cell for cell in cells
    ]
    titles = [cell.title for cell in named]
    return [
        replace(cell, label=f"{cell.label} ({cell.store.path.name.removesuffix('.ome.zarr')})")
        if titles.count(cell.title) > 1
        else cell
        for cell in named
    ]


def in_grid(cells: Sequence[CellMap], room: tuple[float, float]) -> tuple[list[CellMap], tuple[int, int]]:
    """The order of the cells and the shape of the grid, (rows, columns), in which their sections are largest.

    Sections with the same maps have a row each, and their maps stand in one order; or a column each, where there is more room for it.

    Parameters
    ----------
    cells : sequence of CellMap
    room : (height, width)
        Of all cells together, in any unit.
    """
    by_section: dict[str, dict[tuple[str, str, int], CellMap]] = {}
    for cell in cells:
        own = by_section.setdefault(cell.section, {})
        what = (cell.choice.method, cell.choice.channel)
        own[*what, sum(key[:2] == what for key in own)] = cell
    first = next(iter(by_section.values()))
    if len(by_section) > 1 and all(own.keys() == first.keys() for own in by_section.values()):
        rows = [[own[key] for key in first] for own in by_section.values()]
        shapes = [(len(rows), len(first)), (len(first), len(rows))]
        shape = max(shapes, key=lambda each: _magnification(cells, room, each))
        lines = rows if shape == shapes[0] else zip(*rows, strict=True)
        return [cell for line in lines for cell in line], shape
    shapes = [(math.ceil(len(cells) / columns), columns) for columns in range(1, len(cells) + 1)]
    return list(cells), max(shapes, key=lambda each: _magnification(cells, room, each))


def _magnification(cells: Sequence[CellMap], room: tuple[float, float], shape: tuple[int, int]) -> float:
    """How large the largest section is in a cell."""
    sizes = [
        np.array(cell.store.info["section"]["shape"][1:]) * cell.store.grid.pixel_size_um for cell in cells
    ]
    return float(np.min(np.array(room) / shape / np.max(sizes, axis=0)))


def on_one_scale(cells: Sequence[CellMap], contrast: Contrast) -> list[CellMap]:
    """The cells with the ends of their colour scales as asked: of those that share one, the largest of their own."""
    own = [_round_end(robust_limit(cell.levels[-1])) for cell in cells]
    groups = {
        Contrast.OWN: range(len(cells)),
        Contrast.METHOD: [cell.choice.method for cell in cells],
        Contrast.SHARED: [0] * len(cells),
    }[contrast]
    ends: dict[Any, float] = {}
    for group, limit in zip(groups, own, strict=True):
        ends[group] = max(ends.get(group, 0.0), limit)
    return [replace(cell, limit=ends[group]) for cell, group in zip(cells, groups, strict=True)]


def _round_end(limit: float) -> float:
    """The next number at which napari's colour bar has a tick; of others it may write only the zero."""
    unit = 10.0 ** math.floor(math.log10(limit))
    return next(end * unit for end in _ENDS if end * unit >= limit * (1 - 1e-9))


def ingredients(layers: Sequence[Any]) -> list[Ingredient]:
    """What the channel layers of a section add to its composite, as they are shown."""
    found = []
    for layer in layers:
        levels = list(layer.data) if layer.multiscale else [layer.data]
        low, high = (float(limit) for limit in layer.contrast_limits)
        found.append(Ingredient(layer.name, levels, (low, high), _colours(layer.colormap)))
    return found


def usual_ingredients(section: Section, display: Any) -> list[Ingredient]:
    """The same for a section that is not open: as it would be shown."""
    found = []
    for data, keywords, _ in channel_layers(section, display=display):
        levels = data if isinstance(data, list) else [data]
        low, high = keywords["contrast_limits"]
        found.append(Ingredient(keywords["name"], levels, (low, high), _colours(keywords["colormap"])))
    return found


def _colours(colormap: Any) -> NDArray[np.floating]:
    return np.asarray(colormap.map(np.linspace(0, 1, 256)))[:, :3]


def layers_of_cell(cell: CellMap, tissue: Tissue, *, outlined: bool) -> list[LayerTuple]:
    """The layers of a cell from below: composite, map and, if asked for, outlines.

    Parameters
    ----------
    cell : CellMap
    tissue : Tissue
        Of its section.
    outlined : bool
        Every cell of napari's grid has as many layers: one of a section without fibres gets empty outlines.
    """
    usual = {
        "scale": (tissue.pixel_size_um,) * 2,
        "units": UNITS,
        "multiscale": True,
        "metadata": {COMPARED_KEY: {"section": tissue.address, "cell": cell.title}},
    }
    made: list[LayerTuple] = [
        (
            composite_levels(tissue.ingredients),
            {**usual, "name": f"{cell.title} / tissue", "rgb": True},
            "image",
        ),
        (
            cell.shown(),
            {
                **usual,
                "name": cell.name,
                "scale": (cell.store.grid.scale_um,) * 2,
                "translate": (cell.store.grid.translate_um,) * 2,
                "contrast_limits": cell.limits,
                "colormap": map_colormap(cell.signed),
                "blending": "translucent_no_depth",
                "interpolation2d": "linear",
            },
            "image",
        ),
    ]
    if outlined:
        labels = tissue.labels if tissue.labels is not None else np.zeros((2, 2), np.uint8)
        style = {
            "contrast_limits": (0, 255),
            "colormap": outline_colormap(),
            "blending": "translucent_no_depth",
        }
        made.append((outline_levels(labels), {**usual, **style, "name": f"{cell.title} / fibres"}, "image"))
    return made
