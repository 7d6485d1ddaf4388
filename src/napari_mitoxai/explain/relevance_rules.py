"""Relevance propagation step by step.

===============================  ==========================================================================
convolution, linear              a kernel rule
batch norm after one of these    fused with it: the rule sees one layer
batch norm elsewhere             epsilon on its affine map
a + b, a - b                     shared in the ratio of the two terms
a * b                            a gate (a sigmoid, or the smaller one) gets nothing; two equals get half each
averages, sums, matrix products  epsilon
activations, constant offsets    passed on unchanged
and scales
views, indexing, concatenation,  their gradient, which moves relevance to where the values came from
maximum pooling
anything else                    an error: a wrong map must not look like a right one
===============================  ==========================================================================
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from napari_mitoxai.explain.kernel_rules import KernelRule, Stabiliser
from napari_mitoxai.explain.steps import (
    HiddenStep,
    KernelStep,
    MapStep,
    NormStep,
    PassStep,
    ProductStep,
    RectifierStep,
    Rules,
    Signals,
    Step,
    SumStep,
    UnknownStep,
    WeightedMapStep,
)


@dataclass(frozen=True)
class RelevanceRules(Rules):
    """What relevance does at each step; see the module. A subclass may have others.

    Attributes
    ----------
    convolution, dense : KernelRule
        The rules of convolutions and of linear layers.
    stabiliser : Stabiliser
        Of all other denominators.
    first : KernelRule, optional
        The rule of convolutions and linear layers that read the input of the network.
    """

    convolution: KernelRule
    dense: KernelRule
    stabiliser: Stabiliser
    first: KernelRule | None = None

    replaces: ClassVar[frozenset[type[Step]]] = frozenset(
        {KernelStep, NormStep, SumStep, ProductStep, PassStep, RectifierStep, MapStep, WeightedMapStep}
    )
    refuses: ClassVar[frozenset[type[Step]]] = frozenset({UnknownStep, HiddenStep})
    fuses: ClassVar[bool] = True

    def signals(self, step: Step, signal: Tensor) -> Signals:
        """See `Rules`."""
        match step:
            case KernelStep():
                return (self.rule_of(step)(step, signal),)
            case NormStep():
                return self.of_batch_norm(step, signal)
            case SumStep():
                terms = self.share_sum(*step.terms(), signal)
                return tuple(
                    term.sum_to_size(shape) for term, shape in zip(terms, step.shapes(), strict=True)
                )
            case ProductStep():
                return tuple(
                    (part * signal).sum_to_size(shape) if part else None
                    for part, shape in zip(step.parts, step.shapes, strict=True)
                )
            case MapStep():
                return (self.share_linear_map(step.function, step.x, signal),)
            case PassStep():
                return (signal.sum_to_size(step.shape),)
        raise TypeError(f"{type(step).__name__} has no rule of relevance")

    def uses_output(self, step: KernelStep) -> bool:
        """See `Rules`."""
        return self.rule_of(step).uses_output(step.kernel)

    def rule_of(self, step: KernelStep) -> KernelRule:
        """The rule of a convolution or linear layer."""
        if self.first is not None and self.is_first(step):
            return self.first
        return self.convolution if step.kernel.is_convolution else self.dense

    def is_first(self, step: KernelStep) -> bool:
        """Whether the rule of the first layer is meant for this one."""
        return step.reads_input

    def of_batch_norm(self, step: NormStep, relevance: Tensor) -> Signals:
        """The relevance of what a batch norm read, or of what the kernel fused with it read."""
        if step.fused is not None:
            return None, self.rule_of(step.fused)(step.fused, relevance)
        return self.of_lone_batch_norm(step, relevance), None

    def of_lone_batch_norm(self, step: NormStep, relevance: Tensor) -> Tensor:
        """The relevance of what a batch norm read that is not fused with a kernel."""
        scale, _ = step.norm.affine()
        return step.x * step.by_channel(scale) * relevance / self.stabiliser(step.z)

    def share_sum(self, a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """The relevance of a and of b, given that of their sum."""
        share = relevance / self.stabiliser(a + b)
        return a * share, b * share

    def share_linear_map(self, function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor) -> Tensor:
        """The relevance of x, given that of a linear function of it."""
        z, transpose = transposed(function, x)
        return x * transpose(relevance / self.stabiliser(z))


def transposed(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What a linear function makes of x, and its transpose, to be used once."""
    with torch.enable_grad():
        probe = x.detach().requires_grad_()
        result = function(probe)
    return result.detach(), lambda signal: torch.autograd.grad(result, probe, signal)[0]
