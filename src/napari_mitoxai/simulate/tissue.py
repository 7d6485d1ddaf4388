"""The geometry of a simulated section: polygonal fibres, gaps between them, empty background."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

_BACKGROUND_SHARE = 0.1
_LOOSE_SHARE = 0.08  # fibres that lie apart from their neighbours
_MISSING_SHARE = 0.015
_SMALLEST_UM2 = 60.0
_SPLINE_DEVIATION = np.sqrt(
    151 / 315
)  # of a cubic B-spline through white noise of deviation 1, along one axis


@dataclass(frozen=True)
class Tissue:
    """Where the fibres of a section lie.

    Attributes
    ----------
    fibres : ndarray of int32
        (Y, X); 1..n, 0 is outside.
    depth_um : ndarray of float32
        (Y, X); distance to the nearest fibre's edge in um, positive inside a fibre, negative outside.
    owner : ndarray of int32
        (Y, X); the fibre a pixel is nearest to, 0 in empty background.
    count : int
        Number of fibres.
    pixel_size_um : float
        Side of a pixel.
    """

    fibres: NDArray[np.int32]
    depth_um: NDArray[np.float32]
    owner: NDArray[np.int32]
    count: int
    pixel_size_um: float


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> NDArray[np.float32]:
    """Draw noise of mean 0 and standard deviation near 1 that varies over `scale` pixels.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the randomness comes from.
    shape : tuple of int
        (Y, X).
    scale : float
        Distance between independent values, in pixels.

    Returns
    -------
    ndarray of float32
        (Y, X).
    """
    (rows, row_weights), (columns, column_weights) = (_spline(side, scale) for side in shape)
    coarse = rng.standard_normal((rows[-1] + 4, columns[-1] + 4), dtype=np.float32)
    tall = sum(coarse[rows + k] * row_weights[k][:, None] for k in range(4))
    fine: NDArray[np.float32] = sum(tall[:, columns + k] * column_weights[k] for k in range(4))
    return fine / np.float32(_SPLINE_DEVIATION**2)


def _spline(side: int, scale: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """First of the four knots around each pixel, (side,), and their cubic B-spline weights, (4, side)."""
    place = np.arange(side) / scale
    first = np.floor(place).astype(np.intp)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    return first, weights.astype(np.float32)


def make_tissue(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    pixel_size_um: float = 1.0,
    fibre_size_um: float = 50.0,
) -> Tissue:
    """Lay fibres over a section: a power diagram of jittered hexagonal seeds, bent, eroded and rounded.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the randomness comes from.
    shape : tuple of int
        (Y, X) in pixels.
    pixel_size_um : float
        Side of a pixel.
    fibre_size_um : float
        Mean diameter of a fibre.

    Returns
    -------
    Tissue
        Every fibre has more than 60 um² inside the image.
    """
    cells, seeds = _cells(rng, shape, fibre_size_um / pixel_size_um)
    gap = _gaps(rng, seeds, shape, fibre_size_um) / pixel_size_um
    depth = _depth(cells, gap, rounding=0.12 * fibre_size_um / pixel_size_um)
    empty = _empty_cells(rng, seeds, shape, fibre_size_um / pixel_size_um)
    depth[empty[cells]] = -fibre_size_um / pixel_size_um

    area = np.bincount(cells[depth > 0], minlength=len(seeds)) * pixel_size_um**2
    kept = area > _SMALLEST_UM2
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    depth[~kept[cells]] = np.minimum(depth[~kept[cells]], -fibre_size_um / pixel_size_um)
    owner = number[cells]
    fibres = np.where(depth > 0, owner, 0).astype(np.int32)
    return Tissue(fibres, (depth * pixel_size_um).astype(np.float32), owner, int(kept.sum()), pixel_size_um)


def _cells(
    rng: np.random.Generator, shape: tuple[int, int], size: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Divide the plane into one cell a fibre: the cell of each pixel and the seeds (n, 2), all in pixels."""
    # a hexagon of this pitch has the area of a disc of this size
    spacing = size * np.sqrt(np.pi / (2 * np.sqrt(3)))
    margin = 2 * spacing
    stretch, angle = rng.uniform(1.0, 1.5), rng.uniform(0, np.pi)
    rows = np.arange(-margin, shape[0] + margin, spacing * np.sqrt(3) / 2)
    columns = np.arange(-margin, shape[1] + margin, spacing)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    x[1::2] += spacing / 2
    seeds = np.stack([y.ravel(), x.ravel()], axis=1) + rng.normal(0, 0.2 * spacing, (y.size, 2))

    # pixels, not seeds, are bent and stretched, which gives curved edges and fibres cut at a slant
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = rotation @ np.diag([np.sqrt(stretch), 1 / np.sqrt(stretch)]) @ rotation.T
    middle = np.array(shape) / 2
    axes = np.meshgrid(*(np.arange(side, dtype=np.float64) for side in shape), indexing="ij")
    points = np.stack([axis.ravel() for axis in axes], axis=1)
    points = (points - middle) @ slant + middle
    for bend, scale in ((0.30, 4.0), (0.035, 0.35)):
        for axis in range(2):
            points[:, axis] += bend * size * smooth_noise(rng, shape, scale * size).ravel()

    # a power diagram is the nearest-neighbour diagram of seeds lifted out of the plane by what they lack
    lift = np.sqrt(rng.uniform(0, 0.35, len(seeds))) * spacing * 0.8
    tree = cKDTree(np.column_stack([seeds, lift]))
    cells = tree.query(np.column_stack([points, np.zeros(len(points))]), workers=-1)[1].reshape(shape)
    return cells, (seeds - middle) @ np.linalg.inv(slant) + middle


