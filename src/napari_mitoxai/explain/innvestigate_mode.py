"""Relevance propagation as iNNvestigate 2.1.2 does it, mistakes included, so that published maps can be made again.

What differs from `napari_mitoxai.explain.relevance_mode`:

* the alpha-beta rule counts the whole bias in both of its parts;
* a batch norm is a layer of its own, with the variance squared and without gamma in its shift;
* the presets use on it a rule for positive values only;
* the rule for the first layer is used only if that layer reads the input itself: padding in between turns it off;
* denominators are only moved if they are exactly zero, except in the epsilon rule;
* Deep Taylor uses the plain gradient everywhere but in convolutions and linear layers.

Depthwise convolutions use epsilon for alpha-beta here too.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.calls import Call, apply_rule
from napari_mitoxai.explain.kernel_rules import KernelRule, Stabiliser, ZPlus
from napari_mitoxai.explain.relevance_mode import BatchNorm, RelevanceMode

_EXACT = Stabiliser(0.0, relative=False)
_RESHAPES = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "permute", "transpose",
    "swapaxes", "swapdims", "movedim", "moveaxis", "t", "clone", "contiguous", "to", "float", "double", "alias",
}  # fmt: skip

# What to multiply relevance with at a batch norm, given its input, scale and shift.
BatchNormRule = Callable[[Tensor, Tensor, Tensor], Tensor]


def proportional(stabiliser: Stabiliser) -> BatchNormRule:
    """Z or epsilon on a batch norm."""
    return lambda x, scale, shift: x * scale / stabiliser(x * scale + shift)


def positive_values_only(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """What the presets do with a batch norm: alpha 2 beta 1 that does not know of negative values."""
    exciting = x.clamp(min=0) * scale.clamp(min=0)
    inhibiting = x.clamp(min=0) * scale.clamp(max=0)
    return 2 * exciting / _EXACT(exciting + shift.clamp(min=0)) - inhibiting / _EXACT(
        inhibiting + shift.clamp(max=0)
    )


def checked(relevance: Tensor) -> Tensor:
    """Relevance that may have grown from layer to layer, as these rules do not keep it.

    Raises
    ------
    MitoxaiError
        If it has grown beyond what numbers of its type can hold.
    """
    if not bool(torch.isfinite(relevance).all()):
        raise MitoxaiError(
            "The rules of iNNvestigate make relevance grow beyond all numbers on this network: use the canonical mode."
        )
    return relevance


class InnvestigateMode(RelevanceMode):
    """The rules of one forward pass; see the module.

    Parameters
    ----------
    convolution, dense : KernelRule
        The rules of convolutions and of linear layers.
    batch_norm : callable
        The rule of batch norms.
    first : KernelRule, optional
        The rule of convolutions and linear layers that read the input itself.
    """

    def __init__(
        self,
        convolution: KernelRule,
        dense: KernelRule,
        batch_norm: BatchNormRule,
        first: KernelRule | None = None,
    ) -> None:
        super().__init__(convolution, dense, _EXACT, first)
        self._batch_norm = batch_norm

    def keeps_input(self, call: Call) -> bool:
        """Only another shape of the input is the input."""
        return call.name in _RESHAPES

    def on_batch_norm_of(self, call: Call, x: Tensor, norm: BatchNorm) -> Tensor:
        """A layer of its own, with the mistakes of the module."""
        deviation = (norm.variance**2 + norm.epsilon).sqrt()  # the variance is squared there
        shape = (1, -1, *(1,) * (x.ndim - 2))
        scale = (norm.weight / deviation).view(shape)
        shift = (norm.bias - norm.mean / deviation).view(shape)  # gamma is missing there
        kept = self._keep(x)
        return apply_rule(
            call.run, lambda relevance: (relevance * self._batch_norm(kept.value, scale, shift),), x
        )


class InnvestigateDeepTaylorMode(RelevanceMode):
    """z⁺ without biases in convolutions and linear layers, the plain gradient everywhere else; see the module.

    Parameters
    ----------
    first : KernelRule, optional
        The rule of convolutions and linear layers that read the input itself.
    """

    def __init__(self, first: KernelRule | None = None) -> None:
        rule = ZPlus(complete=False)
        super().__init__(rule, rule, _EXACT, first)
        self._handlers.clear()

    def keeps_input(self, call: Call) -> bool:
        """Only another shape of the input is the input."""
        return call.name in _RESHAPES

    def _on_other(self, call: Call, activations: list[Tensor]) -> Any:
        return call.run()
