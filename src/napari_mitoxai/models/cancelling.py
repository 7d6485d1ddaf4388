"""Stopping a network in the middle of a forward or backward pass."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from napari_mitoxai.common import CancelToken


class CancellingMode(TorchFunctionMode):
    """Inside this mode every tensor function, and every step back through it, first looks at a cancel token.

    It changes no number. What one thread enters does not touch another; other modes may be entered inside it.

    Parameters
    ----------
    token : CancelToken
        Raised by any thread; the thread inside the mode then gets `Cancelled` at its next layer.
    """

    def __init__(self, token: CancelToken) -> None:
        super().__init__()
        self._token = token

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if (
            getattr(func, "__name__", "") == "__get__"
        ):  # an attribute, such as a shape: no work, asked for very often
            return func(*args, **(kwargs or {}))
        self._token.check()
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self._watch(result)
        elif isinstance(result, (tuple, list)):
            for item in result:
                if isinstance(item, Tensor):
                    self._watch(item)
        return result

    def _watch(self, tensor: Tensor) -> None:
        if tensor.grad_fn is not None:
            # on the node: a hook on the tensor would belong to another node once the tensor is changed in place
            tensor.grad_fn.register_prehook(self._before_step_back)

    def _before_step_back(self, gradients: tuple[Tensor, ...]) -> None:
        self._token.check()
