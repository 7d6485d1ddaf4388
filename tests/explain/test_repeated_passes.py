"""Methods that ask the network many times: memory, cancelling, and noise that belongs to its input."""

import warnings

import pytest
import torch
from captum.attr import GuidedGradCam, Occlusion
from skimage.filters import sobel
from small_networks import error, random_net, vgg_like
from torch import nn

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many, path_integrals
from napari_mitoxai.models import CancellingMode

MANY = {
    "smoothgrad": {"samples": 6},
    "integrated_gradients": {"steps": 6},
    "guided_integrated_gradients": {"steps": 6},
    "blur_integrated_gradients": {"steps": 6},
    "xrai": {"steps": 6},
    "fast_xrai": {"steps": 6},
    "occlusion": {},
}


class Watched(nn.Module):
    """Notes how many inputs come at once."""

    def __init__(self, net, on_call=lambda calls: None):
        super().__init__()
        self.net, self.batches, self.on_call = net, [], on_call

    def forward(self, x):
        self.batches.append(len(x))
        self.on_call(len(self.batches))
        return self.net(x)


@pytest.fixture
def inputs():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def one_point_at_once(monkeypatch):
    monkeypatch.setattr(path_integrals, "_PIXELS_AT_ONCE", 1)


@pytest.mark.usefixtures("one_point_at_once")
@pytest.mark.parametrize("name", MANY)
def test_memory_for_no_more_inputs_than_were_given(name, inputs):
    net = Watched(random_net(0))
    attribute(net, inputs, name, **MANY[name])
    assert len(net.batches) > 4
    # occlusion, which keeps nothing for a way back, covers two windows at once
    assert max(net.batches) == (6 if name == "occlusion" else 3)


@pytest.mark.parametrize("name", ["smoothgrad", "integrated_gradients", "blur_integrated_gradients", "xrai"])
def test_few_small_inputs_are_asked_about_at_several_points_at_once(name, inputs, monkeypatch):
    monkeypatch.setattr(path_integrals, "_PIXELS_AT_ONCE", 4 * 3 * 32 * 32)
    net = Watched(random_net(0).double())
    several = attribute(net, inputs.double(), name, [0, 1, 1], **MANY[name])
    assert max(net.batches) == 4 * 3
    monkeypatch.setattr(path_integrals, "_PIXELS_AT_ONCE", 1)
    assert error(attribute(net, inputs.double(), name, [0, 1, 1], **MANY[name]), several) < 1e-9


@pytest.mark.usefixtures("one_point_at_once")
@pytest.mark.parametrize("name", MANY)
def test_cancelling_stops_between_passes(name, inputs):
    token = CancelToken()
    net = Watched(random_net(0), lambda calls: token.cancel() if calls == 4 else None)
    with CancellingMode(token), pytest.raises(Cancelled):
        attribute(net, inputs, name, **MANY[name])
    assert len(net.batches) == 4


@pytest.mark.usefixtures("one_point_at_once")
def test_both_kinds_of_xrai_share_their_gradients(inputs):
    net = Watched(vgg_like())
    attribute_many(net, inputs, {"xrai": {"steps": 6}, "fast_xrai": {"steps": 6}})
    assert len(net.batches) == 1 + 2 * 6


def test_methods_of_a_request_share_a_pass(inputs):
    net = Watched(vgg_like())
    attribute_many(net, inputs, ["guided_backprop", "guided_grad_cam", "grad_cam", "gradient"])
    assert len(net.batches) == 1


@pytest.mark.parametrize("squared", [False, True])
def test_smoothgrad_without_noise_is_the_gradient(squared, inputs):
    net = random_net(0)
    one = attribute(net, inputs, "smoothgrad", samples=1, squared=squared)
    gradient = attribute(net, inputs, "gradient")
    assert error(one, gradient**2 if squared else gradient) < 1e-5
    seven = attribute(net, inputs, "smoothgrad", noise=0, samples=7, squared=squared)
    assert error(seven, one) < 1e-6  # seven at once, on which the last digit depends


def test_smoothgrad_of_a_linear_network_is_its_weights(inputs):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    weights = net[1].weight.detach()[1].view(1, 3, 32, 32).expand(3, -1, -1, -1)
    assert torch.equal(attribute(net, inputs, "smoothgrad"), weights)


class Squares(nn.Module):
    def forward(self, x):
        score = x.square().sum((1, 2, 3))
        return torch.stack([-score, score], 1)


def test_the_noise_of_smoothgrad_has_the_width_asked_for(inputs):
    # the gradient is twice the input, so what is left is twice the mean noise
    inputs[1] *= 5
    left = (attribute(Squares(), inputs, "smoothgrad", noise=0.3, samples=16) - 2 * inputs) / 2
    ranges = inputs.flatten(1).amax(1) - inputs.flatten(1).amin(1)
    widths = left.flatten(1).std(1) / (0.3 * ranges / 4)
    assert ((widths - 1).abs() < 0.05).all()
    squares = attribute(Squares(), inputs, "smoothgrad", noise=0.3, samples=16, squared=True)
    expected = 4 * (inputs.square().flatten(1).mean(1) + (0.3 * ranges) ** 2)
    assert ((squares.flatten(1).mean(1) / expected - 1).abs() < 0.05).all()


