"""A forward pass recorded so that signals can go back through it by the rules of several methods, one after the other.

What a trace makes of each tensor function, for the rules it was made for:

===============================  ==========================================================================
convolution, linear              a `KernelStep`
batch norm                       a `NormStep`, which knows the kernel it can be fused with
a + b, a - b                     a `SumStep`
a * b                            a `ProductStep`: a gate (a sigmoid, or the smaller one) gets nothing; two
                                 equals get half each
averages, sums, matrix products  a `MapStep`
max(x, 0), however written       a `RectifierStep`
other activations, constant      a `PassStep`
offsets and scales
views, indexing, concatenation,  nothing: their gradient moves relevance to where the values came from
maximum pooling
anything else                    nothing, but it is remembered that relevance cannot be asked for
===============================  ==========================================================================

Steps that some of the rules leave to the gradient keep their own gradient beside the rules of the others.
"""

import math
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from napari_mitoxai.explain.calls import ActivationMode, Call, apply_rule, tensors_in
from napari_mitoxai.explain.description import Unsuitable
from napari_mitoxai.explain.features import FeatureFollower
from napari_mitoxai.explain.function_names import (
    ACTIVATIONS,
    DROPOUTS,
    GATES,
    LINEAR_MAPS,
    MOVES,
    RESHAPES,
    WEIGHTED_MAPS,
)
from napari_mitoxai.explain.kernels import is_kernel_call, kernel_of
from napari_mitoxai.explain.steps import (
    GRADIENT,
    BatchNorm,
    HiddenStep,
    Kept,
    KernelStep,
    MapStep,
    NormStep,
    PassStep,
    ProductStep,
    RectifierStep,
    Rules,
    Signals,
    Step,
    SumStep,
    UnknownStep,
    WeightedMapStep,
)


class _Followed:
    """The rules that signals follow now; apart from the trace, which its steps must not keep alive."""

    __slots__ = ("rules",)

    def __init__(self) -> None:
        self.rules: Rules = GRADIENT


@dataclass(frozen=True)
class _Source:
    """Which kernel gave a tensor, so that a batch norm which follows can be fused with it."""

    step: KernelStep
    x: Tensor
    versions: tuple[int, int]  # of x and of the result: another number means changed in place


