"""The dense layers that Khan et al. (2022) put on top of a network, and the part below them."""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn

from napari_mitoxai.models.registry import Architecture

_UNITS = (2048, 1024, 512, 256)
_LAST = 128
_DROPOUT = 0.5


class WithHead(nn.Module):
    """A network that gives features, and dense layers that make logits of them.

    Attributes
    ----------
    base : torch.nn.Module
        From (N, C, H, W) to features (N, F).
    head : torch.nn.Sequential
        From features to logits (N, classes).
    """

    def __init__(self, base: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.base, self.head = base, head

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.base(inputs))


def with_dense_head(model: nn.Module, entry: Architecture, classes: int) -> WithHead:
    """Put the dense head in place of a network's classifier, over the global mean of its last feature map.

    Dense layers of 2048, 1024, 512 and 256 units, dropout 0.5, one of 128 units, and the logits; the settings of Khan et
    al. (2022) and of Pilla (2022).

    Parameters
    ----------
    model : torch.nn.Module
        As `create` builds it; its classifier is taken off.
    entry : Architecture
        Where it comes from.
    classes : int
        Logits.
    """
    if entry.library == "timm":
        model.reset_classifier(0)  # type: ignore[operator]
    else:
        if isinstance(getattr(model, "avgpool", None), nn.AdaptiveAvgPool2d):
            model.avgpool = nn.AdaptiveAvgPool2d(1)  # VGG pools to 7 x 7 for its own dense layers
        name = "fc" if hasattr(model, "fc") else "classifier"
        setattr(model, name, nn.Identity())
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = _features_of(model)
    for number, units in enumerate((*_UNITS, _LAST), start=1):
        layers[f"dense{number}"] = nn.Linear(width, units)
        layers[f"relu{number}"] = nn.ReLU()
        if units == _UNITS[-1]:
            layers["dropout"] = nn.Dropout(_DROPOUT)
        width = units
    layers["logits"] = nn.Linear(width, classes)
    return WithHead(model, nn.Sequential(layers))


def _features_of(model: nn.Module) -> int:
    """How many features a network gives, tried on shapes alone."""
    convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    shadow = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad():
        return int(shadow(torch.zeros(1, convolution.in_channels, 128, 128, device="meta")).shape[1])
