"""Noise that belongs to an input: the same wherever, whenever and with whichever others it is asked for."""

import hashlib

import torch
from torch import Tensor


class InputNoise:
    """Standard normal noise, from a seed and from what each input holds.

    Drawn on the CPU, so that every device sees the same numbers.

    Parameters
    ----------
    inputs : Tensor (N, C, H, W)
    seed : int
    """

    def __init__(self, inputs: Tensor, seed: int) -> None:
        self._inputs = inputs
        self._generators = [
            torch.Generator().manual_seed(_seed_of(values.tobytes(), seed))
            for values in inputs.detach().float().cpu().contiguous().numpy()
        ]

    def draw(self) -> Tensor:
        """The next noise of each input (N, C, H, W)."""
        shape = self._inputs.shape[1:]
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in self._generators])
        return noise.to(self._inputs)


def _seed_of(content: bytes, seed: int) -> int:
    digest = hashlib.blake2b(content, digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little") >> 1
