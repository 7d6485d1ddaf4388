import threading

import numpy as np
import pytest
import torch
from small_networks import SmoothNet, error, random_net, vgg_like
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many, available, method


@pytest.fixture
def inputs():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def linear_net():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 2 * 2, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.arange(16.0).view(2, 8) - 7)
        net[1].bias.copy_(torch.tensor([1.0, -2.0]))
    return net


@pytest.mark.parametrize(
    ("name", "expected"), [("gradient", "w"), ("input_x_gradient", "wx"), ("lrp_z", "r")]
)
def test_a_linear_model_by_hand(name, expected):
    x = torch.tensor([1.0, -2, 3, 0, 5, 1, -1, 2]).view(1, 2, 2, 2)
    w = (torch.arange(8.0) + 1).view(1, 2, 2, 2)  # weights of class 1
    logit = (w * x).sum() - 2
    by_hand = {"w": w, "wx": w * x, "r": w * x}[expected]
    assert torch.equal(attribute(linear_net(), x, name, 1), by_hand)
    assert torch.allclose(attribute_many(linear_net(), x, [name]).logits[0, 1], logit)


def test_epsilon_by_hand():
    x = torch.tensor([1.0, -2, 3, 0, 5, 1, -1, 2]).view(1, 2, 2, 2)
    w = (torch.arange(8.0) + 1).view(1, 2, 2, 2)
    logit = float((w * x).sum() - 2)
    assert logit > 0
    absolute = attribute(linear_net(), x, "lrp_epsilon", 1, epsilon=0.5, relative=False)
    torch.testing.assert_close(absolute, w * x * logit / (logit + 0.5))
    largest = float(linear_net()(x).detach().abs().max())
    relative = attribute(linear_net(), x, "lrp_epsilon", 1, epsilon=0.5)
    torch.testing.assert_close(relative, w * x * logit / (logit + 0.5 * largest))


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    net, x = SmoothNet().double(), torch.randn(2, 2, 7, 7, dtype=torch.float64)
    found = attribute(net, x, "gradient", [2, 0])
    step = 1e-5
    for n, c, i, j in [(0, 0, 3, 3), (0, 1, 0, 6), (1, 0, 5, 2), (1, 1, 4, 4)]:
        change = torch.zeros_like(x)
        change[n, c, i, j] = step
        with torch.no_grad():
            slope = (net(x + change) - net(x - change))[n, [2, 0][n]] / (2 * step)
        assert abs(found[n, c, i, j] - slope) < 1e-8


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("seed", range(4))
def test_an_input_gets_the_same_map_alone_or_in_a_batch(name, seed, inputs):
    net = random_net(seed).double()
    net.head.bias.data += 10  # a class with a negative score has no Deep Taylor map
    together = attribute(net, inputs.double(), name, [0, 1, 0])
    assert together.shape == ((3, 3, 32, 32) if method(name).per_channel else (3, 1, 32, 32))
    assert together.abs().max() > 0
    assert not together.requires_grad
    if not method(name).signed:
        assert together.min() >= 0
    alone = torch.cat(
        [attribute(net, x[None].double(), name, t) for x, t in zip(inputs, [0, 1, 0], strict=True)]
    )
    assert error(alone, together) < 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_the_network_gives_its_own_logits_and_is_left_as_it_was(seed, inputs):
    net = random_net(seed)
    with torch.no_grad():
        expected = net(inputs.clone())
    net.train()
    net.blocks[0].eval()
    net.stem.weight.requires_grad_(False)
    net.head.weight.grad = torch.ones_like(net.head.weight)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    flags = [m.training for m in net.modules()]
    needs = [p.requires_grad for p in net.parameters()]
    before = inputs.clone()
    found = attribute_many(net, inputs, available(), 0)
    assert torch.equal(found.logits, expected)
    assert set(found.maps) == set(available())
    assert torch.equal(inputs, before)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert [m.training for m in net.modules()] == flags
    assert [p.requires_grad for p in net.parameters()] == needs
    assert [p for p in net.parameters() if p.grad is not None] == [net.head.weight]
    assert torch.equal(net.head.weight.grad, torch.ones_like(net.head.weight))
    assert not any(m._forward_hooks or m._backward_hooks for m in net.modules())


