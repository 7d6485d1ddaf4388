"""What a network with named axes says: how far its axes go together, and whether it needs them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.models import CancellingMode, Whitening
from napari_mitoxai.models.whitened import whitened_layers
from napari_mitoxai.training.concepts import axes_of
from napari_mitoxai.training.examples import Examples

Row = dict[str, Any]


def correlations(
    network: nn.Module,
    examples: Examples,
    whitening: Whitening,
    *,
    batch_size: int = 16,
    cancel: CancelToken | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Correlation between all axes of every whitened layer, over all places of all patches.

    Returns
    -------
    dict
        (features, features) by the layer's name in the architecture; an axis that does not vary correlates with nothing (0).
    """
    sums: dict[str, tuple[int, Tensor, Tensor]] = {}
    for start in range(0, len(examples), batch_size):
        indices = np.arange(start, min(start + batch_size, len(examples)))
        given = axes_of(network, examples.inputs(indices, 0, start), cancel)
        for name, output in zip(whitening.layers, given.values(), strict=True):
            flat = output.transpose(0, 1).flatten(1).double()
            count, total, products = sums.get(name, (0, torch.zeros(1), torch.zeros(1)))
            sums[name] = (
                count + flat.shape[1],
                total.to(flat) + flat.sum(1),
                products.to(flat) + flat @ flat.T,
            )
    found = {}
    for name, (count, total, products) in sums.items():
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        spread = covariance.diagonal().clamp(min=0).sqrt()
        scale = torch.where(spread > 0, 1 / spread, 0)
        found[name] = (covariance * torch.outer(scale, scale)).cpu().numpy()
    return found


def importance(
    network: nn.Module,
    examples: Examples,
    whitening: Whitening,
    classes: Sequence[str],
    *,
    repeats: int = 5,
    batch_size: int = 32,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> list[Row]:
    """How much worse the network calls when an axis shows it another patch's concept.

    After Chen, Bei and Rudin (2020), who take the ratio of the loss with the axis switched between examples to the loss
    as it is (Fisher, Rudin and Dominici 2019); the loss here is cross-entropy. The patches are drawn into batches in random
    order, in each of which every patch gets the axis of another one.

    Parameters
    ----------
    network : torch.nn.Module
        Put into evaluation mode.
    examples : Examples
        Scaled patches; their labels are classes.
    whitening : Whitening
        Of the network.
    classes : sequence of str
        Their names.
    repeats : int
        How often the patches are drawn into batches anew.
    batch_size, seed, progress, cancel
        As usual.

    Returns
    -------
    list of dict
        A row a layer, concept and class (and ``all``): ``layer``, ``concept``, ``class``, ``importance`` (the ratio: 1 where the concept does
        not matter), ``importance_sd`` (over repeats), ``loss``, ``switched_loss``, ``accuracy``, ``switched_accuracy``, ``patches``.
    """
    layers = dict(zip(whitening.layers, whitened_layers(network).values(), strict=True))
    device = next(network.parameters()).device
    labels = torch.from_numpy(examples.labels)
    network.eval()
    switched: dict[tuple[str, int], list[Tensor]] = {
        (name, axis): [] for name in layers for axis in range(len(whitening.concepts))
    }
    with torch.no_grad(), CancellingMode(cancel or CancelToken()):
        every = np.arange(len(examples))
        plain = torch.cat([
            network(examples.inputs(piece, 0, 0).to(device)).float().cpu() for piece in _pieces(every, batch_size)
        ])  # fmt: skip
        for repeat in range(repeats):
            pieces = _pieces(np.random.default_rng([seed, repeat]).permutation(every), batch_size)
            parts: dict[tuple[str, int], list[Tensor]] = {key: [] for key in switched}
            for indices in pieces:
                inputs = examples.inputs(indices, 0, 0).to(device)
                for name, axis in switched:
                    with _Switched(layers[name], axis):
                        parts[name, axis].append(network(inputs).float().cpu())
            back = np.argsort(np.concatenate(pieces))
            for key, own in parts.items():
                switched[key].append(torch.cat(own)[back])
            progress(Progress("Switching concepts", repeat + 1, repeats))
    rows = []
    for (name, axis), logits in switched.items():
        for number, label in [(None, "all"), *enumerate(classes)]:
            chosen = torch.ones(len(labels), dtype=torch.bool) if number is None else labels == number
            if not chosen.any():
                continue
            loss, right = _told(plain[chosen], labels[chosen])
            each = [_told(one[chosen], labels[chosen]) for one in logits]
            ratios = [own / max(loss, 1e-12) for own, _ in each]
            rows.append({
                "layer": name, "concept": whitening.concepts[axis], "class": label,
                "importance": float(np.mean(ratios)),
                "importance_sd": float(np.std(ratios, ddof=1)) if len(ratios) > 1 else None,
                "loss": loss, "switched_loss": float(np.mean([own for own, _ in each])),
                "accuracy": right, "switched_accuracy": float(np.mean([own for _, own in each])),
                "patches": int(chosen.sum()),
            })  # fmt: skip
    return rows


def _pieces(order: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """Batches of about this size, none of which has one patch only where there are more."""
    return np.array_split(order, max(len(order) // size, 1))


class _Switched:
    """Inside, every patch of a batch has the axis of the patch before it."""

    def __init__(self, layer: nn.Module, axis: int) -> None:
        self._layer, self._axis = layer, axis

    def __enter__(self) -> None:
        def switch(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            changed = output.clone()
            changed[:, self._axis] = output[:, self._axis].roll(1, 0)
            return changed

        self._handle = self._layer.register_forward_hook(switch)

    def __exit__(self, *problem: object) -> None:
        self._handle.remove()


def _told(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Cross-entropy and accuracy."""
    return float(F.cross_entropy(logits, labels)), float((logits.argmax(1) == labels).float().mean())


def percentiles(values: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.float64]:
    """The share of `among` (M, K) that lies below each of `values` (N, K), column by column, in percent."""
    ordered = np.sort(among, axis=0)
    return np.stack(
        [np.searchsorted(ordered[:, k], values[:, k]) / len(ordered) * 100 for k in range(values.shape[1])], 1
    )
