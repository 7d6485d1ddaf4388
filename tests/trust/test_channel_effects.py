"""What is lost without a channel: cases in which the answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.trust.channel_effects import channel_effects, from_others, in_disorder, occluded

pytestmark = pytest.mark.usefixtures("one_thread")


class FirstChannel(nn.Module):
    """Logits (0, 4 x the mean of the first channel)."""

    def forward(self, inputs):
        mean = inputs[:, 0].mean((1, 2))
        return torch.stack([torch.zeros_like(mean), 4 * mean], 1)


class Corner(nn.Module):
    """Logits (0, 4 x the first channel's first pixel)."""

    def forward(self, inputs):
        return torch.stack([torch.zeros(len(inputs)), 4 * inputs[:, 0, 0, 0]], 1)


def cases():
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    inputs = rng.normal(0, 0.1, (20, 3, 4, 4)).astype(np.float32)
    inputs[:, 0] += np.where(labels, 1, -1)[:, None, None]
    return inputs, labels


def test_occlusion_takes_what_the_network_reads_and_nothing_else():
    inputs, labels = cases()
    effects = channel_effects(FirstChannel(), inputs, labels, occluded)
    logit = 4 * inputs[:, 0].mean((1, 2)).astype(float)
    own = 1 / (1 + np.exp(-np.where(labels, logit, -logit)))
    assert effects.probability[0] == pytest.approx(own - 0.5, abs=1e-6)
    assert not effects.probability[1:].any()
    # half of the patches are of the class that a tie falls to
    assert effects.accuracy[0] == pytest.approx(labels)


def test_the_pixels_order_matters_where_the_place_does():
    inputs, labels = cases()
    same = channel_effects(FirstChannel(), inputs, labels, in_disorder)
    assert np.abs(same.probability).max() < 1e-6
    inputs[:, 0] = 0
    inputs[:, 0, 0, 0] = np.where(labels, 1, -1)
    moved = channel_effects(Corner(), inputs, labels, in_disorder, repeats=20)
    assert moved.probability[0].mean() > 0.3
    assert not moved.probability[1:].any()


def test_a_channel_of_others_loses_half_and_is_repeatable():
    inputs, labels = cases()
    change = [from_others(inputs[:, channel]) for channel in range(3)]
    effects = channel_effects(FirstChannel(), inputs, labels, change, repeats=50, seed=1)
    # half of the donors are of the other class
    assert effects.accuracy[0].mean() == pytest.approx(0.5, abs=0.05)
    assert not effects.probability[1:].any()
    again = channel_effects(FirstChannel(), inputs, labels, change, repeats=50, seed=1)
    assert np.array_equal(effects.probability, again.probability)


def test_nothing_to_look_at_is_said():
    with pytest.raises(MitoxaiError, match="no patch"):
        channel_effects(FirstChannel(), np.zeros((0, 3, 4, 4), np.float32), np.zeros(0, int), occluded)
