"""Against maps of the real iNNvestigate 2.1.2 (Keras), where it has no quirks: a network without batch norms, plain rules."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import error
from torch import nn

from napari_mitoxai.explain import attribute

DATA = np.load(Path(__file__).parent / "data" / "innvestigate_reference.npz")
PICTURES = torch.tensor(DATA["X"]).permute(0, 3, 1, 2).contiguous()


def convolution(key):
    weight = torch.tensor(DATA[f"{key}/0"]).permute(3, 2, 0, 1).contiguous()
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight.data, layer.bias.data = weight, torch.tensor(DATA[f"{key}/1"])
    return layer


def dense(key, flattened=None):
    weight = torch.tensor(DATA[f"{key}/0"]).T
    if flattened:  # Keras flattens with channels last
        weight = weight.reshape(-1, *flattened).permute(0, 3, 1, 2).flatten(1)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.contiguous(), torch.tensor(DATA[f"{key}/1"])
    return layer


@pytest.fixture(scope="module")
def net():
    return nn.Sequential(
        convolution("vgg/c1"), nn.ReLU(), convolution("vgg/c2"), nn.ReLU(), nn.MaxPool2d(2), convolution("vgg/c3"), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), dense("vgg/d1", (8, 8, 16)), nn.ReLU(), dense("vgg/d2"),
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours", "parameters", "from_logit"),
    [
        ("gradient", "gradient", {}, False),
        ("input_t_gradient", "input_x_gradient", {}, False),
        ("guided_backprop", "guided_backprop", {}, True),  # theirs start at the logit, which is positive here
        ("deconvnet", "deconvnet", {}, True),
        ("lrp.z", "lrp_z", {}, False),
        ("lrp.epsilon", "lrp_epsilon", {"epsilon": 1.0, "relative": False}, False),
    ],
)
def test_equals_innvestigate(net, theirs, ours, parameters, from_logit):
    logits = net(PICTURES).detach()
    assert np.abs(logits.numpy() - DATA["vgg/y"]).max() < 1e-5
    found = attribute(net, PICTURES, ours, logits.argmax(1), **parameters)
    if from_logit:
        found = found * logits.max(1).values[:, None, None, None]
    expected = torch.tensor(DATA[f"vgg::{theirs}"]).permute(0, 3, 1, 2)
    assert error(found, expected) < 2e-6
