"""Turning the axes of whitened layers towards concepts while a network trains, and how pure the axes became."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from napari_mitoxai.common import CancelToken
from napari_mitoxai.models import CancellingMode, Whitening
from napari_mitoxai.models.whitened import whitened_layers
from napari_mitoxai.models.whitening import ConceptWhitening, activations_of
from napari_mitoxai.training.examples import Examples

Row = dict[str, Any]


@dataclass(frozen=True)
class Alignment:
    """When and with what the axes are turned: the second of the two alternating steps of Chen, Bei and Rudin (2020).

    Attributes
    ----------
    examples : Examples
        Patches that show concepts; their label is the number of the concept.
    whitening : Whitening
        Of the network.
    every : int
        Training steps from one turn to the next.
    batch_size : int
        Examples of each concept that are looked at, at most.
    seed : int
        With the step it makes the draw.
    """

    examples: Examples
    whitening: Whitening
    every: int = 20
    batch_size: int = 16
    seed: int = 0

    def after_step(self, network: nn.Module, step: int) -> None:
        """Turn the axes, if it is their turn.

        Examples of all concepts go through the network in evaluation mode; what each whitened layer reads where
        a concept's axis is most active is what this axis is turned to.

        Parameters
        ----------
        network : torch.nn.Module
            In training mode, and left so.
        step : int
            Training steps taken since the first epoch began.
        """
        if step % self.every:
            return
        drawn = [self._draw(step, concept) for concept in range(len(self.whitening.concepts))]
        inputs = self.examples.inputs(np.concatenate(drawn), step, 0)
        layers = whitened_layers(network)
        device = next(network.parameters()).device
        network.eval()
        with torch.no_grad(), _watched(layers) as seen:
            network(inputs.to(device))
        ends = np.cumsum([len(indices) for indices in drawn])
        for name, layer in layers.items():
            for concept, (end, indices) in enumerate(zip(ends, drawn, strict=True)):
                if len(indices):
                    own = seen[name][0][end - len(indices) : end].to(layer.rotation)
                    layer.collect(concept, own, self.whitening.activation)
            layer.turn()
        network.train()

    def _draw(self, step: int, concept: int) -> NDArray[np.intp]:
        own = np.flatnonzero(self.examples.labels == concept)
        rng = np.random.default_rng([self.seed, step, concept])
        return rng.permutation(own)[: self.batch_size]


@contextmanager
def _watched(layers: dict[str, ConceptWhitening]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """What layers read and give in the passes inside: by name, of the newest pass."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str, layer: ConceptWhitening) -> torch.utils.hooks.RemovableHandle:
        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (inputs[0], output)

        return layer.register_forward_hook(note)

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def axes_of(network: nn.Module, inputs: Tensor, cancel: CancelToken | None = None) -> dict[str, Tensor]:
    """What every whitened layer gives for scaled patches.

    Parameters
    ----------
    network : torch.nn.Module
        Put into evaluation mode; it stays on its device.
    inputs : Tensor
        (N, C, H, W), scaled.
    cancel : CancelToken, optional
        Checked between layers.

    Returns
    -------
    dict
        (N, features, height, width) by the layer's name in the network; the first axes are those of the concepts.
    """
    layers = whitened_layers(network)
    network.eval()
    with torch.no_grad(), CancellingMode(cancel or CancelToken()), _watched(layers) as seen:
        network(inputs.to(next(network.parameters()).device))
    return {name: output for name, (_, output) in seen.items()}


def concept_activations(
    network: nn.Module,
    examples: Examples,
    whitening: Whitening,
    *,
    every_axis: bool = False,
    batch_size: int = 16,
    cancel: CancelToken | None = None,
) -> dict[str, NDArray[np.float32]]:
    """How strongly each patch activates each axis, by layer.

    Parameters
    ----------
    network : torch.nn.Module
        Put into evaluation mode.
    examples : Examples
        Scaled patches, at least one.
    whitening : Whitening
        Of the network.
    every_axis : bool
        Whether those of no concept are asked for too.
    batch_size, cancel
        As usual.

    Returns
    -------
    dict
        (N, axes) by the layer's name in the architecture.
    """
    count = None if every_axis else len(whitening.concepts)
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in whitening.layers}
    for start in range(0, len(examples), batch_size):
        indices = np.arange(start, min(start + batch_size, len(examples)))
        given = axes_of(network, examples.inputs(indices, 0, start), cancel)
        for name, output in zip(whitening.layers, given.values(), strict=True):
            parts[name].append(activations_of(output[:, :count].float(), whitening.activation).cpu().numpy())
    return {name: np.concatenate(own) for name, own in parts.items()}


def purity(activations: NDArray[np.float32], labels: NDArray[np.int64], concepts: Sequence[str]) -> list[Row]:
    """How well the axis of each concept tells its examples from those of the others.

    Parameters
    ----------
    activations : ndarray of float32
        (N, K), of the concepts' axes.
    labels : ndarray of int64
        (N,), the concept that a patch shows; what shows none of them has -1.
    concepts : sequence of str
        Their K names.

    Returns
    -------
    list of dict
        A row a concept: ``concept``, ``auc`` (area under the ROC curve of its axis, its examples against all others; None where
        one side is missing), ``examples``, ``others``.
    """
    rows = []
    for number, concept in enumerate(concepts):
        own = labels == number
        auc = float(roc_auc_score(own, activations[:, number])) if own.any() and not own.all() else None
        rows.append({"concept": concept, "auc": auc, "examples": int(own.sum()), "others": int((~own).sum())})
    return rows


def best_axis(activations: NDArray[np.float32], shown: NDArray[np.bool_]) -> tuple[int, float]:
    """Which of all axes tells the examples of a concept best, and how well: what the concept's own axis is compared with.

    Parameters
    ----------
    activations : ndarray of float32
        (N, axes).
    shown : ndarray of bool
        (N,), which patches show the concept; some do, some do not.

    Returns
    -------
    int, float
        The axis, and its AUC: of the best of many, so that it is optimistic.
    """
    found = [float(roc_auc_score(shown, activations[:, axis])) for axis in range(activations.shape[1])]
    best = int(np.argmax(found))
    return best, found[best]
