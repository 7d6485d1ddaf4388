"""What a network behind a channel mixing reads of a section, as layers that are computed where one looks."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.imc import Section
from napari_mitoxai.napari.layers import LayerFacts, LayerTuple, map_layer
from napari_mitoxai.napari.overview import Enlarged, Overview
from napari_mitoxai.napari.planes import HalvedPlane, ShownPlane
from napari_mitoxai.napari.pyramids import needs_pyramid

if TYPE_CHECKING:
    from napari_mitoxai.models import Checkpoint

_COARSEST = 700  # pixels; a level that fits in this is the last
_TILE = 512  # pixels of the blend
_SAMPLE = 256  # pixels a side of what the contrast is taken from


def blend_of(
    counts: da.Array, mean: NDArray[np.float32], deviation: NDArray[np.float32], weights: NDArray[np.float32]
) -> da.Array:
    """Blend counts as a network reads them: scaled, then summed with one weight a channel.

    Parameters
    ----------
    counts : dask.array.Array
        (C, Y, X), lazy: mean counts a pixel of the network's input.
    mean, deviation, weights : ndarray
        (C,), of the arcsinh of the counts, and of the blend.

    Returns
    -------
    dask.array.Array
        (Y, X) float32, lazy.
    """
    rate = (weights / deviation).astype(np.float32)[:, None, None]
    shift = np.float32((weights * mean / deviation).sum())

    def blend(block: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray((np.arcsinh(block.astype(np.float32)) * rate).sum(0) - shift, np.float32)

    whole = counts.rechunk({0: -1})
    return da.map_blocks(blend, whole, dtype=np.float32, drop_axis=0)


def blend_layers(
    section: Section, checkpoint: "Checkpoint", weights: NDArray[np.float32], run: Path
) -> list[LayerTuple]:
    """The blended images of a model as layers, the first one visible.

    Parameters
    ----------
    section : Section
        Stays lazy.
    checkpoint : Checkpoint
        Of a model with mixing.
    weights : ndarray of float32
        (images, C), never negative.
    run : Path
        The model's folder.
    """
    planes, reduction = checkpoint.channels_in(section), checkpoint.geometry.reduction
    mean, deviation = (
        np.asarray(values, np.float32) for values in (checkpoint.scaling.mean, checkpoint.scaling.deviation)
    )
    scale = reduction * section.pixel_size_um
    shift = (reduction - 1) / 2 * section.pixel_size_um
    layers = []
    for number, own in enumerate(weights, start=1):
        levels = [
            blend_of(counts, mean, deviation, own) for counts in _read_levels(section, planes, reduction)
        ]
        shown = _shown(section, levels)
        what = "blend" if len(weights) == 1 else f"blend {number}"
        facts = LayerFacts("blend", section.name, str(section.address), what, run.name, str(run))
        shares = own / own.sum() if own.sum() > 0 else own
        data, keywords, kind = map_layer(
            shown if len(shown) > 1 else shown[0], facts, signed=False, limit=1.0, scale_um=scale,
            translate_um=(shift, shift),
            provenance={"weights_sha256": checkpoint.weights_sha256, "share": dict(zip(checkpoint.panel.targets, shares.tolist(), strict=True))},
        )  # fmt: skip
        keywords |= {
            "colormap": "gray", "contrast_limits": _limits(levels[-1]), "blending": "translucent_no_depth", "visible": number == 1,
        }  # fmt: skip
        layers.append((data, keywords, kind))
    return layers


def _read_levels(section: Section, planes: list[int], reduction: int) -> list[da.Array]:
    """Mean counts (C, Y, X) at the size of the network's input, then coarser ones of the stored pyramid."""
    found: list[da.Array] = []
    for level in section.levels:
        factor = round(section.shape[1] / level.shape[1])
        if factor == reduction and section.coarser:
            found = [level[planes]]
        elif found and factor > reduction:
            found.append(level[planes])
        elif factor == 1:
            tile = _TILE * reduction
            fine = level[planes].rechunk({0: -1, 1: tile, 2: tile})
            axes = {1: reduction, 2: reduction}
            found = [da.coarsen(np.mean, fine, axes, trim_excess=True) if reduction > 1 else fine]
    return found


def _shown(section: Section, levels: list[da.Array]) -> list[Any]:
    finest = ShownPlane(section, levels[0])
    if len(levels) > 1:
        return [finest, *(ShownPlane(section, level) for level in levels[1:])]
    if needs_pyramid(section):
        overview = Overview(section, levels[0])
        return [finest, *(Enlarged(overview, 2**power) for power in range(1, overview.factor.bit_length()))]
    shown: list[Any] = [finest]
    while max(shown[-1].shape) > _COARSEST and min(shown[-1].shape) > 1:
        shown.append(HalvedPlane(shown[-1]))
    return shown


def _limits(level: da.Array) -> tuple[float, float]:
    """From the first to the 99th hundredth of the middle of a blend."""
    middle = tuple(slice(max((size - _SAMPLE) // 2, 0), (size + _SAMPLE) // 2) for size in level.shape)
    low, high = np.percentile(np.asarray(level[middle].compute(scheduler="threads")), [1, 99])
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)
