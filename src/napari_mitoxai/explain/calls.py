"""Seeing every tensor function of a forward pass, and giving some of them another backward rule.

A `TorchFunctionMode` sees each call, whether a module, `torch.nn.functional`, a method or an operator made it, in place or not,
and whether or not a module is used twice. It belongs to one thread and leaves the network alone.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function

_OPERATORS = {"add", "sub", "mul", "truediv", "div", "matmul", "pow", "floordiv"}
_SYNONYMS = {
    "truediv": "div", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub",
    "concat": "cat", "concatenate": "cat", "negative": "neg", "absolute": "abs",
}  # fmt: skip


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in arguments or results, also in lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def replaced(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Arguments with `change` applied to each tensor in them."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(replaced(item, change) for item in value)
    if isinstance(value, dict):
        return {key: replaced(item, change) for key, item in value.items()}
    return value


def _without_gradient(tensor: Tensor) -> Tensor:
    # weights are leaves; the input of the network is not, see Question.ask
    return tensor.detach() if tensor.requires_grad and tensor.is_leaf else tensor


class Call:
    """One call of a tensor function.

    Attributes
    ----------
    name : str
        The function's plain name, however it was called: ``relu`` for `torch.relu_`, ``add`` for ``a += b``.
    reflected : bool
        Whether it was the reflected operator: ``2 - a`` is ``sub``, reflected.
    args, kwargs
        Its arguments; weights are detached, so a tensor that requires a gradient depends on the network's input.
    """

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs
        # an overload such as aten::relu.default has a dot
        raw = str(getattr(func, "__name__", func)).split(".")[0]
        self._may_write = raw == "__setitem__" or (raw.endswith("_") and not raw.endswith("__"))
        self.name, self.reflected = _plain_name(raw)

    @property
    def first(self) -> Tensor | None:
        """The tensor that the function is applied to."""
        first = self.argument(0, "input")
        return first if isinstance(first, Tensor) else None

    @property
    def activations(self) -> list[Tensor]:
        """The arguments that depend on the network's input."""
        return [t for t in tensors_in((self.args, self.kwargs)) if t.requires_grad]

    @property
    def may_write(self) -> bool:
        """Whether the call may change its first argument; sometimes true of a call that does not."""
        return self._may_write or bool(self.kwargs.get("inplace")) or any(a is True for a in self.args[1:])

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, however it was given."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    def run(self) -> Any:
        """Do what was asked."""
        return self.func(*self.args, **self.kwargs)

    def run_with(self, change: Callable[[Tensor], Tensor]) -> Any:
        """Do it with other tensors."""
        return self.func(*replaced(self.args, change), **replaced(self.kwargs, change))


def _plain_name(raw: str) -> tuple[str, bool]:
    reflected = False
    if raw.startswith("__"):
        name = raw.strip("_")
        if name[:1] in {"i", "r"} and name[1:] in _OPERATORS:
            reflected, name = name[0] == "r", name[1:]
    else:
        name = raw.rstrip("_")
        if name == "rsub":
            reflected, name = True, "sub"
    return _SYNONYMS.get(name, name), reflected


class ActivationMode(TorchFunctionMode):
    """Shows a subclass each tensor function of the calling thread as a `Call`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.on_call(
            Call(func, replaced(args, _without_gradient), replaced(kwargs or {}, _without_gradient))
        )

    def on_call(self, call: Call) -> Any:
        """Return the result of a call."""
        return call.run()


class _Ruled(torch.autograd.Function):
    """A function with another backward rule; it may change its first tensor in place."""

    @staticmethod
    def forward(
        ctx: Any, forward: Callable[[], Tensor], backward: Callable[[Tensor], Any], *inputs: Tensor
    ) -> Tensor:
        ctx.rule, ctx.inputs = backward, len(inputs)
        ctx.set_materialize_grads(False)  # no signal is not a signal of zeros, which would be worked on
        ctx.in_place_of_view = False
        version = inputs[0]._version
        result = forward()
        if result is inputs[0]:
            if result._version == version:
                return result.clone()  # an output that is an input would be a view of it
            ctx.mark_dirty(result)
            ctx.in_place_of_view = result._is_view()
        return result

    @staticmethod
    def backward(ctx: Any, *signals: Tensor | None) -> Any:
        signal = signals[0]
        if signal is None:
            return (None,) * (2 + ctx.inputs)
        first, *others = ctx.rule(signal)
        if first is None and ctx.in_place_of_view:
            first = torch.zeros_like(signal)  # for torch, nothing here would be nothing beside the view too
        return None, None, first, *others


def apply_rule(
    forward: Callable[[], Tensor], backward: Callable[[Tensor], tuple[Tensor | None, ...]], *inputs: Tensor
) -> Tensor:
    """Compute a tensor that is differentiated by a rule.

    Parameters
    ----------
    forward : callable
        Gives the result, without a gradient; may change ``inputs[0]`` in place and return it.
    backward : callable
        Gets the signal at the result and returns that of each input, None for no signal.
    *inputs : Tensor
        What the result depends on.
    """
    if has_torch_function(
        inputs
    ):  # a mode around this one (which cancels, say) sees the rule as one function
        result: Tensor = handle_torch_function(apply_rule, inputs, forward, backward, *inputs)
        return result
    applied: Tensor = _Ruled.apply(forward, backward, *inputs)
    return applied


def without_history(tensor: Tensor) -> Tensor:
    """The same values, from which a signal can be taken but goes no further; may be changed in place, as a leaf may not."""
    start = tensor.detach().requires_grad_()
    applied: Tensor = _Ruled.apply(start.detach, lambda signal: (signal,), start)
    return applied
