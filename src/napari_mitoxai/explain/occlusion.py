"""Occlusion: how much the score falls when a window is covered."""

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_mitoxai.explain.catalogue import OcclusionParameters
from napari_mitoxai.explain.question import Question


def occlusion(question: Question, parameters: OcclusionParameters) -> Tensor:
    """Fall of the target logits, averaged over the windows that cover a pixel (N, 1 or C, H, W)."""
    question.scores(question.logits)  # says early what is wrong with the network or the target
    inputs = question.inputs
    channels = inputs.shape[1]
    planes = [slice(c, c + 1) for c in range(channels)] if parameters.per_channel else [slice(channels)]
    falls = torch.zeros_like(inputs if parameters.per_channel else inputs[:, :1])
    covers = torch.zeros_like(falls[:1, :1])
    windows = list(_windows(inputs.shape[2], inputs.shape[3], parameters))
    for rows, columns in windows:
        covers[..., rows, columns] += 1
    with torch.no_grad():
        before = question.scores(question.model(inputs.clone()))
        for index, plane in enumerate(planes):
            for rows, columns in windows:
                covered = inputs.clone()
                covered[:, plane, rows, columns] = parameters.baseline
                fall = before - question.scores(question.model(covered))
                falls[:, index, rows, columns] += fall[:, None, None]
    return falls / covers


def _windows(height: int, width: int, parameters: OcclusionParameters) -> Iterator[tuple[slice, slice]]:
    """Every stride pixels; those at the far ends are cut by the edge."""
    for top in _starts(height, parameters):
        for left in _starts(width, parameters):
            yield slice(top, top + parameters.window), slice(left, left + parameters.window)


def _starts(length: int, parameters: OcclusionParameters) -> range:
    further = -(-max(length - parameters.window, 0) // parameters.stride)
    return range(0, further * parameters.stride + 1, parameters.stride)
