"""Grad-CAM, on the last feature map of any network or on a named layer."""

import torch.nn.functional as F
from torch import Tensor

from napari_mitoxai.explain.catalogue import GradCamParameters
from napari_mitoxai.explain.description import Unsuitable
from napari_mitoxai.explain.needs import Needs, reads
from napari_mitoxai.explain.question import Question


def needs_of_grad_cam(parameters: GradCamParameters) -> Needs:
    """What Grad-CAM reads from a forward pass."""
    return Needs(features=True) if parameters.layer is None else Needs(layers=(parameters.layer,))


@reads(needs_of_grad_cam)
def grad_cam(question: Question, parameters: GradCamParameters) -> Tensor:
    """Grad-CAM of the score (N, 1, H, W), never negative.

    Raises
    ------
    MitoxaiError
        If there is no such layer, or it does not give a feature map.
    Unsuitable
        If the network has no feature map.
    """
    found = question.feature_map(parameters.layer)
    if found is None:
        raise Unsuitable(
            "Grad-CAM needs a feature map larger than one pixel and this network has none: give larger patches."
        )
    features, gradient = found
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weights * features).sum(dim=1, keepdim=True).clamp(min=0)
    return F.interpolate(cam, size=question.inputs.shape[2:], mode="bilinear", align_corners=False)
