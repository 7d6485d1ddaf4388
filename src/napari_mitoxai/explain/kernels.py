"""Linear layers as relevance propagation sees them: a weight, a bias, and their transpose."""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_mitoxai.explain.calls import Call

_CONVOLUTIONS = {
    "conv1d": 1,
    "conv2d": 2,
    "conv3d": 3,
    "conv_transpose1d": 1,
    "conv_transpose2d": 2,
    "conv_transpose3d": 3,
}


@dataclass(frozen=True)
class Dense:
    """A linear layer y = W x + b; features in the last axis.

    Attributes
    ----------
    weight, bias : Tensor, Tensor or None
        As the layer has them.
    is_convolution, is_depthwise : bool
        Whether it is a convolution, and one whose channels do not mix.
    """

    weight: Tensor
    bias: Tensor | None
    is_convolution: bool = False
    is_depthwise: bool = False

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x + b, with another weight and bias."""
        return F.linear(x, weight, bias)

    def transpose(self, v: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Wᵀ v, in the shape of the input `like`."""
        return v @ weight

    def by_output(self, values: Tensor) -> Tensor:
        """Values of each output feature, so that they can be added to the output."""
        return values

    def scaled(self, scale: Tensor, shift: Tensor) -> "Dense":
        """The layer followed by ``scale * y + shift`` on each channel of its output."""
        bias = shift if self.bias is None else self.bias * scale + shift
        return replace(self, weight=self.weight * scale[:, None], bias=bias)


@dataclass(frozen=True)
class Convolution:
    """A convolution, transposed or not, in one to three dimensions; see `Dense`."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    is_convolution: bool = True

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is seen alone."""
        channels = self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.groups
        return self.groups > 1 and self.groups == channels

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `Dense`."""
        return torch.convolution(
            x,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )

    def transpose(self, v: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """See `Dense`."""
        gradient: Tensor = torch.ops.aten.convolution_backward(
            v, like, weight, None, self.stride, self.padding, self.dilation, self.transposed, self.output_padding,
            self.groups, (True, False, False),
        )[0]  # fmt: skip
        return gradient

    def by_output(self, values: Tensor) -> Tensor:
        """See `Dense`."""
        return values.view(-1, *(1,) * (self.weight.ndim - 2))

    def scaled(self, scale: Tensor, shift: Tensor) -> "Convolution":
        """See `Dense`; not for transposed convolutions with groups."""
        bias = shift if self.bias is None else self.bias * scale + shift
        ones = (1,) * (self.weight.ndim - 2)
        shape = (1, -1, *ones) if self.transposed else (-1, 1, *ones)
        return replace(self, weight=self.weight * scale.view(shape), bias=bias)


Kernel = Dense | Convolution


def is_kernel_call(call: Call) -> bool:
    """Whether a call is a convolution or a linear layer."""
    return call.name == "linear" or call.name in _CONVOLUTIONS


def kernel_of(call: Call) -> tuple[Kernel, tuple[int, ...] | None]:
    """The kernel of a call, and what its input has to be padded with first (as for `torch.nn.functional.pad`)."""
    weight: Tensor = call.argument(1, "weight")
    bias: Tensor | None = call.argument(2, "bias")
    if call.name == "linear":
        return Dense(weight, bias), None
    dimensions = _CONVOLUTIONS[call.name]
    transposed = call.name.startswith("conv_transpose")

    def each(value: Any) -> tuple[int, ...]:
        values = (value,) if isinstance(value, int) else tuple(value)
        return values * dimensions if len(values) == 1 else values

    stride, padding = each(call.argument(3, "stride", 1)), call.argument(4, "padding", 0)
    if transposed:
        output_padding = each(call.argument(5, "output_padding", 0))
        groups, dilation = call.argument(6, "groups", 1), each(call.argument(7, "dilation", 1))
        return Convolution(weight, bias, stride, each(padding), dilation, True, output_padding, groups), None
    dilation, groups = each(call.argument(5, "dilation", 1)), call.argument(6, "groups", 1)
    around: tuple[int, ...] | None = None
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if any(total % 2 for total in totals):  # more on one side than on the other
            around = tuple(side for total in reversed(totals) for side in (total // 2, total - total // 2))
        else:
            padding = tuple(total // 2 for total in totals)
    inside = (0,) * dimensions if isinstance(padding, str) else each(padding)
    return Convolution(weight, bias, stride, inside, dilation, False, (0,) * dimensions, groups), around
