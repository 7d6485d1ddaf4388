import warnings
import weakref

import pytest
import torch
import torch.nn.functional as F
import torchvision
from small_networks import RandomNet, error, random_net, settled, vgg_like
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many

LRP = {"lrp_z": {}, "lrp_epsilon": {"epsilon": 1e-14}, "lrp_epsilon_plus": {"epsilon": 1e-14}}


def left_over(net, x, methods=LRP):
    """By method: relevance lost or made on the way, as a share of the logit (largest in the batch)."""
    found = attribute_many(net, x, methods, 0)
    return {
        name: float((r.sum((1, 2, 3)) / found.logits[:, 0] - 1).abs().max()) for name, r in found.maps.items()
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121", "vgg11_bn"])
def test_relevance_is_conserved_in_real_architectures_without_biases(name):
    torch.manual_seed(0)
    net = settled(
        torchvision.models.get_model(name, weights=None, num_classes=2), bias=False, size=64
    ).double()
    lost = left_over(net, torch.rand(2, 3, 64, 64, dtype=torch.float64))
    assert max(lost.values()) < 1e-9, lost


@pytest.mark.parametrize("kind", RandomNet.KINDS)
def test_relevance_is_conserved_through_each_kind_of_block(kind):
    torch.manual_seed(0)
    net = settled(RandomNet([kind, "plain", kind], bias=False), bias=False).double()
    methods = {"lrp_epsilon": LRP["lrp_epsilon"], "lrp_z": {}}
    lost = left_over(net, torch.rand(2, 3, 32, 32, dtype=torch.float64), methods)
    assert max(lost.values()) < 1e-9, lost


@pytest.mark.parametrize("seed", range(8))
def test_relevance_is_conserved_in_random_networks(seed):
    net = random_net(seed, bias=False).double()
    lost = left_over(net, torch.randn(2, 3, 32, 32, dtype=torch.float64), {"lrp_epsilon": {"epsilon": 1e-14}})
    assert lost["lrp_epsilon"] < 1e-9


def test_biases_and_a_large_epsilon_absorb_relevance():
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    assert left_over(vgg_like().double(), x)["lrp_epsilon"] > 1e-3
    assert (
        left_over(vgg_like(bias=False).double(), x, {"lrp_epsilon": {"epsilon": 0.1}})["lrp_epsilon"] > 1e-2
    )


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_lrp_z_equals_input_times_gradient_on_relu_networks_with_biases(name):
    torch.manual_seed(0)
    net = settled(torchvision.models.get_model(name, weights=None, num_classes=2), size=64).double()
    maps = attribute_many(
        net, torch.randn(1, 3, 64, 64, dtype=torch.float64), ["lrp_z", "input_x_gradient"]
    ).maps
    assert error(maps["lrp_z"], maps["input_x_gradient"]) < 1e-9


@pytest.mark.parametrize("rule", ["lrp_epsilon", "lrp_epsilon_plus"])
def test_equals_zennit_on_a_plain_network(rule):
    from zennit.composites import LayerMapComposite, layer_map_base
    from zennit.rules import AlphaBeta, Epsilon
    from zennit.types import Convolution, Linear

    net, x = vgg_like().double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    first = (
        AlphaBeta(alpha=1, beta=0, stabilizer=1e-6) if rule == "lrp_epsilon_plus" else Epsilon(epsilon=1e-6)
    )
    composite = LayerMapComposite([*layer_map_base(), (Convolution, first), (Linear, Epsilon(epsilon=1e-6))])
    leaf = x.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with composite.context(net) as hooked:
            logits = hooked(leaf)
            start = torch.zeros_like(logits)
            start[:, 1] = logits[:, 1].detach()
            theirs = torch.autograd.grad(logits, leaf, start)[0]
    ours = attribute(net, x, rule, 1, epsilon=1e-6, relative=False)
    assert error(ours, theirs) < 1e-6


def test_a_batch_norm_is_one_layer_with_the_convolution_before_it():
    torch.manual_seed(0)
    head = [nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)]
    net = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), *head)).double()
    fused = nn.Sequential(nn.utils.fusion.fuse_conv_bn_eval(net[0], net[1]), *head)
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    for name in ("lrp_epsilon", "lrp_epsilon_plus"):
        assert error(attribute(net, x, name, epsilon=0.05), attribute(fused, x, name, epsilon=0.05)) < 1e-9


