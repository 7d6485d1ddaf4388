"""The seamless mode on a section: where its windows lie, and how its blocks fill a store."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.explain.blending import Block
from napari_mitoxai.explain.filling import Corner, Listener, Work, asked_for, refuse_not_finite
from napari_mitoxai.explain.patch_reader import read_on_grid
from napari_mitoxai.explain.plan import Request
from napari_mitoxai.explain.seamless import configured, explain_blocks
from napari_mitoxai.explain.seamless_network import SeamlessNetwork
from napari_mitoxai.explain.store import BLOCK
from napari_mitoxai.models import CancellingMode, Checkpoint


def seamless_network(model: nn.Module, checkpoint: Checkpoint, request: Request) -> SeamlessNetwork:
    """The network of a checkpoint, to be run over a whole section.

    Raises
    ------
    MitoxaiError
        If the seamless mode does not have a method or a score that is asked for, or the network does not allow it.
    """
    geometry = checkpoint.geometry
    methods = {wanted.method.name: wanted.parameters.model_dump() for wanted in request.wanted()}
    if len(methods) < len(request.methods):
        raise MitoxaiError("The seamless mode has each method once: leave one of its settings out.")
    if request.output != "logit":
        raise MitoxaiError(
            "The seamless mode explains logits, as probabilities of windows do not add up: choose logit."
        )
    if geometry.patch_size % geometry.input_size:
        raise MitoxaiError(
            f"Patches of {geometry.patch_size} px are not a whole number of times as large as the network's input of "
            f"{geometry.input_size} px: explain patch by patch."
        )
    network = SeamlessNetwork(model, len(checkpoint.panel), geometry.input_size)
    configured(network, methods)
    return network


def windows(network: SeamlessNetwork, shape: tuple[int, int], reduction: int, overlap: float) -> list[Corner]:
    """The upper left corners of all windows of a map of this shape, in pixels of the section."""
    return [(y * reduction, x * reduction) for y, x in network.corners(shape, overlap)]


def notes_on(network: SeamlessNetwork, work: Work) -> list[str]:
    """What somebody who chose the seamless mode for its speed should know."""
    saving = network.saving(work.shape, [work.in_map(corner) for corner in work.corners])
    if saving >= 1:
        return []
    note = (
        f"The seamless mode computes {1 / saving:.1f} times as many pixels here as patch by patch, which would be faster: "
        "patches are large, or overlap little, beside what their borders depend on."
    )
    return [note]


def fill_seamlessly(
    work: Work,
    network: SeamlessNetwork,
    blocks: Collection[Block],
    listener: Listener,
    *,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> None:
    """Compute some blocks of the maps of a section; see `napari_mitoxai.explain.filling.fill`.

    Raises
    ------
    MitoxaiError
        If the section cannot be read, or a map is not finite.
    Cancelled
        If it was cancelled; finished blocks have been handed over.
    """
    section, checkpoint = work.section, work.checkpoint
    planes, reduction = checkpoint.channels_in(section), work.geometry.reduction
    label_of = {wanted.method.name: wanted.label for wanted in work.wanted}
    methods = {wanted.method.name: wanted.parameters.model_dump() for wanted in work.wanted}
    weights = [0.0] * len(checkpoint.classes)
    weights[work.score.target] = 1.0
    if work.score.against is not None:
        weights[work.score.against] = -1.0
    tiles = {
        (row, column)
        for row in range(-(-work.shape[0] // BLOCK))
        for column in range(-(-work.shape[1] // BLOCK))
    }

    def read(rows: slice, columns: slice) -> NDArray[np.float32]:
        cancel.check()
        return checkpoint.scaling(read_on_grid(section, planes, reduction, rows, columns))

    with CancellingMode(cancel):
        done = 0
        for part in explain_blocks(
            network, read, work.shape, [work.in_map(corner) for corner in work.corners], methods, weights,
            tile=BLOCK, finished=tiles - set(blocks),
        ):  # fmt: skip
            cancel.check()
            shifted = np.exp(part.logits - part.logits.max(1, keepdims=True))
            probabilities = shifted / shifted.sum(1, keepdims=True)
            listener.on_patches(
                {
                    (y * reduction, x * reduction): row.tolist()
                    for (y, x), row in zip(part.corners, probabilities, strict=True)
                }
            )
            for tile, maps in part.tiles.items():
                by_label = {label_of[name]: values for name, values in maps.items()}
                refuse_not_finite(by_label, section.name)
                listener.on_block(tile, asked_for(work, tile, by_label))
            done += len(part.corners)
            progress(
                Progress(
                    "Explaining", done, len(work.corners), f"{done} of {len(work.corners)} windows, seamless"
                )
            )