class Trace(ActivationMode):
    """Records the forward pass of a network inside this mode; see the module.

    Parameters
    ----------
    rules : sequence of Rules
        All that will be followed on the way back.
    features : FeatureFollower, optional
        Told of every tensor that is made.

    Attributes
    ----------
    met : set of step types
        Of those that the rules replace, what the network has.
    """

    def __init__(self, rules: Sequence[Rules], features: FeatureFollower | None = None) -> None:
        super().__init__()
        self.met: set[type[Step]] = set()
        self._rules, self._features = rules, features
        self._replaced = frozenset().union(*(each.replaces for each in rules))
        self._gradient_too = {
            kind for kind in self._replaced if any(kind not in each.replaces for each in rules)
        }
        self._strict = any(HiddenStep in each.refuses for each in rules)
        self._fuses = any(each.fuses for each in rules if NormStep in each.replaces)
        self._keeps_apart = NormStep in self._gradient_too or any(
            not each.fuses for each in rules if NormStep in each.replaces
        )
        self._followed = _Followed()
        self._refusals: list[tuple[type[Step], str, bool]] = []  # whether those with a rule cannot either
        self._raw = WeakTensorKeyDictionary()  # the input of the network, and what still counts as it
        self._raw_itself = WeakTensorKeyDictionary()  # the same, at most in another shape
        self._seen = WeakTensorKeyDictionary()  # ours: what else has a gradient came from somewhere hidden
        self._sources = WeakTensorKeyDictionary()
        self._gates = WeakTensorKeyDictionary()
        self._kept: dict[int, weakref.WeakSet[Kept]] = defaultdict(weakref.WeakSet)
        self._started = False

    def on_call(self, call: Call) -> Any:
        """Record a function of activations."""
        activations = call.activations
        if not activations:
            return call.run()
        result = self._recorded(call, activations) if self._replaced else call.run()
        return result if self._features is None else self._features.follow(call, result)

    def back(
        self, logits: Tensor, source: Tensor, start: Tensor, rules: Rules, *, again: bool
    ) -> Tensor | None:
        """The signal at `source` of one that starts at the logits and follows some rules; None if none arrives.

        Parameters
        ----------
        logits : Tensor (N, classes)
            What the recorded pass gave.
        source : Tensor
            What the logits were made from.
        start : Tensor (N, classes)
            The signal at the logits.
        rules : Rules
            One of those that the trace was made for.
        again : bool
            Whether another signal will go back.

        Raises
        ------
        Unsuitable
            If the rules have no answer for something in the network.
        """
        for kind, message, at_all in self._refusals:
            if kind in rules.refuses or (at_all and kind in rules.replaces):
                raise Unsuitable(message)
        if HiddenStep in rules.refuses and logits not in self._seen:
            raise Unsuitable(_hidden(logits))
        self._followed.rules = rules
        try:
            (signal,) = torch.autograd.grad(logits, source, start, retain_graph=again, allow_unused=True)
        finally:
            self._followed.rules = GRADIENT
        return signal

    # --- what the rules are told ---------------------------------------------------------------------------------

    def _recorded(self, call: Call, activations: list[Tensor]) -> Any:
        self._check_inputs(activations)
        if call.may_write and call.first is not None:
            self._save_from_overwriting(call.first)
        is_raw = not is_kernel_call(call) and all(t in self._raw for t in activations)
        is_raw_itself = is_raw and call.name in RESHAPES and all(t in self._raw_itself for t in activations)
        if call.may_write and call.first is not None:
            if not is_raw:
                self._raw.pop(call.first, None)
            if not is_raw_itself:
                self._raw_itself.pop(call.first, None)
        if is_kernel_call(call):
            result = self._on_kernel(call)
        elif call.name in _HANDLERS:
            result = _HANDLERS[call.name](self, call)
        else:
            result = self._on_other(call, activations)
        for tensor in tensors_in(result):
            if tensor.requires_grad:
                self._seen[tensor] = True
                if is_raw:
                    self._raw[tensor] = True
                if is_raw_itself:
                    self._raw_itself[tensor] = True
        return result

    def _check_inputs(self, activations: list[Tensor]) -> None:
        if not self._started:  # the input of the network is the first tensor with a gradient, and ours
            first = activations[0]
            self._seen[first] = self._raw[first] = self._raw_itself[first] = True
            self._started = True
        if not self._strict:
            return
        for tensor in activations:
            if tensor not in self._seen:
                self._refusals.append((HiddenStep, _hidden(tensor), False))

    def _refuse(self, kind: type[Step], call: Call, how: str = "", name: str | None = None) -> Any:
        """Go on with the gradient, and remember that other rules have no answer here."""
        self._refusals.append((kind, _unsupported(name or call.name, how), True))
        return call.run()

    def _keep(self, tensor: Tensor) -> Kept:
        kept = Kept(tensor.detach())
        self._kept[tensor.untyped_storage().data_ptr()].add(kept)
        return kept

    def _save_from_overwriting(self, tensor: Tensor) -> None:
        copies: dict[tuple[int, torch.Size, tuple[int, ...]], Tensor] = {}
        for kept in list(self._kept.pop(tensor.untyped_storage().data_ptr(), ())):
            key = (kept.value.data_ptr(), kept.value.shape, kept.value.stride())
            if key not in copies:
                copies[key] = kept.value.clone()
            kept.value = copies[key]

    def _record(
        self,
        step: Step,
        call: Call,
        *inputs: Tensor | None,
        gradient: Callable[[Tensor], Signals] | None = None,
    ) -> Tensor:
        """Run a call as a step.

        Parameters
        ----------
        step : Step
        call : Call
        *inputs : Tensor or None
            What the signals of the step belong to, the first being what the call may change in place.
            None is none of the rules' concern.
        gradient : callable, optional
            The signals of the gradient; where it is not given, what torch itself records is kept beside the rules.
        """
        kind, followed = type(step), self._followed
        self.met.add(kind)
        connected = [index for index, tensor in enumerate(inputs) if tensor is not None]
        read = [tensor for tensor in inputs if tensor is not None]
        forward: Callable[[], Tensor] = call.run
        beside = kind in self._gradient_too and gradient is None
        if beside:
            own, forward = _run_beside(call, read[0])
            read.append(own)
        nothing = (None,) * len(connected)

        def backward(signal: Tensor) -> Signals:
            rules = followed.rules
            if kind in rules.replaces:
                signals = rules.signals(step, signal)
                signals = tuple(signals[index] for index in connected)
                return (*signals, None) if beside else signals
            if gradient is not None:
                return gradient(signal)
            return (*nothing, signal)

        return apply_rule(forward, backward, *read)

    # --- layers with weights -------------------------------------------------------------------------------------

    def _on_kernel(self, call: Call) -> Any:
        if KernelStep not in self._replaced:
            return call.run()
        if len(call.activations) > 1 or call.first is None or not call.first.requires_grad:
            return self._refuse(KernelStep, call, "of weights that depend on the input")
        kernel, around = kernel_of(call)
        x = call.first
        reads_input, reads_input_itself = x in self._raw, x in self._raw_itself
        if around is not None:
            x = F.pad(x, around)
            self._seen[x] = True
        step = KernelStep(kernel, self._keep(x), reads_input, reads_input_itself)
        if self._sharing(step) > 1:
            step.share()
        result = self._record(step, call, x)
        if self._uses_output(step):
            step.kept_z = self._keep(result)
        fusable = kernel.is_convolution or result.ndim == 2
        if (
            self._fuses
            and fusable
            and not (call.name.startswith("conv_transpose") and call.argument(6, "groups", 1) > 1)
        ):
            self._sources[result] = _Source(step, x, (x._version, result._version))
        return result

    def _uses_output(self, step: KernelStep) -> bool:
        return any(each.uses_output(step) for each in self._rules if KernelStep in each.replaces)

    def _sharing(self, step: KernelStep) -> int:
        """How many of the rules work with the parts of a kernel."""
        return sum(not each.uses_output(step) for each in self._rules if KernelStep in each.replaces)

    def _on_batch_norm(self, call: Call) -> Any:
        if NormStep not in self._replaced:
            return call.run()
        x = call.first
        if x is None or len(call.activations) > 1 or not x.requires_grad:
            return self._refuse(NormStep, call, "of statistics that depend on the input")
        norm = _batch_norm_of(call)
        if norm is None:
            return self._refuse(NormStep, call, "with the statistics of the batch")
        source = self._sources.get(x)
        # a kernel's result with other consumers too keeps its own rule for them
        if source is None or source.versions != (source.x._version, x._version):
            step = NormStep(norm, self._keep(x), None)
            result = self._record(step, call, x, None)
            step.kept_z = self._keep(result)
            return result
        fused = source.step.with_kernel(source.step.kernel.scaled(*norm.affine()))
        apart = self._keeps_apart
        step = NormStep(norm, self._keep(x) if apart else None, fused)
        result = self._record(step, call, x if apart else None, source.x)
        if self._uses_output(fused):
            fused.kept_z = self._keep(result)
        if apart:
            step.kept_z = self._keep(result)
        return result

    # --- sums and products ---------------------------------------------------------------------------------------

    def _on_sum(self, call: Call) -> Any:
        if len(call.activations) == 1:
            return self._pass_on(call)
        if SumStep not in self._replaced:
            return call.run()
        a, b = call.argument(0, "input"), call.argument(1, "other")
        factor = call.kwargs.get("alpha", 1)
        signs = (1, factor) if call.name == "add" else (-factor, 1) if call.reflected else (1, -factor)
        step = SumStep(signs, self._keep(a), self._keep(b))
        if call.may_write:
            self._save_from_overwriting(a)
        return self._record(step, call, a, b)

    def _on_product(self, call: Call) -> Any:
        if len(call.activations) == 1:
            return self._pass_on(call)
        if ProductStep not in self._replaced:
            return call.run()
        a, b = call.argument(0, "input"), call.argument(1, "other")
        gates = (a in self._gates, b in self._gates)
        if gates[0] == gates[1]:
            gates = (a.numel() < b.numel(), b.numel() < a.numel())
        parts = (0.5, 0.5) if gates[0] == gates[1] else (float(not gates[0]), float(not gates[1]))
        return self._record(ProductStep(parts, (a.shape, b.shape)), call, a, b)

    def _on_quotient(self, call: Call) -> Any:
        numerator = call.first
        by_constant = (
            len(call.activations) == 1
            and numerator is not None
            and numerator.requires_grad
            and not call.reflected
        )
        if not by_constant or call.kwargs.get("rounding_mode") is not None:
            return self._refuse(PassStep, call, "by something that depends on the input", "division")
        return self._pass_on(call)

    # --- the rest ------------------------------------------------------------------------------------------------

    def _pass_on(self, call: Call) -> Any:
        if PassStep not in self._replaced:
            return call.run()
        (x,) = call.activations
        if call.may_write and call.first is not x:
            return self._refuse(PassStep, call, "written into a tensor that is not an activation")
        return self._record(PassStep(x.shape), call, x)

    def _on_activation(self, call: Call) -> Any:
        if len(call.activations) > 1:
            return self._refuse(PassStep, call, "of several activations")
        x = call.first
        top = _top_of_rectifier(call)
        if x is not None and x.requires_grad and top is not None and RectifierStep in self._replaced:
            return self._on_rectifier(call, x, top)
        result = self._pass_on(call)
        if call.name in GATES:
            self._gates[result] = True
        return result

    def _on_rectifier(self, call: Call, x: Tensor, top: float) -> Tensor:
        step = RectifierStep(x.shape, top)

        def gradient(signal: Tensor) -> Signals:
            return (torch.ops.aten.threshold_backward(signal, step.y, 0),)

        # what torch records would need the result as it is; of the others' gradients the result does not say enough
        result = self._record(step, call, x, gradient=gradient if call.name == "relu" else None)
        step.kept_y = self._keep(result)
        return result

    def _on_dropout(self, call: Call) -> Any:
        if call.argument(2, "training", True):  # dropout that the network never switches off
            return self._pass_on(call)
        return call.run()

    def _on_linear_map(self, call: Call) -> Any:
        kind = WeightedMapStep if call.name in WEIGHTED_MAPS else MapStep
        if len(call.activations) > 1:
            return self._refuse(kind, call, "of two activations")
        if any(kind in each.refuses for each in self._rules):
            self._refusals.append((kind, _unsupported(call.name), False))
        if kind not in self._replaced:
            return call.run()
        (x,) = call.activations

        def again(value: Tensor) -> Tensor:
            result: Tensor = call.run_with(lambda t: value if t is x else t)
            return result

        return self._record(kind(again, self._keep(x)), call, x)

    def _on_other(self, call: Call, activations: list[Tensor]) -> Any:
        result = call.run()
        results = [t for t in tensors_in(result) if t.requires_grad]
        if results and call.name not in MOVES:
            self._refusals.append((UnknownStep, _unsupported(call.name), False))
        moved = (
            activations[:1] if call.name.endswith("_as") else activations
        )  # the other one of expand_as is a shape
        if results and all(t in self._gates for t in moved):  # a gate in another shape
            for tensor in results:
                self._gates[tensor] = True
        return result


