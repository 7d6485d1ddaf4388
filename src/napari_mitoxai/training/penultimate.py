"""What a network makes of a patch just before it decides: the input of its last linear layer."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.training.passes import answers_of


def penultimate_features(
    network: nn.Module,
    inputs: NDArray[np.float32],
    classes: int,
    *,
    batch_size: int = 16,
    device: torch.device | None = None,
    cancel: CancelToken | None = None,
) -> NDArray[np.float32]:
    """Features of scaled patches: what the layer reads that gives the logits.

    Parameters
    ----------
    network : torch.nn.Module
        Put into evaluation mode.
    inputs : ndarray of float32
        (N, C, H, W), scaled.
    classes : int
        How many logits it gives.
    batch_size, device
        As usual; where the device's memory is too small, the batch is halved.
    cancel
        Checked between layers.

    Returns
    -------
    ndarray of float32
        (N, features): 512 of a ResNet18, 4096 of a VGG, 128 where the head is dense.

    Raises
    ------
    MitoxaiError
        If no linear layer gives the logits.
    """

    def read(batch: Tensor) -> Tensor:
        with _read_by_the_last(network, classes) as seen:
            network(batch)
        if not seen:
            raise MitoxaiError(
                f"The network has no linear layer with {classes} outputs at its end, whose input could be shown: use another architecture."
            )
        return seen[-1].flatten(1)

    return answers_of(network, inputs, read, batch_size=batch_size, device=device, cancel=cancel)


@contextmanager
def _read_by_the_last(network: nn.Module, classes: int) -> Iterator[list[Tensor]]:
    """Collect what layers with so many outputs read, in the order in which they are run by this thread."""
    seen: list[Tensor] = []
    thread = threading.get_ident()

    def remember(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == thread:  # another thread may be using the network too
            seen.append(arguments[0])

    with ExitStack() as stack:
        for module in network.modules():
            if _gives(module) == classes:
                stack.callback(module.register_forward_pre_hook(remember).remove)
        yield seen


def _gives(module: nn.Module) -> int:
    """The outputs of a linear layer, which may be a convolution of single pixels; 0 of any other."""
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
        return module.out_channels
    return module.out_features if isinstance(module, nn.Linear) else 0
