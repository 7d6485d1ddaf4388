"""What a classifier loses when a channel is taken from it: by its mean, by another patch's, by its own pixels in disorder."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.training.evaluation import predict

Change = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]


@dataclass(frozen=True)
class ChannelEffects:
    """What was lost without each channel.

    Attributes
    ----------
    probability : ndarray of float64
        (C, N): how far the probability of each patch's class fell; below zero where it rose.
    accuracy : ndarray of float64
        (C, N): 1 where a patch is no longer called right, -1 where it is only now, 0 where nothing changed; a mean over
        repeats.
    """

    probability: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def occluded(plane: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Zero, which after the scaling is the mean of the training subjects: nothing is known of the channel."""
    return np.zeros_like(plane)


def in_disorder(plane: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The pixels of each patch in another order: how much of a protein there is stays, where it is does not.

    PXPermute (Shetab Boushehri et al., Cell Reports Methods 4:100715, 2024), for one channel at a time.
    """
    shuffled: NDArray[np.float32] = rng.permuted(plane.reshape(len(plane), -1), axis=1)
    return shuffled.reshape(plane.shape)


def from_others(donors: NDArray[np.float32]) -> Change:
    """The channel of patches that are drawn from `donors` (M, Y, X): what goes with it in the other channels is lost.

    Permutation importance (Breiman 2001), over patches.
    """

    def change(plane: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        return donors[rng.integers(len(donors), size=len(plane))]

    return change


def channel_effects(
    network: nn.Module,
    inputs: NDArray[np.float32],
    labels: NDArray[np.integer],
    changes: "list[Change] | Change",
    *,
    repeats: int = 1,
    seed: int = 0,
    before: NDArray[np.floating] | None = None,
    batch_size: int = 16,
    device: torch.device | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> ChannelEffects:
    """Take away each channel in turn, and see what a classifier still says of patches.

    Parameters
    ----------
    network : torch.nn.Module
        From (N, C, Y, X) to logits (N, classes).
    inputs : ndarray of float32
        (N, C, Y, X), scaled.
    labels : ndarray of int
        (N,), the class of each patch.
    changes : callable, or a list of them
        What takes the place of a channel (N, Y, X); one for all channels, or one a channel.
    repeats : int
        How often, where a change is random; the losses are means.
    seed : int
        Of the changes.
    before : ndarray of float, optional
        (N, classes), what the network says of the whole patches, where that is known already.
    batch_size, device, progress, cancel
        As usual.

    Returns
    -------
    ChannelEffects

    Raises
    ------
    MitoxaiError
        If there is no patch.
    """
    if not len(inputs):
        raise MitoxaiError("There is no patch to take channels from: give a section with tissue in it.")
    channels = inputs.shape[1]
    each = changes if isinstance(changes, list) else [changes] * channels
    rows = np.arange(len(labels))
    if before is None:
        before = predict(network, inputs, batch_size=batch_size, device=device, cancel=cancel)
    right = before.argmax(1) == labels
    lost = np.zeros((2, channels, len(labels)))
    for channel, change in enumerate(each):
        rng = np.random.default_rng([seed, channel])
        changed = inputs.copy()
        for repeat in range(repeats):
            progress(Progress("Taking channels away", channel * repeats + repeat, channels * repeats))
            changed[:, channel] = change(inputs[:, channel], rng)
            after = predict(network, changed, batch_size=batch_size, device=device, cancel=cancel)
            lost[0, channel] += (before[rows, labels] - after[rows, labels]) / repeats
            lost[1, channel] += (right.astype(float) - (after.argmax(1) == labels)) / repeats
    return ChannelEffects(lost[0], lost[1])
