"""The registered architectures with random weights and batch norms that do something, on the smallest sensible inputs."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from small_networks import settled
from torch import Tensor, nn

from napari_mitoxai import models

NAMES = models.available()
SIZES = {"inception_v3": 75, "inception_resnet_v2": 75}  # of the others 32
# Single precision by default: on some CPUs, depthwise convolutions in double precision take a thousand times longer.
DEPTHWISE = ("efficientnet_b0", "xception")
WITHOUT_RELU = ("efficientnet_b0",)
LARGE = ("vgg16", "vgg16_bn", "vgg19")  # more than 100 million weights
CHANNELS = (1, 3, 10)


@dataclass
class Case:
    """A network and what it looks at."""

    name: str
    net: nn.Module
    x: Tensor

    @property
    def exact(self):
        return self.x.dtype == torch.float64

    @property
    def tolerance(self):
        return 1e-9 if self.exact else 1e-4


def registered(name, channels, dtype, size=None):
    """In evaluation mode."""
    size = size or SIZES.get(name, 32)
    torch.manual_seed(0)
    net = settled(models.create(name, channels, 2), channels, size=size).to(dtype)
    return Case(name, net, torch.randn(2, channels, size, size, dtype=dtype))


def matrix():
    """Parameters for `registered`: one number of channels for each network, the others in the slow tests."""
    for index, name in enumerate(NAMES):
        for channels in CHANNELS:
            dtype = torch.float32 if name in DEPTHWISE else torch.float64
            default = channels == CHANNELS[index % 3] and name != "vgg16_bn"  # much like vgg16, and as large
            marks = [] if default else [pytest.mark.slow]
            yield pytest.param((name, channels, dtype), id=f"{name}-{channels}", marks=marks)
    for name in DEPTHWISE:
        yield pytest.param((name, 3, torch.float64), id=f"{name}-3-double", marks=pytest.mark.slow)


@contextmanager
def without_biases(net):
    """No additive constant, for as long as it lasts: a rule that conserves relevance must then give back the logit."""
    constants = [m.bias for m in net.modules() if isinstance(getattr(m, "bias", None), nn.Parameter)]
    constants += [m.running_mean for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [value.detach().clone() for value in constants]
    with torch.no_grad():
        for value in constants:
            value.zero_()
    try:
        yield net
    finally:
        with torch.no_grad():
            for value, old in zip(constants, kept, strict=True):
                value.copy_(old)