def test_the_noise_of_smoothgrad_can_be_in_scaled_values(inputs):
    inputs[1] *= 5
    left = (
        attribute(Squares(), inputs, "smoothgrad", noise=25.6, relative=False, samples=16) - 2 * inputs
    ) / 2
    assert ((left.flatten(1).std(1) / (25.6 / 4) - 1).abs() < 0.05).all()


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("channels", [1, 10, 40])
def test_any_number_of_channels_and_any_batch(name, channels):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)
    ).double()
    x = torch.randn(3, channels, 16, 12, dtype=torch.float64)
    x[0] = 0.7  # a constant patch
    x[1, 0] = 0  # a channel without anything
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = attribute(net, x, name, [0, 1, 1], **MANY[name])
        alone = [
            attribute(net, x[n : n + 1], name, target, **MANY[name]) for n, target in enumerate([0, 1, 1])
        ]
    assert together.isfinite().all()
    assert together.shape == (3, 1 if name in ("xrai", "fast_xrai", "occlusion") else channels, 16, 12)
    assert error(torch.cat(alone), together) < 1e-12


@pytest.mark.parametrize("name", ["random", "smoothgrad"])
def test_noise_belongs_to_the_input_and_the_seed(name, inputs):
    net = random_net(0)
    found = attribute(net, inputs, name)
    assert torch.equal(attribute(net, inputs, name), found)
    assert error(attribute(net, inputs[[2, 0]], name), found[[2, 0]]) < 1e-5
    assert error(attribute(net, inputs[:1], name), found[:1]) < 1e-5
    assert error(attribute(net, inputs.to(memory_format=torch.channels_last), name), found) < 1e-5
    assert error(attribute(net, inputs, name, seed=1), found) > 0.01
    assert torch.get_rng_state().equal(_state_after(lambda: attribute(net, inputs, name)))


def _state_after(work):
    work()
    return torch.get_rng_state()


def test_random_maps_are_normal_and_of_no_other(inputs):
    found = attribute(random_net(0), inputs, "random").flatten(1)
    assert abs(float(found.mean())) < 0.03
    assert abs(float(found.std()) - 1) < 0.03
    assert (torch.corrcoef(found) - torch.eye(3)).abs().max() < 0.06


def test_edges_are_those_of_sobel(inputs):
    found = attribute(random_net(0), inputs.double(), "edge_detector", 1)
    for n in range(3):
        for c in range(3):
            expected = torch.from_numpy(sobel(inputs[n, c].numpy(), mode="reflect"))
            assert error(found[n, c].float(), expected) < 1e-5
    assert (attribute(random_net(0), torch.ones_like(inputs), "edge_detector") == 0).all()


@pytest.mark.parametrize(("window", "stride"), [(8, 8), (7, 3), (32, 5), (40, 40), (5, 5)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_occlusion_equals_captum(window, stride, per_channel, inputs):
    net, targets = random_net(1), [1, 0, 1]
    side, step = min(window, 32), min(stride, 32)
    theirs = Occlusion(net).attribute(
        inputs,
        (1 if per_channel else 3, side, side),
        strides=(1 if per_channel else 3, step, step),
        baselines=0.3,
        target=torch.tensor(targets),
    )
    found = attribute(
        net, inputs, "occlusion", targets, window=window, stride=stride, baseline=0.3, per_channel=per_channel
    )
    assert found.shape == (3, 3 if per_channel else 1, 32, 32)
    assert error(found.expand_as(theirs), theirs) < 1e-5


def test_occlusion_of_a_linear_network_by_hand(inputs):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    found = attribute(net, inputs, "occlusion", window=1, stride=1, per_channel=True, baseline=0.5)
    expected = net[1].weight.detach()[1].view(1, 3, 32, 32) * (inputs - 0.5)
    assert error(found, expected) < 1e-4
    tiles = attribute(net, inputs, "occlusion", window=4, stride=4, baseline=0.5)
    sums = nn.functional.avg_pool2d(expected.sum(1, keepdim=True), 4) * 16
    assert error(tiles[..., ::4, ::4], sums) < 1e-4


def test_occlusion_of_what_is_the_baseline_already_is_exactly_nothing():
    net, x = random_net(0), torch.zeros(1, 3, 32, 32)
    x[..., :16, :16] = torch.rand(16, 16)
    found = attribute(net, x, "occlusion", window=8, stride=8)
    assert (found[..., 16:, :] == 0).all()
    assert (found[..., :16, :16] != 0).all()


def test_occlusion_leaves_no_gaps(inputs):
    with pytest.raises(MitoxaiError, match="leave gaps"):
        attribute(random_net(0), inputs, "occlusion", window=4, stride=5)


def test_guided_grad_cam_equals_captum():
    net, x = vgg_like(), torch.randn(2, 3, 32, 32)
    theirs = (
        GuidedGradCam(net, net[6])
        .attribute(x.clone().requires_grad_(), 1, interpolate_mode="bilinear")
        .detach()
    )
    assert error(attribute(net, x, "guided_grad_cam", layer="6"), theirs) < 1e-5
    assert error(attribute(net, x, "guided_grad_cam"), theirs) < 1e-5
    smooth = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    with pytest.raises(MitoxaiError, match="ReLU"):
        attribute(smooth, x, "guided_grad_cam")
