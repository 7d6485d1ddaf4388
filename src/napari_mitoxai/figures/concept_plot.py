"""What a network with named axes says, as pictures: galleries, correlations, importance, paths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from napari_mitoxai.figures.channels import ChannelImage, composite

_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#000000",
)  # Okabe and Ito
_COLUMNS = 10


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_gallery(
    path: Path,
    patches: NDArray[np.float32],
    names: Sequence[tuple[str, str]],
    titles: Sequence[str],
    heading: str,
) -> None:
    """Draw patches in rows of ten, the first the most activated one; colours end alike in all of them.

    Parameters
    ----------
    path : Path
        PNG to write.
    patches : ndarray of float32
        (N, C, Y, X), counts of up to three channels.
    names : sequence of (str, str)
        Name and role of each channel.
    titles : sequence of str
        Above each patch.
    heading : str
        Above all.
    """
    side = patches.shape[2]
    strip = patches.transpose(1, 2, 0, 3).reshape(patches.shape[1], side, -1)
    shown = composite(
        [ChannelImage(name, role, counts) for (name, role), counts in zip(names, strip, strict=True)]
    )
    rows = -(-len(patches) // _COLUMNS)
    figure = _figure(10, 1.15 * rows + 0.7)
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    for number, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if number < len(patches):
            axes.imshow(shown.image[:, number * side : (number + 1) * side])
            axes.set_title(titles[number], fontsize=6, pad=2)
    figure.suptitle(heading, fontsize=10)
    handles = [Patch(facecolor=entry.colour) for entry in shown.legend]
    figure.legend(
        handles,
        [entry.name for entry in shown.legend],
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    figure.savefig(path, format="png", dpi=130)


def draw_correlation(path: Path, matrices: dict[str, NDArray[np.float64]], concepts: Sequence[str]) -> None:
    """Draw the correlation between the axes of the concepts, a square a layer.

    Parameters
    ----------
    path : Path
        PNG to write.
    matrices : dict of ndarray
        (K, K) by layer.
    concepts : sequence of str
        Their K names.
    """
    side = 1.2 + 0.55 * len(concepts)
    figure = _figure(max(side * len(matrices) + 1.0, 4.0), side + 0.7)
    grid = figure.subplots(1, len(matrices), squeeze=False)
    image: Any = None
    for axes, (layer, matrix) in zip(grid.flat, matrices.items(), strict=True):
        image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        axes.set_title(layer, fontsize=9)
        axes.set_xticks(range(len(concepts)), concepts, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(concepts)), concepts, fontsize=8)
        for row in range(len(concepts)):
            for column in range(len(concepts)):
                value = matrix[row, column]
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if abs(value) > 0.6 else "black"
                )  # fmt: skip
    figure.suptitle("correlation between axes", fontsize=9)
    figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.8).ax.tick_params(labelsize=8)
    figure.savefig(path, format="png", dpi=150)


def draw_importance(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the importance of every concept for every class.

    Parameters
    ----------
    path : Path
        PNG to write.
    rows : sequence of dict
        As `importance` gives them.
    """
    keys = list(dict.fromkeys((row["layer"], row["concept"]) for row in rows))
    classes = list(dict.fromkeys(row["class"] for row in rows))
    figure = _figure(6.5, 1.4 + 0.32 * len(keys))
    axes = figure.add_subplot()
    for number, name in enumerate(classes):
        own = {(row["layer"], row["concept"]): row for row in rows if row["class"] == name}
        places = [place + 0.16 * (number - (len(classes) - 1) / 2) for place in range(len(keys))]
        axes.errorbar(
            [own[key]["importance"] for key in keys], places,
            xerr=[own[key]["importance_sd"] or 0 for key in keys],
            fmt="o", capsize=2, markersize=5, color=_COLOURS[number % len(_COLOURS)], label=name,
        )  # fmt: skip
    axes.axvline(1, color="0.6", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(keys)), [f"{concept} ({layer})" for layer, concept in keys], fontsize=8)
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_xlabel(
        "loss with the concept switched / loss as it is (1: the concept does not matter)", fontsize=8
    )
    figure.legend(loc="outside upper center", frameon=False, fontsize=8, ncols=len(classes))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, format="png", dpi=150)


def draw_paths(
    path: Path,
    paths: Sequence[tuple[str, NDArray[np.float64]]],
    layers: Sequence[str],
    concepts: Sequence[str],
) -> None:
    """Draw the way of patches through the layers: how strongly each activates each concept there.

    Parameters
    ----------
    path : Path
        PNG to write.
    paths : sequence of (str, ndarray)
        What a patch is called, and (layers, K): the percentile of its activation among all patches.
    layers, concepts : sequence of str
        Their names; the layers in the order of the network.
    """
    columns = min(len(paths), 3)
    rows = -(-len(paths) // columns)
    figure = _figure(3.0 * columns + 0.5, 2.2 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(grid.flat):
        if number >= len(paths):
            axes.set_axis_off()
            continue
        name, values = paths[number]
        for concept in range(len(concepts)):
            axes.plot(
                values[:, concept], "o-", color=_COLOURS[concept % len(_COLOURS)], markersize=4, label=concepts[concept] if not number else None
            )  # fmt: skip
        axes.set_title(name, fontsize=8)
        axes.set_ylim(-3, 103)
        axes.set_xticks(range(len(layers)), layers, rotation=30, ha="right", fontsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.supylabel("percentile among all patches", fontsize=8)
    figure.legend(loc="outside upper center", frameon=False, fontsize=8, ncols=min(len(concepts), 4))
    figure.savefig(path, format="png", dpi=150)
