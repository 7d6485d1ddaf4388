"""Simulated tissue in which every channel shows the same signal, with more or less noise: which channel matters is known."""

import functools

import numpy as np
from digits import Outcome, outcome_of
from torch import nn

from napari_mitoxai.imc import Panel, parse_channel
from napari_mitoxai.simulate import section
from napari_mitoxai.training import PatchSet

RATIOS = (0.0, 0.3, 0.6, 0.9, 1.3, 1.8, 2.5)  # signal to noise, standard deviations of a pixel
CLASSES = ["control", "patient"]
_SUBJECTS, _TRAINED = 80, 56  # of each group
_SIZE, _REDUCTION, _SIDE = 384, 4, 48


@functools.cache
def _tissue():
    """The loss of complex I as NDUFB8 shows it: patches (N, side, side), whose, labels."""
    patches, subjects, labels = [], [], []
    for label, group in enumerate(CLASSES):
        for number in range(_SUBJECTS):
            made = section("complex_i_loss", patient=bool(label), size=_SIZE, seed=100 * label + number)
            counts = made.counts[made.panel.match(["NDUFB8"], what="the section")[0]].astype(float)
            side = _SIZE // _REDUCTION
            plane = np.arcsinh(counts.reshape(side, _REDUCTION, side, _REDUCTION).mean((1, 3)))
            plane = (
                plane - plane.mean()
            ) / plane.std()  # no gain of a subject: what is left is which fibres are dark
            for y in range(0, side, _SIDE):
                for x in range(0, side, _SIDE):
                    patches.append(plane[y : y + _SIDE, x : x + _SIDE])
                    subjects.append(f"{group}{number}")
                    labels.append(label)
    values = np.stack(patches)
    return (values - values.mean()) / values.std(), np.array(subjects), np.array(labels)


def graded_tissue(seed):
    """Training and test patches of different subjects, and the ratio of each channel."""
    signal, subjects, labels = _tissue()
    rng = np.random.default_rng(seed)
    ratios = rng.permutation(RATIOS)
    noise = rng.normal(size=(len(signal), len(ratios), _SIDE, _SIDE))
    values = (ratios[:, None, None] * signal[:, None] + noise) / np.sqrt(1 + ratios**2)[:, None, None]
    panel = Panel(tuple(parse_channel(f"Protein{number}") for number in range(len(ratios))))
    everything = PatchSet(np.sinh(values).astype(np.float32), subjects, labels.astype(np.int64), panel)
    chosen = [f"{group}{number}" for group in CLASSES for number in rng.permutation(_SUBJECTS)[:_TRAINED]]
    trained = np.isin(subjects, chosen)
    return everything.take(np.flatnonzero(trained)), everything.take(np.flatnonzero(~trained)), ratios


def tissue_network(channels):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip


def learned_on_tissue(seed, epochs, mixing=1) -> Outcome:
    """Train on graded tissue, with or without mixing."""
    return outcome_of(graded_tissue(seed), tissue_network, CLASSES, seed, epochs, mixing, ("turns", "flips"))
