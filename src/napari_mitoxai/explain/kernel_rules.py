"""How the relevance of a linear layer's output is shared among its inputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from napari_mitoxai.explain.kernels import Kernel
from napari_mitoxai.explain.steps import KernelStep

_TINY = 1e-7  # in place of a denominator that is exactly zero


# Comparing and choosing element by element (torch.where) takes many times as long as what is done here instead.


def not_zero(z: Tensor) -> Tensor:
    """A tensor with something tiny in place of exact zeros."""
    return torch.eq(z, 0, out=torch.empty_like(z)).mul_(_TINY).add_(z)


def where_positive(values: Tensor, z: Tensor, above: float = 0.0) -> Tensor:
    """The values where z is positive, or `above` a number, and 0 elsewhere, whatever is there."""
    chosen: Tensor = torch.ops.aten.threshold_backward(values, z, above)
    return chosen


def next_to_nothing(z: Tensor) -> float:
    """Below this, a denominator of z's type counts as 0: what is divided by it may be too large for a number."""
    return math.sqrt(torch.finfo(z.dtype).tiny)


def is_zero(values: Tensor) -> bool:
    """Whether all values are 0."""
    return not bool(values.amax()) and not bool(values.amin())


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
        if self.epsilon == 0:
            return not_zero(z)
        if not self.relative:
            return torch.copysign(z.new_tensor(self.epsilon), z).add_(z)
        # by input, so that a map does not depend on what else is in the batch
        axes = tuple(range(1, z.ndim))
        size = torch.maximum(z.amax(axes, keepdim=True), -z.amin(axes, keepdim=True)) if axes else z.abs()
        return torch.copysign(not_zero(size * self.epsilon), z).add_(z)


class KernelRule(Protocol):
    """A rule of linear layers."""

    def uses_output(self, kernel: Kernel) -> bool:
        """Whether it wants the output z = W x + b of a kernel, or can do without it being kept."""

    def __call__(self, layer: KernelStep, relevance: Tensor) -> Tensor:
        """Relevance of what a layer read, given that of its output."""