def _gaps(
    rng: np.random.Generator, seeds: NDArray[np.float64], shape: tuple[int, int], fibre_size_um: float
) -> NDArray[np.float64]:
    """Half the distance of each fibre to its neighbours, in um: mostly snug, some loose, chains of loose."""
    gap = np.exp(rng.normal(np.log(0.6), 0.5, len(seeds)))
    loose = rng.random(len(seeds)) < _LOOSE_SHARE
    gap[loose] += rng.uniform(0.04, 0.1, loose.sum()) * fibre_size_um
    field = _at(seeds, smooth_noise(rng, shape, 0.3 * max(shape)))
    cleft = (
        np.abs(field) < 0.07
    )  # along a level line of a smooth field lies the connective tissue between bundles
    gap[cleft] += rng.uniform(0.05, 0.12, cleft.sum()) * fibre_size_um
    return gap


def _empty_cells(
    rng: np.random.Generator, seeds: NDArray[np.float64], shape: tuple[int, int], size: float
) -> NDArray[np.bool_]:
    """Which cells hold no fibre: those outside the tissue, in one or a few regions, and single ones."""
    field = smooth_noise(rng, shape, max(0.45 * max(shape), 3 * size))
    outside = _at(seeds, field) > np.quantile(field, 1 - _BACKGROUND_SHARE)
    return outside | (rng.random(len(seeds)) < _MISSING_SHARE)


def _at(points: NDArray[np.float64], field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read `field` (Y, X) at points (n, 2), at its border for those outside."""
    last = np.array(field.shape) - 1
    y, x = np.clip(np.rint(points), 0, last).astype(int).T
    values: NDArray[np.float32] = field[y, x]
    return values


def _depth(cells: NDArray[np.intp], gap: NDArray[np.float64], rounding: float) -> NDArray[np.float32]:
    """Depth below the surface of the fibre of each pixel's own cell, in pixels, with corners rounded."""
    apart = np.ones(cells.shape, dtype=bool)
    apart[:, 1:] &= cells[:, 1:] == cells[:, :-1]
    apart[1:] &= cells[1:] == cells[:-1]
    to_edge = ndimage.distance_transform_edt(apart) - gap[cells]
    core = to_edge > rounding
    rounded = (
        np.where(core, to_edge, rounding - ndimage.distance_transform_edt(~core)) if core.any() else to_edge
    )
    depth: NDArray[np.float32] = rounded.astype(np.float32)
    return depth
