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


class _Contributions:
    """What inputs add to the outputs of a kernel: those of `first` by some of its weights, those of `second` by others.

    Parameters
    ----------
    kernel : Kernel
    first, second : Tensor, Tensor or None
        Of the shape of the kernel's input.
    for_first, for_second : Tensor
        The weights for each.
    """

    def __init__(
        self, kernel: Kernel, first: Tensor, for_first: Tensor, second: Tensor | None, for_second: Tensor
    ) -> None:
        self._kernel = kernel
        self._terms = [
            (x, weight) for x, weight in ((first, for_first), (second, for_second)) if x is not None
        ]

    @classmethod
    def by_sign(
        cls, kernel: Kernel, x: Tensor, for_positive: Tensor, for_negative: Tensor
    ) -> "_Contributions":
        """With weights of their own for the positive and the negative values of x."""
        # after a ReLU there is nothing to do for the negative ones
        negative = x.clamp(max=0) if bool((x < 0).any()) else None
        return cls(kernel, x.clamp(min=0), for_positive, negative, for_negative)

    def total(self, bias: Tensor | None) -> Tensor:
        """Their sum at each output."""
        (first, weight), *others = self._terms
        z = self._kernel.forward(first, weight, bias)
        for x, weight in others:
            z = z + self._kernel.forward(x, weight, None)
        return z

    def weighted(self, share: Tensor) -> Tensor:
        """Their sum at each input, with a weight for each output."""
        (first, weight), *others = self._terms
        shared = first * self._kernel.transpose(share, weight, first)
        for x, weight in others:
            shared = shared + x * self._kernel.transpose(share, weight, x)
        return shared


@dataclass(frozen=True)
class AlphaBeta:
    """Shares what excites and what inhibits apart: alpha of the one minus beta of the other, with alpha - beta = 1.

    The positive part of the bias belongs to the first, the negative to the second. Depthwise convolutions use epsilon, as
    the positive or negative part of a single channel may be empty.

    Attributes
    ----------
    alpha, beta : float
    stabiliser : Stabiliser
    whole_bias : bool
        Count the whole bias in both parts, as iNNvestigate does.
    """

    alpha: float
    beta: float
    stabiliser: Stabiliser
    whole_bias: bool = False
    uses_output: ClassVar[bool] = False

    def __call__(self, kernel: Kernel, x: Tensor, z: Tensor | None, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        if kernel.is_depthwise:
            return Epsilon(self.stabiliser)(kernel, x, z, relevance)
        positive, negative = kernel.weight.clamp(min=0), kernel.weight.clamp(max=0)
        exciting = inhibiting = kernel.bias
        if kernel.bias is not None and not self.whole_bias:
            exciting, inhibiting = kernel.bias.clamp(min=0), kernel.bias.clamp(max=0)
        shared = self.alpha * self._part(
            _Contributions.by_sign(kernel, x, positive, negative), exciting, relevance
        )
        if self.beta:
            shared = shared - self.beta * self._part(
                _Contributions.by_sign(kernel, x, negative, positive), inhibiting, relevance
            )
        return shared

    def _part(self, contributions: _Contributions, bias: Tensor | None, relevance: Tensor) -> Tensor:
        return contributions.weighted(relevance / self.stabiliser(contributions.total(bias)))


@dataclass(frozen=True)
class ZPlus:
    """Shares in proportion to what excites an output, without the bias, so that positive relevance stays positive.

    Attributes
    ----------
    complete : bool
        Whether an output that nothing excites, as there may be without a ReLU, gives its relevance to what inhibits it;
        else that relevance is lost.
    """

    complete: bool = True
    uses_output: ClassVar[bool] = False

    def __call__(self, kernel: Kernel, x: Tensor, z: Tensor | None, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        positive, negative = kernel.weight.clamp(min=0), kernel.weight.clamp(max=0)
        exciting = _Contributions.by_sign(kernel, x, positive, negative)
        z = exciting.total(None)
        excited = z > 0
        shared = exciting.weighted(torch.where(excited, relevance / z, 0.0))
        rest = torch.where(excited, 0.0, relevance)
        if self.complete and bool(rest.any()):
            inhibiting = _Contributions.by_sign(kernel, x, negative, positive)
            z = inhibiting.total(None)
            shared = shared + inhibiting.weighted(torch.where(z < 0, rest / z, 0.0))
        return shared


@dataclass(frozen=True)
class Bounded:
    """The z^B rule, for inputs that lie between two bounds: shares by the distance from the bound that speaks against.

    Attributes
    ----------
    low, high : float
        The bounds.
    widen : bool
        Whether a value outside becomes its own bound, so that positive relevance stays positive.
    """

    low: float
    high: float
    widen: bool = True
    uses_output: ClassVar[bool] = False

    def __call__(self, kernel: Kernel, x: Tensor, z: Tensor | None, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        above, below = x - self.low, x - self.high
        if self.widen:
            above, below = above.clamp(min=0), below.clamp(max=0)
        contributions = _Contributions(
            kernel, above, kernel.weight.clamp(min=0), below, kernel.weight.clamp(max=0)
        )
        z = contributions.total(None)
        return contributions.weighted(relevance / torch.where(z == 0, torch.full_like(z, _TINY), z))


@dataclass(frozen=True)
class Flat:
    """Shares evenly among all inputs that an output sees, whatever their values and weights."""

    uses_output: ClassVar[bool] = False

    def __call__(self, kernel: Kernel, x: Tensor, z: Tensor | None, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        ones = torch.ones_like(kernel.weight)
        seen = kernel.forward(torch.ones_like(x[:1]), ones, None)  # fewer at the edges
        return kernel.transpose(relevance / seen.clamp(min=1), ones, x)
