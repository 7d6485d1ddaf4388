"""Laws of the methods, and their definitions step by step, on small networks drawn from seeds."""

import pytest
import torch
from autograd_graph import ruled_gradient
from random_programs import ALL_ADDS, ALL_RELUS, Program, Rules, relevance_of_one
from torch import nn

from napari_mitoxai.explain import attribute, attribute_many

FEW = range(20)
SEEDS = [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(len(FEW), 200))]
TARGETS = [0, 2]
LRP = ["lrp_epsilon", "lrp_epsilon_plus", "lrp_preset_a_flat", "lrp_preset_b_flat"]


def pictures(seed, positive=False):
    drawn = torch.randn(2, 2, 7, 7, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)
    return drawn.abs() if positive else drawn


def agree(found, expected, tolerance=1e-9):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


class NeverInPlace(nn.Module):
    def __init__(self, program):
        super().__init__()
        self.program = program

    def forward(self, x):
        return self.program.run(x, as_written=False)[-1]


def test_the_programs_hold_what_real_networks_hold():
    programs = [Program(seed, rectified=False) for seed in FEW] + [Program(seed) for seed in FEW]
    kinds = {step.kind for program in programs for step in program.steps}
    assert kinds == {
        "conv", "norm", "relu", "add", "cat", "max", "average", "scale", "dropout", "mean", "flatten", "linear", "sigmoid", "gate", "silu",
    }  # fmt: skip
    ways = {step.way for program in programs for step in program.steps} - {""}
    assert ways == {*ALL_ADDS, *ALL_RELUS}
    alive = [bool(attribute(program, pictures(0), "gradient", TARGETS).any()) for program in programs]
    assert sum(alive) > 0.8 * len(programs)
    assert any(isinstance(m, nn.Conv2d) and m.groups > 1 for program in programs for m in program.modules())


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_explaining_does_not_change_what_the_network_says(seed, rectified):
    net, x = Program(seed, rectified=rectified), pictures(seed)
    with torch.no_grad():
        expected = net.run(x, as_written=False)[-1]
        assert torch.equal(net(x.clone()), expected)
    for names in (
        ["gradient"],
        ["guided_backprop"],
        ["deconvnet"],
        ["lrp_epsilon"],
        ["deep_taylor"],
        ["grad_cam"],
        LRP,
    ):
        assert torch.equal(attribute_many(net, x, names, TARGETS).logits, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_and_rectifiers_equal_the_recorded_graph(seed):
    net, x = Program(seed, rectified=seed % 3 > 0), pictures(seed)
    leaf = x.clone().requires_grad_()
    plain = NeverInPlace(net)
    (gradient,) = torch.autograd.grad(plain(leaf)[:, 1].sum(), leaf)
    found = attribute_many(net, x, ["gradient", "guided_backprop", "deconvnet"], 1).maps
    agree(found["gradient"], gradient)
    agree(found["guided_backprop"], ruled_gradient(plain, x, 1, guided=True))
    agree(found["deconvnet"], ruled_gradient(plain, x, 1, guided=False))


DEFINITIONS = {
    "lrp_epsilon": Rules(),
    "lrp_epsilon_plus": Rules(conv="plus"),
    "lrp_preset_a_flat": Rules(conv="plus", first="flat"),
    "lrp_preset_b_flat": Rules(conv="alpha2beta1", first="flat"),
}


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_relevance_is_that_of_the_definitions_with_biases_gates_and_a_large_epsilon(seed, relative):
    net, x = Program(seed, rectified=seed % 3 > 0), pictures(seed)
    given = {"epsilon": 0.03, "relative": relative}
    found = attribute_many(net, x, dict.fromkeys(DEFINITIONS, given), TARGETS).maps
    for name, rules in DEFINITIONS.items():
        rules = Rules(rules.conv, rules.dense, rules.first, rules.other, **given)
        for index, target in enumerate(TARGETS):
            agree(found[name][index : index + 1], relevance_of_one(net, x[index : index + 1], target, rules))


@pytest.mark.parametrize("seed", SEEDS)
def test_deep_taylor_is_that_of_the_definition(seed):
    net, x = Program(seed, rectified=seed % 3 > 0), pictures(seed)
    rules = Rules(conv="excitation", dense="excitation", other="excitation")
    for target in range(3):
        found = attribute(net, x[:1], "deep_taylor", target)
        agree(found, relevance_of_one(net, x[:1], target, rules, positive_only=True))
        assert found.min() >= 0


@pytest.mark.parametrize("seed", SEEDS)
def test_without_biases_relevance_is_conserved_and_z_and_path_methods_are_input_times_gradient(seed):
    net, x = Program(seed, bias=False), pictures(seed)
    # a rectified network without biases is straight along the way from nothing to the picture
    exact = {
        "lrp_z": {},
        "integrated_gradients": {"steps": 3},
        "guided_integrated_gradients": {"steps": 3, "max_distance": 0},
    }
    methods = {"input_x_gradient": {}, **exact, "lrp_epsilon": {"epsilon": 1e-14}}
    found = attribute_many(net, x, methods, TARGETS)
    scores = found.logits.gather(1, torch.tensor(TARGETS)[:, None])[:, 0]
    for name in methods:
        if name != "guided_integrated_gradients":  # its first step is at the baseline itself
            torch.testing.assert_close(found.maps[name].sum((1, 2, 3)), scores, rtol=1e-8, atol=1e-12)
    for name in ("lrp_z", "integrated_gradients"):
        agree(found.maps[name], found.maps["input_x_gradient"], 1e-8)


@pytest.mark.parametrize("seed", SEEDS)
def test_with_biases_lrp_z_is_still_input_times_gradient(seed):
    net, x = Program(seed), pictures(seed)
    maps = attribute_many(net, x, ["lrp_z", "input_x_gradient"], TARGETS).maps
    agree(maps["lrp_z"], maps["input_x_gradient"], 1e-8)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_biases_a_brighter_picture_has_the_same_map_in_proportion(seed):
    net, x = Program(seed, bias=False), pictures(seed)
    names = [*LRP, "deep_taylor", "input_x_gradient", "grad_cam"]
    once, thrice = (attribute_many(net, factor * x, names, TARGETS).maps for factor in (1, 3))
    for name in names:
        agree(thrice[name], 3 * once[name], 1e-8)
    steep = [
        attribute_many(net, factor * x, ["gradient", "guided_backprop", "deconvnet"]).maps
        for factor in (1, 3)
    ]
    for name, found in steep[0].items():
        agree(steep[1][name], found, 1e-8)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_zero_in_the_picture_gets_nothing(seed):
    net, x = Program(seed, rectified=seed % 2 > 0), pictures(seed)
    x[:, 1], x[:, :, 2] = 0, 0
    names = [
        "input_x_gradient",
        "lrp_z",
        "lrp_epsilon",
        "lrp_epsilon_plus",
        "deep_taylor",
        "integrated_gradients",
    ]
    for name, found in attribute_many(net, x, names, TARGETS).maps.items():
        assert found.isfinite().all(), name
        assert (found[x == 0] == 0).all(), name


@pytest.mark.parametrize("seed", SEEDS[:6])
def test_integrated_gradients_sum_to_the_rise_of_the_score(seed):
    net, x = Program(seed, rectified=False), pictures(seed)
    with torch.no_grad():
        rise = (net(x.clone()) - net(torch.zeros_like(x)))[:, 1]
    found = attribute(net, x, "integrated_gradients", 1, steps=100)
    off = (found.sum((1, 2, 3)) - rise).abs()
    assert (off <= 1e-2 * found.abs().sum((1, 2, 3))).all()
