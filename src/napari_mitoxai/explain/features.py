"""Finding the last feature map of any network."""

from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from napari_mitoxai.explain.calls import ActivationMode, Call, tensors_in

_CONVOLUTIONS = {"conv2d", "conv_transpose2d"}
# What condenses a feature map or takes it apart: its result is no longer the network's picture of the input.
_ENDS = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "permute", "transpose", "getitem", "select", "narrow",
    "chunk", "split", "unbind", "squeeze", "unsqueeze", "matmul", "einsum", "softmax", "interpolate", "upsample", "expand", "repeat",
    "expand_as", "mean", "sum", "amax", "max", "scaled_dot_product_attention", "register_hook", "detach", "sigmoid", "hardsigmoid",
}  # fmt: skip


class FeatureMode(ActivationMode):
    """Remembers the last feature map (N, K, h, w), larger than one pixel, of a forward pass inside it.

    Feature maps are what convolutions give, and what is made of them without changing height and width: normalised,
    activated, added, concatenated. Pooled and flattened ones are not. After a ReLU in place it is the rectified map.

    Attributes
    ----------
    last : Tensor (N, K, h, w) or None
        With its gradient history.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None
        self._maps = WeakTensorKeyDictionary()

    def on_call(self, call: Call) -> Any:
        """Follow feature maps."""
        result = call.run()
        if (
            isinstance(result, Tensor)
            and result.ndim == 4
            and result.requires_grad
            and result.shape[2] * result.shape[3] > 1
            and self._makes_a_map(call, result)
        ):
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
