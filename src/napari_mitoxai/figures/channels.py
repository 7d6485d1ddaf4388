"""Colour composites of counts: what a channel's role looks like, everywhere the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.figures.cells import LegendEntry

# Bright enough to add up on black, and apart in lightness as well as in hue for colour-blind readers: membrane (red)
# + mass (green) + complex I (blue). A fibre that lost the complex is green, a normal one cyan.
_HEX = {
    "membrane": "#ff4b3e",
    "mitochondrial mass": "#1fd07a",
    "OXPHOS complex I": "#3c8dff",
    "OXPHOS complex II": "#d95fe0",
    "OXPHOS complex III": "#ff9e1b",
    "OXPHOS complex IV": "#22cfef",
    "OXPHOS complex V": "#f2e34c",
    "other": "#d0d0d0",
}


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


ROLE_COLOURS: dict[str, tuple[float, float, float]] = {role: _rgb(colour) for role, colour in _HEX.items()}
_FIRST_ROLES = ("membrane", "mitochondrial mass")
_COMPLEXES = tuple(role for role in ROLE_COLOURS if role.startswith("OXPHOS"))
# where the roles are unknown, or two channels would look alike, these tell them apart
_FALLBACK = ("membrane", "OXPHOS complex I", "mitochondrial mass", "OXPHOS complex V")
_ALIKE = 0.25  # distance in RGB


@dataclass(frozen=True)
class ChannelImage:
    """One channel to show.

    Attributes
    ----------
    name, role : str
        Of the channel.
    counts : ndarray
        (Y, X).
    colour : str
        ``#rrggbb``; that of the role where it is empty.
    limits : (float, float) or None
        The counts shown as black and as full colour; by default 0 and a percentile of the counts.
    """

    name: str
    role: str
    counts: NDArray[np.floating]
    colour: str = ""
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Composite:
    """An RGB image (Y, X, 3) float32 in 0..1 and what its colours mean."""

    image: NDArray[np.float32]
    legend: tuple[LegendEntry, ...]


def choose_channels(roles: Sequence[str], most: int = 3) -> list[int]:
    """Positions of the channels to show: membrane, mitochondrial mass, complex I, or else what there is.

    Parameters
    ----------
    roles : sequence of str
        The role of each channel of the panel.
    most : int
        How many at most.

    Returns
    -------
    list of int
        Never empty where `roles` is not.
    """
    wanted = [*_FIRST_ROLES, *_COMPLEXES, *["other"] * most]
    chosen: list[int] = []
    for role in wanted:
        place = next((index for index, own in enumerate(roles) if own == role and index not in chosen), None)
        if place is not None and len(chosen) < most:
            chosen.append(place)
    return chosen


def channel_limits(counts: NDArray[np.floating], percentile: float = 99.5) -> tuple[float, float]:
    """From 0 to a percentile of the counts, or to their maximum where that is 0; both 0 for an empty channel."""
    values = counts[np.isfinite(counts)]
    if not values.size:
        return 0.0, 0.0
    return 0.0, max(float(np.percentile(values, percentile)) or float(values.max()), 0.0)


def stretch(
    counts: NDArray[np.floating], limits: tuple[float, float], *, arcsinh: bool = False
) -> NDArray[np.float32]:
    """Scale counts to 0..1 between two limits; NaN becomes 0, and everything does where the limits are equal."""
    low, high = limits
    if high <= low:
        return np.zeros(counts.shape, dtype=np.float32)
    values = np.nan_to_num(np.asarray(counts, dtype=np.float32), nan=low, posinf=high, neginf=low)
    if arcsinh:
        values, low, high = np.arcsinh(values), float(np.arcsinh(low)), float(np.arcsinh(high))
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), dtype=np.float32)


def composite(
    channels: Sequence[ChannelImage], *, percentile: float = 99.5, arcsinh: bool = False
) -> Composite:
    """Add channels up in their roles' colours.

    Parameters
    ----------
    channels : sequence of ChannelImage
        Counts (Y, X), all of one shape.
    percentile : float
        A channel's full colour is this percentile of its counts; black is 0.
    arcsinh : bool
        Compress high counts, for raw data with a long tail.

    Returns
    -------
    Composite
        The image and its legend.
    """
    image = np.zeros((*channels[0].counts.shape, 3), dtype=np.float32)
    legend = []
    by_role = _colours([channel.role for channel in channels])
    for channel, colour in zip(channels, by_role, strict=True):
        colour = _rgb(channel.colour) if channel.colour else colour
        limits = channel.limits or channel_limits(channel.counts, percentile)
        shown = stretch(channel.counts, limits, arcsinh=arcsinh)
        for plane in range(3):
            image[..., plane] += shown * colour[plane]
        legend.append(LegendEntry(channel.name, colour, limits))
    return Composite(np.clip(image, 0, 1, out=image), tuple(legend))


def grey(
    counts: NDArray[np.floating], percentile: float = 99.5, *, arcsinh: bool = False
) -> NDArray[np.float32]:
    """Counts (Y, X) as grey in 0..1: the ground that maps are drawn on."""
    return stretch(counts, channel_limits(counts, percentile), arcsinh=arcsinh)


def _colours(roles: Sequence[str]) -> list[tuple[float, float, float]]:
    colours: list[tuple[float, float, float]] = []
    for role in roles:
        colour = ROLE_COLOURS.get(role, ROLE_COLOURS["other"])
        if role == "other" or _alike(colour, colours):
            free = (ROLE_COLOURS[name] for name in _FALLBACK if not _alike(ROLE_COLOURS[name], colours))
            colour = next(free, colour)
        colours.append(colour)
    return colours


def _alike(colour: tuple[float, float, float], others: Sequence[tuple[float, float, float]]) -> bool:
    return any(math.dist(colour, other) < _ALIKE for other in others)
