"""The gradient of the class score, and what is made of it directly."""

from torch import Tensor

from napari_mitoxai.explain.description import MethodParameters
from napari_mitoxai.explain.needs import Needs, reads
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.steps import GRADIENT


@reads(lambda parameters: Needs((GRADIENT,)))
def gradient(question: Question, parameters: MethodParameters) -> Tensor:
    """Gradient of the score (N, C, H, W)."""
    return question.gradient


@reads(lambda parameters: Needs((GRADIENT,)))
def input_x_gradient(question: Question, parameters: MethodParameters) -> Tensor:
    """Gradient times input (N, C, H, W)."""
    return question.inputs * question.gradient
