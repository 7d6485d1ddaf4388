"""Layer-wise relevance propagation of a class score, which starts at the value of the logit."""

from torch import Tensor

from napari_mitoxai.explain.catalogue import LrpParameters, LrpZParameters
from napari_mitoxai.explain.kernel_rules import AlphaBeta, Epsilon, Stabiliser
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.relevance_mode import RelevanceMode


def propagate(question: Question, mode: RelevanceMode) -> Tensor:
    """Relevance of the inputs (N, C, H, W) for the target logits, by the rules of a mode."""
    leaf, logits = question.ask(mode)
    mode.check_seen(logits)
    return question.back_to(leaf, logits, start=question.scores(logits).detach())


def lrp_z(question: Question, parameters: LrpZParameters) -> Tensor:
    """LRP without a stabiliser (N, C, H, W)."""
    stabiliser = Stabiliser(0.0, relative=False)
    return propagate(question, RelevanceMode(Epsilon(stabiliser), Epsilon(stabiliser), stabiliser))


def lrp_epsilon(question: Question, parameters: LrpParameters) -> Tensor:
    """LRP with the epsilon rule everywhere (N, C, H, W)."""
    stabiliser = Stabiliser(parameters.epsilon, parameters.relative)
    return propagate(question, RelevanceMode(Epsilon(stabiliser), Epsilon(stabiliser), stabiliser))


def lrp_epsilon_plus(question: Question, parameters: LrpParameters) -> Tensor:
    """LRP with alpha 1 beta 0 in convolutions and epsilon in dense layers (N, C, H, W)."""
    stabiliser = Stabiliser(parameters.epsilon, parameters.relative)
    return propagate(
        question, RelevanceMode(AlphaBeta(1.0, 0.0, stabiliser), Epsilon(stabiliser), stabiliser)
    )
