"""Methods of one request go back through one forward pass, and get what each gets alone."""

import gc

import pytest
import torch
import torch.nn.functional as F
import torchvision
from small_networks import RandomNet, error, random_net, settled
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import Unsuitable, attribute, attribute_many
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.trace import Trace

GRADIENTS = ["gradient", "grad_cam", "guided_backprop", "deconvnet"]
THERE = {"mode": "innvestigate"}
ALL = {
    **dict.fromkeys(GRADIENTS),
    "guided_grad_cam": {"layer": "stem"},
    **dict.fromkeys(["lrp_z", "lrp_epsilon", "lrp_epsilon_plus", "lrp_preset_a_flat", "lrp_preset_b_flat", "deep_taylor"]),
}  # fmt: skip
ALL_THERE = {
    **dict.fromkeys(GRADIENTS[:2]),
    **dict.fromkeys(["lrp_z", "lrp_preset_a_flat", "lrp_preset_b_flat", "deep_taylor", "guided_backprop"], THERE),
    "lrp_epsilon": {"epsilon": 0.01, **THERE},
}  # fmt: skip


def same_as_alone(net, x, methods, target=0):
    calls = []
    handle = net.register_forward_hook(lambda *_: calls.append(1))
    together = attribute_many(net, x, methods, target)
    passes = len(calls)
    handle.remove()
    for name, given in methods.items():
        alone = attribute(net, x, name, target, **(given or {}))
        assert torch.equal(together.maps[name], alone), name
    return passes


@pytest.mark.parametrize(
    "methods", [ALL, ALL_THERE, {**ALL, "deep_taylor": THERE}], ids=["as defined", "there", "mixed"]
)
@pytest.mark.parametrize("kind", RandomNet.KINDS)
def test_each_kind_of_block(kind, methods):
    torch.manual_seed(0)
    net = settled(RandomNet([kind, "plain", kind]))
    net.head.bias.data += 5
    passes = same_as_alone(net, torch.randn(2, 3, 32, 32), methods)
    # what is overwritten before its gradient has read it costs a second pass
    assert passes <= (2 if kind in {"in place", "statement", "spatial gate"} else 1)


IN_PLACE = {
    "relu": lambda h: h.relu_(),
    "relu of a part": lambda h: h[:, :2].relu_(),
    "relu6": lambda h: F.relu6(h, inplace=True),
    "clamp": lambda h: h.clamp_(min=0),
    "silu": lambda h: F.silu(h, inplace=True),
    "silu of a part": lambda h: F.silu(h[:, :, 2:], inplace=True),
    "hardswish": lambda h: F.hardswish(h, inplace=True),
    "leaky": lambda h: F.leaky_relu_(h, 0.1),
    "constant": lambda h: h.mul_(2).sub_(0.1),
    "itself": lambda h: h.add_(h),
    "a part onto another": lambda h: h[:, :1].add_(h[:, 1:2].clone()),
    "a gate onto a part": lambda h: h[:, :1].mul_(h[:, 1:2].sigmoid()),
}


class Changes(nn.Module):
    """Something in place between two convolutions, the result thrown away."""

    def __init__(self, change):
        super().__init__()
        torch.manual_seed(0)
        self.change = change
        self.stem, self.norm, self.more = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        h = self.norm(self.stem(x))
        self.change(h)
        return self.head(self.more(h).relu().mean((2, 3)))


@pytest.mark.parametrize("name", IN_PLACE)
def test_changes_in_place(name):
    net = settled(Changes(IN_PLACE[name])).double()
    net.head.bias.data += 5
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    same_as_alone(net, x, ALL)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    found = attribute_many(net, x, ["gradient", "lrp_z", "guided_backprop", "grad_cam"], 0).maps
    assert torch.equal(found["gradient"], expected)


def test_a_rule_that_leaves_a_part_of_a_tensor_alone_keeps_the_rest():
    """What is changed in place through a view gets its relevance, and what lies beside the view keeps its own."""
    net = settled(Changes(IN_PLACE["silu of a part"]), bias=False).double()
    x = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    for methods in (["lrp_epsilon"], ["lrp_epsilon", "gradient"]):
        found = attribute_many(
            net, x, {name: {"epsilon": 1e-14} if "lrp" in name else {} for name in methods}, 0
        )
        torch.testing.assert_close(
            found.maps["lrp_epsilon"].sum((1, 2, 3)), found.logits[:, 0], rtol=1e-9, atol=0
        )


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "densenet121", "shufflenet_v2_x0_5"])
def test_real_architectures(name):
    torch.manual_seed(0)
    net = settled(torchvision.models.get_model(name, weights=None, num_classes=2), size=64)
    methods = dict.fromkeys(["gradient", "grad_cam", "lrp_epsilon", "deep_taylor"])
    if name != "efficientnet_b0":
        methods["guided_backprop"] = None
    assert same_as_alone(net, torch.randn(1, 3, 64, 64), methods) == 1


