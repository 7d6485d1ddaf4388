"""Passes of a network over patches that are in memory."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.common import CancelToken
from napari_mitoxai.models import CancellingMode
from napari_mitoxai.training.memory import in_batches_that_fit


def answers_of(
    network: nn.Module,
    inputs: NDArray[np.float32],
    answer: Callable[[Tensor], Tensor],
    *,
    batch_size: int,
    device: torch.device | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
    cancel: CancelToken | None = None,
) -> NDArray[np.float32]:
    """What is asked of a network, for all patches, without gradients.

    Parameters
    ----------
    network : torch.nn.Module
        Put into evaluation mode.
    inputs : ndarray of float32
        (N, C, H, W), scaled.
    answer : callable
        Gets a batch (B, C, H, W) on the device, gives (B, ...).
    batch_size, device
        As usual; where the device's memory is too small, the batch is halved.
    on_batch : callable
        Told after every batch how many patches are done.
    cancel
        Checked between layers.

    Returns
    -------
    ndarray of float32
        (N, ...).
    """
    device = device or torch.device("cpu")
    network.eval().to(device)

    def compute(size: int) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(inputs), size):
            batch = torch.from_numpy(inputs[start : start + size])
            parts.append(answer(batch.to(device, memory_format=torch.channels_last)).float().cpu().numpy())
            on_batch(min(start + size, len(inputs)))
        return np.concatenate(parts)

    with torch.inference_mode(), CancellingMode(cancel or CancelToken()):
        return in_batches_that_fit(compute, batch_size, device)
