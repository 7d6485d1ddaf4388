"""Several methods of one request beside the same methods one after the other, and Grad-CAM beside pytorch-grad-cam.

    python benchmarks/methods_together.py [--network resnet18] [--size 224] [--batch 2] [--repeats 5]

pytorch-grad-cam (the package `grad-cam`) is left out if it is not installed.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision
from side_by_side import HEADER, compare

from napari_mitoxai.explain import attribute, attribute_many

GRADIENTS = ["gradient", "input_x_gradient", "grad_cam", "guided_backprop", "guided_grad_cam"]
RULES = ["lrp_epsilon", "lrp_epsilon_plus", "lrp_preset_a_flat", "lrp_preset_b_flat", "deep_taylor"]


def theirs(net: torch.nn.Module, x: torch.Tensor) -> Callable[[], Any] | None:
    """Grad-CAM of VGG16 by pytorch-grad-cam."""
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        print(f"pytorch-grad-cam is not installed ({error}): install grad-cam to compare with it.")
        return None
    cam = GradCAM(net, [net.features[29]])  # type: ignore[index,union-attr]
    return lambda: cam(x, [ClassifierOutputTarget(1)] * len(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18", help="a network of torchvision")
    parser.add_argument("--size", type=int, default=224, help="side of an input in pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    net = torchvision.models.get_model(options.network, weights=None, num_classes=2).eval()
    x = torch.randn(options.batch, 3, options.size, options.size)

    def one_by_one(methods: Sequence[str]) -> None:
        for method in methods:
            attribute(net, x, method)

    print(f"{options.network}, {options.batch} inputs of {options.size} pixels\n\n{HEADER}")
    for work, methods in (
        ("five of gradients", GRADIENTS),
        ("five of rules", RULES),
        ("all ten", GRADIENTS + RULES),
    ):
        compared = compare(
            lambda methods=methods: attribute_many(net, x, methods),
            lambda methods=methods: one_by_one(methods),
            options.repeats,
        )
        print(compared.row(work, "one by one"), flush=True)
    vgg = torchvision.models.vgg16(num_classes=2).eval()
    rival = theirs(vgg, x)
    if rival is not None:
        compared = compare(lambda: attribute(vgg, x, "grad_cam"), rival, options.repeats)
        print(compared.row("Grad-CAM, VGG16", "pytorch-grad-cam"))


if __name__ == "__main__":
    main()
