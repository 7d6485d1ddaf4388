"""Noise that belongs to an input: the same wherever, whenever and with whichever others it is asked for."""

import hashlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from napari_mitoxai.explain.catalogue import NoiseParameters
from napari_mitoxai.explain.question import Question


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


def smoothed(question: Question, parameters: NoiseParameters, explain: Callable[[Tensor], Tensor]) -> Tensor:
    """Average a map over noisy copies of the inputs (Smilkov et al. 2017, arXiv:1706.03825).

    Parameters
    ----------
    question : Question
    parameters : NoiseParameters
        A single sample is the inputs themselves.
    explain : callable
        Inputs (N, C, H, W) → map (N, C, H, W).

    Returns
    -------
    Tensor (N, C, H, W)
        Mean map, or mean squared map.
    """
    return mean_of(map(explain, noisy_copies(question, parameters)), squared=parameters.squared)


def noisy_copies(question: Question, parameters: NoiseParameters) -> Iterator[Tensor]:
    """The inputs (N, C, H, W) with noise, as often as asked for; a single sample is the inputs themselves."""
    inputs = question.inputs.contiguous(memory_format=torch.channels_last)  # faster convolutions
    if parameters.samples == 1:
        yield inputs
        return
    ranges = inputs.amax((1, 2, 3), True) - inputs.amin((1, 2, 3), True)
    deviation = parameters.noise * (ranges if parameters.relative else torch.ones_like(ranges))
    noise = InputNoise(inputs, parameters.seed)
    for _ in range(parameters.samples):
        yield inputs + deviation * noise.draw()


def mean_of(maps: Iterable[Tensor], *, squared: bool) -> Tensor:
    """Mean of at least one map, or of their squares; that of equal maps is that map, to the last digit."""
    mean: Tensor | float = 0.0
    for count, found in enumerate(maps, start=1):
        mean = mean + ((found**2 if squared else found) - mean) / count
    assert isinstance(mean, Tensor)
    return mean


def _seed_of(content: bytes, seed: int) -> int:
    digest = hashlib.blake2b(content, digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little") >> 1
