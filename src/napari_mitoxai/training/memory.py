"""Batches that a device's memory holds."""

from collections.abc import Callable
from typing import TypeVar

import torch

from napari_mitoxai.common import MitoxaiError

Result = TypeVar("Result")


def in_batches_that_fit(compute: Callable[[int], Result], size: int, device: torch.device) -> Result:
    """Compute without gradients in batches of `size`, or of half of it, as often as it takes.

    Parameters
    ----------
    compute : callable
        Gets the size of a batch; what it gives must not depend on it.
    size : int
        To begin with.
    device : torch.device
        Named where its memory does not hold one patch.

    Raises
    ------
    MitoxaiError
        If it does not.
    """
    while True:
        try:
            return compute(size)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise MitoxaiError(
                    f"{device} has too little memory for one patch: choose a smaller --input-size, or --device cpu."
                ) from error
        torch.cuda.empty_cache()  # only now: the error held what the failed pass had in memory
        size //= 2
