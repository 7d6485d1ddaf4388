"""SmoothGrad: the gradient averaged over noisy copies of the input."""

import torch
from torch import Tensor

from napari_mitoxai.explain.catalogue import SmoothGradParameters
from napari_mitoxai.explain.noise import InputNoise
from napari_mitoxai.explain.question import Question


def smoothgrad(question: Question, parameters: SmoothGradParameters) -> Tensor:
    """Mean gradient, or mean squared gradient, around the inputs (N, C, H, W)."""
    inputs = question.inputs
    deviation = parameters.noise * (inputs.amax((1, 2, 3), True) - inputs.amin((1, 2, 3), True))
    noise = InputNoise(inputs, parameters.seed)
    mean = torch.zeros_like(inputs)
    for count in range(1, parameters.samples + 1):  # one copy of all inputs at a time: memory of a gradient
        gradient = question.gradient_at(inputs + deviation * noise.draw())
        # a running mean of equal values is that value, to the last digit
        mean += ((gradient**2 if parameters.squared else gradient) - mean) / count
    return mean
