"""Changing training patches at random in ways that keep their class."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

KINDS = {
    "turns": "quarter turns and mirror images: the eight symmetries of a square",
    "flips": "mirror images",
    "rotation": "any angle",
    "zoom": "0.8 to 1.2 times as large",
    "shear": "sheared by up to 0.2",
}
_ZOOM, _SHEAR = 0.2, 0.2


def augmented(
    counts: NDArray[np.float32], kinds: Collection[str], jitter: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Change one patch at random.

    Parameters
    ----------
    counts : ndarray of float32
        (C, Y, X), Y = X, in counts.
    kinds : collection of str
        Of `KINDS`; what leaves the patch is filled by its mirror image.
    jitter : float
        Multiplies the counts of each channel by a random gain whose logarithm has this standard deviation: staining
        differs between subjects by such gains, so they must not be learnt.
    rng : numpy.random.Generator
        Of the draw.
    """
    if "turns" in kinds:
        turns, flip = divmod(int(rng.integers(8)), 2)
        counts = np.rot90(counts, turns, (1, 2))
        counts = counts[:, :, ::-1] if flip else counts
    if "flips" in kinds:
        rows, columns = rng.choice([-1, 1], 2)
        counts = counts[:, ::rows, ::columns]
    if not {"rotation", "zoom", "shear"}.isdisjoint(kinds):
        counts = _warped(counts, _matrix(kinds, rng))
    if jitter > 0:
        gain = np.exp(rng.normal(0, jitter, (len(counts), 1, 1)))
        counts = counts * gain.astype(np.float32)
    return counts


def _matrix(kinds: Collection[str], rng: np.random.Generator) -> NDArray[np.float64]:
    """From places in the new patch to places in the old one, about its centre."""
    angle = rng.uniform(0, 2 * np.pi) if "rotation" in kinds else 0.0
    zoom = rng.uniform(1 - _ZOOM, 1 + _ZOOM) if "zoom" in kinds else 1.0
    shear = rng.uniform(-_SHEAR, _SHEAR) if "shear" in kinds else 0.0
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1.0, shear], [0.0, 1.0]]) / zoom


def _warped(counts: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    centre = (np.array(counts.shape[1:]) - 1) / 2
    offset = centre - matrix @ centre
    return np.stack(
        [ndimage.affine_transform(plane, matrix, offset, order=1, mode="mirror") for plane in counts]
    )