def test_z_plus_follows_what_excites_by_hand():
    net = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Flatten(), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([2.0, -1]).view(1, 2, 1, 1))
        net[0].bias.copy_(torch.tensor([1.0]))
        net[2].weight.copy_(torch.tensor([[0.0], [3.0]]))
    x = torch.tensor([[3.0, 1.0], [2.0, -2.0]]).view(2, 2, 1, 1)
    # excited by 2 * 3 and the bias 1; by 2 * 2, -1 * -2 and the bias 1
    scores = 3 * torch.tensor([6.0 - 1 + 1, 4.0 + 2 + 1])
    expected = scores[:, None] * torch.tensor([[6 / 7, 0], [4 / 7, 2 / 7]])
    found = attribute(net, x, "lrp_epsilon_plus", 1, epsilon=0.0).flatten(1)
    torch.testing.assert_close(found, expected)


def test_maps_are_those_of_the_same_network_without_changes_in_place():
    class Apart(nn.Module):
        def __init__(self, in_place):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.norm = (
                nn.Conv2d(3, 4, 3, padding=1),
                nn.Conv2d(4, 4, 3, padding=1),
                nn.BatchNorm2d(4),
            )
            self.head, self.in_place = nn.Linear(4, 2), in_place

        def forward(self, x):
            x = self.a(x)
            y = self.b(x)
            if self.in_place:
                x.relu_()  # after b has read it, before the norm which could be fused with b
                z = self.norm(y)
                y.mul_(0.5).add_(x)
                y += z
                y[:, :, :4].relu_()
            else:
                x = x.relu()
                y = 0.5 * y + x + self.norm(y)
                y = torch.cat([y[:, :, :4].relu(), y[:, :, 4:]], 2)
            return self.head(y.mean((2, 3)))

    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    changed, apart = (settled(Apart(flag)).double() for flag in (True, False))
    changed.load_state_dict(apart.state_dict())
    methods = ["lrp_z", "lrp_epsilon", "gradient", "guided_backprop", "grad_cam"]
    ours, expected = attribute_many(changed, x, methods), attribute_many(apart, x, methods)
    torch.testing.assert_close(ours.logits, expected.logits)
    assert error(ours.maps["gradient"], expected.maps["gradient"]) < 1e-9
    assert error(ours.maps["guided_backprop"], expected.maps["guided_backprop"]) < 1e-9
    # in one the norm can be fused with its convolution, in the other its input was overwritten: only the exact rule agrees
    assert error(ours.maps["lrp_z"], expected.maps["lrp_z"]) < 1e-9
    assert error(ours.maps["lrp_z"], ours.maps["lrp_epsilon"]) > 1e-9


