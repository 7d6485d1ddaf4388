"""Batches that a device's memory holds, and memory that goes back to the system."""

import ctypes
import gc
import sys
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


def give_back() -> None:
    """Hand what a training has left back to the system: trainings one after the other would take some 200 MB more each.

    A trainer and its network refer to each other, so that only the collector frees them, which seldom runs where objects are
    few and large; and glibc keeps what was freed.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
