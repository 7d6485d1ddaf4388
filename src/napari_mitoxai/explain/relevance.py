"""Layer-wise relevance propagation of a class score, which starts at the value of the logit."""

from torch import Tensor

from napari_mitoxai.explain.catalogue import LrpParameters, LrpPresetParameters, LrpZParameters
from napari_mitoxai.explain.innvestigate_mode import (
    InnvestigateMode,
    checked,
    positive_values_only,
    proportional,
)
from napari_mitoxai.explain.kernel_rules import AlphaBeta, Epsilon, Flat, Stabiliser
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.relevance_mode import RelevanceMode

_EXACT = Stabiliser(0.0, relative=False)


def propagate(question: Question, mode: RelevanceMode) -> Tensor:
    """Relevance of the inputs (N, C, H, W) for the target logits, by the rules of a mode."""
    leaf, logits = question.ask(mode)
    mode.check_seen(logits)
    return question.back_to(leaf, logits, start=question.scores(logits).detach())


def _same_everywhere(question: Question, stabiliser: Stabiliser, mode: str) -> Tensor:
    rule = Epsilon(stabiliser)
    if mode == "innvestigate":
        return checked(propagate(question, InnvestigateMode(rule, rule, proportional(stabiliser))))
    return propagate(question, RelevanceMode(rule, rule, stabiliser))


def lrp_z(question: Question, parameters: LrpZParameters) -> Tensor:
    """LRP without a stabiliser (N, C, H, W)."""
    return _same_everywhere(question, _EXACT, parameters.mode)


def lrp_epsilon(question: Question, parameters: LrpPresetParameters) -> Tensor:
    """LRP with the epsilon rule everywhere (N, C, H, W)."""
    return _same_everywhere(question, Stabiliser(parameters.epsilon, parameters.relative), parameters.mode)


def lrp_epsilon_plus(question: Question, parameters: LrpParameters) -> Tensor:
    """LRP with alpha 1 beta 0 in convolutions and epsilon in dense layers (N, C, H, W)."""
    stabiliser = Stabiliser(parameters.epsilon, parameters.relative)
    return propagate(
        question, RelevanceMode(AlphaBeta(1.0, 0.0, stabiliser), Epsilon(stabiliser), stabiliser)
    )


def _flat_preset(question: Question, parameters: LrpPresetParameters, alpha: float, beta: float) -> Tensor:
    stabiliser = Stabiliser(parameters.epsilon, parameters.relative)
    dense = Epsilon(stabiliser)
    if parameters.mode == "innvestigate":
        convolution = AlphaBeta(alpha, beta, _EXACT, whole_bias=True)
        mode = InnvestigateMode(convolution, dense, positive_values_only, Flat())
        return checked(propagate(question, mode))
    return propagate(question, RelevanceMode(AlphaBeta(alpha, beta, stabiliser), dense, stabiliser, Flat()))


def lrp_preset_a_flat(question: Question, parameters: LrpPresetParameters) -> Tensor:
    """Flat in the first layer, alpha 1 beta 0 in convolutions and epsilon in dense layers (N, C, H, W)."""
    return _flat_preset(question, parameters, 1.0, 0.0)


def lrp_preset_b_flat(question: Question, parameters: LrpPresetParameters) -> Tensor:
    """Flat in the first layer, alpha 2 beta 1 in convolutions and epsilon in dense layers (N, C, H, W)."""
    return _flat_preset(question, parameters, 2.0, 1.0)
