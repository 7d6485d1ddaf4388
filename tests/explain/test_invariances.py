"""What must not change a map, or must change it in a known way; and pictures on which nothing may go wrong."""

import copy

import pytest
import torch
import torch.nn.functional as F
from random_programs import Program
from small_networks import RandomNet, random_net, settled, vgg_like
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many, available, method

QUICK = {
    "smoothgrad": {"samples": 2}, "integrated_gradients": {"steps": 3}, "guided_integrated_gradients": {"steps": 3},
    "blur_integrated_gradients": {"steps": 3}, "xrai": {"steps": 2}, "fast_xrai": {"steps": 2}, "occlusion": {"window": 8, "stride": 8},
}  # fmt: skip
EVERYTHING = {name: QUICK.get(name, {}) for name in available()}
# Their noise depends on the whole picture.
NOISY = {"random", "smoothgrad"}
RELEVANCE = [
    "lrp_z",
    "lrp_epsilon",
    "lrp_epsilon_plus",
    "lrp_preset_a_flat",
    "lrp_preset_b_flat",
    "deep_taylor",
]
RULES = ["gradient", "input_x_gradient", "guided_backprop", "deconvnet", *RELEVANCE]


def agree(found, expected, tolerance=1e-9, what=""):
    assert found.shape == expected.shape
    assert found.isfinite().all(), what
    assert (found - expected).abs().max() <= tolerance * expected.abs().max(), what


@pytest.fixture
def x(one_thread):
    return torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def on_a_torus():
    """Nothing marks a place, from the picture to the mean."""
    torch.manual_seed(1)
    net = RandomNet(["residual", "dense", "gate"])
    for parent in list(net.modules()):
        for name, old in list(parent.named_children()):
            if isinstance(old, nn.Conv2d):
                new = nn.Conv2d(old.in_channels, old.out_channels, 3, old.stride, 1, padding_mode="circular")
                parent.register_module(name, new)
    return settled(net).double()


@pytest.mark.parametrize("shift", [(2, 0), (0, -4), (6, 10)])
def test_on_a_torus_a_shifted_picture_has_the_shifted_map(shift, x):
    net = on_a_torus()
    net.head.bias.data += 5
    names = {
        name: QUICK.get(name, {}) for name in (*RULES, "integrated_gradients", "guided_integrated_gradients")
    }
    here, there = attribute_many(net, x, names), attribute_many(net, x.roll(shift, (2, 3)), names)
    torch.testing.assert_close(there.logits, here.logits)
    for name in names:
        agree(there.maps[name], here.maps[name].roll(shift, (2, 3)), what=name)


def test_something_on_an_empty_background_has_the_same_map_wherever_it_is(one_thread):
    torch.manual_seed(0)
    net = settled(RandomNet(["residual", "dense", "plain"], bias=False), bias=False).double()
    thing = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    places = [F.pad(thing, (12 + dx, 20 - dx, 12 + dy, 20 - dy)) for dy, dx in ((0, 0), (2, -4), (6, 8))]
    names = ["input_x_gradient", "lrp_z", "lrp_epsilon", "lrp_epsilon_plus", "integrated_gradients"]
    here, *others = (attribute_many(net, place, names).maps for place in places)
    for found, (dy, dx) in zip(others, ((2, -4), (6, 8)), strict=True):
        for name in names:
            assert here[name].any()
            agree(found[name], here[name].roll((dy, dx), (2, 3)), what=name)


@pytest.mark.parametrize("flip", [(2,), (3,), (2, 3)])
def test_a_mirrored_network_sees_a_mirrored_picture_alike(flip, x):
    net = vgg_like(batch_norm=True)
    del net[-5:]
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)])
    net = net.double().eval()
    mirrored = copy.deepcopy(net)
    for module in mirrored.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.flip(flip)
    names = {name: {} for name in (*RULES, "grad_cam", "guided_grad_cam", "edge_detector")}
    del names["deconvnet"]  # sends signals to dark pools too, where max-pooling takes the first of equals
    names |= {
        name: QUICK[name] for name in ("occlusion", "integrated_gradients", "blur_integrated_gradients")
    }
    here, there = attribute_many(net, x, names, 2).maps, attribute_many(mirrored, x.flip(flip), names, 2).maps
    for name in names:
        agree(there[name], here[name].flip(flip), what=name)


@pytest.mark.parametrize("seed", range(3))
def test_channels_in_another_order_have_their_maps_in_that_order(seed, x):
    net, order = random_net(seed).double(), torch.tensor([2, 0, 1])
    net.head.bias.data += 5
    other = copy.deepcopy(net)
    other.stem.weight.data = net.stem.weight.data[:, order]
    names = {name: given for name, given in EVERYTHING.items() if name not in NOISY | {"xrai", "fast_xrai"}}
    here, there = attribute_many(net, x, names).maps, attribute_many(other, x[:, order], names).maps
    for name in names:
        agree(there[name], here[name][:, order] if method(name).per_channel else here[name], what=name)


def test_classes_in_another_order_have_the_same_maps(x):
    net, other = vgg_like().double(), vgg_like().double()
    del net[-5:], other[-5:]
    for one in (net, other):
        torch.manual_seed(2)
        one.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3).double()])
    other[-1].weight.data, other[-1].bias.data = (
        other[-1].weight.data[[2, 0, 1]],
        other[-1].bias.data[[2, 0, 1]],
    )
    # the last layer of relative rules looks at all classes of an input, whatever their order
    for target, elsewhere in ((0, 1), (2, 0)):
        here = attribute_many(net, x, EVERYTHING, target).maps
        there = attribute_many(other, x, EVERYTHING, elsewhere).maps
        for name in EVERYTHING:
            agree(there[name], here[name], what=name)


