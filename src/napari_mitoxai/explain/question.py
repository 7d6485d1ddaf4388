"""What is asked of a network: the score of which class, on which inputs; and the forward passes that answer it."""

import math
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.description import Unsuitable
from napari_mitoxai.explain.features import FeatureFollower, watched
from napari_mitoxai.explain.needs import Needs
from napari_mitoxai.explain.steps import GRADIENT, Rules, Step
from napari_mitoxai.explain.trace import Trace

Target = int | Sequence[int] | Tensor | Literal["predicted"]
Output = Literal["logit", "probability"]

_UNTRACEABLE = "The class scores do not depend on the input in a way that can be traced: use a network that does not hide its gradient."

_lock = threading.Lock()
_in_use: WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]] = WeakKeyDictionary()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode; the last thread to leave restores what was in training mode."""
    with _lock:
        users, training = _in_use.get(model, (0, []))
        if users == 0:
            training = [module for module in model.modules() if module.training]
            for module in training:  # not model.eval(): a network may override train()
                module.training = False
        _in_use[model] = (users + 1, training)
    try:
        yield
    finally:
        with _lock:
            users, training = _in_use.pop(model)
            if users > 1:
                _in_use[model] = (users - 1, training)
            else:
                for module in training:
                    module.training = True


@dataclass(frozen=True)
class _Pass:
    """A forward pass from which signals can go back."""

    needs: Needs
    leaf: Tensor
    logits: Tensor
    trace: Trace | None
    follower: FeatureFollower | None
    layers: dict[str, Any]

    def serves(self, needs: Needs) -> bool:
        return self.needs | needs == self.needs

    @property
    def is_plain_gradient(self) -> bool:
        """Whether nothing but the gradient of the inputs is read: asked for once, after which nothing need be kept."""
        return self.trace is None and self.needs == Needs((GRADIENT,))

    def back(self, source: Tensor, start: Tensor, rules: Rules) -> Tensor:
        if self.logits.grad_fn is None:
            raise Unsuitable(_UNTRACEABLE)
        if self.trace is not None:
            signal = self.trace.back(self.logits, source, start, rules, again=True)
        else:
            (signal,) = torch.autograd.grad(
                self.logits, source, start, retain_graph=not self.is_plain_gradient, allow_unused=True
            )
        if signal is None:
            raise Unsuitable(_UNTRACEABLE)
        return signal


class Question:
    """Why a network gives a class its score, on each input of a batch.

    The methods asked together share one question, and with it one forward pass.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier (N, C, H, W) → logits (N, classes), in evaluation mode.
    inputs : Tensor (N, C, H, W)
        Finite, floating point.
    target : int, N of them, or "predicted"
        The class whose score is explained, for all inputs or for each; "predicted" is each input's own largest logit.
    against : int, optional
        The class that the target is compared with: the score is then the difference of the two.
    output : "logit" or "probability"
        What of a class is its score.
    needs : Needs
        What methods will read from the forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        target: Target,
        against: int | None = None,
        output: Output = "logit",
        needs: Needs = Needs(),  # noqa: B008 - immutable
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.against = _as_against(against)
        if output not in ("logit", "probability"):
            raise MitoxaiError(f"The output must be 'logit' or 'probability', not {output!r}.")
        self.output = output
        self._targets = (
            None if isinstance(target, str) and target == "predicted" else _as_targets(target, inputs)
        )
        self._needs = needs
        self._pass: _Pass | None = None
        self._logits: Tensor | None = None
        self._shared: dict[Hashable, Tensor] = {}

    # --- the score -----------------------------------------------------------------------------------------------

    @property
    def logits(self) -> Tensor:
        """The class scores (N, classes)."""
        if self._logits is None and self._needs != Needs():
            self._pass_for(self._needs)
        if self._logits is None:
            with torch.no_grad():
                self._logits = self._checked(self.model(self.inputs.clone())).detach()
        return self._logits

    @cached_property
    def targets(self) -> Tensor:
        """The class that is explained, of each input (N,)."""
        if self._targets is not None:
            return self._targets
        predicted = self.logits.argmax(1)
        self._refuse_same(predicted)
        return predicted

    def scores(self, logits: Tensor) -> Tensor:
        """The score of each input (N,), given logits (N, classes): of its target, or of that against the other class."""
        values = logits if self.output == "logit" else logits.softmax(1)
        score = values.gather(1, self.targets[:, None])[:, 0]
        return score if self.against is None else score - values[:, self.against]

    @cached_property
    def slope(self) -> Tensor:
        """Gradient of the scores by the logits (N, classes)."""
        return self._slope_at(self.logits)

    def score_as_relevance(self, name: str, *, contrast: bool = True) -> Tensor:
        """The score, shared among the logits that it is made of (N, classes), for relevance to start at.

        Parameters
        ----------
        name : str
            The kind of method, for people.
        contrast : bool
            Whether it can explain the difference of two classes.

        Raises
        ------
        Unsuitable
            If the score is not a sum of logits, or a difference and the method cannot explain that.
        """
        if self.output == "probability":
            raise Unsuitable(
                f"{name} shares a logit out among what it was added up from, and a probability is not such a sum: explain the "
                "logit, or its difference from that of another class."
            )
        if self.against is not None and not contrast:
            raise Unsuitable(
                f"{name} shares a score among what excites it, and the difference of two classes is also made of what inhibits: "
                "explain one class, or use a method of LRP."
            )
        return self.slope * self.logits

    # --- the shared pass -----------------------------------------------------------------------------------------

    def back(self, rules: Rules = GRADIENT, start: Tensor | None = None) -> Tensor:
        """Go back from the logits to the inputs (N, C, H, W).

        Parameters
        ----------
        rules : Rules
            What the signal does on its way.
        start : Tensor (N, classes), optional
            The signal at the logits; by default `slope`, for which the result by `GRADIENT` is the gradient of the scores.

        Raises
        ------
        Unsuitable
            If the rules have no answer for something in the network, or the logits do not depend on the inputs in a way that
            can be traced.
        """
        run = self._pass_for(Needs((rules,)))
        signal = run.back(run.leaf, self.slope if start is None else start, rules)
        if run.is_plain_gradient:
            self._pass = None
        return signal

    def steps_met(self, rules: Rules) -> set[type[Step]]:
        """Of the steps that some rules replace, which the network has."""
        run = self._pass_for(Needs((rules,)))
        return set() if run.trace is None else run.trace.met

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the scores by the inputs (N, C, H, W)."""
        return self.back()

    def feature_map(self, layer: str | None) -> tuple[Tensor, Tensor] | None:
        """A feature map (N, K, h, w) and the gradient of the scores by it.

        Parameters
        ----------
        layer : str or None
            The module whose output it is; None for the last feature map of the network, if it has one.

        Raises
        ------
        MitoxaiError
            If there is no such module, or its output is not a feature map.
        """
        run = self._pass_for(Needs(features=True) if layer is None else Needs(layers=(layer,)))
        if layer is None:
            assert run.follower is not None
            features = run.follower.last
            if features is None:
                return None
        else:
            features = run.layers.get(layer)
            if not isinstance(features, Tensor) or features.ndim != 4 or not features.requires_grad:
                raise MitoxaiError(
                    f"Layer {layer} does not give a feature map (N, K, h, w): name a convolution or a block of them."
                )
        return features.detach(), run.back(features, self.slope, GRADIENT)

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What several methods asked together need: made for the first of them and kept for the others."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def release(self) -> None:
        """Forget the shared pass, and what it was to be read for."""
        self._pass, self._needs = None, Needs()

    def _pass_for(self, needs: Needs) -> _Pass:
        if self._pass is None or not self._pass.serves(needs):
            self._pass, self._needs = None, self._needs | needs  # the old one first: there is no room for two
            self._pass = self._run(self._needs)
        return self._pass

    def _run(self, needs: Needs) -> _Pass:
        rules = needs.all_rules()
        follower = FeatureFollower(cut=needs.one_map_only) if needs.features else None
        plain = follower is None and not needs.layers and all(not each.replaces for each in rules)
        trace = None if plain else Trace(rules, follower)
        cut_layer = bool(needs.layers) and needs.one_map_only
        with watched(self.model, needs.layers, cut=cut_layer) as layers:
            leaf, logits = self.ask(trace, traced=not cut_layer)
        return _Pass(needs, leaf, logits, trace, follower, layers)

    # --- passes of one's own -------------------------------------------------------------------------------------

    def ask(self, mode: TorchFunctionMode | None = None, *, traced: bool = True) -> tuple[Tensor, Tensor]:
        """Run the network, inside `mode` if given: the leaf (N, C, H, W) to differentiate by, and the logits (N, classes).

        Parameters
        ----------
        mode : TorchFunctionMode, optional
        traced : bool
            Whether the leaf has a gradient.

        Raises
        ------
        MitoxaiError
            If the network does not return logits, or there is no such class.
        Unsuitable
            If the logits do not depend on the input in a way that can be traced.
        """
        leaf = self.inputs.detach().requires_grad_(traced)
        start = leaf.clone()  # not the leaf itself: a network may change its input in place
        with mode or nullcontext():
            logits: Any = self.model(start)
        self._checked(logits)
        if traced and logits.grad_fn is None:
            raise Unsuitable(_UNTRACEABLE)
        if self._logits is None:
            self._logits = logits.detach()
        return leaf, logits

    def gradient_at(self, inputs: Tensor, which: slice | Tensor = slice(None)) -> Tensor:
        """Gradient of the scores at other inputs, of which nothing is kept.

        Parameters
        ----------
        inputs : Tensor (n, C, H, W)
            What takes the place of our own inputs, or of some of them.
        which : slice or Tensor of indices
            The inputs whose targets are meant.
        """
        elsewhere = Question(self.model, inputs, self.targets[which], self.against, self.output)
        leaf, logits = elsewhere.ask()
        (signal,) = torch.autograd.grad(logits, leaf, elsewhere.slope, allow_unused=True)
        if signal is None:
            raise Unsuitable(_UNTRACEABLE)
        return signal

    def _slope_at(self, logits: Tensor) -> Tensor:
        with torch.enable_grad():
            values = logits.detach().requires_grad_()
            return torch.autograd.grad(self.scores(values).sum(), values)[0]

    def _checked(self, logits: Any) -> Tensor:
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(self.inputs):
            raise MitoxaiError(
                "The network does not return one row of class scores for each input: explain a classifier."
            )
        classes = logits.shape[1]
        if self._targets is not None and not bool(((self._targets >= 0) & (self._targets < classes)).all()):
            raise MitoxaiError(f"The network has {classes} classes: choose a target from 0 to {classes - 1}.")
        if self.against is not None:
            if not 0 <= self.against < classes:
                raise MitoxaiError(
                    f"The network has {classes} classes: choose a class to compare with from 0 to {classes - 1}."
                )
            if self._targets is not None:
                self._refuse_same(self._targets)
        return logits

    def _refuse_same(self, targets: Tensor) -> None:
        if self.against is not None and bool((targets == self.against).any()):
            raise MitoxaiError(
                f"Class {self.against} cannot be compared with itself: choose a target and another class."
            )


def as_inputs(inputs: Any, model: nn.Module) -> Tensor:
    """A batch as a tensor of the network's own type and device, apart from the caller's gradients.

    Raises
    ------
    MitoxaiError
        If it is not a batch (N, C, H, W) of finite numbers.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(inputs)) if isinstance(inputs, np.ndarray) else inputs
    if not isinstance(tensor, Tensor) or tensor.ndim != 4 or tensor.numel() == 0:
        shape = tuple(getattr(inputs, "shape", ()))
        raise MitoxaiError(
            f"Inputs must be a batch of patches (N, channels, height, width), not of shape {shape}."
        )
    if not tensor.is_floating_point():
        raise MitoxaiError(
            f"Inputs must be scaled, floating-point numbers, not {tensor.dtype}: apply the model's scaling first."
        )
    lowest, highest = (
        tensor.detach().aminmax()
    )  # not numbers, if any is in it; far faster than looking at each
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise MitoxaiError(
            "The inputs hold values that are not finite numbers: check the section and its scaling."
        )
    state = [*model.parameters(), *model.buffers()]
    if any(value.is_inference() for value in state):
        raise MitoxaiError(
            "The network was made inside torch.inference_mode, where it cannot be explained: load it outside."
        )
    like = next((value for value in state if value.is_floating_point()), tensor)
    tensor = tensor.detach().to(device=like.device, dtype=like.dtype)
    # a clone made outside inference mode is an ordinary tensor
    return tensor.clone() if tensor.is_inference() else tensor


def _as_targets(target: Target, inputs: Tensor) -> Tensor:
    targets = None if isinstance(target, str) else torch.as_tensor(target)
    if targets is None or targets.is_floating_point() or targets.dtype == torch.bool or targets.ndim > 1:
        raise MitoxaiError(
            f"The target must be the index of a class, one for each input, or 'predicted', not {target!r}."
        )
    if targets.ndim == 1 and len(targets) != len(inputs):
        raise MitoxaiError(
            f"There are {len(targets)} targets for {len(inputs)} inputs: give one target, or one for each input."
        )
    return targets.to(inputs.device, torch.int64).expand(len(inputs))


def _as_against(against: int | None) -> int | None:
    if against is None:
        return None
    if isinstance(against, bool) or not isinstance(against, (int, np.integer)):
        raise MitoxaiError(f"The class to compare with must be the index of a class, not {against!r}.")
    return int(against)
