import threading
import time

import pytest
import torch
import torchvision
from small_networks import random_net
from torch import nn

from napari_mitoxai.common import Cancelled, CancelToken
from napari_mitoxai.explain import attribute, attribute_many, available
from napari_mitoxai.models import CancellingMode


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None, num_classes=2).eval()


def seconds_until_stopped(work, delay):
    """Cancel after `delay` seconds from another thread; how long the work went on after that."""
    token = CancelToken()
    at = []

    def cancel():
        at.append(time.perf_counter())
        token.cancel()

    timer = threading.Timer(delay, cancel)
    timer.start()
    with CancellingMode(token), pytest.raises(Cancelled):
        work()
    stopped = time.perf_counter()
    timer.join()
    return stopped - at[0]


@pytest.mark.parametrize("name", ["gradient", "guided_backprop", "lrp_epsilon", "lrp_epsilon_plus"])
def test_large_work_stops_between_layers(name, resnet):
    x = torch.randn(4, 3, 512, 512)
    delay = 0.1  # the whole takes seconds
    assert seconds_until_stopped(lambda: attribute(resnet, x, name), delay) < 0.6


def test_a_backward_pass_stops_between_layers(resnet):
    x = torch.randn(2, 3, 384, 384)
    token = CancelToken()
    with CancellingMode(token):
        leaf = x.requires_grad_()
        loss = resnet(leaf).sum()
        steps = []
        resnet.layer2[0].conv1.weight.register_hook(lambda g: (steps.append("layer2"), token.cancel())[0])
        resnet.conv1.weight.register_hook(lambda g: steps.append("conv1"))
        resnet.layer4[1].conv2.weight.register_hook(lambda g: steps.append("layer4"))
        with pytest.raises(Cancelled):
            loss.backward()
    assert steps == ["layer4", "layer2"]
    assert resnet.conv1.weight.grad is None
    resnet.zero_grad()


@pytest.mark.parametrize("name", ["gradient", "guided_backprop", "lrp_z", "lrp_epsilon_plus"])
def test_the_way_back_by_rules_stops_between_layers(name):
    net, token, reached = random_net(0), CancelToken(), []

    class Watched(nn.Module):
        def forward(self, x):
            x = 1 * x
            x.register_hook(lambda signal: reached.append("input"))
            logits = net(x)
            logits.register_hook(lambda signal: (reached.append("logits"), token.cancel())[1])
            return logits

    with CancellingMode(token), pytest.raises(Cancelled):
        attribute(Watched(), torch.randn(1, 3, 32, 32), name)
    assert reached == ["logits"]


def test_it_changes_no_number():
    net, x = random_net(4), torch.randn(2, 3, 32, 32)
    expected = attribute_many(net, x, available())
    with CancellingMode(CancelToken()):
        found = attribute_many(net, x, available())
    assert torch.equal(found.logits, expected.logits)
    for name in available():
        assert torch.equal(found.maps[name], expected.maps[name])


def test_other_threads_go_on():
    token = CancelToken()
    token.cancel()
    net, x = random_net(4), torch.randn(1, 3, 32, 32)
    done = []
    with CancellingMode(token):
        thread = threading.Thread(target=lambda: done.append(attribute(net, x)))
        thread.start()
        thread.join()
        with pytest.raises(Cancelled):
            attribute(net, x)
    assert len(done) == 1


@pytest.mark.slow
def test_it_costs_little(resnet):
    x = torch.randn(4, 3, 256, 256)

    def seconds(mode):
        start = time.perf_counter()
        if mode is None:
            torch.autograd.grad(resnet(x.requires_grad_()).sum(), x)
        else:
            with mode:
                torch.autograd.grad(resnet(x.requires_grad_()).sum(), x)
        return time.perf_counter() - start

    seconds(None)
    ratios = sorted(seconds(CancellingMode(CancelToken())) / seconds(None) for _ in range(15))
    assert ratios[7] < 1.03
