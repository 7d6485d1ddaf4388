"""Against maps of the real iNNvestigate 2.1.2 (Keras): a plain network, and a pre-activation ResNet with batch norms and padding."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import error
from torch import nn

from napari_mitoxai.explain import attribute, attribute_many, method

DATA = np.load(Path(__file__).parent / "data" / "innvestigate_reference.npz")
PICTURES = torch.tensor(DATA["X"]).permute(0, 3, 1, 2).contiguous()
THERE = {"mode": "innvestigate"}


def convolution(key, padding=1):
    weight = torch.tensor(DATA[f"{key}/0"]).permute(3, 2, 0, 1).contiguous()
    layer = nn.Conv2d(
        weight.shape[1], weight.shape[0], weight.shape[2], padding=padding, bias=f"{key}/1" in DATA
    )
    layer.weight.data = weight
    if layer.bias is not None:
        layer.bias.data = torch.tensor(DATA[f"{key}/1"])
    return layer


def dense(key, flattened=None):
    weight = torch.tensor(DATA[f"{key}/0"]).T
    if flattened:  # Keras flattens with channels last
        weight = weight.reshape(-1, *flattened).permute(0, 3, 1, 2).flatten(1)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.contiguous(), torch.tensor(DATA[f"{key}/1"])
    return layer


def batch_norm(key):
    layer = nn.BatchNorm2d(8, eps=1.001e-5)
    values = [torch.tensor(DATA[f"{key}/{i}"]) for i in range(4)]
    layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var = values
    return layer


class PreActivationResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = (
            convolution(f"resv2/c{i}", padding) for i, padding in ((1, 0), (2, 1), (3, 0))
        )
        self.n1, self.n2, self.n3 = (batch_norm(f"resv2/bn{i}") for i in (1, 2, 3))
        self.d1, self.d2 = dense("resv2/d1"), dense("resv2/d2")

    def forward(self, x):
        x = self.c1(F.pad(x, (1, 1, 1, 1)))
        x = x + self.c3(self.n2(self.c2(self.n1(x).relu())).relu())
        return self.d2(self.d1(self.n3(x).relu().mean((2, 3))).relu())


@pytest.fixture(scope="module")
def nets():
    vgg = nn.Sequential(
        convolution("vgg/c1"), nn.ReLU(), convolution("vgg/c2"), nn.ReLU(), nn.MaxPool2d(2), convolution("vgg/c3"), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), dense("vgg/d1", (8, 8, 16)), nn.ReLU(), dense("vgg/d2"),
    )  # fmt: skip
    return {"vgg": vgg.eval(), "resv2": PreActivationResNet().eval()}


def difference(net, name, theirs, ours, **parameters):
    logits = net(PICTURES).detach()
    assert np.abs(logits.numpy() - DATA[f"{name}/y"]).max() < 1e-5
    found = attribute(net, PICTURES, ours, logits.argmax(1), **parameters)
    return error(found, torch.tensor(DATA[f"{name}::{theirs}"]).permute(0, 3, 1, 2))


CANCELLING = {("resv2", "lrp.z"): 2e-3, ("resv2", "lrp.sequential_preset_b_flat"): 2e-4}  # small denominators


@pytest.mark.parametrize("name", ["vgg", "resv2"])
@pytest.mark.parametrize(
    ("theirs", "ours", "parameters"),
    [
        ("gradient", "gradient", {}),
        ("input_t_gradient", "input_x_gradient", {}),
        ("guided_backprop", "guided_backprop", THERE),
        ("deconvnet", "deconvnet", THERE),
        ("deep_taylor", "deep_taylor", THERE),
        ("deep_taylor.bounded", "deep_taylor", {"low": -1, "high": 2, **THERE}),
        ("lrp.z", "lrp_z", THERE),
        ("lrp.epsilon", "lrp_epsilon", {"epsilon": 1, **THERE}),
        ("lrp.sequential_preset_a_flat", "lrp_preset_a_flat", {"epsilon": 1, **THERE}),
        ("lrp.sequential_preset_b_flat", "lrp_preset_b_flat", {"epsilon": 1, **THERE}),
    ],
)
def test_equals_innvestigate(nets, name, theirs, ours, parameters):
    limit = CANCELLING.get((name, theirs), 2e-6)
    assert difference(nets[name], name, theirs, ours, **parameters) < limit


@pytest.mark.parametrize(
    ("theirs", "ours", "parameters"),
    [("lrp.z", "lrp_z", {}), ("lrp.epsilon", "lrp_epsilon", {"epsilon": 1, "relative": False})],
)
def test_canonical_is_the_same_where_innvestigate_makes_no_mistake(nets, theirs, ours, parameters):
    assert difference(nets["vgg"], "vgg", theirs, ours, **parameters) < 2e-6
    assert difference(nets["resv2"], "resv2", theirs, ours, **parameters) > 1e-2


@pytest.mark.parametrize("name", ["vgg", "resv2"])
@pytest.mark.parametrize(
    ("theirs", "ours", "parameters"),
    [
        ("guided_backprop", "guided_backprop", {}),
        ("deconvnet", "deconvnet", {}),
        ("lrp.sequential_preset_a_flat", "lrp_preset_a_flat", {"epsilon": 1, "relative": False}),
        ("lrp.sequential_preset_b_flat", "lrp_preset_b_flat", {"epsilon": 1, "relative": False}),
    ],
)
def test_canonical_differs_where_innvestigate_does(nets, name, theirs, ours, parameters):
    assert difference(nets[name], name, theirs, ours, **parameters) > 1e-2


def test_padding_before_the_first_layer_turns_its_rule_off_there(nets):
    def maps(name, **parameters):
        return attribute(nets[name], PICTURES, parameters.pop("method"), 0, **parameters)

    assert (
        difference(nets["resv2"], "resv2", "lrp.sequential_preset_b", "lrp_preset_b_flat", epsilon=1, **THERE)
        < 2e-4
    )
    for mode, ignored in (("innvestigate", True), ("canonical", False)):
        plain, bounded = (
            maps("resv2", method="deep_taylor", mode=mode, **bounds)
            for bounds in ({}, {"low": -1, "high": 2})
        )
        assert torch.equal(plain, bounded) is ignored
    flat = maps("resv2", method="lrp_preset_b_flat")
    assert error(flat[:, :1].expand_as(flat), flat) < 1e-6


def below_zero(net):
    net = copy.deepcopy(net)
    net[-1].bias.data -= 10
    assert bool((net(PICTURES) < 0).all())
    return net


@pytest.mark.parametrize("name", ["guided_backprop", "deconvnet"])
def test_signals_start_at_the_logit_there(nets, name):
    for net, stopped in ((nets["vgg"], False), (below_zero(nets["vgg"]), True)):
        score = net(PICTURES).detach()[:, 1, None, None, None]
        here, there = (attribute(net, PICTURES, name, 1, mode=mode) for mode in ("canonical", "innvestigate"))
        if stopped:  # what is negative is stopped at the first ReLU, and the other way round
            assert error(there, here * score) > 0.1
        else:
            assert error(there, here * score) < 1e-6


@pytest.mark.parametrize("mode", ["canonical", "innvestigate"])
def test_a_class_with_a_negative_score_has_no_deep_taylor_map(nets, mode):
    assert attribute(nets["vgg"], PICTURES, "deep_taylor", 1, mode=mode).any()
    assert not attribute(below_zero(nets["vgg"]), PICTURES, "deep_taylor", 1, mode=mode).any()


def test_epsilon_is_absolute_there():
    assert method("lrp_epsilon").configure(mode="innvestigate", relative=True).relative is False
    assert method("lrp_epsilon").configure().relative is True


@pytest.mark.parametrize(
    "ours", ["deep_taylor", "lrp_z", "lrp_epsilon", "lrp_preset_a_flat", "lrp_preset_b_flat"]
)
def test_a_map_does_not_depend_on_the_rest_of_the_batch(nets, ours):
    pictures = PICTURES.double()
    for net in nets.values():
        exact = copy.deepcopy(net).double()
        together = attribute_many(exact, pictures, {ours: THERE}, 0).maps[ours]
        alone = torch.cat([attribute(exact, picture[None], ours, 0, **THERE) for picture in pictures])
        assert error(together, alone) < 1e-9
