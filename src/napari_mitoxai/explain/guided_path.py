"""Guided integrated gradients: a way to the input that avoids steep slopes, found for each input by itself."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_mitoxai.explain.catalogue import GuidedPathParameters
from napari_mitoxai.explain.noise import smoothed
from napari_mitoxai.explain.question import Question

Vector = NDArray[np.floating[Any]]  # in the network's own precision

_CLOSE = 1e-9


def guided_integrated_gradients(question: Question, parameters: GuidedPathParameters) -> Tensor:
    """Guided integrated gradients of the target logits (N, C, H, W).

    The inputs are walked to one by one: a path forks at the last digit of a gradient, which depends on how many inputs
    the network is given at once.
    """

    def explain(inputs: Tensor) -> Tensor:
        return torch.stack(
            [_walk(question, goal, slice(index, index + 1), parameters) for index, goal in enumerate(inputs)]
        )

    return smoothed(question, parameters, explain)


def _walk(question: Question, goal: Tensor, which: slice, parameters: GuidedPathParameters) -> Tensor:
    """The map (C, H, W) of one input; the state is kept in numpy, whose partition is much faster than torch's."""

    def slope_at(point: Vector) -> Vector:
        at = torch.from_numpy(point).to(goal.device).view(1, *goal.shape)
        at = at.contiguous(memory_format=torch.channels_last)
        slope: Vector = question.gradient_at(at, which).cpu().contiguous().numpy().ravel()
        return slope

    end: Vector = goal.cpu().contiguous().numpy().ravel()
    start = np.full_like(end, parameters.baseline)
    length = _distance(start, end)
    result = np.zeros(end.shape)
    point = start
    if length == 0:
        return torch.zeros_like(goal)
    slope = slope_at(point)
    for step in range(1, parameters.steps + 1):
        along = step / parameters.steps
        moved = _next_point(point, start, end, slope, along, length * (1 - along), parameters)
        if parameters.mode == "canonical":
            after = slope_at(moved)
            result += (moved - point) * ((slope + after) / 2)
        else:
            result += (moved - point) * slope
            after = slope_at(moved) if step < parameters.steps else slope
        point, slope = moved, after
    return torch.from_numpy(result).to(goal.dtype).to(goal.device).view(goal.shape)


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
    left = _distance(point, goal)
    if math.isclose(wanted, left, rel_tol=_CLOSE, abs_tol=_CLOSE):
        return point
    to_spend = left - wanted
    cost = np.where(point == ceiling, np.inf, np.abs(slope)).astype(point.dtype, copy=False)
    room = np.abs(point - ceiling)
    rank = math.floor(parameters.fraction * (point.size - 1))
    while to_spend > _CLOSE * max(wanted, 1.0):
        chosen = (cost <= np.partition(cost, rank)[rank]) & np.isfinite(cost)
        if not chosen.any():
            break
        available = float(room[chosen].sum(dtype=np.float64))
        if available >= to_spend:
            point[chosen] += (ceiling[chosen] - point[chosen]) * (to_spend / available)
            break
        point[chosen] = ceiling[chosen]
        cost[chosen] = np.inf
        to_spend -= available
    return point


def _distance(a: Vector, b: Vector) -> float:
    return float(np.abs(a - b).sum(dtype=np.float64))
