"""The gradient of the class score, and what is made of it directly."""

from torch import Tensor

from napari_mitoxai.explain.description import MethodParameters
from napari_mitoxai.explain.question import Question


def gradient(question: Question, parameters: MethodParameters) -> Tensor:
    """Gradient of the target logits (N, C, H, W)."""
    return question.gradient


def input_x_gradient(question: Question, parameters: MethodParameters) -> Tensor:
    """Gradient times input (N, C, H, W)."""
    return question.inputs * question.gradient