@pytest.mark.parametrize("seed", range(2))
def test_batches_targets_memory_formats_and_order_of_methods_do_not_matter(seed, x):
    net = random_net(seed).double()
    net.head.bias.data += 5
    together = attribute_many(net, x, EVERYTHING, [1, 0, 1]).maps
    backwards = dict(reversed(EVERYTHING.items()))
    columns = x.to(memory_format=torch.channels_last)
    strided = torch.stack([x, x], -1)[..., 0]
    ways = {
        "other order": attribute_many(net, x, backwards, (1, 0, 1)).maps,
        "channels last": attribute_many(net, columns, EVERYTHING, torch.tensor([1, 0, 1])).maps,
        "strided": attribute_many(net, strided, EVERYTHING, torch.tensor([1, 0, 1])).maps,
        "network channels last": attribute_many(
            copy.deepcopy(net).to(memory_format=torch.channels_last), columns, EVERYTHING, [1, 0, 1]
        ).maps,
    }
    for name in EVERYTHING:
        for way, found in ways.items():
            agree(found[name], together[name], what=f"{name}, {way}")
        one_class = attribute(net, x, name, 1, **EVERYTHING[name])
        agree(one_class[[0, 2]], together[name][[0, 2]], what=name)
        agree(attribute(net, x[[2, 0]], name, 1, **EVERYTHING[name]), together[name][[2, 0]], what=name)


@pytest.mark.parametrize("seed", range(2))
def test_explaining_twice_gives_the_same_to_the_last_digit(seed, x):
    net = random_net(seed)
    first, second = (attribute_many(net, x.float(), EVERYTHING).maps for _ in range(2))
    for name in EVERYTHING:
        assert torch.equal(first[name], second[name])


# --- pictures on which nothing may go wrong --------------------------------------------------------------------------

ODD = {
    "nothing": torch.zeros(1, 3, 24, 24),
    "constant": torch.full((1, 3, 24, 24), -1.7),
    "an empty channel": torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 0, 1]).view(3, 1, 1),
    "one pixel": F.pad(torch.ones(1, 3, 1, 1), (11, 12, 5, 18)),
    "large": torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(1)) * 1e4,
    "faint": torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(2)) * 1e-4,
}  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("what", ODD)
def test_odd_pictures_have_finite_maps(what, bias, one_thread):
    for net in (random_net(3, bias=bias), random_net(6, bias=bias), vgg_like(bias=bias)):
        if isinstance(net, nn.Sequential):
            del net[-5:]
            net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3, bias=bias)])
        for name, found in attribute_many(net, ODD[what], EVERYTHING).maps.items():
            assert found.isfinite().all(), name
            if what == "nothing" and not bias and name in RELEVANCE:
                assert not found.any(), name


def test_a_class_that_is_never_predicted_is_explained_as_any_other(x):
    net = random_net(1).double()
    never = copy.deepcopy(net)
    never.head.bias.data[0] -= 1e6
    assert bool((never(x).argmax(1) == 1).all())
    here, there = attribute_many(net, x, EVERYTHING, 0).maps, attribute_many(never, x, EVERYTHING, 0).maps
    for name in EVERYTHING:
        if name in RELEVANCE:  # starts at the score
            assert there[name].isfinite().all()
        else:
            # a score of a million leaves ten digits for its differences
            agree(there[name], here[name], 1e-6 if name == "occlusion" else 1e-9, name)
    # z: the score is large, but what it is shared in proportion to is not: the constant keeps its part
    agree(there["lrp_z"], here["lrp_z"], 1e-6)
    assert not there["deep_taylor"].any()


def test_a_network_that_is_silent_has_empty_maps(x):
    net = random_net(0).double()
    net.head.weight.data.zero_()
    for name, found in attribute_many(net, x, EVERYTHING).maps.items():
        if name not in {"random", "edge_detector"}:
            assert not found.any(), name


@pytest.mark.parametrize("name", available())
def test_what_cannot_be_explained_is_refused_by_every_method(name, one_thread):
    net = random_net(0)
    some = torch.zeros(2, 3, 24, 24)
    some[1, 2, 3, 4] = float("nan")
    with pytest.raises(MitoxaiError, match="not finite"):
        attribute(net, some, name)
    for shape in ((0, 3, 24, 24), (1, 3, 0, 24), (1, 0, 24, 24), (3, 24, 24)):
        with pytest.raises(MitoxaiError, match="batch of patches"):
            attribute(net, torch.zeros(shape), name)


@pytest.mark.parametrize("seed", range(6))
def test_a_network_in_single_precision_has_nearly_the_map_of_one_in_double(seed, one_thread):
    net = Program(seed)
    x = torch.randn(1, 2, 7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    exact = attribute_many(net, x, RULES).maps
    found = attribute_many(copy.deepcopy(net).float(), x.float(), RULES).maps
    for name in RULES:
        assert found[name].dtype == torch.float32
        agree(found[name].double(), exact[name], 1e-2, name)


@pytest.mark.parametrize("name", RELEVANCE)
def test_what_is_nearly_nothing_does_not_spoil_a_map(name, one_thread):
    # as a SiLU gives it of -90: the map of an EfficientNet can be lost so
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(4, 2))
    for values in net.parameters():
        values.data.fill_(1.0)
    x = torch.tensor([1e-40, 1.0, 1.0, 1.0]).view(1, 1, 2, 2)
    assert attribute(net, x, name).isfinite().all()