class Head(nn.Module):
    """Any function of feature maps (N, 4, 6, 6), between a convolution and a linear layer."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.conv, self.other, self.scale = (
            nn.Conv2d(2, 4, 1, bias=False),
            nn.Conv2d(2, 4, 1, bias=False),
            nn.Parameter(torch.rand(4, 1, 1)),
        )
        self.head = nn.LazyLinear(2, bias=False)

    def forward(self, x):
        return self.head(self.function(self, self.conv(x).relu(), x).flatten(1))


def with_head(function, x):
    net = Head(function).to(x.dtype).eval()
    with torch.no_grad():
        net(x)  # gives the last layer its size
    return net


CONSERVED = {
    "sub": lambda net, h, x: h - net.other(x),
    "rsub": lambda net, h, x: torch.rsub(h, net.other(x)),
    "add alpha": lambda net, h, x: torch.add(h, net.other(x), alpha=0.3),
    "add of another shape": lambda net, h, x: h + net.other(x).mean((2, 3), keepdim=True),
    "constants": lambda net, h, x: 2 * h / 4,
    "constant minus": lambda net, h, x: 0 - h,
    "learnt scale": lambda net, h, x: h * net.scale,
    "product of equals": lambda net, h, x: h * net.other(x),
    "swish by hand": lambda net, h, x: h * torch.sigmoid(h),
    "ceil": lambda net, h, x: F.max_pool2d(h, 4, ceil_mode=True),
    "average with ceil": lambda net, h, x: F.avg_pool2d(h, 4, ceil_mode=True, count_include_pad=False),
    "adaptive max": lambda net, h, x: F.adaptive_max_pool2d(h, 3),
    "same padding": lambda net, h, x: F.conv2d(h, net.scale.expand(4, 4, 2, 2), padding="same"),
    "transposed": lambda net, h, x: F.conv_transpose2d(h, net.scale[..., None].expand(4, 2, 2, 2), stride=2),
    "matmul": lambda net, h, x: h.flatten(2) @ net.scale.view(4, 1).expand(4, 36).T,
    "einsum": lambda net, h, x: torch.einsum("ncyx,cd->ndyx", h, net.scale.view(4, 1).expand(4, 3)),
    "interpolate": lambda net, h, x: F.interpolate(h, scale_factor=2, mode="bilinear"),
    "chunk": lambda net, h, x: torch.cat(h.chunk(2, 1)[::-1], 1),
    "unpack": lambda net, h, x: torch.stack(list(h.unbind(0))),
    "iterate": lambda net, h, x: torch.stack([2 * row for row in h]),
    "pad and roll": lambda net, h, x: F.pad(h, (1, 2)).roll(1, 3),
    "dropout": lambda net, h, x: F.dropout(h, 0.5, False),
    "shuffle": lambda net, h, x: F.pixel_shuffle(h, 2),
    "checkpoint": lambda net, h, x: torch.utils.checkpoint.checkpoint(net.other, x, use_reentrant=False) + h,
    "under no_grad": lambda net, h, x: h * h.detach().softmax(1).amax(),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSERVED)
def test_functions_that_conserve_relevance(name):
    x = torch.rand(3, 2, 6, 6, dtype=torch.float64)
    net = with_head(CONSERVED[name], x)
    with torch.no_grad():
        expected = net(x)
    found = attribute_many(net, x, {"lrp_epsilon": {"epsilon": 1e-14}})
    torch.testing.assert_close(found.logits, expected, rtol=0, atol=0)
    torch.testing.assert_close(found.maps["lrp_epsilon"].sum((1, 2, 3)), expected[:, 1], rtol=1e-9, atol=0)
    frozen = attribute(net.requires_grad_(False), x, "lrp_epsilon", epsilon=1e-14)
    assert torch.equal(frozen, found.maps["lrp_epsilon"])


class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 3

    @staticmethod
    def backward(ctx, g):
        return g * 3


UNSUPPORTED = {
    "softmax": lambda net, h, x: h.softmax(1),
    "layer_norm": lambda net, h, x: F.layer_norm(h, (6, 6)),
    "group_norm": lambda net, h, x: F.group_norm(h, 2),
    "scaled_dot_product_attention": lambda net, h, x: F.scaled_dot_product_attention(h, h, h),
    "matmul": lambda net, h, x: h @ h,
    "division": lambda net, h, x: h / h.sum(1, keepdim=True),
    "exp": lambda net, h, x: h.exp(),
    "pow": lambda net, h, x: h**2,
    "exp_": lambda net, h, x: (h * 1).exp_(),
    "batch_norm": lambda net, h, x: F.batch_norm(h, None, None, training=True),
    "weights": lambda net, h, x: F.conv2d(h, h[:1]),
    "Hidden": lambda net, h, x: Hidden.apply(h),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_functions_without_a_rule_are_refused_by_name(name):
    x = torch.rand(2, 2, 6, 6)
    net = with_head(UNSUPPORTED[name], x)
    assert attribute(net, x, "gradient").isfinite().all()
    with pytest.raises(MitoxaiError, match=f"LRP .*{name.rstrip('_')}.*: choose a method"):
        attribute(net, x, "lrp_epsilon")


def test_a_gate_gets_nothing_and_what_it_lets_through_gets_all():
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    net = with_head(lambda net, h, x: h * torch.sigmoid(net.other(x[:, :, :1, :1])).expand_as(h), x)
    with torch.no_grad():
        gate = torch.sigmoid(net.other(x[:, :, :1, :1]))
    fixed = with_head(lambda net, h, x: h * gate, x)
    fixed.load_state_dict(net.state_dict())
    assert error(attribute(net, x, "lrp_epsilon"), attribute(fixed, x, "lrp_epsilon")) < 1e-12


def test_a_picture_without_signal_gives_a_finite_map():
    net = vgg_like(bias=False)
    for name in LRP:
        assert attribute(net, torch.zeros(1, 3, 32, 32), name).abs().max() == 0


def test_depthwise_convolutions_use_epsilon():
    torch.manual_seed(0)
    net = settled(RandomNet(["depthwise"], bias=False), bias=False).double()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    assert left_over(net, x)["lrp_epsilon_plus"] < 1e-9


@pytest.mark.parametrize(
    "methods", [["gradient"], ["grad_cam"], ["lrp_z"], ["gradient", "guided_backprop", "grad_cam", *LRP]]
)
def test_nothing_of_a_pass_stays_in_memory(methods):
    net = settled(RandomNet(["residual", "dense", "gate"]))
    kept = []
    net.head.register_forward_hook(lambda module, args, output: kept.append(weakref.ref(args[0])))
    attribute_many(net, torch.randn(1, 3, 32, 32), methods)
    assert len(kept) == 1
    assert kept[0]() is None


def test_the_shared_pass_is_gone_before_methods_with_passes_of_their_own():
    net = settled(RandomNet(["residual", "dense", "gate"]))
    kept = []

    def note(module, args, output):
        assert all(ref() is None for ref in kept)
        kept.append(weakref.ref(args[0]))

    net.head.register_forward_hook(note)
    attribute_many(
        net, torch.randn(1, 3, 32, 32), {"integrated_gradients": {"steps": 2}, "lrp_z": {}, "gradient": {}}
    )
    assert len(kept) == 2  # the shared pass, and one for both steps
