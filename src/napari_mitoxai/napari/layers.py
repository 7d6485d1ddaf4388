"""Results become layers here: pure functions that return napari layer tuples, without a viewer or Qt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import direct_colormap
from numpy.typing import ArrayLike

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Panel, Panorama, Role, Section
from napari_mitoxai.napari.contrast import sampled_limits
from napari_mitoxai.napari.display import Display
from napari_mitoxai.napari.overview import Enlarged, Overview
from napari_mitoxai.napari.planes import HalvedPlane, ShownPlane
from napari_mitoxai.napari.pyramids import has_slow_pieces, needs_pyramid
from napari_mitoxai.napari.styles import COMPLEXES, FIBRE_OUTLINE, channel_colormap, map_colormap
from napari_mitoxai.trust.recorded import FAILS, sanity_failures

if TYPE_CHECKING:
    from napari_mitoxai.explain.store import MapStore

# Under this key of layer.metadata the plugin keeps what a layer shows and where it came from.
METADATA_KEY = "mitoxai"
UNITS = ("um", "um")
_COARSEST = 700  # pixels; a level that fits in this is the last: less than a screen
_EMPTY_LIMIT = 1e-6
_UNKNOWN_LIMITS = (0.0, 10.0)  # until an overview tells

_MARK = f" ({FAILS})"

LayerTuple = tuple[Any, dict[str, Any], str]
Plane = ShownPlane | HalvedPlane | Enlarged


@dataclass(frozen=True)
class LayerFacts:
    """What the plugin knows of a layer it made.

    Attributes
    ----------
    kind : str
        ``channel``, ``blend`` of channels, ``map``, ``fibres``, ``preview`` of fibres, ``concepts``, or
        ``panorama``.
    section : str
        Name of the section.
    path : str
        Its address: the file or folder, with ``#`` and the acquisition in a file of several.
    what : str
        The channel's target, the map's method, the panorama's name, or ``fibres``.
    how : str
        The class a map explains; empty elsewhere.
    source : str
        The file that holds a map or labels; empty for channels.
    """

    kind: str
    section: str
    path: str
    what: str
    how: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """``C01 / lrp_epsilon / patient``."""
        return " / ".join(part for part in (self.section, self.what, self.how) if part)

    def marked(self, *, fails_sanity: bool) -> str:
        """The name that a map's layer has: one that fails the sanity check says so."""
        return self.name + (_MARK if fails_sanity else "")

    def metadata(self, **more: Any) -> dict[str, Any]:
        """For ``layer.metadata``: plain values, so that they can be saved with the layer."""
        return {METADATA_KEY: {**self.__dict__, **more}}


def facts_of(layer: Any) -> LayerFacts | None:
    """What the plugin wrote into a layer's metadata, or None for a layer of somebody else."""
    kept = layer.metadata.get(METADATA_KEY)
    if not isinstance(kept, dict) or not {"kind", "section", "path", "what"} <= kept.keys():
        return None
    return LayerFacts(*(str(kept.get(field, "")) for field in LayerFacts.__dataclass_fields__))


def unmarked(name: str) -> str:
    """The name of a layer without what `LayerFacts.marked` adds."""
    return name.replace(_MARK, "")


def shown_first(panel: Panel) -> list[int]:
    """The channels to show when a section opens: a membrane, a mitochondrial mass and a complex, where it has them."""
    roles = [panel.with_role(Role.MEMBRANE), panel.with_role(Role.MITOCHONDRIAL_MASS)]
    roles.append([index for role in COMPLEXES for index in panel.with_role(role)])
    first = [indices[0] for indices in roles if indices]
    return first or [0]


