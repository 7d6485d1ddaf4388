"""Relevance propagation as iNNvestigate 2.1.2 does it, mistakes included, so that published maps can be made again.

What differs from `napari_mitoxai.explain.relevance_rules`:

* the alpha-beta rule counts the whole bias in both of its parts;
* a batch norm is a layer of its own, with the variance squared and without gamma in its shift;
* the presets use on it a rule for positive values only;
* the rule for the first layer is used only if that layer reads the input itself: padding in between turns it off;
* denominators are only moved if they are exactly zero, except in the epsilon rule;
* Deep Taylor uses the plain gradient everywhere but in convolutions and linear layers.

Depthwise convolutions use epsilon for alpha-beta here too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from napari_mitoxai.explain.description import Unsuitable
from napari_mitoxai.explain.kernel_rules import KernelRule, Stabiliser, ZPlus
from napari_mitoxai.explain.relevance_rules import RelevanceRules
from napari_mitoxai.explain.steps import HiddenStep, KernelStep, NormStep, Rules, Signals, Step

EXACT = Stabiliser(0.0, relative=False)

# What to multiply relevance with at a batch norm, given its input, scale and shift.
BatchNormRule = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Proportional:
    """Z or epsilon on a batch norm."""

    stabiliser: Stabiliser

    def __call__(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """See `BatchNormRule`."""
        return x * scale / self.stabiliser(x * scale + shift)


def positive_values_only(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """What the presets do with a batch norm: alpha 2 beta 1 that does not know of negative values."""
    exciting = x.clamp(min=0) * scale.clamp(min=0)
    inhibiting = x.clamp(min=0) * scale.clamp(max=0)
    return 2 * exciting / EXACT(exciting + shift.clamp(min=0)) - inhibiting / EXACT(
        inhibiting + shift.clamp(max=0)
    )


def checked(relevance: Tensor) -> Tensor:
    """Relevance that may have grown from layer to layer, as these rules do not keep it.

    Raises
    ------
    Unsuitable
        If it has grown beyond what numbers of its type can hold.
    """
    if not bool(torch.isfinite(relevance).all()):
        raise Unsuitable(
            "The rules of iNNvestigate make relevance grow beyond all numbers on this network: use the canonical mode."
        )
    return relevance


@dataclass(frozen=True)
class InnvestigateRules(RelevanceRules):
    """What relevance does at each step; see the module.

    Attributes
    ----------
    batch_norm : callable
        The rule of batch norms.
    """

    batch_norm: BatchNormRule = positive_values_only
    fuses: ClassVar[bool] = False

    def is_first(self, step: KernelStep) -> bool:
        """Only another shape of the input is the input."""
        return step.reads_input_itself

    def of_batch_norm(self, step: NormStep, relevance: Tensor) -> Signals:
        """A layer of its own, with the mistakes of the module."""
        norm = step.norm
        deviation = (norm.variance**2 + norm.epsilon).sqrt()  # the variance is squared there
        scale = step.by_channel(norm.weight / deviation)
        shift = step.by_channel(norm.bias - norm.mean / deviation)  # gamma is missing there
        return relevance * self.batch_norm(step.x, scale, shift), None


@dataclass(frozen=True)
class InnvestigateDeepTaylorRules(Rules):
    """z⁺ without biases in convolutions and linear layers, the plain gradient everywhere else; see the module.

    Attributes
    ----------
    first : KernelRule, optional
        The rule of convolutions and linear layers that read the input itself.
    """

    first: KernelRule | None = None

    replaces: ClassVar[frozenset[type[Step]]] = frozenset({KernelStep})
    refuses: ClassVar[frozenset[type[Step]]] = frozenset({HiddenStep})

    def signals(self, step: Step, signal: Tensor) -> Signals:
        """See `Rules`."""
        assert isinstance(step, KernelStep)
        rule = self.first if self.first is not None and step.reads_input_itself else ZPlus(complete=False)
        return (rule(step, signal),)
