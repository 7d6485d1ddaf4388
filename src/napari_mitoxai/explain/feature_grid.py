"""Where the cells of a feature map lie in the input, followed through any network function by function."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.calls import ActivationMode, Call, tensors_in
from napari_mitoxai.explain.function_names import ACTIVATIONS, DROPOUTS

_POOLS = {"max_pool2d", "max_pool2d_with_indices", "avg_pool2d"}
# Each cell of the result depends on the same cell of the arguments.
_CELL_BY_CELL = (
    ACTIVATIONS | DROPOUTS | {"add", "sub", "mul", "div", "cat", "batch_norm", "clone", "contiguous"}
)
_INSTEAD = "explain it patch by patch."


@dataclass(frozen=True)
class _Step:
    """A convolution or pooling along one axis: the extent of its kernel, its stride, its padding."""

    extent: int
    stride: int
    padding: int
    ceil: bool

    def cells(self, length: int) -> int:
        room = length + 2 * self.padding - self.extent
        if room < 0:
            return 0
        if not self.ceil:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        # a window may hang over the far edge, but must not start beyond it
        return count - 1 if (count - 1) * self.stride >= length + self.padding else count


@dataclass(frozen=True)
class FeatureAxis:
    """One axis of a feature map: its cell i sees the input from ``i * stride - before`` to ``i * stride + after``.

    This is the arithmetic of receptive fields (Araujo, Norris & Sim 2019, Distill 4: e21).

    Attributes
    ----------
    stride : int
        Input pixels from a cell to the next.
    before, after : int
        Input pixels.
    steps : tuple
        The convolutions and poolings on the way.
    """

    stride: int = 1
    before: int = 0
    after: int = 0
    steps: tuple[_Step, ...] = ()

    def cells(self, length: int) -> int:
        """How many cells an input of this length has."""
        for step in self.steps:
            length = step.cells(length)
        return length

    def through(self, step: _Step) -> "FeatureAxis":
        """The axis behind a convolution or pooling."""
        return FeatureAxis(
            self.stride * step.stride,
            self.before + step.padding * self.stride,
            self.after + (step.extent - 1 - step.padding) * self.stride,
            (*self.steps, step),
        )

    def with_reach_of(self, other: "FeatureAxis") -> "FeatureAxis":
        """The axis of what is made of two maps."""
        return replace(self, before=max(self.before, other.before), after=max(self.after, other.after))


FeatureGrid = tuple[FeatureAxis, FeatureAxis]  # rows, columns


class GridMode(ActivationMode):
    """Follows feature maps, and where their cells lie, through a forward pass inside it.

    Convolutions, poolings and functions that work cell by cell are followed. Whatever else reads a feature map (a global mean,
    flattening) must belong to the head: nothing of it may come back into feature maps.

    Parameters
    ----------
    inputs : Tensor (1, C, H, W)
        What the network is called with.
    cut : int, optional
        The number of the feature map to replace, counted from 1.
    instead_of : callable, optional
        Gets that feature map (1, K, h, w) and gives what the network goes on with.

    Attributes
    ----------
    count : int
        How many feature maps were met, those that pooling gives left out.
    last : FeatureGrid or None
        Where the cells of the last of them lie.

    Raises
    ------
    MitoxaiError
        Inside the mode, if a cell depends on more than a bounded neighbourhood, always the same for all cells.
    """

    def __init__(
        self, inputs: Tensor, cut: int | None = None, instead_of: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self._cut, self._instead_of = cut, instead_of
        # a grid, or the name of the function that looked beyond cells
        self._marks: Any = WeakTensorKeyDictionary()
        self._marks[inputs] = (FeatureAxis(), FeatureAxis())
        self.count = 0
        self.last: FeatureGrid | None = None

    def on_call(self, call: Call) -> Any:
        """Follow the results of a call."""
        given = list(tensors_in((call.args, call.kwargs)))
        marks = [self._marks[tensor] for tensor in given if tensor in self._marks]
        if not marks or call.name == "get":  # an attribute, such as a shape
            return call.run()
        if self._cut is not None and self.count >= self._cut:
            raise MitoxaiError(
                f"The network's head reads other feature maps than the last one ({call.name}): {_INSTEAD}"
            )
        # before the call, which may change its argument
        shapes = [tuple(tensor.shape) for tensor in given if tensor in self._marks]
        others = [tensor for tensor in given if tensor not in self._marks]
        result = call.run() if self._cut is None else _run(call)
        mark = self._mark(call, marks, shapes, others, result)
        for tensor in [*tensors_in(result), *([call.first] if call.name == "setitem" else [])]:
            self._marks[tensor] = mark
        if isinstance(mark, str) or call.name in _POOLS:
            return result
        self.count += 1
        self.last = mark
        if self.count == self._cut and self._instead_of is not None:
            return self._instead_of(result)
        return result

    def _mark(
        self,
        call: Call,
        marks: list[FeatureGrid | str],
        shapes: list[tuple[int, ...]],
        others: list[Tensor],
        result: Any,
    ) -> FeatureGrid | str:
        grids = [mark for mark in marks if not isinstance(mark, str)]
        beyond = [mark for mark in marks if isinstance(mark, str)]
        slides = call.name in _POOLS or call.name == "conv2d"
        if beyond and (grids or (slides and max(shapes[0][2:], default=1) > 1)):
            raise MitoxaiError(
                f"The network makes its features with something that is not local ({beyond[0]}), such as a mean over the whole "
                f"patch, so they are not the same in a larger picture: {_INSTEAD}"
            )
        if beyond:
            return beyond[0]
        if slides and len(grids) == 1:
            steps = _steps(call)
            return call.name if steps is None else _through(grids[0], steps)
        if call.name == "batch_norm" and call.argument(
            5, "training", False
        ):  # of the picture's own statistics
            return call.name
        if call.name not in _CELL_BY_CELL or not isinstance(result, Tensor) or result.ndim != 4:
            return call.name
        same = all(len(shape) == 4 and shape[2:] == result.shape[2:] for shape in shapes)
        # a constant picture would tell the cells apart
        constant = all(other.ndim < 2 or other.shape[-2:].numel() == 1 for other in others)
        if not same or not constant or len({tuple(a.stride for a in grid) for grid in grids}) > 1:
            return call.name
        joined = grids[0]
        for grid in grids[1:]:
            joined = (joined[0].with_reach_of(grid[0]), joined[1].with_reach_of(grid[1]))
        return joined


def _run(call: Call) -> Any:
    """Do what was asked; a batch norm as a scale and a shift, which need not keep its argument for the way back."""
    x, mean, variance = call.first, call.argument(1, "running_mean"), call.argument(2, "running_var")
    if call.name != "batch_norm" or x is None or variance is None:
        return call.run()
    weight, bias = call.argument(3, "weight"), call.argument(4, "bias")
    scale = (variance + call.argument(7, "eps", 1e-5)).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return torch.addcmul(shift[:, None, None], x, scale[:, None, None])


def _through(grid: FeatureGrid, steps: tuple[_Step, _Step]) -> FeatureGrid:
    return grid[0].through(steps[0]), grid[1].through(steps[1])


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = tuple(int(item) for item in value)
    return (values[0], values[-1])


def _steps(call: Call) -> tuple[_Step, _Step] | None:
    """What a convolution or pooling does along rows and columns; None if it is of a kind that is not followed."""
    if call.name == "conv2d":
        weight = call.argument(1, "weight")
        kernel = weight.shape[2:]
        stride, padding = call.argument(3, "stride", 1), call.argument(4, "padding", 0)
        dilation, ceil = call.argument(5, "dilation", 1), False
    else:
        kernel, padding = call.argument(1, "kernel_size"), call.argument(3, "padding", 0)
        stride = call.argument(2, "stride") or kernel
        is_mean = call.name == "avg_pool2d"
        dilation = 1 if is_mean else call.argument(4, "dilation", 1)
        ceil = bool(call.argument(4, "ceil_mode", False) if is_mean else call.argument(5, "ceil_mode", False))
    if isinstance(padding, str):
        return None
    rows, columns = (
        _Step((k - 1) * d + 1, s, p, ceil)
        for k, s, p, d in zip(*(_pair(value) for value in (kernel, stride, padding, dilation)), strict=True)
    )
    return rows, columns


def trace(model: torch.nn.Module, inputs: Tensor) -> tuple[Tensor, FeatureGrid, int]:
    """Run a network once and find its last feature map.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier (N, C, H, W) → logits (N, classes), in evaluation mode.
    inputs : Tensor (1, C, H, W)
        Anything.

    Returns
    -------
    logits : Tensor (1, classes)
    grid : FeatureGrid
        Where the cells of the last feature map lie.
    number : int
        Its number, for `GridMode`.

    Raises
    ------
    MitoxaiError
        If there is none, or its cells depend on more than a bounded neighbourhood.
    """
    mode = GridMode(inputs)
    with mode:
        logits = model(inputs)
    if mode.last is None:
        raise MitoxaiError(f"The network has no feature map made of local functions: {_INSTEAD}")
    return logits, mode.last, mode.count
