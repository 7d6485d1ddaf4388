"""Guided backpropagation and Deconvnet: other rules for every ReLU on the way back."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from napari_mitoxai.explain.catalogue import RectifierParameters
from napari_mitoxai.explain.description import Unsuitable
from napari_mitoxai.explain.kernel_rules import where_positive
from napari_mitoxai.explain.needs import Needs, reads
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.steps import RectifierStep, Rules, Signals, Step


@dataclass(frozen=True)
class RectifierRules(Rules):
    """The guided or the Deconvnet rule at each ReLU *call*, the gradient elsewhere.

    Hooks on modules would miss functional ReLUs, and hooks on a ReLU's input would also catch its other consumers.

    Attributes
    ----------
    guided : bool
        Guided: only positive signals to active units. Else Deconvnet: only positive signals, to all units.
    """

    guided: bool
    replaces: ClassVar[frozenset[type[Step]]] = frozenset({RectifierStep})

    def signals(self, step: Step, signal: Tensor) -> Signals:
        """See `Rules`."""
        assert isinstance(step, RectifierStep)
        signal = signal.clamp(min=0)
        if not self.guided:
            return (signal,)
        signal = where_positive(signal, step.y)
        return (signal if step.top == math.inf else where_positive(signal, step.top - step.y),)


_GUIDED, _DECONVNET = RectifierRules(guided=True), RectifierRules(guided=False)


def _ruled_gradient(
    question: Question, name: str, parameters: RectifierParameters, rules: RectifierRules
) -> Tensor:
    if RectifierStep not in question.steps_met(rules):
        raise Unsuitable(
            f"{name} only changes ReLUs and this network has none, so its map would be the plain gradient: use gradient."
        )
    if parameters.mode == "canonical":
        return question.back(rules)
    if question.output == "probability":
        raise Unsuitable(
            f"{name} as iNNvestigate computes it starts at a logit, not at a probability: explain the logit, or use the "
            "canonical mode."
        )
    return question.back(rules, question.slope * question.scores(question.logits)[:, None])


def needs_of_guided_backprop(parameters: object) -> Needs:
    """What guided backpropagation reads from a forward pass."""
    return Needs((_GUIDED,))


@reads(needs_of_guided_backprop)
def guided_backprop(question: Question, parameters: RectifierParameters) -> Tensor:
    """Guided backpropagation of the target logits (N, C, H, W), starting at 1, or at the logit as iNNvestigate does."""
    name = "guided_backprop"
    return question.once(
        (name, parameters.mode), lambda: _ruled_gradient(question, name, parameters, _GUIDED)
    )


@reads(lambda parameters: Needs((_DECONVNET,)))
def deconvnet(question: Question, parameters: RectifierParameters) -> Tensor:
    """Deconvnet map of the target logits (N, C, H, W), starting at 1, or at the logit as iNNvestigate does."""
    return _ruled_gradient(question, "deconvnet", parameters, _DECONVNET)