# by plain name; functions and not bound methods, which would keep a trace and all that it holds from being freed at once
_HANDLERS: dict[str, Callable[[Trace, Call], Any]] = {
    "add": Trace._on_sum, "sub": Trace._on_sum, "mul": Trace._on_product, "div": Trace._on_quotient,
    "batch_norm": Trace._on_batch_norm,
    **dict.fromkeys(ACTIVATIONS, Trace._on_activation),
    **dict.fromkeys(LINEAR_MAPS, Trace._on_linear_map),
    **dict.fromkeys(DROPOUTS, Trace._on_dropout),
}  # fmt: skip


def _run_beside(call: Call, first: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
    """The result of a call as torch records it, and how to make of it a tensor with other rules, in place if the call is."""
    if call.may_write and call.first is first:
        copy = first.clone()
        result: Tensor = call.run_with(lambda t: copy if t is first else t)
        if result is copy:
            return result, lambda: first.copy_(result)
        return result, result.detach
    result = call.run()
    return result, result.detach


def _top_of_rectifier(call: Call) -> float | None:
    """Where a call that computes max(x, 0), however it is written, saturates; None if it is another function."""
    if call.name == "relu":
        return math.inf
    if call.name == "relu6":
        return 6.0
    low: object = None
    high: object = None
    if call.name == "hardtanh":  # what torch.nn.ReLU6 calls
        low, high = call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0)
    elif call.name in {"clamp", "clip", "clamp_min"}:
        low, high = call.argument(1, "min"), call.argument(2, "max")
    elif call.name == "threshold" and call.argument(2, "value") == 0:
        low = call.argument(1, "threshold")
    if not isinstance(low, (int, float)) or low != 0:
        return None
    return math.inf if high is None else float(high) if isinstance(high, (int, float)) else None


