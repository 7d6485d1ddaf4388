"""What is asked of a network: the score of which class, on which inputs; and the forward passes that answer it."""

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.features import FeatureMode

Target = int | Sequence[int] | Tensor

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


class Question:
    """Why a network gives a class its score, on each input of a batch.

    The methods asked together share one question, and with it the plain forward pass.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier (N, C, H, W) → logits (N, classes), in evaluation mode.
    inputs : Tensor (N, C, H, W)
        Finite, floating point.
    target : int, or N of them
        The class whose logit is explained, for all inputs or for each.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, target: Target) -> None:
        self.model = model
        self.inputs = inputs
        self._targets = _as_targets(target, inputs)
        self._logits: Tensor | None = None
        self._shared: dict[Hashable, Tensor] = {}

    def ask(self, mode: TorchFunctionMode | None = None) -> tuple[Tensor, Tensor]:
        """Run the network, inside `mode` if given: the leaf (N, C, H, W) to differentiate by, and the logits (N, classes).

        Raises
        ------
        MitoxaiError
            If the network does not return logits, they do not depend on the input, or there is no such class.
        """
        leaf = self.inputs.clone().requires_grad_()
        start = leaf.clone()  # not the leaf itself: a network may change its input in place
        with mode or nullcontext():
            logits: Any = self.model(start)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(leaf):
            raise MitoxaiError(
                "The network does not return one row of class scores for each input: explain a classifier."
            )
        classes = logits.shape[1]
        if not bool(((self._targets >= 0) & (self._targets < classes)).all()):
            raise MitoxaiError(f"The network has {classes} classes: choose a target from 0 to {classes - 1}.")
        if not logits.requires_grad:
            raise MitoxaiError(_UNTRACEABLE)
        if self._logits is None:
            self._logits = logits.detach()
        return leaf, logits

    def scores(self, logits: Tensor) -> Tensor:
        """The logit of each input's target (N,)."""
        return logits.gather(1, self._targets[:, None])[:, 0]

    def back_to(
        self, source: Tensor, logits: Tensor, start: Tensor | None = None, *, again: bool = False
    ) -> Tensor:
        """Go back from the target logits to a tensor they were made from, with the rules of the forward pass.

        Parameters
        ----------
        source : Tensor
            The leaf, or something the network made on the way.
        logits : Tensor (N, classes)
        start : Tensor (N,), optional
            The signal at the target logits; 1 by default, for which the result is the gradient.
        again : bool
            Whether the forward pass must be kept for another way back.

        Raises
        ------
        MitoxaiError
            If the logits do not depend on `source` in a way that can be traced.
        """
        scores = self.scores(logits)
        start = torch.ones_like(scores) if start is None else start
        (signal,) = torch.autograd.grad(scores, source, start, retain_graph=again, allow_unused=True)
        if signal is None:
            raise MitoxaiError(_UNTRACEABLE)
        return signal

    @property
    def logits(self) -> Tensor:
        """The class scores (N, classes)."""
        if self._logits is None:
            _ = self.plain
        assert self._logits is not None
        return self._logits

    @cached_property
    def plain(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """An ordinary forward pass, kept for several backward passes: leaf, logits, last feature map (N, K, h, w)."""
        mode = FeatureMode()
        leaf, logits = self.ask(mode)
        return leaf, logits, mode.last

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the target logits by the inputs (N, C, H, W)."""
        leaf, logits, _ = self.plain
        return self.back_to(leaf, logits, again=True)

    def gradient_at(self, inputs: Tensor, which: slice | Tensor = slice(None)) -> Tensor:
        """Gradient of the target logits at other inputs, of which nothing is kept.

        Parameters
        ----------
        inputs : Tensor (n, C, H, W)
            What takes the place of our own inputs, or of some of them.
        which : slice or Tensor of indices
            The inputs whose targets are meant.
        """
        elsewhere = Question(self.model, inputs, self._targets[which])
        leaf, logits = elsewhere.ask()
        return elsewhere.back_to(leaf, logits)

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What several methods asked together need: made for the first of them and kept for the others."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


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
    if not bool(torch.isfinite(tensor).all()):
        raise MitoxaiError(
            "The inputs hold values that are not finite numbers: check the section and its scaling."
        )
    state = [*model.parameters(), *model.buffers()]
    if any(value.is_inference() for value in state):
        raise MitoxaiError(
            "The network was made inside torch.inference_mode, where it cannot be explained: load it outside."
        )
    like = next((value for value in state if value.is_floating_point()), tensor)
    # a clone made outside inference mode is an ordinary tensor
    return tensor.detach().to(device=like.device, dtype=like.dtype).clone()


def _as_targets(target: Target, inputs: Tensor) -> Tensor:
    targets = torch.as_tensor(target)
    if targets.is_floating_point() or targets.dtype == torch.bool or targets.ndim > 1:
        raise MitoxaiError(f"The target must be the index of a class, or one for each input, not {target!r}.")
    if targets.ndim == 1 and len(targets) != len(inputs):
        raise MitoxaiError(
            f"There are {len(targets)} targets for {len(inputs)} inputs: give one target, or one for each input."
        )
    return targets.to(inputs.device, torch.int64).expand(len(inputs))
