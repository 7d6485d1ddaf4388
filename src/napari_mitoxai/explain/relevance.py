"""Layer-wise relevance propagation of a class score, which starts at the value of the logit."""

from torch import Tensor

from napari_mitoxai.explain.catalogue import LrpParameters, LrpPresetParameters, LrpZParameters
from napari_mitoxai.explain.innvestigate_rules import (
    EXACT,
    InnvestigateRules,
    Proportional,
    checked,
    positive_values_only,
)
from napari_mitoxai.explain.kernel_rules import AlphaBeta, Epsilon, Flat, Stabiliser
from napari_mitoxai.explain.needs import Needs, reads
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.relevance_rules import RelevanceRules


def _propagated(question: Question, rules: RelevanceRules) -> Tensor:
    """Relevance of the inputs (N, C, H, W) for the target logits."""
    relevance = question.back(rules, question.score_as_relevance("LRP"))
    return checked(relevance) if isinstance(rules, InnvestigateRules) else relevance


def _stabiliser(parameters: LrpParameters) -> Stabiliser:
    return Stabiliser(parameters.epsilon, parameters.relative)


def _same_everywhere(stabiliser: Stabiliser, mode: str) -> RelevanceRules:
    rule = Epsilon(stabiliser)
    if mode == "innvestigate":
        return InnvestigateRules(rule, rule, EXACT, batch_norm=Proportional(stabiliser))
    return RelevanceRules(rule, rule, stabiliser)


def _flat_preset(parameters: LrpPresetParameters, alpha: float, beta: float) -> RelevanceRules:
    stabiliser = _stabiliser(parameters)
    dense = Epsilon(stabiliser)
    if parameters.mode == "innvestigate":
        convolution = AlphaBeta(alpha, beta, EXACT, whole_bias=True)
        return InnvestigateRules(convolution, dense, EXACT, Flat(), positive_values_only)
    return RelevanceRules(AlphaBeta(alpha, beta, stabiliser), dense, stabiliser, Flat())


def _z(parameters: LrpZParameters) -> RelevanceRules:
    return _same_everywhere(EXACT, parameters.mode)


def _epsilon(parameters: LrpPresetParameters) -> RelevanceRules:
    return _same_everywhere(_stabiliser(parameters), parameters.mode)


def _epsilon_plus(parameters: LrpParameters) -> RelevanceRules:
    stabiliser = _stabiliser(parameters)
    return RelevanceRules(AlphaBeta(1.0, 0.0, stabiliser), Epsilon(stabiliser), stabiliser)


def _preset_a(parameters: LrpPresetParameters) -> RelevanceRules:
    return _flat_preset(parameters, 1.0, 0.0)


def _preset_b(parameters: LrpPresetParameters) -> RelevanceRules:
    return _flat_preset(parameters, 2.0, 1.0)


@reads(lambda parameters: Needs((_z(parameters),)))
def lrp_z(question: Question, parameters: LrpZParameters) -> Tensor:
    """LRP without a stabiliser (N, C, H, W)."""
    return _propagated(question, _z(parameters))


@reads(lambda parameters: Needs((_epsilon(parameters),)))
def lrp_epsilon(question: Question, parameters: LrpPresetParameters) -> Tensor:
    """LRP with the epsilon rule everywhere (N, C, H, W)."""
    return _propagated(question, _epsilon(parameters))


@reads(lambda parameters: Needs((_epsilon_plus(parameters),)))
def lrp_epsilon_plus(question: Question, parameters: LrpParameters) -> Tensor:
    """LRP with alpha 1 beta 0 in convolutions and epsilon in dense layers (N, C, H, W)."""
    return _propagated(question, _epsilon_plus(parameters))


@reads(lambda parameters: Needs((_preset_a(parameters),)))
def lrp_preset_a_flat(question: Question, parameters: LrpPresetParameters) -> Tensor:
    """Flat in the first layer, alpha 1 beta 0 in convolutions and epsilon in dense layers (N, C, H, W)."""
    return _propagated(question, _preset_a(parameters))


@reads(lambda parameters: Needs((_preset_b(parameters),)))
def lrp_preset_b_flat(question: Question, parameters: LrpPresetParameters) -> Tensor:
    """Flat in the first layer, alpha 2 beta 1 in convolutions and epsilon in dense layers (N, C, H, W)."""
    return _propagated(question, _preset_b(parameters))
