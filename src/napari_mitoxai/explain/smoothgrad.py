"""SmoothGrad: the gradient averaged over noisy copies of the input."""

from torch import Tensor

from napari_mitoxai.explain.catalogue import SmoothGradParameters
from napari_mitoxai.explain.noise import mean_of, noisy_copies
from napari_mitoxai.explain.path_integrals import gradients
from napari_mitoxai.explain.question import Question


def smoothgrad(question: Question, parameters: SmoothGradParameters) -> Tensor:
    """Mean gradient, or mean squared gradient, around the inputs (N, C, H, W)."""
    return mean_of(gradients(question, noisy_copies(question, parameters)), squared=parameters.squared)
