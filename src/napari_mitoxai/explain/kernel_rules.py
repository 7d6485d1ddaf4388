"""How the relevance of a linear layer's output is shared among its inputs."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from napari_mitoxai.explain.kernels import Kernel

_TINY = 1e-7  # in place of a denominator that is exactly zero


@dataclass(frozen=True)
class Stabiliser:
    """Moves denominators away from zero.

    Attributes
    ----------
    epsilon : float
        What is added, with the sign of the denominator (positive where it is zero).
    relative : bool
        Whether `epsilon` is a share of the largest denominator of the same input of the batch.
    """

    epsilon: float
    relative: bool

    def __call__(self, z: Tensor) -> Tensor:
        """Stabilise z (N, ...)."""
        if self.epsilon != 0:
            epsilon: Tensor | float = self.epsilon
            if self.relative:
                size = z.abs()
                # by input, so that a map does not depend on what else is in the batch
                epsilon = self.epsilon * (
                    size.amax(dim=tuple(range(1, z.ndim)), keepdim=True) if z.ndim > 1 else size
                )
            z = torch.where(z < 0, z - epsilon, z + epsilon)
        return torch.where(z == 0, torch.full_like(z, _TINY), z)


class KernelRule(Protocol):
    """A rule of linear layers.

    Attributes
    ----------
    uses_output : bool
        Whether it wants the output z = W x + b, or can do without it being kept.
    """

    uses_output: ClassVar[bool]

    def __call__(self, kernel: Kernel, x: Tensor, z: Tensor | None, relevance: Tensor) -> Tensor:
        """Relevance of x, given that of z."""


@dataclass(frozen=True)
class Epsilon:
    """Shares in proportion to what each input added to the output; the bias and epsilon absorb their part."""

    stabiliser: Stabiliser
    uses_output: ClassVar[bool] = True

    def __call__(self, kernel: Kernel, x: Tensor, z: Tensor | None, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        if z is None:
            z = kernel.forward(x, kernel.weight, kernel.bias)
        return x * kernel.transpose(relevance / self.stabiliser(z), kernel.weight, x)


@dataclass(frozen=True)
class AlphaBeta:
    """Shares what excites and what inhibits apart: alpha of the one minus beta of the other, with alpha - beta = 1.

    The positive part of the bias belongs to the first, the negative to the second. Depthwise convolutions use epsilon, as
    the positive or negative part of a single channel may be empty.
    """

    alpha: float
    beta: float
    stabiliser: Stabiliser
    uses_output: ClassVar[bool] = False

    def __call__(self, kernel: Kernel, x: Tensor, z: Tensor | None, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        if kernel.is_depthwise:
            return Epsilon(self.stabiliser)(kernel, x, z, relevance)
        positive, negative = kernel.weight.clamp(min=0), kernel.weight.clamp(max=0)
        bias = kernel.bias
        shared = self.alpha * self._part(
            kernel, x, relevance, positive, negative, None if bias is None else bias.clamp(min=0)
        )
        if self.beta:
            inhibiting = self._part(
                kernel, x, relevance, negative, positive, None if bias is None else bias.clamp(max=0)
            )
            shared = shared - self.beta * inhibiting
        return shared

    def _part(
        self,
        kernel: Kernel,
        x: Tensor,
        relevance: Tensor,
        for_positive: Tensor,
        for_negative: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        x_positive = x.clamp(min=0)
        z = kernel.forward(x_positive, for_positive, bias)
        x_negative = (
            x.clamp(max=0) if bool((x < 0).any()) else None
        )  # after a ReLU there is nothing to do for it
        if x_negative is not None:
            z = z + kernel.forward(x_negative, for_negative, None)
        share = relevance / self.stabiliser(z)
        part = x_positive * kernel.transpose(share, for_positive, x)
        if x_negative is not None:
            part = part + x_negative * kernel.transpose(share, for_negative, x)
        return part
