"""Deep Taylor decomposition: only what speaks for the class, and all of it.

Every operation shares by what excites (z⁺), without biases, so that relevance is never negative and none is lost:

===============================  ==========================================================================
convolution, linear              z⁺; a batch norm after it is fused with it
batch norm elsewhere             passed on unchanged: z⁺ of a layer with one input for each output
a + b, averages                  z⁺ of their terms
anything else                    as in `napari_mitoxai.explain.relevance_mode`
===============================  ==========================================================================
"""

from collections.abc import Callable

import torch
from torch import Tensor

from napari_mitoxai.explain.calls import Call, apply_rule
from napari_mitoxai.explain.catalogue import DeepTaylorParameters
from napari_mitoxai.explain.function_names import WEIGHTED_MAPS
from napari_mitoxai.explain.innvestigate_mode import InnvestigateDeepTaylorMode, checked
from napari_mitoxai.explain.kernel_rules import Bounded, KernelRule, Stabiliser, ZPlus
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.relevance_mode import RelevanceMode, transposed


class DeepTaylorMode(RelevanceMode):
    """The rules of one forward pass; see the module.

    Parameters
    ----------
    first : KernelRule, optional
        The rule of convolutions and linear layers that read the input of the network.
    """

    def __init__(self, first: KernelRule | None = None) -> None:
        super().__init__(ZPlus(), ZPlus(), Stabiliser(0.0, relative=False), first)
        for name in WEIGHTED_MAPS:  # which of their weights are positive cannot be seen
            self._handlers.pop(name)

    def on_lone_batch_norm(self, call: Call, x: Tensor, scale: Tensor) -> Tensor:
        """See the module."""
        return apply_rule(call.run, lambda relevance: (relevance,), x)

    def share_sum(self, a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """See the module; where no term is positive, in the ratio of the negative ones."""
        positive = a.clamp(min=0) + b.clamp(min=0)
        negative = a.clamp(max=0) + b.clamp(max=0)
        excited = positive > 0
        share = relevance / torch.where(excited, positive, torch.where(negative < 0, negative, 1.0))

        def of(term: Tensor) -> Tensor:
            return share * torch.where(excited, term.clamp(min=0), term.clamp(max=0))

        return of(a), of(b)

    def share_linear_map(self, function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor) -> Tensor:
        """See the module; where no value is positive, in the ratio of the negative ones."""
        z, transpose = transposed(function, x.clamp(min=0))
        excited = z > 0
        shared = x.clamp(min=0) * transpose(torch.where(excited, relevance / z, 0.0))
        rest = torch.where(excited, 0.0, relevance)
        if bool(rest.any()):
            z, transpose = transposed(function, x.clamp(max=0))
            shared = shared + x.clamp(max=0) * transpose(torch.where(z < 0, rest / z, 0.0))
        return shared


def deep_taylor(question: Question, parameters: DeepTaylorParameters) -> Tensor:
    """Deep Taylor decomposition of the positive part of the target logits (N, C, H, W)."""
    canonical = parameters.mode == "canonical"
    first: KernelRule | None = None
    if parameters.low is not None and parameters.high is not None:
        first = Bounded(parameters.low, parameters.high, widen=canonical)
    mode = DeepTaylorMode(first) if canonical else InnvestigateDeepTaylorMode(first)
    leaf, logits = question.ask(mode)
    mode.check_seen(logits)
    relevance = question.back_to(leaf, logits, start=question.scores(logits).detach().clamp(min=0))
    return relevance if canonical else checked(relevance)
