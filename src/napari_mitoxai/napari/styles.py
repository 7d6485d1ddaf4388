"""What colours mean: one hue a role, one scale a kind of map."""

from functools import lru_cache

import numpy as np
from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap

from napari_mitoxai.figures import ROLE_COLOURS
from napari_mitoxai.imc import Channel, Role

COMPLEXES = (Role.COMPLEX_I, Role.COMPLEX_IV, Role.COMPLEX_III, Role.COMPLEX_V, Role.COMPLEX_II)
FIBRE_OUTLINE = "#ffffff"

# Below this fraction of its scale an unsigned map fades out, so that the tissue stays visible under it.
_FADE = 0.35
_STEPS = 256  # of a scale that is not straight


@lru_cache(maxsize=512)
def channel_colormap(colour: str, arcsinh: tuple[float, float] | None = None) -> Colormap:
    """Black to a colour, for additive blending.

    Parameters
    ----------
    colour : str
        ``#rrggbb``.
    arcsinh : (float, float), optional
        The limits of the layer, in counts: the colour then follows the arcsinh of the counts between them. The counts
        themselves, which the window shows under the mouse, stay as they are.
    """
    name = next((role for role, own in _role_colours().items() if own == colour), colour)
    full = np.array([*(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)), 1.0])
    if arcsinh is None:
        return Colormap([[0, 0, 0, 1], full], name=f"mitoxai {colour}", display_name=name)
    low, high = arcsinh
    counts = np.arcsinh(np.linspace(low, high, _STEPS))
    strength = (counts - counts[0]) / (counts[-1] - counts[0])
    colours = strength[:, None] * full
    colours[:, 3] = 1
    return Colormap(colours, name=f"mitoxai arcsinh {colour}", display_name=f"{name}, arcsinh")


@lru_cache
def _role_colours() -> dict[str, str]:
    return {role: _hex(colour) for role, colour in ROLE_COLOURS.items()}


def _hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def role_colour(channel: Channel) -> str:
    """The hue of a channel's role, as ``#rrggbb``."""
    return _role_colours()[channel.role]


@lru_cache
def map_colormap(signed: bool) -> Colormap:
    """The scale of an explanation map.

    Parameters
    ----------
    signed : bool
        Whether the map tells for from against.

    Returns
    -------
    Colormap
        Signed: blue (against) over transparent at zero to orange (for). Unsigned: inferno, transparent at zero.
    """
    if signed:
        position = np.linspace(-1, 1, 255)
        strength = np.abs(position)[:, None]
        against, for_ = (np.array(rgb) for rgb in ((0.25, 0.62, 1.0), (1.0, 0.58, 0.10)))
        hue = np.where(position[:, None] < 0, against, for_)
        # dark near zero, then the hue, then towards white: lightness alone tells how strong
        rgb = hue * np.minimum(1, strength / 0.6) + (1 - hue) * 0.55 * np.clip((strength - 0.6) / 0.4, 0, 1)
        alpha = np.clip(strength / _FADE, 0, 1)
        return Colormap(
            np.hstack([rgb, alpha]), name="mitoxai for and against", display_name="for and against"
        )
    colours = np.array(AVAILABLE_COLORMAPS["inferno"].colors, dtype=float)
    if colours.shape[1] == 3:
        colours = np.hstack([colours, np.ones((len(colours), 1))])
    colours[:, 3] = np.clip(np.linspace(0, 1, len(colours)) / _FADE, 0, 1)
    return Colormap(colours, name="mitoxai relevance", display_name="relevance")


@lru_cache
def outline_colormap() -> Colormap:
    """Transparent, and the colour of outlines, for pictures of 0 and 1."""
    red, green, blue = (int(FIBRE_OUTLINE[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return Colormap(
        [[red, green, blue, 0], [red, green, blue, 0.5]], name="mitoxai outlines", display_name="outlines"
    )