def test_a_failing_method_leaves_the_network_as_it_was(inputs):
    net = vgg_like().train()
    with pytest.raises(MitoxaiError):
        attribute(net, inputs, "gradient", 7)
    assert all(m.training for m in net.modules())


@pytest.mark.parametrize("name", available())
def test_frozen_networks_and_callers_without_gradients_get_the_same(name, inputs):
    net = random_net(3)
    expected = attribute(net, inputs, name)
    with torch.no_grad():
        assert torch.equal(attribute(net, inputs, name), expected)
    with torch.inference_mode():
        assert torch.equal(attribute(net, inputs.clone(), name), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attribute(net, inputs, name), expected)
    net.requires_grad_(False)
    assert torch.equal(attribute(net, inputs, name), expected)
    assert torch.equal(attribute(net, inputs.requires_grad_(), name), expected)
    assert inputs.grad is None


def test_several_methods_at_once_give_what_each_gives_alone(inputs):
    net = random_net(1)
    asked = {name: {} for name in available()} | {"lrp_epsilon": {"epsilon": 0.01}, "grad_cam": None}
    together = attribute_many(net, inputs, asked, target=torch.tensor([1, 0, 1]))
    for name, given in asked.items():
        alone = attribute(net, inputs, name, [1, 0, 1], **(given or {}))
        assert torch.equal(together.maps[name], alone)


def test_threads_sharing_a_network_in_training_mode_get_the_same(inputs):
    net = random_net(5)
    expected = attribute_many(net, inputs, available()).maps
    net.train()
    wrong = []

    def work(name):
        try:
            wrong.extend(
                name for _ in range(4) if not torch.equal(attribute(net, inputs, name), expected[name])
            )
        except Exception as problem:  # noqa: BLE001 - shown by the assertion
            wrong.append((name, problem))

    threads = [threading.Thread(target=work, args=(name,)) for name in available()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(m.training for m in net.modules())


def test_arrays_and_other_float_types_are_taken(inputs):
    net = vgg_like()
    expected = attribute(net, inputs)
    assert torch.equal(attribute(net, inputs.numpy()), expected)
    assert attribute(net, inputs.double()).dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.full((1, 3, 32, 32), float("nan")), "not finite"),
        (torch.full((1, 3, 32, 32), float("-inf")), "not finite"),
        (torch.zeros(3, 32, 32), "batch of patches"),
        (torch.zeros(0, 3, 32, 32), "batch of patches"),
        (np.zeros((1, 3, 32, 32), np.uint16), "scaled"),
    ],
)
def test_inputs_that_cannot_be_explained_are_refused(wrong, message):
    with pytest.raises(MitoxaiError, match=message):
        attribute(vgg_like(), wrong)


@pytest.mark.parametrize("target", [3, -1, [0, 1], 0.5, True, [0, 1, 3], [[0, 1, 2]]])
def test_targets_that_do_not_exist_are_refused(target, inputs):
    with pytest.raises(MitoxaiError, match="target"):
        attribute(vgg_like(), inputs, "gradient", target)


def test_what_is_not_a_classifier_is_refused(inputs):
    with pytest.raises(MitoxaiError, match="classifier"):
        attribute(nn.Conv2d(3, 3, 1), inputs, "gradient")

    class Hides(nn.Module):
        @torch.no_grad()
        def forward(self, x):
            return x.flatten(1)

    with pytest.raises(MitoxaiError, match="depend on the input"):
        attribute(Hides(), inputs, "gradient")
    with pytest.raises(MitoxaiError, match="at least one"):
        attribute_many(vgg_like(), inputs, [])


def test_a_network_may_change_its_input_in_place(inputs):
    net = nn.Sequential(nn.ReLU(inplace=True), vgg_like())
    before = inputs.clone()
    maps = attribute_many(net, inputs, available()).maps
    assert torch.equal(inputs, before)
    assert (maps["gradient"][inputs < 0] == 0).all()
