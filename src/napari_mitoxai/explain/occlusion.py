"""Occlusion: how much the score falls when a window is covered."""

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_mitoxai.explain.catalogue import OcclusionParameters
from napari_mitoxai.explain.question import Question

_AT_ONCE = 8  # covered inputs; without gradients they need less memory than one input with them


def occlusion(question: Question, parameters: OcclusionParameters) -> Tensor:
    """Fall of the target logits, averaged over the windows that cover a pixel (N, 1 or C, H, W)."""
    question.scores(question.logits)  # says early what is wrong with the network or the target
    inputs = question.inputs.contiguous(memory_format=torch.channels_last)  # faster convolutions
    count, channels = inputs.shape[:2]
    planes = [slice(c, c + 1) for c in range(channels)] if parameters.per_channel else [slice(channels)]
    falls = torch.zeros_like(inputs if parameters.per_channel else inputs[:, :1])
    covers = torch.zeros_like(falls[:1, :1])
    windows = list(_windows(inputs.shape[2], inputs.shape[3], parameters))
    for rows, columns in windows:
        covers[..., rows, columns] += 1
    tries = [(index, *window) for index in range(len(planes)) for window in windows]
    copies = min(max(_AT_ONCE // count, 1), len(tries))
    # always as many at once: what covers nothing that counts must give the very same score
    with torch.no_grad():
        before = question.scores(question.model(inputs.repeat(copies, 1, 1, 1))[:count])
        for first in range(0, len(tries), copies):
            some = tries[first : first + copies]
            covered = inputs.repeat(copies, 1, 1, 1)
            for copy, (index, rows, columns) in zip(covered.split(count), some, strict=False):
                copy[:, planes[index], rows, columns] = parameters.baseline
            logits = question.model(covered).split(count)
            for after, (index, rows, columns) in zip(logits, some, strict=False):
                falls[:, index, rows, columns] += (before - question.scores(after))[:, None, None]
    return falls / covers


def _windows(height: int, width: int, parameters: OcclusionParameters) -> Iterator[tuple[slice, slice]]:
    """Every stride pixels; those at the far ends are cut by the edge."""
    for top in _starts(height, parameters):
        for left in _starts(width, parameters):
            yield slice(top, top + parameters.window), slice(left, left + parameters.window)


def _starts(length: int, parameters: OcclusionParameters) -> range:
    further = -(-max(length - parameters.window, 0) // parameters.stride)
    return range(0, further * parameters.stride + 1, parameters.stride)