def test_grad_cam_alone_keeps_nothing_of_the_layers_before_its_map():
    net = settled(RandomNet(["residual", "plain", "plain"]))
    found = []

    def look(module, args, output):
        node, nodes = output.grad_fn, set()
        queue = [node]
        while queue:
            node = queue.pop()
            if node is not None and node not in nodes:
                nodes.add(node)
                queue.extend(parent for parent, _ in node.next_functions)
        found.append(len(nodes))

    net.head.register_forward_hook(look)
    attribute(net, torch.randn(1, 3, 32, 32), "grad_cam")
    attribute(net, torch.randn(1, 3, 32, 32), "gradient")
    assert found[0] < 8
    assert found[1] > 20


def test_a_method_without_meaning_is_refused_or_left_out():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(144, 2)
    ).eval()
    x = torch.randn(2, 3, 8, 8)
    methods = ["lrp_epsilon", "gradient", "guided_backprop", "random", "deep_taylor", "deconvnet"]
    with pytest.raises(Unsuitable, match="no rule for group_norm"):
        attribute_many(net, x, methods)
    found = attribute_many(net, x, methods, keep_going=True)
    assert list(found.maps) == ["gradient", "random"]
    assert list(found.refused) == ["lrp_epsilon", "guided_backprop", "deep_taylor", "deconvnet"]
    assert "group_norm" in found.refused["deep_taylor"]
    assert "has none" in found.refused["deconvnet"]
    assert torch.equal(found.maps["gradient"], attribute(net, x, "gradient"))
    with pytest.raises(Unsuitable, match="group_norm"):
        attribute_many(net, x, ["lrp_epsilon", "deconvnet"], keep_going=True)
    assert attribute_many(net, x, ["gradient"]).refused == {}


def test_mistakes_are_no_reason_to_go_on():
    net, x = settled(RandomNet(["plain"])), torch.randn(1, 3, 32, 32)
    for methods, target in (
        (["gradient", "nothing"], 1),
        ({"gradient": {}, "grad_cam": {"layer": "no"}}, 1),
        (["gradient"], 5),
    ):
        with pytest.raises(MitoxaiError) as caught:
            attribute_many(net, x, methods, target, keep_going=True)
        assert not isinstance(caught.value, Unsuitable)


def test_occlusion_needs_no_gradient_that_can_be_traced():
    conv = nn.Conv2d(3, 2, 3)

    class Hides(nn.Module):
        @torch.no_grad()
        def forward(self, x):
            return conv(x).mean((2, 3))

    x = torch.randn(2, 3, 16, 16)
    found = attribute_many(Hides(), x, ["gradient", "lrp_epsilon", "occlusion"], keep_going=True)
    assert list(found.maps) == ["occlusion"]
    assert "traced" in found.refused["gradient"]


def test_presets_are_keys_of_their_own():
    net, x = settled(RandomNet(["plain"])), torch.randn(2, 3, 32, 32)
    label = "deep_taylor@seed-exact"
    methods = {"gradient": None, label: None, "lrp_epsilon": {"epsilon": 0.5}}
    found = attribute_many(net, x, methods)
    assert list(found.maps) == list(methods)
    assert torch.equal(found.maps[label], attribute(net, x, label))
    with pytest.raises(MitoxaiError, match="no preset"):
        attribute(net, x, "gradient@nothing")


def test_a_network_may_use_checkpoints():
    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.more, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            h = self.stem(x).relu()
            h = torch.utils.checkpoint.checkpoint(lambda h: self.more(h).relu() + 1, h, use_reentrant=False)
            return self.head(h.mean((2, 3)))

    same_as_alone(
        Saves().eval(),
        torch.rand(2, 3, 12, 12),
        {name: ALL[name] for name in ("gradient", "guided_backprop", "lrp_z")},
    )


def test_maps_in_one_request_differ():
    """The cache of what rules share does not mix them up."""
    net, x = settled(RandomNet(["plain", "residual"])), torch.randn(2, 3, 32, 32)
    maps = list(attribute_many(net, x, ALL, 0).maps.values())
    for index, one in enumerate(maps):
        for other in maps[:index]:
            assert error(one.expand(2, 3, 32, 32), other.expand(2, 3, 32, 32)) > 1e-3


@pytest.mark.parametrize(
    "methods", [["lrp_epsilon"], ["grad_cam", "lrp_epsilon", "guided_backprop"], ["gradient", "grad_cam"]]
)
def test_nothing_of_a_pass_waits_for_the_garbage_collector(methods):
    # it seldom comes, as there are few objects, but they hold gigabytes
    net = random_net(0)
    x = torch.rand(2, 3, 16, 16)
    gc.collect()
    gc.disable()
    try:
        attribute_many(net, x, methods)
        left = [thing for thing in gc.get_objects() if isinstance(thing, (Trace, Question))]
    finally:
        gc.enable()
    assert left == []
