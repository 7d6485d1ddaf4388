"""Finding the last feature map of any network, or that of a named layer."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.calls import Call, tensors_in, without_history

_CONVOLUTIONS = {"conv2d", "conv_transpose2d"}
# What condenses a feature map or takes it apart: its result is no longer the network's picture of the input.
_ENDS = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "permute", "transpose", "getitem", "select", "narrow",
    "chunk", "split", "unbind", "squeeze", "unsqueeze", "matmul", "einsum", "softmax", "interpolate", "upsample", "expand", "repeat",
    "expand_as", "mean", "sum", "amax", "max", "scaled_dot_product_attention", "register_hook", "detach", "sigmoid", "hardsigmoid",
}  # fmt: skip


class FeatureFollower:
    """Remembers the last feature map (N, K, h, w), larger than one pixel, of a forward pass.

    Feature maps are what convolutions give, and what is made of them without changing height and width: normalised,
    activated, added, concatenated. Pooled and flattened ones are not. After a ReLU in place it is the rectified map.

    Parameters
    ----------
    cut : bool
        Whether to forget how each map was made, which leaves of the pass only what follows the last one.

    Attributes
    ----------
    last : Tensor (N, K, h, w) or None
        With the gradient history of the logits, if any.
    """

    def __init__(self, *, cut: bool) -> None:
        self.last: Tensor | None = None
        self._cut = cut
        self._maps = WeakTensorKeyDictionary()

    def follow(self, call: Call, result: Any) -> Any:
        """See what a call has given; what takes its place."""
        if (
            isinstance(result, Tensor)
            and result.ndim == 4
            and result.requires_grad
            and result.shape[2] * result.shape[3] > 1
            and self._makes_a_map(call, result)
        ):
            if self._cut and result is not call.first:
                result = without_history(result)
            self._maps[result] = True
            self.last = result
        return result

    def _makes_a_map(self, call: Call, result: Tensor) -> bool:
        if call.name in _CONVOLUTIONS:
            return True
        if call.name in _ENDS or "pool" in call.name:
            return False
        return any(
            t in self._maps and t.shape[2:] == result.shape[2:] for t in tensors_in((call.args, call.kwargs))
        )


@contextmanager
def watched(model: nn.Module, names: Sequence[str], *, cut: bool) -> Iterator[dict[str, Any]]:
    """Collect what named modules give, in the calling thread: the last output of each, by name.

    Parameters
    ----------
    model : torch.nn.Module
    names : sequence of str
    cut : bool
        Whether to forget how each output was made.

    Raises
    ------
    MitoxaiError
        If there is no such module.
    """
    modules = dict(model.named_modules())
    thread = threading.get_ident()
    outputs: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def remember(module: nn.Module, args: Any, output: Any) -> Any:
            if threading.get_ident() != thread:  # another thread may be using the network too
                return None
            if cut and isinstance(output, Tensor) and output.is_floating_point():
                output = without_history(output)
            outputs[name] = output
            return output

        return remember

    with ExitStack() as stack:
        for name in names:
            if name not in modules:
                raise MitoxaiError(f"The network has no layer {name!r}: {_candidates(modules)}.")
            handle = modules[name].register_forward_hook(watch(name))
            stack.callback(handle.remove)
        yield outputs


def _candidates(modules: dict[str, nn.Module]) -> str:
    """Layers that give feature maps, the last ones first."""
    convolutions = [
        name for name, module in modules.items() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    if not convolutions:
        return "and no convolution that is a module of its own"
    return f"its last convolutions are {', '.join(convolutions[-5:])}"