def shown_levels(section: Section, channel: int) -> list[Plane]:
    """What a layer shows of a channel, finest first.

    The stored pyramid; for a small section one that is averaged in memory, since every fourth pixel of a picture of counts is noise;
    for a large one an overview that fills in the background. Where there are several levels they are decimal numbers, as means are.
    """
    if section.coarser:
        return [ShownPlane(section, level[channel], np.float32) for level in section.levels]
    if not needs_pyramid(section):
        levels: list[Plane] = [ShownPlane(section, section.data[channel], np.float32)]
        while max(levels[-1].shape) > _COARSEST and min(levels[-1].shape) > 1:
            assert isinstance(levels[-1], ShownPlane | HalvedPlane)
            levels.append(HalvedPlane(levels[-1]))
        return levels if len(levels) > 1 else [ShownPlane(section, section.data[channel])]
    overview = Overview(section, section.data[channel])
    enlarged = [Enlarged(overview, 2**power) for power in range(overview.factor.bit_length())]
    if has_slow_pieces(section):  # whatever moves the picture would decode a whole plane
        return [*enlarged]
    return [ShownPlane(section, section.data[channel], np.float32), *enlarged[1:]]


def channel_layers(
    section: Section,
    channels: Sequence[int] | None = None,
    *,
    visible: Sequence[int] | None = None,
    display: Display | None = None,
) -> list[LayerTuple]:
    """Channels of a section as image layers.

    Parameters
    ----------
    section : Section
        Stays lazy; a few tiles are read for the contrast.
    channels : sequence of int, optional
        Which planes; by default those shown first. A layer costs napari a third of a second: the others wait until they are wanted.
    visible : sequence of int, optional
        Which of them are visible; all by default.
    display : Display, optional
        How channels are shown in this window.

    Returns
    -------
    list of (data, keywords, "image")
        The visible ones last, so that they are on top of napari's layer list.

    Raises
    ------
    MitoxaiError
        If the file is damaged.
    """
    display = display or Display()
    wanted = list(shown_first(section.panel) if channels is None else channels)
    shown = wanted if visible is None else list(visible)
    ordered = [c for c in wanted if c not in shown] + [c for c in reversed(wanted) if c in shown]
    return [_channel_layer(section, channel, display, channel in shown) for channel in ordered]


def _channel_layer(section: Section, index: int, display: Display, visible: bool) -> LayerTuple:
    channel = section.panel[index]
    facts = LayerFacts("channel", section.name, str(section.address), channel.target)
    levels = shown_levels(section, index)
    limits = display.common_limits(channel.target)
    own = [level for level in levels[:1] if isinstance(level, ShownPlane)]
    provisional = limits is None and not own
    if limits is None:
        limits = sampled_limits(section, own, display.percentiles)[0] if own else _UNKNOWN_LIMITS
    colour = display.colour(channel)
    keywords = {
        "name": facts.name,
        "scale": (section.pixel_size_um,) * 2,
        "units": UNITS,
        "contrast_limits": limits,
        "colormap": channel_colormap(colour, limits if display.arcsinh else None),
        "blending": "additive",
        "visible": visible,
        "metadata": facts.metadata(
            channel=index,
            label=channel.label,
            role=str(channel.role),
            colour=colour,
            name_from=channel.source,
            provisional_contrast=provisional,
            pixel_size_um=section.pixel_size_um,
            subject=section.subject,
            group=section.group,
            notes=list(section.notes),
        ),
    }
    if len(levels) > 1:
        keywords["multiscale"] = True
    return (levels if len(levels) > 1 else levels[0]), keywords, "image"


def panorama_layer(panorama: Panorama, section: Section, corner_um: tuple[float, float]) -> LayerTuple:
    """A picture of the slide as a layer that lies under a section of it as it lies on the slide.

    Parameters
    ----------
    panorama : Panorama
        Read now.
    section : Section
        The acquisition; the centre of its first pixel is the origin.
    corner_um : (x, y)
        Of the acquisition on the slide, y upwards.

    Raises
    ------
    MitoxaiError
        If the picture is damaged, or does not say where it lies.
    """
    corners = np.array(panorama.corners_um)
    picture = panorama.read()
    height, width = picture.shape[:2]
    # from the slide's axes (x, y upwards) to the section's (y downwards, x); the corner of its first pixel is half a pixel off
    placed = (
        np.stack([corner_um[1] - corners[:, 1], corners[:, 0] - corner_um[0]], -1) - section.pixel_size_um / 2
    )
    down, right = (placed[3] - placed[0]) / height, (placed[1] - placed[0]) / width
    if not np.isfinite(placed).all() or abs(np.linalg.det([down, right])) < _EMPTY_LIMIT:
        raise MitoxaiError(f"{panorama.description or panorama.id} does not say where it lies on the slide.")
    affine = np.eye(3)
    affine[:2, 0], affine[:2, 1] = down, right
    affine[:2, 2] = placed[0] + (down + right) / 2
    facts = LayerFacts("panorama", section.name, str(section.address), panorama.description or panorama.id)
    keywords = {
        "name": facts.name,
        "affine": affine,
        "units": UNITS,
        "rgb": True,
        "metadata": facts.metadata(corners_um=[list(corner) for corner in panorama.corners_um]),
    }
    return picture, keywords, "image"


