"""Against Captum, where it is right and where other tests do not compare with it yet: real networks, other shapes, SmoothGrad."""

import warnings

import pytest
import torch
from captum.attr import (
    Deconvolution,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from registered_networks import registered
from small_networks import error, random_net, vgg_like

from napari_mitoxai.explain import attribute, attribute_many


@pytest.fixture(scope="module")
def case(one_thread):
    return registered(
        "resnet18", 10, torch.float64, 48
    )  # its ReLUs are modules, each used twice and in place


TARGETS = torch.tensor([1, 0])


@pytest.mark.parametrize(
    ("name", "method", "given"),
    [
        ("gradient", Saliency, {"abs": False}),
        ("input_x_gradient", InputXGradient, {}),
        ("guided_backprop", GuidedBackprop, {}),
        ("deconvnet", Deconvolution, {}),
    ],
)
def test_gradients_and_rectifiers_of_a_resnet(name, method, given, case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = method(case.net).attribute(case.x.clone().requires_grad_(), TARGETS, **given).detach()
    assert error(attribute(case.net, case.x, name, TARGETS), theirs) < 1e-12


@pytest.mark.parametrize("steps", [2, 12])
@pytest.mark.parametrize("baseline", [0.0, -0.8])
def test_integrated_gradients_of_a_resnet(steps, baseline, case):
    method = IntegratedGradients(case.net)
    theirs = method.attribute(case.x, baseline, TARGETS, n_steps=steps, method="riemann_middle")
    found = attribute(case.net, case.x, "integrated_gradients", TARGETS, steps=steps, baseline=baseline)
    assert error(found, theirs) < 1e-5  # their steps are in single precision


@pytest.mark.parametrize("layer", ["layer1", "layer2.0.conv1", "layer3", "layer4"])
def test_grad_cam_at_any_layer_of_a_resnet(layer, case):
    method = LayerGradCam(case.net, case.net.get_submodule(layer))
    coarse = method.attribute(case.x.clone(), TARGETS, relu_attributions=True).detach()
    theirs = torch.nn.functional.interpolate(coarse, case.x.shape[2:], mode="bilinear")
    assert error(attribute(case.net, case.x, "grad_cam", TARGETS, layer=layer), theirs) < 1e-9


@pytest.mark.parametrize("size", [(30, 44), (32, 17), (9, 8)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_occlusion_of_pictures_that_are_not_square(size, per_channel, one_thread):
    net = random_net(0).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    side, step = min(6, *size), min(4, *size)
    channels = 1 if per_channel else 3
    theirs = Occlusion(net).attribute(
        x, (channels, side, side), strides=(channels, step, step), baselines=-0.2, target=TARGETS
    )
    found = attribute(
        net, x, "occlusion", TARGETS, window=side, stride=step, baseline=-0.2, per_channel=per_channel
    )
    assert error(found.expand_as(theirs), theirs) < 1e-6  # theirs weighs in single precision


@pytest.mark.parametrize(("squared", "kind"), [(False, "smoothgrad"), (True, "smoothgrad_sq")])
def test_smoothgrad_is_about_that_of_captum(squared, kind, one_thread):
    """Noise of its own: equal only in the mean."""
    net, x = vgg_like().double(), torch.randn(1, 3, 32, 32, dtype=torch.float64)
    deviation = 0.2 * float(x.max() - x.min())
    torch.manual_seed(0)
    theirs = NoiseTunnel(Saliency(net)).attribute(
        x, nt_type=kind, nt_samples=400, nt_samples_batch_size=100, stdevs=deviation, target=1, abs=False
    )
    found, other = (
        attribute(net, x, "smoothgrad", 1, samples=400, noise=0.2, squared=squared, seed=seed)
        for seed in (0, 1)
    )
    apart = (found - other).norm()  # what chance alone does
    assert (found - theirs).norm() < 1.5 * apart
    assert apart < 0.3 * found.norm()


def test_all_of_them_asked_at_once_are_the_same(case):
    names = ["gradient", "input_x_gradient", "guided_backprop", "deconvnet", "grad_cam"]
    together = attribute_many(case.net, case.x, names, TARGETS).maps
    for name in names:
        assert error(attribute(case.net, case.x, name, TARGETS), together[name]) < 1e-12
