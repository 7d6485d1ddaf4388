"""Gradients collected on a fixed way to the input: out of a constant baseline, or out of a blur.

A map needs no more memory than the gradient of a few inputs. Networks of ReLUs have gradients that jump everywhere along a
way; there evenly spaced points, each in the middle of its part, beat Gauss-Legendre quadrature, whose points are far apart in
the middle of the way and crowded at its ends.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import islice, tee

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import toeplitz
from torch import Tensor

from napari_mitoxai.explain.catalogue import BlurParameters, IntegratedGradientsParameters
from napari_mitoxai.explain.noise import smoothed
from napari_mitoxai.explain.question import Question

Way = Iterator[tuple[Tensor, Tensor]]  # points (N, C, H, W), and how the inputs change there

# A call has a cost of its own, that of about one input of 128 px on a CPU; batches of more than twice this size need memory that is
# given back to the system after each layer.
_PIXELS_AT_ONCE = 24 * 128 * 128
_SIGMA_CHANGE = 0.01  # for PAIR's derivative of a blur by its width
_NEXT_TO_NOTHING = (
    1e-25  # weights below would be subnormal in single precision, where products are ten times slower
)
_NARROW = 0.5  # the blur's widths are evenly spaced below, and their logarithms above


def straight_path(
    question: Question, inputs: Tensor, baseline: Tensor, steps: int, mode: str = "canonical"
) -> Tensor:
    """Integrated gradients (N, C, H, W) from a baseline (broadcast) to inputs that stand for those of the question."""
    way = inputs - baseline
    part = way / steps
    return collected(
        question, ((torch.add(baseline, way, alpha=share), part) for share in shares(steps, mode))
    )


def collected(question: Question, way: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Sum over a way of the gradient at each point times the change there (N, C, H, W)."""
    total = torch.zeros_like(question.inputs, memory_format=torch.channels_last)
    there, then = tee(way)
    for gradient, (_, change) in zip(gradients(question, (point for point, _ in there)), then, strict=True):
        total.addcmul_(gradient, change)
    return total


def gradients(question: Question, points: Iterable[Tensor]) -> Iterator[Tensor]:
    """Gradient at each of some points (N, C, H, W), which stand for the inputs of the question.

    Several points of a few small inputs go at once, as single small inputs leave a network idle.
    """
    count, _, height, width = question.inputs.shape
    at_once = max(_PIXELS_AT_ONCE // (count * height * width), 1)
    waiting = iter(points)
    while some := list(islice(waiting, at_once)):
        batch = torch.cat(some).contiguous(memory_format=torch.channels_last)
        yield from question.gradient_at(batch, torch.arange(count).repeat(len(some))).split(count)


def shares(steps: int, mode: str) -> list[float]:
    """How far along the way the gradients are taken; all count alike."""
    if mode == "innvestigate":
        return [step / steps for step in range(steps)]
    if mode == "pair":
        return np.linspace(0, 1, steps).tolist()
    return [(step + 0.5) / steps for step in range(steps)]


def integrated_gradients(question: Question, parameters: IntegratedGradientsParameters) -> Tensor:
    """Integrated gradients of the target logits (N, C, H, W); they sum to the logit's change from the baseline."""
    baseline = torch.full_like(question.inputs[:1], parameters.baseline)
    return smoothed(
        question,
        parameters,
        lambda inputs: straight_path(question, inputs, baseline, parameters.steps, parameters.mode),
    )


def blur_integrated_gradients(question: Question, parameters: BlurParameters) -> Tensor:
    """Gradients collected while the inputs go from blurred to sharp (N, C, H, W).

    They sum to the logit's change from the most blurred inputs.
    """
    path = _even_blurs if parameters.mode == "pair" else _blurs
    # row by row in memory, for the products with the matrices
    return smoothed(
        question, parameters, lambda inputs: collected(question, path(inputs.contiguous(), parameters))
    )


def _blurs(inputs: Tensor, parameters: BlurParameters) -> Way:
    """By the midpoint rule in u, where a width is narrow * (exp(u) - 1): a picture changes most at narrow widths."""
    longest = math.log1p(parameters.max_sigma / _NARROW)
    for step in range(parameters.steps):
        u = (step + 0.5) / parameters.steps * longest
        (rows, rows_change), (columns, columns_change) = (
            _as_tensors(inputs, *gaussian(length, _NARROW * math.expm1(u))) for length in inputs.shape[2:]
        )
        half = rows @ inputs
        change = (rows_change @ inputs) @ columns.T + half @ columns_change.T
        yield half @ columns.T, change * (-_NARROW * math.exp(u) * longest / parameters.steps)


def _even_blurs(inputs: Tensor, parameters: BlurParameters) -> Way:
    """As PAIR has it: a left Riemann sum over the widths, with difference quotients."""
    width_step = parameters.max_sigma / parameters.steps
    for step in range(parameters.steps):
        sigma = step * width_step
        now, later = ([cut_gaussian(n, s) for n in inputs.shape[2:]] for s in (sigma, sigma + _SIGMA_CHANGE))
        # the difference of the matrices, not of two nearly equal pictures, which single precision cannot tell apart
        quotients = [(b - a) / _SIGMA_CHANGE for a, b in zip(now, later, strict=True)]
        rows, columns, columns_later, rows_change, columns_change = _as_tensors(
            inputs, *now, later[1], *quotients
        )
        half = rows @ inputs
        change = (rows_change @ inputs) @ columns_later.T + half @ columns_change.T
        yield half @ columns.T, change * -width_step


def _as_tensors(like: Tensor, *matrices: NDArray[np.float64]) -> list[Tensor]:
    # the type first: not every device has double precision
    return [torch.from_numpy(matrix).to(like.dtype).to(like.device) for matrix in matrices]


def gaussian(length: int, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The matrix (length, length) that blurs a row by a Gaussian, zeros beyond the ends, and its derivative by sigma."""
    reach = max(length, math.ceil(8 * sigma)) + 1
    squares = np.arange(reach + 1.0) ** 2
    weights = np.exp(-0.5 * squares / sigma**2)
    weights[weights < _NEXT_TO_NOTHING] = 0
    weights /= 2 * weights.sum() - weights[0]  # both sides, the middle once
    variance = 2 * (weights * squares).sum()
    change = weights * (squares - variance) / sigma**3
    return toeplitz(weights[:length]), toeplitz(change[:length])


def cut_gaussian(length: int, sigma: float) -> NDArray[np.float64]:
    """The matrix (length, length) that blurs a row as scipy does: a Gaussian cut at 4 sigma, zeros beyond the ends."""
    if sigma == 0:
        return np.eye(length)
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    weights /= 2 * weights.sum() - 1
    return toeplitz(np.pad(weights[:length], (0, max(length - radius - 1, 0))))
