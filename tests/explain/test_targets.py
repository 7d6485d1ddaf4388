"""What is explained: a class, each input's own, one class against another, a logit or a probability."""

import pytest
import torch
from small_networks import SmoothNet, error, random_net, settled, vgg_like
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import Unsuitable, attribute, attribute_many, available

BY_RULES = [
    "lrp_z",
    "lrp_epsilon",
    "lrp_epsilon_plus",
    "lrp_preset_a_flat",
    "lrp_preset_b_flat",
    "deep_taylor",
]
FEW = {
    "smoothgrad": {"samples": 3},
    "integrated_gradients": {"steps": 4},
    "guided_integrated_gradients": {"steps": 4},
    "blur_integrated_gradients": {"steps": 4},
}


@pytest.fixture
def inputs():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval(), torch.randn(2, 3, 2, 2)


def test_contrast_and_probability_of_a_linear_model_by_hand():
    net, x = linear()
    w = net[1].weight.detach().view(3, 3, 2, 2)
    p = net(x).detach().softmax(1)

    def gradient(**asked):
        return attribute(net, x, "gradient", 2, **asked)

    torch.testing.assert_close(gradient(against=0), (w[2] - w[0]).expand(2, -1, -1, -1))
    mean = torch.einsum("nk,kcyx->ncyx", p, w)
    weight = p[:, :, None, None, None]
    torch.testing.assert_close(gradient(output="probability"), weight[:, 2] * (w[2] - mean))
    torch.testing.assert_close(
        gradient(output="probability", against=0), weight[:, 2] * (w[2] - mean) - weight[:, 0] * (w[0] - mean)
    )
    assert torch.equal(attribute(net, x, "input_x_gradient", 2, against=0), x * gradient(against=0))


@pytest.mark.parametrize(("asked", "score"), [
    ({"against": 1}, lambda y: y[:, 2] - y[:, 1]),
    ({"output": "probability"}, lambda y: y.softmax(1)[:, 2]),
    ({"output": "probability", "against": 0}, lambda y: y.softmax(1)[:, 2] - y.softmax(1)[:, 0]),
])  # fmt: skip
def test_methods_answer_for_the_score(asked, score):
    torch.manual_seed(0)
    net, x = SmoothNet().double(), torch.randn(2, 2, 7, 7, dtype=torch.float64)
    step = torch.zeros_like(x)
    step[:, 1, 3, 4] = 1e-5
    with torch.no_grad():
        slope = (score(net(x + step)) - score(net(x - step))) / 2e-5
        change = score(net(x)) - score(net(torch.zeros_like(x)))
    torch.testing.assert_close(
        attribute(net, x, "gradient", 2, **asked)[:, 1, 3, 4], slope, rtol=1e-6, atol=1e-9
    )
    path = attribute(net, x, "integrated_gradients", 2, steps=1000, **asked)
    torch.testing.assert_close(path.sum((1, 2, 3)), change, rtol=1e-5, atol=1e-8)
    covered = attribute(net, x, "occlusion", 2, window=7, stride=7, **asked)
    torch.testing.assert_close(covered[:, 0, 0, 0], change, rtol=1e-8, atol=1e-9)
    leaf = net.a(x).detach().requires_grad_()
    (by_map,) = torch.autograd.grad(
        score(net.head(nn.functional.softplus(net.b(torch.tanh(leaf))).mean((2, 3)))).sum(), leaf
    )
    cam = (by_map.mean((2, 3), keepdim=True) * leaf.detach()).sum(1, keepdim=True).clamp(min=0)
    expected = nn.functional.interpolate(cam, size=(7, 7), mode="bilinear")
    assert error(attribute(net, x, "grad_cam", 2, layer="a", **asked), expected) < 1e-9


