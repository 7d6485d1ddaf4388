"""Explaining a batch of inputs with one method or with several."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.description import Method, MethodParameters, Unsuitable
from napari_mitoxai.explain.needs import Needs, needs_of
from napari_mitoxai.explain.question import Output, Question, Target, as_inputs, evaluating
from napari_mitoxai.explain.registry import resolve

_mutation_lock = threading.Lock()  # torch allows one thread at a time

_Chosen = Mapping[str, tuple[Method, MethodParameters]]


@dataclass(frozen=True)
class Attributions:
    """Maps of a batch.

    Attributes
    ----------
    maps : dict
        By method, as it was asked for: (N, C, H, W), or (N, 1, H, W) for a method that cannot tell channels apart.
    logits : Tensor (N, classes)
        What the network said.
    targets : Tensor (N,)
        The class that was explained, of each input.
    refused : dict of str
        Methods that have no meaning for this network or question, and why.
    """

    maps: dict[str, Tensor]
    logits: Tensor
    targets: Tensor
    refused: dict[str, str] = field(default_factory=dict)


def attribute(
    model: nn.Module,
    inputs: Tensor | NDArray[np.floating[Any]],
    method: str = "lrp_epsilon",
    target: Target = 1,
    *,
    against: int | None = None,
    output: Output = "logit",
    **parameters: Any,
) -> Tensor:
    """Explain the score of a class with one method.

    Parameters
    ----------
    model : torch.nn.Module
        Any classifier (N, C, H, W) → logits (N, classes). It is used in evaluation mode and left exactly as it was.
    inputs : Tensor or array (N, C, H, W)
        Scaled as the model wants them.
    method : str
        One of `available`, or ``method@preset``.
    target : int, N of them, or "predicted"
        The class that is explained, for all inputs or for each; "predicted" is each input's own, that with the largest logit.
    against : int, optional
        A class to compare with: what speaks for the target rather than for this one. The score is then the difference.
    output : "logit" or "probability"
        What of a class is its score: its logit, or its probability by softmax, which the other classes have a part in.
    **parameters
        Of the method.

    Returns
    -------
    Tensor (N, C, H, W) or (N, 1, H, W)
        Without gradient, of the model's type, on its device.

    Raises
    ------
    Unsuitable
        If the method has no meaning for this network or question.
    MitoxaiError
        If the method, a parameter or a class does not exist, or the inputs are not finite.
    """
    return attribute_many(model, inputs, {method: parameters}, target, against=against, output=output).maps[
        method
    ]


def attribute_many(
    model: nn.Module,
    inputs: Tensor | NDArray[np.floating[Any]],
    methods: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
    target: Target = 1,
    *,
    against: int | None = None,
    output: Output = "logit",
    keep_going: bool = False,
) -> Attributions:
    """Explain the score of a class with several methods, which share what they can: above all, one forward pass.

    Parameters
    ----------
    model, inputs, target, against, output
        See `attribute`.
    methods : sequence of str, or mapping
        Names, or the parameters of each by name; ``method@preset`` is a name too.
    keep_going : bool
        Whether to leave out, and name in the result, the methods that have no meaning here, as long as one is left.

    Returns
    -------
    Attributions

    Raises
    ------
    Unsuitable, MitoxaiError
        See `attribute`.
    """
    if isinstance(methods, str):
        methods = [methods]
    if not isinstance(methods, Mapping):
        methods = dict.fromkeys(methods)
    if not methods:
        raise MitoxaiError("No explanation method was chosen: name at least one.")
    chosen = {label: resolve(label, **(given or {})) for label, given in methods.items()}

    def answers() -> Attributions:
        return _answers(model, tensor, chosen, target, against, output, keep_going=keep_going)

    # the caller may be inside no_grad, inference_mode or autocast
    with torch.inference_mode(False), torch.enable_grad():
        tensor = as_inputs(inputs, model)
        with torch.autocast(tensor.device.type, enabled=False), evaluating(model):
            try:
                return answers()
            except RuntimeError as error:
                if "modified by an inplace operation" not in str(error):
                    raise
            # The network overwrites what its own gradient needs, as one that was never meant to be trained may: slower.
            with _mutation_lock, torch.autograd.graph.allow_mutation_on_saved_tensors():
                return answers()


def _answers(
    model: nn.Module,
    inputs: Tensor,
    chosen: _Chosen,
    target: Target,
    against: int | None,
    output: Output,
    *,
    keep_going: bool,
) -> Attributions:
    functions = {label: entry.function() for label, (entry, _) in chosen.items()}
    needs = {label: needs_of(functions[label], parameters) for label, (_, parameters) in chosen.items()}
    sharing = {label: need for label, need in needs.items() if need is not None}
    question = Question(model, inputs, target, against, output, reduce(or_, sharing.values(), Needs()))
    maps: dict[str, Tensor] = {}
    refused: dict[str, str] = {}
    for label in sorted(chosen, key=lambda label: label not in sharing):  # first those that share the pass
        if label not in sharing:
            question.release()
        try:
            maps[label] = functions[label](question, chosen[label][1]).detach()
        except Unsuitable as error:
            if not keep_going:
                raise
            refused[label] = str(error)
    if not maps:
        raise Unsuitable(next(iter(refused.values())))
    ordered = {label: maps[label] for label in chosen if label in maps}
    return Attributions(ordered, question.logits, question.targets, refused)
