"""A frozen base is computed once, not once an epoch: its features are kept, and only the head is trained.

Behind a channel mixing they would change with every step; there the base stays as it is and the training goes through it.
"""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.models import CancellingMode
from napari_mitoxai.models.heads import WithHead
from napari_mitoxai.models.mixing import WithMixing
from napari_mitoxai.training.examples import Batches, Examples
from napari_mitoxai.training.memory import in_batches_that_fit
from napari_mitoxai.training.optimisers import autocast, faster_precision

_BATCH = 16


class Features:
    """The features of patches, one view of each or several.

    Parameters
    ----------
    views : Tensor
        (views, N, F).
    like : Examples
        Whose labels and subjects these are.
    seed : int
        Picks one view for each patch that is drawn.
    """

    def __init__(self, views: Tensor, like: Examples, seed: int = 0) -> None:
        self._views, self._seed = views, seed
        self.subjects, self.labels = like.subjects, like.labels

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, indices: NDArray[np.intp], epoch: int, first: int) -> Tensor:
        """Features (N, F); which view depends on the seed, the epoch and the place in it."""
        if len(self._views) == 1:
            return self._views[0][torch.from_numpy(indices)]
        rng = np.random.default_rng([self._seed, epoch, first])
        chosen = torch.from_numpy(rng.integers(len(self._views), size=len(indices)))
        return self._views[chosen, torch.from_numpy(indices)]


def features_of(
    base: nn.Module,
    examples: Examples,
    *,
    views: int = 1,
    precision: str = "float32",
    device: torch.device | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
    seed: int = 0,
) -> Features:
    """Compute the features of patches with a frozen base.

    Parameters
    ----------
    base : torch.nn.Module
        From (N, C, H, W) to (N, F). Put into evaluation mode: the running averages of a frozen base do not change.
    examples : Examples
        Augmented differently each time where they are augmented at all.
    views : int
        How often each patch is computed; in smaller batches where the device's memory is too small.
    precision : str
        ``float32``, ``bfloat16``, or ``auto``: what a measurement finds faster on a GPU, and float32 on the CPU.
    device, progress, cancel
        As usual.
    seed : int
        Of drawing views later.
    """
    device = device or torch.device("cpu")
    cancel = cancel or CancelToken()
    base.eval().to(device).to(memory_format=torch.channels_last)
    number = len(examples)
    if precision == "auto":
        probe = examples.inputs(np.arange(min(_BATCH, number)), 0, 0)
        precision = faster_precision(base, probe, device, backward=False)

    def compute(view: int, size: int) -> Tensor:
        parts: list[Tensor] = []
        for inputs, _ in Batches(examples, np.arange(number), size, view, keep_all=True):
            parts.append(base(inputs.to(device)).float().cpu())
            done = view * number + min(len(parts) * size, number)
            progress(
                Progress(
                    "Computing features", done, views * number, f"view {view + 1} of {views} on {device.type}"
                )
            )
        return torch.cat(parts)

    with torch.inference_mode(), CancellingMode(cancel), autocast(device, precision):
        computed = [in_batches_that_fit(partial(compute, view), _BATCH, device) for view in range(views)]
    # out of inference mode, as the head is trained on them
    return Features(torch.stack(computed).clone(), examples, seed)


def freeze_behind_mixing(network: WithMixing) -> None:
    """Leave only the blend and the head of a network to be trained.

    The base keeps its weights, and its running averages too: batch normalisation goes by them, as it does where features
    are kept.

    Parameters
    ----------
    network : WithMixing
        Around a `WithHead`; changed in place.
    """
    assert isinstance(network.network, WithHead)
    network.network.base.eval().requires_grad_(False)