@pytest.mark.parametrize("name", BY_RULES[:2])
def test_the_relevance_of_a_contrast_sums_to_it(name):
    net, x = vgg_like(bias=False).double(), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    given = {"epsilon": 1e-14} if name != "lrp_z" else {}
    found = attribute_many(net, x, {name: given}, 2, against=0)
    torch.testing.assert_close(
        found.maps[name].sum((1, 2, 3)), found.logits[:, 2] - found.logits[:, 0], rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("name", ["lrp_epsilon", "lrp_epsilon_plus", "lrp_preset_b_flat"])
def test_the_relevance_of_a_contrast_is_that_of_both_classes(name, inputs):
    net, x = vgg_like().double(), inputs.double()
    two, zero, contrast = (
        attribute(net, x, name, target, **asked) for target, asked in ((2, {}), (0, {}), (2, {"against": 0}))
    )
    assert error(contrast, two - zero) < 1e-9


@pytest.mark.parametrize(
    "name", [name for name in available() if "xrai" not in name]
)  # slow, and gradients too
def test_each_inputs_own_class(name, inputs):
    net = random_net(1)
    net.head.weight.data[1] = -net.head.weight.data[0]
    net.head.bias.data[:] = -net(inputs).detach().mean(0) + torch.tensor([0.01, 0.0])
    with torch.no_grad():
        predicted = net(inputs.clone()).argmax(1)
    assert len(predicted.unique()) == 2
    given = FEW.get(name, {})
    found = attribute_many(net, inputs, {name: given}, "predicted")
    assert torch.equal(found.targets, predicted)
    assert torch.equal(found.maps[name], attribute(net, inputs, name, predicted, **given))


def test_guided_methods_start_at_the_gradient_of_the_score(inputs):
    net = settled(vgg_like())
    for name in ("guided_backprop", "deconvnet"):
        head = net[-1]
        single = nn.Sequential(*net[:-1], nn.Linear(10, 2))
        single[-1].weight.data = torch.stack([head.weight[0], head.weight[2] - head.weight[0]]).detach()
        expected = attribute(single, inputs, name, 1)
        assert error(attribute(net, inputs, name, 2, against=0), expected) < 1e-5


@pytest.mark.parametrize("name", BY_RULES)
def test_relevance_of_a_probability_is_refused(name, inputs):
    with pytest.raises(Unsuitable, match="explain the logit"):
        attribute(vgg_like(), inputs, name, 1, output="probability")


def test_what_has_no_contrast_or_probability_is_refused(inputs):
    net = vgg_like()
    with pytest.raises(Unsuitable, match=r"Deep Taylor .* difference of two classes"):
        attribute(net, inputs, "deep_taylor", 1, against=0)
    for name in ("guided_backprop", "deconvnet"):
        with pytest.raises(Unsuitable, match=f"{name} as iNNvestigate .* probability"):
            attribute(net, inputs, name, 1, output="probability", mode="innvestigate")
    found = attribute_many(net, inputs, ["gradient", "deep_taylor"], 1, against=0, keep_going=True)
    assert list(found.maps) == ["gradient"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"target": 1, "against": 3}, "3 classes: choose a class to compare with from 0 to 2"),
        ({"target": 1, "against": -1}, "compare with from 0 to 2"),
        ({"target": 1, "against": 1}, "Class 1 cannot be compared with itself"),
        ({"target": [0, 1, 2], "against": 2}, "Class 2 cannot be compared with itself"),
        ({"target": "predicted", "against": 1}, "Class 1 cannot be compared with itself"),
        ({"target": 1, "against": 0.5}, "index of a class"),
        ({"target": 1, "against": True}, "index of a class"),
        ({"target": "largest"}, "'predicted'"),
        ({"target": 1, "output": "odds"}, "'logit' or 'probability'"),
    ],
)
@pytest.mark.parametrize("name", ["gradient", "lrp_epsilon", "occlusion", "integrated_gradients"])
def test_questions_that_make_no_sense_are_refused(name, asked, message, inputs):
    net = vgg_like()
    net[-1].bias.data[1] += 100  # what is predicted
    with pytest.raises(MitoxaiError, match=message) as caught:
        attribute(net, inputs, name, **asked)
    assert not isinstance(caught.value, Unsuitable)
