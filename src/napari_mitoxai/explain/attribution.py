"""Explaining a batch of inputs with one method or with several."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.description import Method, MethodParameters
from napari_mitoxai.explain.question import Question, Target, as_inputs, evaluating
from napari_mitoxai.explain.registry import resolve

_mutation_lock = threading.Lock()  # torch allows one thread at a time


@dataclass(frozen=True)
class Attributions:
    """Maps of a batch.

    Attributes
    ----------
    maps : dict
        By method: (N, C, H, W), or (N, 1, H, W) for a method that cannot tell channels apart.
    logits : Tensor (N, classes)
        What the network said.
    """

    maps: dict[str, Tensor]
    logits: Tensor
    refused: dict[str, str] = field(default_factory=dict)


def attribute(
    model: nn.Module,
    inputs: Tensor | NDArray[np.floating[Any]],
    method: str = "lrp_epsilon",
    target: Target = 1,
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
        One of `available`.
    target : int, or N of them
        The class whose logit is explained, for all inputs or for each.
    **parameters
        Of the method.

    Returns
    -------
    Tensor (N, C, H, W) or (N, 1, H, W)
        Without gradient, of the model's type, on its device.

    Raises
    ------
    MitoxaiError
        If the method, a parameter or the class does not exist, the inputs are not finite, or the method does not suit
        the network.
    """
    return attribute_many(model, inputs, {method: parameters}, target).maps[method]


def attribute_many(
    model: nn.Module,
    inputs: Tensor | NDArray[np.floating[Any]],
    methods: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
    target: Target = 1,
    *,
    against: int | None = None,
    output: str = "logit",
    keep_going: bool = False,
) -> Attributions:
    """Explain the score of a class with several methods, which share what they can.

    Parameters
    ----------
    model, inputs, target
        See `attribute`.
    methods : sequence of str, or mapping
        Names, or the parameters of each by name.

    Returns
    -------
    Attributions

    Raises
    ------
    MitoxaiError
        See `attribute`.
    """
    if isinstance(methods, str):
        methods = [methods]
    if not isinstance(methods, Mapping):
        methods = dict.fromkeys(methods)
    if not methods:
        raise MitoxaiError("No explanation method was chosen: name at least one.")
    chosen = {name: resolve(name, **(given or {})) for name, given in methods.items()}
    # the caller may be inside no_grad, inference_mode or autocast
    with torch.inference_mode(False), torch.enable_grad():
        tensor = as_inputs(inputs, model)
        with torch.autocast(tensor.device.type, enabled=False), evaluating(model):
            try:
                return _answers(Question(model, tensor, target), chosen)
            except RuntimeError as error:
                if "modified by an inplace operation" not in str(error):
                    raise
            # The network overwrites what its own gradient needs, as one that was never meant to be trained may: slower.
            with _mutation_lock, torch.autograd.graph.allow_mutation_on_saved_tensors():
                return _answers(Question(model, tensor, target), chosen)


def _answers(question: Question, chosen: Mapping[str, tuple[Method, MethodParameters]]) -> Attributions:
    maps = {
        name: entry.function()(question, parameters).detach() for name, (entry, parameters) in chosen.items()
    }
    return Attributions(maps, question.logits)
