"""Channel mixing: what it computes, what it tells, and that explanations go through it."""

import pytest
import torch
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many, available
from napari_mitoxai.models import ChannelMixing, create
from napari_mitoxai.models.mixing import WithMixing

pytestmark = pytest.mark.usefixtures("one_thread")


def mixing_of(*weights):
    """A blend with these weights, one row an image."""
    mixing = ChannelMixing(len(weights[0]), len(weights))
    with torch.no_grad():
        mixing.weight.copy_(torch.tensor(weights))
    return mixing


def small_network(channels=1, bias=False):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1, bias=bias), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, bias=bias), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 3, bias=bias),
    ).eval()  # fmt: skip


def test_it_has_one_weight_a_channel_and_starts_as_their_mean():
    mixing = ChannelMixing(10)
    assert sum(parameter.numel() for parameter in mixing.parameters()) == 10
    x = torch.randn(2, 10, 5, 7)
    torch.testing.assert_close(mixing(x), x.mean(1, keepdim=True))
    assert mixing.importance.tolist() == pytest.approx([0.1] * 10)
    assert ChannelMixing(4, images=3)(torch.randn(2, 4, 5, 7)).shape == (2, 3, 5, 7)


def test_a_one_hot_blend_is_the_single_channel_network():
    network, x = small_network(bias=True), torch.randn(2, 4, 16, 16)
    mixed = WithMixing(mixing_of([0.0, 0.0, 1.0, 0.0]), network)
    assert torch.equal(mixed(x), network(x[:, 2:3]))
    assert mixed.mixing.importance.tolist() == [0, 0, 1, 0]


def test_importance_is_a_share_whatever_the_sign_and_size_of_the_weights():
    mixing = mixing_of([-3.0, 1.0, 0.0])
    assert mixing.blend.tolist() == [[3, 1, 0]]
    assert mixing.importance.tolist() == pytest.approx([0.75, 0.25, 0])
    assert mixing.scaled_importance(torch.tensor([1.0, 9.0, 5.0])).tolist() == pytest.approx([0.25, 0.75, 0])
    assert not mixing.importance.requires_grad
    # of two images the mean, however large each is; one without any weight counts for nothing
    two = mixing_of([100.0, 300.0], [0.5, 0.5], [0.0, 0.0])
    assert two.importance.tolist() == pytest.approx([0.375, 0.625])
    assert mixing_of([0.0, 0.0]).importance.tolist() == [0, 0]


def test_a_negative_weight_still_learns():
    mixing = mixing_of([-0.5, 0.5])
    mixing(torch.ones(1, 2, 1, 1)).sum().backward()
    assert mixing.weight.grad.tolist() == [[-1, 1]]


def test_gradients_equal_finite_differences():
    mixing = mixing_of([0.5, -0.3, 0.2], [0.1, 0.4, -0.7]).double()
    x = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)

    def blended(inputs, weight):
        return torch.func.functional_call(mixing, {"weight": weight}, (inputs,))

    assert torch.autograd.gradcheck(blended, (x, mixing.weight.detach().clone().requires_grad_()))


def test_images_learn_apart():
    mixed = WithMixing(ChannelMixing(3, 2), small_network(2))
    mixed(torch.randn(2, 3, 16, 16))[:, 0].sum().backward()
    first, second = mixed.mixing.weight.grad
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("sizes", [(0, 1), (3, 0)])
def test_nothing_to_mix_is_refused(sizes):
    with pytest.raises(MitoxaiError, match="at least one of each"):
        ChannelMixing(*sizes)


# --- explained -------------------------------------------------------------------------------------------------------

WEIGHTS = [0.6, -0.1, 0.0, 0.3]


def test_explanations_go_through_the_blend():
    """A linear first step: gradients are those of the blended image times the weights, relevance is conserved."""
    network = small_network().double()
    mixed = WithMixing(mixing_of(WEIGHTS).double(), network).eval()
    x = torch.rand(2, 4, 16, 16, dtype=torch.float64)
    blended, weights = mixed.mixing(x).detach(), torch.tensor(WEIGHTS).abs()[:, None, None]
    methods = {"gradient": {}, "guided_backprop": {}, "lrp_epsilon": {"epsilon": 1e-14}, "lrp_z": {}}
    found, inside = attribute_many(mixed, x, methods, 0), attribute_many(network, blended, methods, 0)
    for name in ("gradient", "guided_backprop"):
        torch.testing.assert_close(
            found.maps[name], inside.maps[name] * weights.double(), atol=1e-7, rtol=1e-5
        )
        assert found.maps[name].abs().sum((0, 2, 3))[2] == 0
    for name in ("lrp_epsilon", "lrp_z"):
        relevance = found.maps[name]
        torch.testing.assert_close(relevance.sum((1, 2, 3)), found.logits[:, 0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(relevance.sum(1), inside.maps[name][:, 0], rtol=1e-7, atol=1e-12)


def test_every_method_explains_a_mixed_network():
    mixed = WithMixing(mixing_of(WEIGHTS), small_network(bias=True)).eval().requires_grad_(False)
    x = torch.rand(1, 4, 16, 16)
    for name in available():
        assert torch.isfinite(attribute(mixed, x, name, 0)).all(), name


# --- in a network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "dense"])
def test_an_architecture_behind_a_blend_reads_its_images(head):
    with torch.device("meta"):
        network = create("resnet18", 7, 2, head=head, mixing=2)
        plain = create("resnet18", 2, 2, head=head)
        assert network(torch.zeros(2, 7, 64, 64)).shape == (2, 2)
    count = [sum(parameter.numel() for parameter in model.parameters()) for model in (network, plain)]
    assert count[0] - count[1] == 14
