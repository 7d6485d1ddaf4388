"""Every registered architecture against references that know nothing of how the methods are made.

By default each network has one number of channels (1, 3 or 10); all of them, and double precision everywhere, in the slow tests.
"""

import threading

import pytest
import torch
import torch.nn.functional as F
from autograd_graph import rectifiers, ruled_gradient
from captum.attr import GuidedGradCam, LayerGradCam
from registered_networks import DEPTHWISE, LARGE, NAMES, WITHOUT_RELU, matrix, registered, without_biases
from small_networks import error
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many

LRP = ["lrp_epsilon", "lrp_epsilon_plus", "lrp_preset_a_flat", "lrp_preset_b_flat"]


@pytest.fixture(scope="module", params=list(matrix()))
def case(request, one_thread):
    return registered(*request.param)


@pytest.mark.parametrize(("name", "guided"), [("guided_backprop", True), ("deconvnet", False)])
def test_rectifiers_follow_their_rule_in_the_graph_that_autograd_recorded(name, guided, case):
    x = case.x[:1]
    if case.name in WITHOUT_RELU:
        assert not rectifiers(case.net(x).grad_fn)
        sentence = f"{name} only changes ReLUs and this network has none, so its map would be the plain gradient: use gradient."
        with pytest.raises(MitoxaiError, match=f"^{sentence}$"):
            attribute(case.net, x, name)
        return
    expected = ruled_gradient(case.net, x, 1, guided)
    assert error(attribute(case.net, x, name, 1), expected) < case.tolerance
    assert error(attribute(case.net, x, "gradient", 1), expected) > 0.1


# Without ReLUs an output may have no positive part, or no negative one, which alpha and beta then cannot share.
LEAKS = {"lrp_epsilon_plus": 1e-3, "lrp_preset_a_flat": 1e-3, "lrp_preset_b_flat": 1e-2}


def test_relevance_is_conserved_without_biases(case):
    methods = {**{name: {"epsilon": 1e-14} for name in LRP}, "lrp_z": {}, "deep_taylor": {}}
    with without_biases(case.net) as net:
        x = case.x.abs()  # the first layer of alpha 1 beta 0 has something to share everywhere
        # where a logit is hundreds of times smaller than what cancels in it, single precision has no four digits of it
        largest = int(net(x).abs().amax(1).argmax())
        x = x[largest : largest + 1]
        target = int(net(x).argmax())
        found = attribute_many(net, x, methods, target)
    logit = found.logits[0, target]
    for name, relevance in found.maps.items():
        tolerance = max(case.tolerance, LEAKS.get(name, 0) if case.name in WITHOUT_RELU else 0)
        wanted = logit.clamp(min=0) if name == "deep_taylor" else logit
        assert abs(float(relevance.sum() - wanted)) <= tolerance * abs(float(wanted)), name
        assert bool(relevance.any()) == bool(wanted), name
    assert "deep_taylor" not in found.maps or found.maps["deep_taylor"].min() >= 0
    for name in LRP[2:]:  # the first layer is flat
        assert error(found.maps[name][:, :1].expand_as(x), found.maps[name]) < 1e-5


def test_lrp_z_is_input_times_gradient_with_biases_too(case):
    maps = attribute_many(case.net, case.x[:1], ["lrp_z", "input_x_gradient", "gradient"]).maps
    assert torch.equal(maps["input_x_gradient"], case.x[:1] * maps["gradient"])
    difference = error(maps["lrp_z"], maps["input_x_gradient"])
    if case.name in WITHOUT_RELU:
        assert difference > 0.1
    else:
        assert difference < (1e-9 if case.exact else 1e-2)


RULES = ["guided_backprop", "lrp_epsilon", "grad_cam", "gradient", "lrp_epsilon_plus", "lrp_preset_b_flat"]


def asked_of(case):
    asked = RULES[:3] if case.name in LARGE else RULES  # they are as simple as they are slow
    return [name for name in asked if name != "guided_backprop" or case.name not in WITHOUT_RELU]


