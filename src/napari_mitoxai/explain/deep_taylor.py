"""Deep Taylor decomposition: only what speaks for the class, and all of it.

Every operation shares by what excites (z⁺), without biases, so that relevance is never negative and none is lost:

===============================  ==========================================================================
convolution, linear              z⁺; a batch norm after it is fused with it
batch norm elsewhere             passed on unchanged: z⁺ of a layer with one input for each output
a + b, averages                  z⁺ of their terms
matrix products                  an error: which of their weights are positive cannot be seen
anything else                    as in `napari_mitoxai.explain.relevance_rules`
===============================  ==========================================================================
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from napari_mitoxai.explain.catalogue import DeepTaylorParameters
from napari_mitoxai.explain.innvestigate_rules import EXACT, InnvestigateDeepTaylorRules, checked
from napari_mitoxai.explain.kernel_rules import (
    Bounded,
    KernelRule,
    Stabiliser,
    ZPlus,
    is_zero,
    next_to_nothing,
    where_positive,
)
from napari_mitoxai.explain.needs import Needs, reads
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.relevance_rules import RelevanceRules, transposed
from napari_mitoxai.explain.steps import NormStep, Rules, Step, WeightedMapStep

_Z_PLUS = ZPlus()


@dataclass(frozen=True)
class DeepTaylorRules(RelevanceRules):
    """What relevance does at each step; see the module."""

    convolution: KernelRule = _Z_PLUS
    dense: KernelRule = _Z_PLUS
    stabiliser: Stabiliser = EXACT

    replaces: ClassVar[frozenset[type[Step]]] = RelevanceRules.replaces - {WeightedMapStep}
    refuses: ClassVar[frozenset[type[Step]]] = RelevanceRules.refuses | {WeightedMapStep}

    def of_lone_batch_norm(self, step: NormStep, relevance: Tensor) -> Tensor:
        """See the module."""
        return relevance

    def share_sum(self, a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """See the module; where no term is positive, in the ratio of the negative ones."""
        first, second = a.clamp(min=0), b.clamp(min=0)
        z = first + second
        nothing = next_to_nothing(z)
        share = where_positive(relevance / z, z, nothing)
        first, second = first * share, second * share
        rest = relevance - where_positive(relevance, z, nothing)
        if not is_zero(rest):
            z = a.clamp(max=0) + b.clamp(max=0)
            share = where_positive(rest / z, -z, nothing)
            first, second = first + a.clamp(max=0) * share, second + b.clamp(max=0) * share
        return first, second

    def share_linear_map(self, function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor) -> Tensor:
        """See the module; where no value is positive, in the ratio of the negative ones."""
        positive = x.clamp(min=0)
        z, transpose = transposed(function, positive)
        nothing = next_to_nothing(z)
        shared = positive * transpose(where_positive(relevance / z, z, nothing))
        rest = relevance - where_positive(relevance, z, nothing)
        if not is_zero(rest):
            negative = x.clamp(max=0)
            z, transpose = transposed(function, negative)
            shared = shared + negative * transpose(where_positive(rest / z, -z, nothing))
        return shared


def _rules(parameters: DeepTaylorParameters) -> Rules:
    canonical = parameters.mode == "canonical"
    first: KernelRule | None = None
    if parameters.low is not None and parameters.high is not None:
        first = Bounded(parameters.low, parameters.high, widen=canonical)
    return DeepTaylorRules(first=first) if canonical else InnvestigateDeepTaylorRules(first)


@reads(lambda parameters: Needs((_rules(parameters),)))
def deep_taylor(question: Question, parameters: DeepTaylorParameters) -> Tensor:
    """Deep Taylor decomposition of the positive part of the target logits (N, C, H, W)."""
    start = question.score_as_relevance("Deep Taylor", contrast=False).clamp(min=0)
    relevance = question.back(_rules(parameters), start)
    return relevance if parameters.mode == "canonical" else checked(relevance)
