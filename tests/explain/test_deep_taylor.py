import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
import torchvision
from small_networks import RandomNet, error, random_net, settled, vgg_like
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many, method

BOUNDS = {"low": -4.0, "high": 4.0}


def opposed(net):
    """Two classes of which one has a positive score."""
    net.head.weight.data[1] = -net.head.weight.data[0]
    return net


def lost(net, x, **parameters):
    """Relevance lost or made on the way, as a share of the scores that are positive; and how negative the map is."""
    logits = net(x).detach()
    shares, negative = [], []
    for target in range(logits.shape[1]):
        score = logits[:, target].clamp(min=0)
        if not score.any():
            continue
        found = attribute(net, x, "deep_taylor", target, **parameters)
        shares.append(float((found.sum((1, 2, 3)) - score).abs().max() / score.max()))
        negative.append(float(found.min() / found.max()))
    assert shares, "no class with a positive score"
    return max(shares), min(negative)


def zennit(net, x, target, composite):
    leaf = x.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with composite.context(net) as hooked:
            logits = hooked(leaf)
            scores = logits.gather(1, target[:, None])
            start = torch.zeros_like(logits).scatter(1, target[:, None], scores.detach())
            return torch.autograd.grad(logits, leaf, start)[0]


@pytest.mark.parametrize("bounds", [{}, BOUNDS])
@pytest.mark.parametrize("kind", RandomNet.KINDS)
def test_is_conserved_and_never_negative_through_each_kind_of_block(kind, bounds):
    torch.manual_seed(0)
    net = opposed(settled(RandomNet([kind, "plain", kind], bias=False), bias=False).double())
    share, lowest = lost(net, torch.randn(3, 3, 32, 32, dtype=torch.float64), **bounds)
    assert lowest >= 0
    assert share < 1e-9


@pytest.mark.parametrize("bounds", [{}, BOUNDS])
@pytest.mark.parametrize("seed", range(4))
def test_is_conserved_and_never_negative_in_random_networks(seed, bounds):
    net = opposed(random_net(seed, bias=False).double())
    share, lowest = lost(net, torch.randn(3, 3, 32, 32, dtype=torch.float64), **bounds)
    assert lowest >= 0
    assert share < 1e-9


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_is_conserved_and_never_negative_in_real_architectures(name):
    torch.manual_seed(0)
    net = settled(
        torchvision.models.get_model(name, weights=None, num_classes=3), bias=False, size=64
    ).double()
    for bounds in ({}, BOUNDS):
        share, lowest = lost(net, torch.rand(1, 3, 64, 64, dtype=torch.float64), **bounds)
        assert lowest >= 0
        assert share < 1e-9


@pytest.mark.parametrize("bounds", [{}, BOUNDS])
def test_equals_zennit_on_a_plain_network_with_biases(bounds):
    from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
    from zennit.rules import ZBox, ZPlus
    from zennit.types import Convolution, Linear

    net = vgg_like().double()
    net[-1].bias.data += 1
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64).clamp(-4, 4)
    scores, target = net(x).detach().max(1)
    assert bool((scores > 0).all())
    plain = ZPlus(stabilizer=1e-14, zero_params="bias")
    first = ZBox(low=-4.0, high=4.0, stabilizer=1e-14, zero_params="bias") if bounds else plain
    composite = SpecialFirstLayerMapComposite(
        [*layer_map_base(), (Convolution, plain), (Linear, plain)], [(Convolution, first)]
    )
    theirs = zennit(net, x, target, composite)
    assert error(attribute(net, x, "deep_taylor", target, **bounds), theirs) < 1e-9


def test_inputs_outside_the_bounds_do_not_make_relevance_negative():
    net = vgg_like(bias=False).double()
    share, lowest = lost(net, 10 * torch.randn(2, 3, 32, 32, dtype=torch.float64), low=-1.0, high=1.0)
    assert lowest >= 0
    assert share < 1e-9


def test_bounds_credit_what_is_dark():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(-2.0)
        net[0].bias.fill_(5.0)
        net[2].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 3.0]]))
    x = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    scores = torch.tensor([5.0, 3 * 3.0])
    assert attribute(net, x, "deep_taylor", 1, low=0, high=2).flatten().tolist() == pytest.approx(
        scores.tolist()
    )
    # without bounds a dark pixel has nothing to give
    assert attribute(net, x, "deep_taylor", 1).flatten().tolist() == pytest.approx([0.0, 9.0])


def test_bounds_belong_together():
    for bounds in ({"low": 0}, {"high": 0}):
        with pytest.raises(MitoxaiError, match="give both or neither"):
            method("deep_taylor").configure(**bounds)
    with pytest.raises(MitoxaiError, match="low must be below high"):
        method("deep_taylor").configure(low=1, high=1)


@pytest.mark.parametrize("name", ["lrp_preset_a_flat", "lrp_preset_b_flat"])
def test_presets_equal_zennit_on_a_plain_network_without_biases(name):
    from zennit.composites import EpsilonAlpha2Beta1Flat, EpsilonPlusFlat

    net, x = vgg_like(bias=False).double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    make = EpsilonPlusFlat if name.endswith("a_flat") else EpsilonAlpha2Beta1Flat
    target = torch.tensor([1, 2])
    theirs = zennit(net, x, target, make(epsilon=1e-6, stabilizer=1e-6))
    assert error(attribute(net, x, name, target, epsilon=1e-6, relative=False), theirs) < 1e-6


