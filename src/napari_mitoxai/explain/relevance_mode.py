"""Relevance propagation as a backward pass: a forward pass inside `RelevanceMode` gives logits whose gradient is relevance.

What each tensor function becomes:

===============================  ==========================================================================
convolution, linear              the rule of the mode
batch norm after one of these    fused with it: the rule sees one layer
batch norm elsewhere             epsilon on its affine map
a + b, a - b                     shared in the ratio of the two terms
a * b                            a gate (a sigmoid, or the smaller one) gets nothing; two equals get half each
averages, sums, matrix products  epsilon
activations, constant offsets    passed on unchanged
and scales
views, indexing, concatenation,  their gradient, which moves relevance to where the values came from
maximum pooling
anything else                    an error: a wrong map must not look like a right one
===============================  ==========================================================================
"""

import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.calls import ActivationMode, Call, apply_rule, tensors_in
from napari_mitoxai.explain.function_names import ACTIVATIONS, DROPOUTS, GATES, LINEAR_MAPS, MOVES
from napari_mitoxai.explain.kernel_rules import KernelRule, Stabiliser
from napari_mitoxai.explain.kernels import Kernel, is_kernel_call, kernel_of


class _Kept:
    """A value that a rule needs later, in case the network overwrites it."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Tensor) -> None:
        self.value = value


@dataclass(frozen=True)
class _Source:
    """Which kernel gave a tensor, so that a batch norm which follows can be fused with it."""

    kernel: Kernel
    x: Tensor
    rule: KernelRule
    versions: tuple[int, int]  # of x and of the result: another number means changed in place


class RelevanceMode(ActivationMode):
    """The rules of one forward pass; see the module. A subclass may have others.

    Parameters
    ----------
    convolution, dense : KernelRule
        The rules of convolutions and of linear layers.
    stabiliser : Stabiliser
        Of all other denominators.
    first : KernelRule, optional
        The rule of convolutions and linear layers that read the input of the network.
    """

    def __init__(
        self,
        convolution: KernelRule,
        dense: KernelRule,
        stabiliser: Stabiliser,
        first: KernelRule | None = None,
    ) -> None:
        super().__init__()
        self._convolution, self._dense, self._stabilise = convolution, dense, stabiliser
        self._first = first
        self._raw = WeakTensorKeyDictionary()  # the input of the network, and what still counts as it
        self._seen = (
            WeakTensorKeyDictionary()
        )  # results of ours: what else has a gradient came from somewhere hidden
        self._sources = WeakTensorKeyDictionary()
        self._gates = WeakTensorKeyDictionary()
        self._kept: dict[int, weakref.WeakSet[_Kept]] = defaultdict(weakref.WeakSet)
        self._handlers: dict[str, Callable[[Call], Any]] = {
            "add": self._on_sum, "sub": self._on_sum, "mul": self._on_product, "div": self._on_quotient, "batch_norm": self._on_batch_norm,
            **dict.fromkeys(ACTIVATIONS, self._on_activation),
            **dict.fromkeys(LINEAR_MAPS, self._on_linear_map), **dict.fromkeys(DROPOUTS, self._on_dropout),
        }  # fmt: skip
        self._started = False

    def on_call(self, call: Call) -> Any:
        """Replace a function of activations by one with a rule."""
        activations = call.activations
        if not activations:
            return call.run()
        self._check_inputs(call, activations)
        if call.may_write and call.first is not None:
            self._save_from_overwriting(call.first)
        is_raw = self.keeps_input(call) and all(t in self._raw for t in activations)
        if call.may_write and call.first is not None and not is_raw:
            self._raw.pop(call.first, None)
        if is_kernel_call(call):
            result = self._on_kernel(call)
        elif call.name in self._handlers:
            result = self._handlers[call.name](call)
        else:
            result = self._on_other(call, activations)
        for tensor in tensors_in(result):
            if tensor.requires_grad:
                self._seen[tensor] = True
                if is_raw:
                    self._raw[tensor] = True
        return result

    def keeps_input(self, call: Call) -> bool:
        """Whether the result of a call on the network's input still counts as its input, for the first layer's rule."""
        return not is_kernel_call(call)

    def check_seen(self, logits: Tensor) -> None:
        """Raise `MitoxaiError` if the logits came from a function that this mode could not see."""
        if logits not in self._seen:
            raise MitoxaiError(_hidden(logits))

    def _check_inputs(self, call: Call, activations: list[Tensor]) -> None:
        if not self._started:  # the input of the network is the first tensor with a gradient, and ours
            self._seen[activations[0]] = self._raw[activations[0]] = True
            self._started = True
        for tensor in activations:
            if tensor not in self._seen:
                raise MitoxaiError(_hidden(tensor))

    # --- values that rules need in the backward pass -------------------------------------------------------------

    def _keep(self, tensor: Tensor) -> _Kept:
        kept = _Kept(tensor.detach())
        self._kept[tensor.untyped_storage().data_ptr()].add(kept)
        return kept

    def _save_from_overwriting(self, tensor: Tensor) -> None:
        copies: dict[tuple[int, torch.Size, tuple[int, ...]], Tensor] = {}
        for kept in list(self._kept.pop(tensor.untyped_storage().data_ptr(), ())):
            key = (kept.value.data_ptr(), kept.value.shape, kept.value.stride())
            if key not in copies:
                copies[key] = kept.value.clone()
            kept.value = copies[key]

    # --- layers with weights -------------------------------------------------------------------------------------

    def _on_kernel(self, call: Call) -> Tensor:
        if len(call.activations) > 1 or call.first is None or not call.first.requires_grad:
            raise MitoxaiError(_unsupported(call.name, "of weights that depend on the input"))
        kernel, around = kernel_of(call)
        x = call.first
        rule = self._convolution if kernel.is_convolution else self._dense
        if self._first is not None and x in self._raw:
            rule = self._first
        if around is not None:
            x = F.pad(x, around)
            self._seen[x] = True
        result = self._with_rule(rule, kernel, x, call.run)
        fusable = kernel.is_convolution or result.ndim == 2
        if fusable and not (call.name.startswith("conv_transpose") and call.argument(6, "groups", 1) > 1):
            self._sources[result] = _Source(kernel, x, rule, (x._version, result._version))
        return result

    def _with_rule(
        self, rule: KernelRule, kernel: Kernel, x: Tensor, forward: Callable[[], Tensor]
    ) -> Tensor:
        kept_x = self._keep(x)
        kept_z: list[_Kept] = []

        def backward(relevance: Tensor) -> tuple[Tensor]:
            return (rule(kernel, kept_x.value, kept_z[0].value if kept_z else None, relevance),)

        result = apply_rule(forward, backward, x)
        if rule.uses_output:
            kept_z.append(self._keep(result))
        return result

    def _on_batch_norm(self, call: Call) -> Tensor:
        x = call.first
        if x is None or len(call.activations) > 1 or not x.requires_grad:
            raise MitoxaiError(_unsupported("batch_norm", "of statistics that depend on the input"))
        return self.on_batch_norm_of(call, x, BatchNorm.of(call))

    def on_batch_norm_of(self, call: Call, x: Tensor, norm: "BatchNorm") -> Tensor:
        """A batch norm of x."""
        scale, shift = norm.affine()
        source = self._sources.get(x)
        if source is not None and source.versions == (source.x._version, x._version):
            # a kernel's result with other consumers too keeps its own rule for them
            return self._with_rule(source.rule, source.kernel.scaled(scale, shift), source.x, call.run)
        return self.on_lone_batch_norm(call, x, scale)

    def on_lone_batch_norm(self, call: Call, x: Tensor, scale: Tensor) -> Tensor:
        """A batch norm of x that is not fused with a kernel, its scale given for each channel."""
        scale = scale.view(1, -1, *(1,) * (x.ndim - 2))
        kept_x = self._keep(x)
        kept_z: list[_Kept] = []

        def backward(relevance: Tensor) -> tuple[Tensor]:
            return (kept_x.value * scale * relevance / self._stabilise(kept_z[0].value),)

        result = apply_rule(call.run, backward, x)
        kept_z.append(self._keep(result))
        return result

    # --- sums and products ---------------------------------------------------------------------------------------

    def _on_sum(self, call: Call) -> Tensor:
        a, b = call.argument(0, "input"), call.argument(1, "other")
        if len(call.activations) == 1:
            return self._pass_on(call)
        factor = call.kwargs.get("alpha", 1)
        signs = (1, factor) if call.name == "add" else (-factor, 1) if call.reflected else (1, -factor)
        kept_a, kept_b = self._keep(a), self._keep(b)
        if call.may_write:
            self._save_from_overwriting(a)

        def backward(relevance: Tensor) -> tuple[Tensor, Tensor]:
            first, second = self.share_sum(signs[0] * kept_a.value, signs[1] * kept_b.value, relevance)
            # a smaller term was repeated over the larger one
            return first.sum_to_size(kept_a.value.shape), second.sum_to_size(kept_b.value.shape)

        return apply_rule(call.run, backward, a, b)

    def share_sum(self, a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """The relevance of a and of b, given that of their sum."""
        share = relevance / self._stabilise(a + b)
        return a * share, b * share

    def _on_product(self, call: Call) -> Tensor:
        if len(call.activations) == 1:
            return self._pass_on(call)
        a, b = call.argument(0, "input"), call.argument(1, "other")
        gates = (a in self._gates, b in self._gates)
        if gates[0] == gates[1]:
            gates = (a.numel() < b.numel(), b.numel() < a.numel())
        parts = (0.5, 0.5) if gates[0] == gates[1] else (float(not gates[0]), float(not gates[1]))
        shapes = (a.shape, b.shape)

        def backward(relevance: Tensor) -> tuple[Tensor | None, ...]:
            return tuple(
                (part * relevance).sum_to_size(shape) if part else None
                for part, shape in zip(parts, shapes, strict=True)
            )

        return apply_rule(call.run, backward, a, b)

    def _on_quotient(self, call: Call) -> Tensor:
        numerator = call.first
        by_constant = (
            len(call.activations) == 1
            and numerator is not None
            and numerator.requires_grad
            and not call.reflected
        )
        if not by_constant or call.kwargs.get("rounding_mode") is not None:
            raise MitoxaiError(_unsupported("division", "by something that depends on the input"))
        return self._pass_on(call)

    # --- the rest ------------------------------------------------------------------------------------------------

    def _pass_on(self, call: Call) -> Tensor:
        (x,) = call.activations
        if call.may_write and call.first is not x:
            raise MitoxaiError(_unsupported(call.name, "written into a tensor that is not an activation"))
        shape = x.shape
        return apply_rule(call.run, lambda relevance: (relevance.sum_to_size(shape),), x)

    def _on_activation(self, call: Call) -> Tensor:
        if len(call.activations) > 1:
            raise MitoxaiError(_unsupported(call.name, "of several activations"))
        result = self._pass_on(call)
        if call.name in GATES:
            self._gates[result] = True
        return result

    def _on_dropout(self, call: Call) -> Tensor:
        if call.argument(2, "training", True):  # dropout that the network never switches off
            return self._pass_on(call)
        result: Tensor = call.run()
        return result

    def _on_linear_map(self, call: Call) -> Tensor:
        if len(call.activations) > 1:
            raise MitoxaiError(_unsupported(call.name, "of two activations"))
        (x,) = call.activations
        kept_x = self._keep(x)

        def again(value: Tensor) -> Tensor:
            result: Tensor = call.run_with(lambda t: value if t is x else t)
            return result

        def backward(relevance: Tensor) -> tuple[Tensor]:
            return (self.share_linear_map(again, kept_x.value, relevance),)

        return apply_rule(call.run, backward, x)

    def share_linear_map(self, function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor) -> Tensor:
        """The relevance of x, given that of a linear function of it."""
        z, transpose = transposed(function, x)
        return x * transpose(relevance / self._stabilise(z))

    def _on_other(self, call: Call, activations: list[Tensor]) -> Any:
        result = call.run()
        results = [t for t in tensors_in(result) if t.requires_grad]
        if results and call.name not in MOVES:
            raise MitoxaiError(_unsupported(call.name))
        moved = (
            activations[:1] if call.name.endswith("_as") else activations
        )  # the other one of expand_as is a shape
        if results and all(t in self._gates for t in moved):  # a gate in another shape
            for tensor in results:
                self._gates[tensor] = True
        return result


def transposed(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What a linear function makes of x, and its transpose, to be used once."""
    with torch.enable_grad():
        probe = x.detach().requires_grad_()
        result = function(probe)
    return result.detach(), lambda signal: torch.autograd.grad(result, probe, signal)[0]