def test_threads_that_share_a_network_get_what_each_method_alone_gives_and_leave_it_as_it_was(case):
    net, x, names = case.net, case.x[:1], asked_of(case)
    with torch.no_grad():
        logits = net(x)
    target = int(logits.argmax())
    alone = {name: attribute(net, x, name, target) for name in names}
    wrong = []

    def work(order):
        try:
            found = attribute_many(net, x, order, target)
            assert torch.equal(found.logits, logits)
            for name, expected in alone.items():
                torch.testing.assert_close(
                    found.maps[name], expected, rtol=0, atol=case.tolerance * float(expected.abs().max())
                )
        except Exception as problem:  # noqa: BLE001 - shown by the assertion
            wrong.append(problem)

    try:
        for parameter in list(net.parameters())[::2]:
            parameter.requires_grad_(False)
        net.train()
        next(m for m in net.modules() if isinstance(m, nn.Conv2d)).eval()
        state = {key: value.clone() for key, value in net.state_dict().items()}
        flags, needs = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
        threads = [threading.Thread(target=work, args=(order,)) for order in (names, names[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert [m.training for m in net.modules()] == flags
        assert [p.requires_grad for p in net.parameters()] == needs
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
        assert all(p.grad is None for p in net.parameters())
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        assert not any(getattr(m, kind) for m in net.modules() for kind in hooks)
    finally:
        net.requires_grad_(True).eval()


def names_with_slow(names, slow):
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


@pytest.mark.parametrize("name", names_with_slow(NAMES, (*DEPTHWISE, *LARGE)))
def test_gradients_are_those_of_finite_differences(name, one_thread):
    case = registered(name, 2, torch.float64)
    found = attribute(case.net, case.x, "gradient", [0, 1])
    step, off = 1e-8, []
    for seed in range(4):
        way = torch.randn(case.x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        with torch.no_grad():
            rise = (case.net(case.x + step * way) - case.net(case.x - step * way)).diagonal()
        off.append((rise / (2 * step) - (found * way).sum((1, 2, 3))).abs() / found.flatten(1).norm(dim=1))
    assert torch.stack(off).median() < 1e-5  # not the largest: the networks have kinks


# What is last before pooling, flattening or classifying, and a size at which it is more than a pixel. DenseNet's is no module.
LAST = {
    "vgg16": ("features.29", 32), "vgg16_bn": ("features.42", 32), "vgg19": ("features.35", 32), "resnet18": ("layer4", 48),
    "resnet50": ("layer4", 48), "inception_v3": ("Mixed_7c", 107), "efficientnet_b0": ("features", 48), "resnet50v2": ("norm", 48),
    "xception": ("act4", 48), "inception_resnet_v2": ("conv2d_7b", 107),
}  # fmt: skip


@pytest.mark.parametrize("name", names_with_slow(LAST, LARGE[1:]))
def test_grad_cam_of_the_last_feature_map_equals_captum(name, one_thread):
    layer, size = LAST[name]
    case = registered(name, 3, torch.float32, size)
    for module in case.net.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # captum would record a map and not what it became
    last = case.net.get_submodule(layer)

    def theirs(target):
        coarse = (
            LayerGradCam(case.net, last).attribute(case.x.clone(), target, relu_attributions=True).detach()
        )
        assert coarse.shape[2] * coarse.shape[3] > 1
        return F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)

    expected = torch.stack([theirs(target) for target in (0, 1)])
    assert expected.max() > 0
    for asked in ({}, {"layer": layer}):
        found = torch.stack([attribute(case.net, case.x, "grad_cam", target, **asked) for target in (0, 1)])
        assert found.shape == (2, 2, 1, size, size)
        assert error(found, expected) < 1e-5
    # captum's guided backpropagation is wrong on the others
    if name in ("resnet18", "resnet50", "resnet50v2", "inception_resnet_v2"):
        target = int(expected.amax((1, 2, 3, 4)).argmax())
        method = GuidedGradCam(case.net, last)
        guided = method.attribute(
            case.x.clone().requires_grad_(), target, interpolate_mode="bilinear"
        ).detach()
        assert error(attribute(case.net, case.x, "guided_grad_cam", target), guided) < 1e-5


def test_grad_cam_of_a_densenet_is_the_closed_form(one_thread):
    case = registered("densenet121", 3, torch.float64, 64)
    with torch.no_grad():
        maps = case.net.features(case.x).relu()
    for target in (0, 1):
        weights = case.net.classifier.weight[target].detach()
        coarse = torch.einsum("c,ncyx->nyx", weights, maps)[:, None].clamp(min=0) / maps[0, 0].numel()
        expected = F.interpolate(coarse, size=case.x.shape[2:], mode="bilinear", align_corners=False)
        torch.testing.assert_close(
            attribute(case.net, case.x, "grad_cam", target), expected, rtol=1e-9, atol=1e-9
        )
