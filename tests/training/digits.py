"""Handwritten digits hidden in channels with more or less noise: which channel matters is known."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from napari_mitoxai.cohort import fit_scaling
from napari_mitoxai.imc import Panel, parse_channel
from napari_mitoxai.models import ChannelMixing
from napari_mitoxai.models.mixing import WithMixing
from napari_mitoxai.training import PatchSet, Recipe, ScaledPatches, evaluate, fit
from napari_mitoxai.training.channel_shares import channel_shares

RATIOS = (0.0, 0.2, 0.4, 0.7, 1.0, 1.5, 2.2)  # signal to noise, standard deviations
CLASSES = [str(digit) for digit in range(10)]
_TRAINED = 1200


@dataclass
class Outcome:
    """What training on hidden digits gave."""

    rows: list
    agreement: float
    accuracy: float


def hidden_digits(seed, ranges=None):
    """Training and test patches; the same digit in every channel, noise of its own in each; the ratio of each channel.

    `ranges` multiplies the channels, noise and all.
    """
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    bundled = load_digits()
    order = rng.permutation(len(bundled.target))
    digits = bundled.images[order] / bundled.images.std()
    ratios = rng.permutation(RATIOS)
    noise = rng.normal(size=(len(digits), len(ratios), 8, 8))
    values = ratios[:, None, None] * digits[:, None] + noise
    values /= np.sqrt(1 + ratios**2)[:, None, None]
    if ranges is not None:
        values *= np.asarray(ranges)[:, None, None]
    panel = Panel(tuple(parse_channel(f"Protein{number}") for number in range(len(ratios))))
    # training takes the arcsinh of counts
    everything = PatchSet(
        np.sinh(values).astype(np.float32), np.full(len(digits), "C1"), bundled.target[order].astype(np.int64), panel
    )  # fmt: skip
    numbers = np.arange(len(digits))
    return everything.take(numbers[:_TRAINED]), everything.take(numbers[_TRAINED:]), ratios


def small_network(channels):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 16, 10),
    )  # fmt: skip


def learned(seed, epochs, mixing=1, ranges=None):
    """Train on hidden digits, with or without mixing."""
    return outcome_of(hidden_digits(seed, ranges), small_network, CLASSES, seed, epochs, mixing)


def outcome_of(data, network_of, classes, seed, epochs, mixing, augmentation=()):
    """Train a network on (training patches, test patches, ratio of each channel), and compare shares with ratios."""
    training, test, ratios = data
    scaling = fit_scaling([training.counts])
    torch.manual_seed(seed)
    channels = len(ratios)
    network = network_of(mixing or channels)
    if mixing:
        network = WithMixing(ChannelMixing(channels, mixing), network)
    recipe = Recipe(
        epochs=epochs, batch_size=32, learning_rate=3e-3, balance=False, precision="float32", seed=seed
    )
    result = fit(
        network,
        ScaledPatches(training, scaling, augmentation=augmentation, seed=seed),
        None,
        recipe,
        device=torch.device("cpu"),
    )
    network.load_state_dict(result.state)
    accuracy = evaluate(network, test, scaling, classes, device=torch.device("cpu")).patch_accuracy
    if not mixing:
        return Outcome([], float("nan"), accuracy)
    rows = channel_shares(network.mixing, training, scaling)
    by_channel = {row["channel"]: row["weight_x_sd"] for row in rows}
    shares = [by_channel[target] for target in training.panel.targets]
    return Outcome(rows, float(spearmanr(shares, ratios).statistic), accuracy)
