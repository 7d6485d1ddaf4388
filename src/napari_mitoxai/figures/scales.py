"""The rules that make maps comparable: limits, opacity, nice numbers, and fewer pixels."""

import math

import numpy as np
from numpy.typing import NDArray

# A map covers the tissue where it says much, and lets it through where it says little.
GREATEST_OPACITY = 0.92


def map_limit(values: NDArray[np.floating], percentile: float = 99.5) -> float:
    """The absolute value at which a map's colours end.

    Parameters
    ----------
    values : ndarray
        (Y, X); NaN is left out.
    percentile : float
        Percentile of the absolute values. Where it is 0, because a map is 0 almost everywhere, the maximum is taken.

    Returns
    -------
    float
        0 for a map that is 0 or NaN everywhere.
    """
    finite = np.abs(values[np.isfinite(values)])
    if finite.size == 0:
        return 0.0
    return float(np.percentile(finite, percentile)) or float(finite.max())


def relative(values: NDArray[np.floating], limit: float, *, signed: bool) -> NDArray[np.float32]:
    """Values as parts of the limit: -1..1 for a signed map, 0..1 for an unsigned one; NaN becomes 0."""
    if limit <= 0:
        return np.zeros(values.shape, dtype=np.float32)
    parts = np.nan_to_num(values / limit, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.asarray(np.clip(parts, -1.0 if signed else 0.0, 1.0), dtype=np.float32)


def opacity(parts: NDArray[np.floating]) -> NDArray[np.float32]:
    """How much a map covers the tissue: grows with the square root of the absolute value, nothing at 0."""
    return np.asarray(GREATEST_OPACITY * np.sqrt(np.abs(parts)), dtype=np.float32)


def nice_length(width: float, share: float = 0.25) -> float:
    """The longest of 1, 2, 5 x 10^n that is at most `share` of `width`: a scale bar."""
    target = width * share
    power = 10.0 ** math.floor(math.log10(target))
    return max(step * power for step in (1, 2, 5) if step * power <= target * (1 + 1e-9))


def block_mean(image: NDArray[np.floating], factor: int) -> NDArray[np.float32]:
    """Average blocks of `factor` x `factor` pixels, NaN left out; blocks at the far edges may be smaller.

    Parameters
    ----------
    image : ndarray
        (Y, X) or (Y, X, planes).
    factor : int
        Side of a block.

    Returns
    -------
    ndarray of float32
        (ceil(Y / factor), ceil(X / factor), ...); NaN where a whole block is NaN.
    """
    if factor <= 1:
        return np.asarray(image, dtype=np.float32)
    known = np.isfinite(image)
    total, count = np.where(known, image, 0).astype(np.float64), known.astype(np.float64)
    for axis in (0, 1):
        starts = np.arange(0, image.shape[axis], factor)
        total, count = np.add.reduceat(total, starts, axis=axis), np.add.reduceat(count, starts, axis=axis)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def block_factor(pixels: int, shown: int) -> int:
    """How many pixels to average into one, so that at least `shown` remain."""
    return max(1, pixels // max(1, shown))


def number(value: float) -> str:
    """A tick's text: two significant digits, powers of ten raised, a true minus sign."""
    if value == 0:
        return "0"
    text = f"{value:.2g}"
    if "e" in text:
        digits, power = text.split("e")
        text = f"{digits}×10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return text.replace("-", "−")
