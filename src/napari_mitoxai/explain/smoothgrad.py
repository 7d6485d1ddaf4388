"""SmoothGrad: the gradient averaged over noisy copies of the input."""

from torch import Tensor

from napari_mitoxai.explain.catalogue import SmoothGradParameters
from napari_mitoxai.explain.noise import smoothed
from napari_mitoxai.explain.question import Question


def smoothgrad(question: Question, parameters: SmoothGradParameters) -> Tensor:
    """Mean gradient, or mean squared gradient, around the inputs (N, C, H, W)."""
    return smoothed(question, parameters, question.gradient_at)
