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


@lru_cache
def channel_colormap(role: Role) -> Colormap:
    """Black to the role's colour, for additive blending."""
    return Colormap([[0, 0, 0, 1], [*ROLE_COLOURS[role], 1]], name=f"mitoxai {role}", display_name=str(role))


def role_colour(channel: Channel) -> str:
    """The hue of a channel's role, as ``#rrggbb``."""
    red, green, blue = (round(255 * part) for part in ROLE_COLOURS[channel.role])
    return f"#{red:02x}{green:02x}{blue:02x}"


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