def _batch_norm_of(call: Call) -> BatchNorm | None:
    """The batch norm that is called; None if it uses the statistics of the batch."""
    if call.func is torch.batch_norm:  # its arguments have another order than those of torch.nn.functional
        names = ("weight", "bias", "running_mean", "running_var")
    else:
        names = ("running_mean", "running_var", "weight", "bias")
    given = {name: call.argument(position, name) for position, name in enumerate(names, 1)}
    mean, variance, weight, bias = (given[name] for name in ("running_mean", "running_var", "weight", "bias"))
    if mean is None or variance is None or call.argument(5, "training", False):
        return None
    weight = torch.ones_like(mean) if weight is None else weight.detach()
    bias = torch.zeros_like(mean) if bias is None else bias.detach()
    return BatchNorm(mean.detach(), variance.detach(), weight, bias, call.argument(7, "eps", 1e-5))


def _unsupported(function: str, how: str = "") -> str:
    what = f"{function} {how}".rstrip()
    return f"LRP has no rule for {what}, which this network uses: choose a method that needs only gradients, as gradient or grad_cam."


def _hidden(tensor: Tensor) -> str:
    node = tensor.grad_fn.name() if tensor.grad_fn is not None else "a compiled part"
    return f"LRP cannot see into {node}, which this network uses: choose a method that needs only gradients, as gradient or grad_cam."