@pytest.mark.parametrize("name", ["lrp_preset_a_flat", "lrp_preset_b_flat"])
@pytest.mark.parametrize("mode", ["canonical", "innvestigate"])
def test_flat_gives_every_channel_of_a_pixel_the_same(name, mode):
    for net in (vgg_like(batch_norm=True).double(), random_net(1).double()):
        found = attribute(net, torch.randn(2, 3, 32, 32, dtype=torch.float64), name, mode=mode)
        assert found.abs().max() > 0
        assert error(found[:, :1].expand_as(found), found) < 1e-12


def test_flat_shares_evenly_by_hand():
    net = nn.Sequential(
        nn.Conv2d(2, 1, (1, 3), padding=(0, 1), bias=False), nn.Flatten(), nn.Linear(3, 2, bias=False)
    )
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[0.0, 0, 0], [1.0, 2, 4]]))
    x = torch.rand(1, 2, 1, 3)
    a, b, c = (net[0](x).flatten() * torch.tensor([1.0, 2, 4])).tolist()
    expected = [
        a / 4 + b / 6,
        a / 4 + b / 6 + c / 4,
        b / 6 + c / 4,
    ]  # the outer ones see two pixels of two channels
    found = attribute(net, x, "lrp_preset_a_flat", 1, epsilon=0)
    for channel in (0, 1):
        assert found[0, channel, 0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn"])
def test_presets_conserve_relevance_without_biases(name):
    torch.manual_seed(0)
    net = settled(
        torchvision.models.get_model(name, weights=None, num_classes=2), bias=False, size=64
    ).double()
    methods = {f"lrp_preset_{letter}_flat": {"epsilon": 1e-14} for letter in "ab"}
    found = attribute_many(net, torch.rand(1, 3, 64, 64, dtype=torch.float64), methods, 0)
    for relevance in found.maps.values():
        torch.testing.assert_close(relevance.sum((1, 2, 3)), found.logits[:, 0], rtol=1e-9, atol=0)


class Stem(nn.Module):
    """Something between the input and its first convolution."""

    def __init__(self, before):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.conv, self.more = before, nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.more(self.conv(self.before(x)).relu()).relu().mean((2, 3)))


def scaled_in_place(x):
    x -= 0.5
    x[:, 1] *= 2
    return torch.cat([x[:, :1], x[:, 1:]], 1)


@pytest.mark.parametrize("before", [lambda x: 2 * x - 1, lambda x: F.pad(x, (1,) * 4), scaled_in_place])
def test_the_first_layer_is_the_first_with_weights(before):
    found = attribute(Stem(before).eval(), torch.rand(2, 3, 12, 12), "lrp_preset_a_flat")
    assert error(found[:, :1].expand_as(found), found) < 1e-5


@pytest.mark.parametrize("in_place", [False, True])
def test_what_mixes_the_input_with_a_convolution_is_not_the_input(in_place):
    other = nn.Conv2d(3, 3, 1)

    def mixed(x):
        if not in_place:
            return x + other(x)
        x[:, :] = x + other(x)
        return x

    found = attribute(Stem(mixed).eval(), torch.rand(2, 3, 12, 12), "lrp_preset_a_flat")
    assert error(found[:, :1].expand_as(found), found) > 1e-2


@pytest.mark.parametrize("mode", ["canonical", "innvestigate"])
@pytest.mark.parametrize(
    "name", ["deep_taylor", "lrp_preset_a_flat", "lrp_preset_b_flat", "lrp_epsilon", "lrp_z"]
)
def test_batches_and_the_network(name, mode):
    net, x = random_net(3).double(), torch.randn(3, 3, 32, 32, dtype=torch.float64)
    net.head.bias.data += 5
    net.train()
    before = copy.deepcopy(net.state_dict())
    together = attribute_many(net, x, {name: {"mode": mode}}).maps[name]
    alone = torch.cat([attribute(net, x[i : i + 1], name, mode=mode) for i in range(3)])
    assert together.isfinite().all()
    assert together.abs().max() > 0
    assert error(together, alone) < 1e-9
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_picture_without_signal_gives_a_finite_map():
    net = vgg_like()
    net[-1].bias.data += 5
    for name in ("deep_taylor", "lrp_preset_a_flat", "lrp_preset_b_flat"):
        for mode in ("canonical", "innvestigate"):
            assert attribute(net, torch.zeros(1, 3, 32, 32), name, mode=mode).isfinite().all()


def test_weights_whose_sign_cannot_be_seen_are_refused():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.weight = nn.Conv2d(2, 4, 1), nn.Parameter(torch.randn(4, 2))

        def forward(self, x):
            return self.conv(x).relu().mean((2, 3)) @ self.weight

    with pytest.raises(MitoxaiError, match="no rule for matmul"):
        attribute(Product().eval(), torch.rand(1, 2, 4, 4), "deep_taylor")


def test_depthwise_convolutions_use_epsilon_in_the_presets():
    torch.manual_seed(0)
    net = settled(RandomNet(["depthwise"], bias=False), bias=False).double()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    found = attribute_many(net, x, {"lrp_preset_a_flat": {"epsilon": 1e-14}}, 0)
    torch.testing.assert_close(
        found.maps["lrp_preset_a_flat"].sum((1, 2, 3)), found.logits[:, 0], rtol=1e-9, atol=0
    )


def test_relevance_that_grows_beyond_all_numbers_is_refused():
    torch.manual_seed(0)
    layers = []
    for _ in range(3):  # each makes the signal small and then large again
        layers += [nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU()]
        layers[-3].weight.data.abs_().mul_(1e-20)
        layers[-2].weight.data.fill_(1e20)
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(48, 2)).eval()
    net[-1].weight.data.abs_()
    x = torch.rand(1, 3, 4, 4)
    assert attribute(net, x, "deep_taylor").sum() > 0
    with pytest.raises(MitoxaiError, match="use the canonical mode"):
        attribute(net, x, "deep_taylor", mode="innvestigate")
