"""Gradients collected on a fixed way to the input: out of a constant baseline, or out of a blur.

One step of all inputs is computed at a time, so a map needs no more memory than a gradient.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_mitoxai.explain.catalogue import BlurParameters, IntegratedGradientsParameters
from napari_mitoxai.explain.question import Question

_SIGMA_CHANGE = 0.01  # for the derivative of a blur by its width, as in the reference implementation


def straight_path(question: Question, baseline: Tensor, steps: int) -> Tensor:
    """Integrated gradients (N, C, H, W) from a baseline (broadcast) to the inputs, by Gauss-Legendre quadrature."""
    way = question.inputs - baseline
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    mean = torch.zeros_like(way)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        mean += float(weight) * question.gradient_at(baseline + float(node) * way)
    return way * mean


def integrated_gradients(question: Question, parameters: IntegratedGradientsParameters) -> Tensor:
    """Integrated gradients of the target logits (N, C, H, W); they sum to the logit's change from the baseline."""
    baseline = torch.full_like(question.inputs[:1], parameters.baseline)
    return straight_path(question, baseline, parameters.steps)


def blur_integrated_gradients(question: Question, parameters: BlurParameters) -> Tensor:
    """Gradients collected while the inputs go from blurred to sharp (N, C, H, W); a left Riemann sum."""
    inputs = question.inputs
    width_step = parameters.max_sigma / parameters.steps
    total = torch.zeros_like(inputs)
    for step in range(parameters.steps):
        rows, _, rows_change = _blurs(inputs, inputs.shape[2], step * width_step)
        columns, columns_later, columns_change = _blurs(inputs, inputs.shape[3], step * width_step)
        half = rows @ inputs
        # the difference of the matrices, not of two nearly equal pictures, which single precision cannot tell apart
        change = rows_change @ inputs @ columns_later.T + half @ columns_change.T
        total -= question.gradient_at(half @ columns.T) * change
    return total * width_step


def _blurs(like: Tensor, length: int, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """The blur by sigma along an axis, by a little more, and the difference quotient of the two."""
    now, later = blur_matrix(length, sigma), blur_matrix(length, sigma + _SIGMA_CHANGE)
    quotient = (later - now) / _SIGMA_CHANGE
    # the type first: not every device has double precision
    now_there, later_there, quotient_there = (
        torch.from_numpy(matrix).to(like.dtype).to(like.device) for matrix in (now, later, quotient)
    )
    return now_there, later_there, quotient_there


def blur_matrix(length: int, sigma: float) -> NDArray[np.float64]:
    """The matrix (length, length) that blurs a row: a Gaussian cut at 4 sigma, zeros beyond the ends."""
    if sigma == 0:
        return np.eye(length)
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    offset = np.subtract.outer(np.arange(length), np.arange(length))
    return np.where(np.abs(offset) <= radius, weights[np.clip(offset + radius, 0, 2 * radius)], 0.0)