@dataclass(frozen=True)
class Epsilon:
    """Shares in proportion to what each input added to the output; the bias and epsilon absorb their part."""

    stabiliser: Stabiliser

    def uses_output(self, kernel: Kernel) -> bool:
        """See `KernelRule`."""
        return True

    def __call__(self, layer: KernelStep, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        x, kernel = layer.x, layer.kernel
        return kernel.transpose(relevance / self.stabiliser(layer.z), kernel.weight, x).mul_(x)


class _Contributions:
    """What inputs add to the outputs of a kernel: those of each term by weights of its own.

    Parameters
    ----------
    kernel : Kernel
    terms : sequence of (Tensor, Tensor)
        Values of the shape of the kernel's input, and the weights for them.
    """

    def __init__(self, kernel: Kernel, terms: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._kernel = kernel
        self._terms = terms

    def total(self, bias: Tensor | None = None) -> Tensor:
        """Their sum at each output."""
        (first, weight), *others = self._terms
        z = self._kernel.forward(first, weight, bias)
        for x, weight in others:
            z += self._kernel.forward(x, weight, None)
        return z

    def weighted(self, share: Tensor) -> Tensor:
        """Their sum at each input, with a weight for each output."""
        (first, weight), *others = self._terms
        shared = self._kernel.transpose(share, weight, first).mul_(first)
        for x, weight in others:
            shared += self._kernel.transpose(share, weight, x).mul_(x)
        return shared


class _Parts:
    """What excites the outputs of a layer, and what inhibits them; made once for all rules that ask."""

    def __init__(self, layer: KernelStep) -> None:
        self._layer = layer
        x = layer.x
        # after a ReLU there is nothing to do for negative values
        self._unsigned = layer.once("unsigned", lambda: bool(x.amin() >= 0))

    def _weights(self, *, positive: bool) -> Tensor:
        weight = self._layer.kernel.weight
        make = (lambda: weight.clamp(min=0)) if positive else (lambda: weight.clamp(max=0))
        if not self._layer.kernel.is_convolution:
            return make()  # large, and seldom asked for twice
        return self._layer.once(f"weights {positive}", make)

    def of(self, *, exciting: bool) -> _Contributions:
        """Positive values by positive weights and negative by negative ones; or what inhibits, the other way round."""
        layer, weight = self._layer, self._weights(positive=exciting)
        if self._unsigned:
            return _Contributions(layer.kernel, [(layer.x, weight)])
        terms = [
            (layer.x.clamp(min=0), weight),
            (layer.x.clamp(max=0), self._weights(positive=not exciting)),
        ]
        return _Contributions(layer.kernel, terms)

    def total(self, contributions: _Contributions, *, exciting: bool) -> Tensor:
        """Their sum at each output, without a bias."""
        return self._layer.once(f"total {exciting}", contributions.total)


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

    def uses_output(self, kernel: Kernel) -> bool:
        """See `KernelRule`."""
        return kernel.is_depthwise

    def __call__(self, layer: KernelStep, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        if layer.kernel.is_depthwise:
            return Epsilon(self.stabiliser)(layer, relevance)
        parts = _Parts(layer)
        shared = self._part(parts, layer, relevance, self.alpha, exciting=True)
        if self.beta:
            shared -= self._part(parts, layer, relevance, self.beta, exciting=False)
        return shared

    def _part(
        self, parts: _Parts, layer: KernelStep, relevance: Tensor, factor: float, *, exciting: bool
    ) -> Tensor:
        contributions = parts.of(exciting=exciting)
        bias = layer.kernel.bias
        if bias is not None and self.whole_bias:
            z = layer.once(f"total {exciting} and bias", lambda: contributions.total(bias))
        else:
            z = parts.total(contributions, exciting=exciting)
            if bias is not None:
                z = z + layer.kernel.by_output(bias.clamp(min=0) if exciting else bias.clamp(max=0))
        share = relevance / self.stabiliser(z)
        return contributions.weighted(share if factor == 1 else share.mul_(factor))


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

    def uses_output(self, kernel: Kernel) -> bool:
        """See `KernelRule`."""
        return False

    def __call__(self, layer: KernelStep, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        parts = _Parts(layer)
        exciting = parts.of(exciting=True)
        z = parts.total(exciting, exciting=True)
        nothing = next_to_nothing(z) if self.complete else 0.0
        shared = exciting.weighted(where_positive(relevance / z, z, nothing))
        if not self.complete:
            return shared
        rest = relevance - where_positive(relevance, z, nothing)
        if not is_zero(rest):
            inhibiting = parts.of(exciting=False)
            z = parts.total(inhibiting, exciting=False)
            shared += inhibiting.weighted(where_positive(rest / z, -z, nothing))
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

    def uses_output(self, kernel: Kernel) -> bool:
        """See `KernelRule`."""
        return False

    def __call__(self, layer: KernelStep, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        above, below = layer.x - self.low, layer.x - self.high
        if self.widen:
            above, below = above.clamp(min=0), below.clamp(max=0)
        weight = layer.kernel.weight
        contributions = _Contributions(
            layer.kernel, [(above, weight.clamp(min=0)), (below, weight.clamp(max=0))]
        )
        z = contributions.total()
        return contributions.weighted(relevance / not_zero(z))


@dataclass(frozen=True)
class Flat:
    """Shares evenly among all inputs that an output sees, whatever their values and weights."""

    def uses_output(self, kernel: Kernel) -> bool:
        """See `KernelRule`."""
        return False

    def __call__(self, layer: KernelStep, relevance: Tensor) -> Tensor:
        """See `KernelRule`."""
        kernel, x = layer.kernel, layer.x
        ones = torch.ones_like(kernel.weight)
        seen = kernel.forward(torch.ones_like(x[:1]), ones, None)  # fewer at the edges
        return kernel.transpose(relevance / seen.clamp(min=1), ones, x)
