"""Guided integrated gradients: a way to the input that avoids steep slopes, found for each input by itself."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_mitoxai.explain.catalogue import GuidedPathParameters
from napari_mitoxai.explain.question import Question

Vector = NDArray[np.float64]

_CLOSE = 1e-9


def guided_integrated_gradients(question: Question, parameters: GuidedPathParameters) -> Tensor:
    """Guided integrated gradients of the target logits (N, C, H, W).

    The inputs are walked to one by one: a path forks at the last digit of a gradient, which depends on how many inputs
    the network is given at once.
    """
    maps = [_walk(question, index, parameters) for index in range(len(question.inputs))]
    return torch.stack(maps)


def _walk(question: Question, index: int, parameters: GuidedPathParameters) -> Tensor:
    source = question.inputs[index]
    goal = source.cpu().double().numpy().ravel()
    start = np.full_like(goal, parameters.baseline)
    length = np.abs(goal - start).sum()
    result = np.zeros_like(goal)
    if length == 0:
        return torch.zeros_like(source)
    point = start
    for step in range(1, parameters.steps + 1):
        at = torch.from_numpy(point).to(source.dtype).to(source.device).view(1, *source.shape)
        slope = question.gradient_at(at, slice(index, index + 1)).cpu().double().numpy().ravel()
        along = step / parameters.steps
        moved = _next_point(point, start, goal, slope, along, length * (1 - along), parameters)
        result += (moved - point) * slope
        point = moved
    return torch.from_numpy(result).to(source.dtype).to(source.device).view(source.shape)


def _next_point(
    point: Vector,
    start: Vector,
    goal: Vector,
    slope: Vector,
    along: float,
    wanted: float,
    parameters: GuidedPathParameters,
) -> Vector:
    """Where the path goes next.

    A step brings the point to a `wanted` distance (L1) from the goal. It moves the values with the smallest slopes first, the
    lowest `fraction` of those that can still move, then the next ones; none may leave the corridor of `max_distance`
    around the straight line.
    """
    way = goal - start
    low = max(along - parameters.max_distance, 0.0)
    ceiling = start + way * min(along + parameters.max_distance, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        behind = (point - start) / way < low  # without a way to go: nan, never behind
    point = np.where(behind, start + way * low, point)
    left = np.abs(point - goal).sum()
    if math.isclose(wanted, left, rel_tol=_CLOSE, abs_tol=_CLOSE):
        return point
    to_spend = left - wanted
    cost = np.where(point == ceiling, np.inf, np.abs(slope))
    room = np.abs(point - ceiling)
    rank = math.floor(parameters.fraction * (point.size - 1))
    while to_spend > _CLOSE * max(wanted, 1.0):
        chosen = (cost <= np.partition(cost, rank)[rank]) & np.isfinite(cost)
        if not chosen.any():
            break
        available = room[chosen].sum()
        if available >= to_spend:
            point[chosen] += (ceiling[chosen] - point[chosen]) * (to_spend / available)
            break
        point[chosen] = ceiling[chosen]
        cost[chosen] = np.inf
        to_spend -= available
    return point
