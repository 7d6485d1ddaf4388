"""Grad-CAM, on the last feature map of any network or on a named layer."""

import threading
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.catalogue import GradCamParameters
from napari_mitoxai.explain.question import Question


def grad_cam(question: Question, parameters: GradCamParameters) -> Tensor:
    """Grad-CAM of the target logits (N, 1, H, W), never negative.

    Raises
    ------
    MitoxaiError
        If there is no such layer, or no feature map.
    """
    if parameters.layer is None:
        _, logits, features = question.plain
        if features is None:
            raise MitoxaiError(
                "Grad-CAM needs a feature map larger than one pixel and this network has none: give larger patches."
            )
    else:
        logits, features = _at_layer(question, parameters.layer)
    gradient = question.back_to(features, logits, again=True)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weights * features.detach()).sum(dim=1, keepdim=True).clamp(min=0)
    return F.interpolate(cam, size=question.inputs.shape[2:], mode="bilinear", align_corners=False)


def _at_layer(question: Question, name: str) -> tuple[Tensor, Tensor]:
    modules = dict(question.model.named_modules())
    if name not in modules:
        raise MitoxaiError(
            f"The network has no layer {name!r}: its last ones are {', '.join(list(modules)[-5:])}."
        )
    thread = threading.get_ident()
    seen: list[Any] = []

    def remember(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == thread:  # another thread may be using the network too
            seen[:] = [output]

    handle = modules[name].register_forward_hook(remember)
    try:
        _, logits = question.ask()
    finally:
        handle.remove()
    output = seen[0] if seen else None
    if not isinstance(output, Tensor) or output.ndim != 4 or not output.requires_grad:
        raise MitoxaiError(
            f"Layer {name} does not give a feature map (N, K, h, w): name a convolution or a block of them."
        )
    return logits, output