def map_layer(
    data: ArrayLike,
    facts: LayerFacts,
    *,
    signed: bool,
    limit: float,
    scale_um: float,
    translate_um: tuple[float, float] = (0.0, 0.0),
    provenance: dict[str, Any] | None = None,
) -> LayerTuple:
    """An explanation map as an image layer over its section.

    Parameters
    ----------
    data : array
        (Y, X).
    facts : LayerFacts
        Of kind ``map``.
    signed : bool
        Whether values below zero speak against the class.
    limit : float
        The value at the end of the colour scale; a signed scale goes from minus `limit`, an unsigned one from zero.
    scale_um : float
        Side of a pixel of the map.
    translate_um : (float, float)
        Centre of its first pixel, y and x.
    provenance : dict, optional
        How the map was made; plain values.
    """
    keywords = {
        "name": facts.name,
        "scale": (scale_um, scale_um),
        "translate": translate_um,
        "units": UNITS,
        "contrast_limits": (-limit if signed else 0.0, limit),
        "colormap": map_colormap(signed),
        "blending": "translucent_no_depth",
        "interpolation2d": "linear",
        "metadata": facts.metadata(signed=signed, provenance=provenance or {}),
    }
    return data, keywords, "image"


def robust_limit(values: ArrayLike) -> float:
    """The end of a map's colour scale: the 99.5th percentile of its magnitude where it is not zero.

    Never zero: a map may be empty, as Grad-CAM is where nothing speaks for the class.
    """
    magnitude = np.abs(np.asarray(values))
    magnitude = magnitude[magnitude > 0]
    return float(np.percentile(magnitude, 99.5)) if magnitude.size else _EMPTY_LIMIT


def store_layers(store: "MapStore") -> list[LayerTuple]:
    """The maps of a finished store as layers, lazily; the last one, which is on top, is visible.

    Parameters
    ----------
    store : MapStore
        As `napari_mitoxai.explain.open_maps` gives it. Planes of a map are summed: what the model sees in all channels.
    """
    section = store.info["section"]
    failures = sanity_failures(store.path)
    layers = []
    for index, method in enumerate(store.methods):
        levels = [level.sum(0) for level in store.levels(method)]
        facts = LayerFacts("map", section["name"], section["path"], method, store.explained, str(store.path))
        layer = map_layer(
            levels if len(levels) > 1 else levels[0],
            facts,
            signed=store.signed(method),
            limit=robust_limit(levels[-1]),
            scale_um=store.grid.scale_um,
            translate_um=(store.grid.translate_um,) * 2,
            provenance=store.info,
        )
        layer[1]["name"] = facts.marked(fails_sanity=method in failures)
        layer[1]["visible"] = index == len(store.methods) - 1
        layers.append(layer)
    return layers


def fibre_layer(
    labels: ArrayLike, facts: LayerFacts, *, pixel_size_um: float, provenance: dict[str, Any] | None = None
) -> LayerTuple:
    """Fibre labels as a layer of outlines.

    Parameters
    ----------
    labels : array of int
        (Y, X); 0 is outside.
    facts : LayerFacts
        Of kind ``fibres``.
    pixel_size_um : float
        Side of a pixel.
    provenance : dict, optional
        How they were made; plain values.
    """
    keywords = {
        "name": facts.name,
        "scale": (pixel_size_um, pixel_size_um),
        "units": UNITS,
        "opacity": 0.8,
        "blending": "translucent_no_depth",
        "colormap": direct_colormap({None: FIBRE_OUTLINE, 0: (0, 0, 0, 0)}),
        "metadata": facts.metadata(provenance=provenance or {}),
    }
    return labels, keywords, "labels"
