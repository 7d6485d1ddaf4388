import warnings

import pytest
import torch
import torch.nn.functional as F
from captum.attr import Deconvolution, GuidedBackprop
from small_networks import error, vgg_like
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute

METHODS = {"guided_backprop": GuidedBackprop, "deconvnet": Deconvolution}


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_equals_captum_on_a_plain_network(name, batch_norm):
    net, x = vgg_like(batch_norm=batch_norm), torch.randn(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = METHODS[name](net).attribute(x.clone().requires_grad_(), target=1).detach()
    ours = attribute(net, x, name)
    assert error(ours, theirs) < 1e-6
    assert error(ours, attribute(net, x, "gradient")) > 0.1


class Skip(nn.Module):
    """h = pre(x) is read by a ReLU and by a skip connection."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.pre = nn.Linear(4, 4)
        self.after, self.skip = nn.Linear(4, 2, bias=False), nn.Linear(4, 2, bias=False)

    def forward(self, x):
        h = self.pre(x.flatten(1))
        return self.skip(h) + self.after(self.how(h))


WAYS = {
    "module": nn.ReLU(), "functional": F.relu, "torch": torch.relu, "method": lambda h: h.relu(), "clamp": lambda h: h.clamp(min=0),
    "in place": lambda h: F.relu(h.clone(), inplace=True), "underscore": lambda h: h.clone().relu_(),
    "operator": torch.ops.aten.relu.default,
}  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
def test_a_skip_connection_keeps_its_signal(how):
    torch.manual_seed(0)
    net, x = Skip(WAYS[how]), torch.randn(5, 1, 2, 2)
    with torch.no_grad():
        on = net.pre(x.flatten(1)) > 0
        guided = (net.after.weight[1].clamp(min=0) * on + net.skip.weight[1]) @ net.pre.weight
        deconvolved = (net.after.weight[1].clamp(min=0) + net.skip.weight[1]) @ net.pre.weight
    torch.testing.assert_close(attribute(net, x, "guided_backprop").flatten(1), guided)
    torch.testing.assert_close(attribute(net, x, "deconvnet").flatten(1), deconvolved.expand(5, 4))
    assert error(guided, attribute(net, x, "gradient").flatten(1)) > 0.01


def test_relu6_stops_what_is_saturated():
    net = nn.Sequential(nn.Flatten(), nn.ReLU6(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        net[2].weight.copy_(torch.ones(2, 3))
    x = torch.tensor([-1.0, 3, 9]).view(1, 1, 1, 3)
    assert attribute(net, x, "guided_backprop").flatten().tolist() == [0, 1, 0]
    assert attribute(net, x, "deconvnet").flatten().tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", METHODS)
def test_a_network_without_relu_is_refused(name):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(MitoxaiError, match=f"{name} only changes ReLUs"):
        attribute(net, torch.randn(1, 3, 8, 8), name)
