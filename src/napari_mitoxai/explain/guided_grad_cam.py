"""Guided Grad-CAM: guided backpropagation where Grad-CAM sees evidence."""

from torch import Tensor

from napari_mitoxai.explain.catalogue import GradCamParameters, RectifierParameters
from napari_mitoxai.explain.grad_cam import grad_cam, needs_of_grad_cam
from napari_mitoxai.explain.needs import reads
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.rectifiers import guided_backprop, needs_of_guided_backprop


@reads(lambda parameters: needs_of_grad_cam(parameters) | needs_of_guided_backprop(parameters))
def guided_grad_cam(question: Question, parameters: GradCamParameters) -> Tensor:
    """Guided backpropagation times Grad-CAM (N, C, H, W)."""
    return guided_backprop(question, RectifierParameters()) * grad_cam(question, parameters)
