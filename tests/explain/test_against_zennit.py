"""LRP on real architectures against zennit, where zennit is right: plain networks and, with its canonizers, ResNets."""

import copy
import warnings

import pytest
import torch
from registered_networks import registered
from small_networks import error
from torch import nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
from zennit.rules import AlphaBeta, Epsilon, Flat, ZBox, ZPlus
from zennit.torchvision import ResNetCanonizer
from zennit.types import Convolution, Linear

from napari_mitoxai.explain import attribute, attribute_many

SMALL = 1e-6
CANONIZERS = {
    "vgg16": None, "vgg16_bn": SequentialMergeBatchNorm, "resnet18": ResNetCanonizer, "resnet50": ResNetCanonizer,
}  # fmt: skip
METHODS = {  # the rule of convolutions, and of the first of them
    "lrp_epsilon": (lambda: Epsilon(epsilon=SMALL), None),
    "lrp_epsilon_plus": (lambda: AlphaBeta(alpha=1, beta=0, stabilizer=SMALL), None),
    # their rule adds the stabiliser to the number of pixels, which ours has no need of
    "lrp_preset_a_flat": (
        lambda: AlphaBeta(alpha=1, beta=0, stabilizer=SMALL),
        lambda: Flat(stabilizer=1e-14),
    ),
    "lrp_preset_b_flat": (
        lambda: AlphaBeta(alpha=2, beta=1, stabilizer=SMALL),
        lambda: Flat(stabilizer=1e-14),
    ),
}


def relevance(net, x, targets, convolution, dense, first, canonizer=None, positive=False, stabiliser=SMALL):
    layers = [*layer_map_base(stabilizer=stabiliser), (Convolution, convolution), (Linear, dense)]
    canonizers = [canonizer()] if canonizer else []
    composite = SpecialFirstLayerMapComposite(
        layers, [(Convolution, first or convolution)], canonizers=canonizers
    )
    leaf = x.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with composite.context(
            copy.deepcopy(net)
        ) as hooked:  # they change weights and give them back rounded
            logits = hooked(leaf)
            scores = logits.gather(1, targets[:, None]).detach()
            start = torch.zeros_like(logits).scatter(
                1, targets[:, None], scores.clamp(min=0) if positive else scores
            )
            return torch.autograd.grad(logits, leaf, start)[0]


SLOW = ("vgg16_bn", "resnet50")


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CANONIZERS])
def case(request, one_thread):
    case = registered(request.param, 3, torch.float64, 48 if "resnet" in request.param else 32)
    for module in case.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            # their canonizers leave this number behind, and small denominators make 1e-5 of it to 1e-2
            module.running_var.add_(module.eps)
            module.eps = 0.0
    return case


def test_lrp_equals_zennit(case):
    targets = torch.tensor([0, 1])
    given = {"epsilon": SMALL, "relative": False}
    found = attribute_many(case.net, case.x, dict.fromkeys(METHODS, given), targets).maps
    for name, (convolution, first) in METHODS.items():
        theirs = relevance(
            case.net,
            case.x,
            targets,
            convolution(),
            Epsilon(epsilon=SMALL),
            first and first(),
            CANONIZERS[case.name],
        )
        assert error(found[name], theirs) < 1e-9, name


@pytest.mark.slow
def test_deep_taylor_equals_zennit_on_a_plain_network(one_thread):
    case = registered("vgg16", 1, torch.float64)
    low, high = float(case.x.min()), float(case.x.max())
    plain = ZPlus(stabilizer=1e-14, zero_params="bias")
    first = ZBox(low=low, high=high, stabilizer=1e-14, zero_params="bias")
    targets = case.net(case.x).argmax(1)
    for options, rule in (({}, plain), ({"low": low, "high": high}, first)):
        theirs = relevance(case.net, case.x, targets, plain, plain, rule, positive=True, stabiliser=1e-14)
        assert theirs.any()
        assert (
            error(attribute(case.net, case.x, "deep_taylor", targets, **options), theirs) < 1e-7
        )  # one channel: a dark pixel leaves denominators that the stabiliser still moves
