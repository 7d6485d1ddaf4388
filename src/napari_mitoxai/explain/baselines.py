"""Maps that know nothing of the class: what a method must do better than."""

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_mitoxai.explain.catalogue import RandomParameters
from napari_mitoxai.explain.description import MethodParameters
from napari_mitoxai.explain.noise import InputNoise
from napari_mitoxai.explain.question import Question


def random(question: Question, parameters: RandomParameters) -> Tensor:
    """Standard normal noise (N, C, H, W)."""
    return InputNoise(question.inputs, parameters.seed).draw()


def edge_detector(question: Question, parameters: MethodParameters) -> Tensor:
    """Sobel magnitude of every channel of the inputs (N, C, H, W)."""
    inputs = question.inputs
    down = inputs.new_tensor([[1, 2, 1], [0, 0, 0], [-1, -2, -1]]) / 4
    kernels = torch.stack([down, down.T])[:, None]
    planes = F.pad(inputs, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
    slopes = F.conv2d(planes, kernels)
    return slopes.square().mean(1).sqrt().view(inputs.shape)
