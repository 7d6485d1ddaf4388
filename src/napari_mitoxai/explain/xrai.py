"""XRAI: integrated gradients gathered into regions of the picture."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_mitoxai.explain.catalogue import XraiParameters
from napari_mitoxai.explain.path_integrals import straight_path
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.regions import Plane, Region, rank_greedily, rank_once, regions

_MOST_CHANNELS = 3


def xrai(question: Question, parameters: XraiParameters) -> Tensor:
    """XRAI of the target logits (N, 1, H, W), the regions ranked anew after each choice."""
    return _ranked(question, parameters, rank_greedily)


def fast_xrai(question: Question, parameters: XraiParameters) -> Tensor:
    """XRAI of the target logits (N, 1, H, W), the regions ranked once."""
    return _ranked(question, parameters, rank_once)


def _ranked(
    question: Question,
    parameters: XraiParameters,
    rank: Callable[[Plane, tuple[Region, ...]], Plane],
) -> Tensor:
    attribution = question.once(
        ("xrai", parameters.baseline, parameters.steps, parameters.mode),
        lambda: _attribution(question, parameters),
    )
    pictures = [picture_of(planes) for planes in question.inputs.float().cpu().numpy()]
    maps = np.stack(
        [
            _top(rank(plane, regions(picture)), parameters.top_fraction)
            for plane, picture in zip(attribution.cpu().double().numpy(), pictures, strict=True)
        ]
    )
    return torch.from_numpy(maps[:, None]).to(question.inputs.dtype).to(question.inputs.device)


def _attribution(question: Question, parameters: XraiParameters) -> Tensor:
    """The largest integrated gradient of any channel (N, H, W)."""
    inputs = question.inputs.contiguous(memory_format=torch.channels_last)  # faster convolutions
    if parameters.baseline is None:
        baselines = [inputs.amin((1, 2, 3), keepdim=True), inputs.amax((1, 2, 3), keepdim=True)]
    else:
        baselines = [torch.full_like(inputs[:1], parameters.baseline)]
    paths = [straight_path(question, inputs, level, parameters.steps, parameters.mode) for level in baselines]
    return torch.stack(paths).mean(0).amax(1)


def picture_of(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is cut into regions (Y, X, c): up to three channels as they are, else the mean of all."""
    if len(planes) > _MOST_CHANNELS:
        planes = planes.mean(0, keepdims=True)
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def _top(values: Plane, fraction: float) -> Plane:
    if fraction == 1:
        return values
    kept = values > np.quantile(values, 1 - fraction)
    if not kept.any():  # the best region alone is larger
        kept = values == values.max()
    return np.where(kept, values, 0.0)