@dataclass(frozen=True)
class BatchNorm:
    """A batch norm with fixed statistics; each value by channel."""

    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor
    epsilon: float

    @classmethod
    def of(cls, call: Call) -> "BatchNorm":
        """The batch norm that is called."""
        if (
            call.func is torch.batch_norm
        ):  # its arguments have another order than those of torch.nn.functional
            names = ("weight", "bias", "running_mean", "running_var")
        else:
            names = ("running_mean", "running_var", "weight", "bias")
        given = {name: call.argument(position, name) for position, name in enumerate(names, 1)}
        mean, variance, weight, bias = (
            given[name] for name in ("running_mean", "running_var", "weight", "bias")
        )
        if mean is None or variance is None or call.argument(5, "training", False):
            raise MitoxaiError(_unsupported("batch_norm", "with the statistics of the batch"))
        weight = torch.ones_like(mean) if weight is None else weight.detach()
        bias = torch.zeros_like(mean) if bias is None else bias.detach()
        return cls(mean.detach(), variance.detach(), weight, bias, call.argument(7, "eps", 1e-5))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift."""
        scale = self.weight * (self.variance + self.epsilon).rsqrt()
        return scale, self.bias - self.mean * scale


def _unsupported(function: str, how: str = "") -> str:
    what = f"{function} {how}".rstrip()
    return f"LRP has no rule for {what}, which this network uses: choose a method that needs only gradients, as gradient or grad_cam."


def _hidden(tensor: Tensor) -> str:
    node = tensor.grad_fn.name() if tensor.grad_fn is not None else "a compiled part"
    return f"LRP cannot see into {node}, which this network uses: choose a method that needs only gradients, as gradient or grad_cam."
