"""What a trace remembers of a forward pass, step by step, for the rules that a signal follows on its way back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from napari_mitoxai.explain.kernels import Kernel

T = TypeVar("T")

Signals = tuple[Tensor | None, ...]
"""What goes back to each tensor that a step has read."""


class Kept:
    """A value that a rule needs later; replaced by a copy should the network overwrite it."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Tensor) -> None:
        self.value = value


class Step:
    """An operation of the network."""


class KernelStep(Step):
    """A convolution or a linear layer, alone or with the batch norm after it.

    Attributes
    ----------
    kernel : Kernel
    reads_input : bool
        Whether it reads the input of the network, whatever else without weights was done to that before.
    reads_input_itself : bool
        Whether it reads the input of the network, at most in another shape.
    kept_z : Kept or None
        Its output W x + b, if a rule wants it.
    """

    def __init__(self, kernel: Kernel, x: Kept, reads_input: bool, reads_input_itself: bool) -> None:
        self.kernel = kernel
        self.reads_input, self.reads_input_itself = reads_input, reads_input_itself
        self.kept_z: Kept | None = None
        self._x = x
        self._shared: dict[str, Any] | None = None

    @property
    def x(self) -> Tensor:
        """What it read."""
        return self._x.value

    @property
    def z(self) -> Tensor:
        """Its output W x + b."""
        if self.kept_z is not None:
            return self.kept_z.value
        return self.kernel.forward(self.x, self.kernel.weight, self.kernel.bias)

    def with_kernel(self, kernel: Kernel) -> "KernelStep":
        """The same place in the network with another kernel."""
        step = KernelStep(kernel, self._x, self.reads_input, self.reads_input_itself)
        if self._shared is not None:
            step.share()
        return step

    def share(self) -> None:
        """Keep from now on what `once` makes."""
        self._shared = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What the rules of several methods need, made for the first of them; for a single one it is not kept."""
        if self._shared is None:
            return make()
        if name not in self._shared:
            self._shared[name] = make()
        made: T = self._shared[name]
        return made


@dataclass(frozen=True)
class BatchNorm:
    """A batch norm with fixed statistics; each value by channel."""

    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor
    epsilon: float

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift."""
        scale = self.weight * (self.variance + self.epsilon).rsqrt()
        return scale, self.bias - self.mean * scale


@dataclass
class NormStep(Step):
    """A batch norm of x, with result z. Its signals are those of x, and of what the kernel before it read.

    Attributes
    ----------
    norm : BatchNorm
    kept_x, kept_z : Kept
    fused : KernelStep or None
        The kernel before it and the norm as one layer, unless that cannot be.
    """

    norm: BatchNorm
    kept_x: Kept | None
    fused: KernelStep | None
    kept_z: Kept | None = None

    def by_channel(self, values: Tensor) -> Tensor:
        """Values of each channel (C,) in the shape of x, but for its size."""
        return values.view(1, -1, *(1,) * (self.x.ndim - 2))

    @property
    def x(self) -> Tensor:
        """What it read."""
        assert self.kept_x is not None
        return self.kept_x.value

    @property
    def z(self) -> Tensor:
        """Its result."""
        assert self.kept_z is not None
        return self.kept_z.value


@dataclass
class SumStep(Step):
    """first * a + second * b."""

    signs: tuple[float, float]
    kept_a: Kept
    kept_b: Kept

    def terms(self) -> tuple[Tensor, Tensor]:
        """Both terms."""
        a, b = self.kept_a.value, self.kept_b.value
        return a if self.signs[0] == 1 else self.signs[0] * a, b if self.signs[1] == 1 else self.signs[1] * b

    def shapes(self) -> tuple[torch.Size, torch.Size]:
        """Of a and b; a smaller one was repeated over the larger."""
        return self.kept_a.value.shape, self.kept_b.value.shape


@dataclass
class ProductStep(Step):
    """a * b, with the share of each in relevance."""

    parts: tuple[float, float]
    shapes: tuple[torch.Size, torch.Size]


@dataclass
class PassStep(Step):
    """An activation function, or a constant offset or scale."""

    shape: torch.Size


@dataclass
class RectifierStep(PassStep):
    """max(x, 0) with result y, and where it saturates."""

    top: float
    kept_y: Kept | None = None

    @property
    def y(self) -> Tensor:
        """Its result."""
        assert self.kept_y is not None
        return self.kept_y.value


@dataclass
class MapStep(Step):
    """A linear function of x with constant weights, such as an average."""

    function: Callable[[Tensor], Tensor]
    kept_x: Kept

    @property
    def x(self) -> Tensor:
        """What it read."""
        return self.kept_x.value


class WeightedMapStep(MapStep):
    """A linear function of x whose weights are another argument, such as a matrix product."""


class UnknownStep(Step):
    """A function that relevance has no rule for."""


class HiddenStep(Step):
    """What a trace could not see."""


class Rules:
    """What a signal does at each step on its way back: here it follows the gradient everywhere.

    Attributes
    ----------
    replaces : frozenset of step types
        Where it does something else, which `signals` says.
    refuses : frozenset of step types
        What it has no answer for.
    fuses : bool
        Whether a batch norm is one layer with the kernel before it.
    """

    replaces: ClassVar[frozenset[type[Step]]] = frozenset()
    refuses: ClassVar[frozenset[type[Step]]] = frozenset()
    fuses: ClassVar[bool] = False

    def signals(self, step: Step, signal: Tensor) -> Signals:
        """What goes back to each tensor that a step has read, given what came to its result."""
        raise NotImplementedError

    def uses_output(self, step: KernelStep) -> bool:
        """Whether `signals` wants the output of a kernel."""
        return False


@dataclass(frozen=True)
class GradientRules(Rules):
    """The plain gradient."""


GRADIENT = GradientRules()
