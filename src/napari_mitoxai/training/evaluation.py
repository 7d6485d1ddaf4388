"""What a classifier says of subjects it has not seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_mitoxai.cohort import Scaling
from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.training.data import PatchSet
from napari_mitoxai.training.passes import answers_of
from napari_mitoxai.training.scores import confusion, scores, wilson


@dataclass(frozen=True)
class Evaluation:
    """Calls by subject, and what they add up to.

    Attributes
    ----------
    patch_accuracy : float or None
        Share of patches called right; descriptive only, as the patches of a subject are no independent witnesses.
    subject_accuracy : float or None
        Share of subjects called right.
    confidence_interval : (float, float) or None
        95 % Wilson interval of the subject accuracy.
    subject_calls : list of dict
        ``subject``, ``group``, ``probability`` (of the last class, mean over patches), ``call``, ``probabilities`` (of
        all classes), ``patches``.
    patch_scores : dict or None
        Confusion matrix, precision, recall and F1 over patches, see `scores`.
    """

    patch_accuracy: float | None
    subject_accuracy: float | None
    confidence_interval: tuple[float, float] | None
    subject_calls: list[dict[str, Any]]
    patch_scores: dict[str, Any] | None = None


def predict(
    network: nn.Module,
    inputs: NDArray[np.float32],
    *,
    batch_size: int = 16,
    device: torch.device | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> NDArray[np.float32]:
    """Class probabilities of scaled patches.

    Parameters
    ----------
    network : torch.nn.Module
        Put into evaluation mode.
    inputs : ndarray of float32
        (N, C, H, W), scaled.
    batch_size, device
        As usual; where the device's memory is too small, the batch is halved.
    progress, cancel
        Reported after every batch; checked between layers.

    Returns
    -------
    ndarray of float32
        (N, classes), softmax of the logits; rows add up to 1.
    """
    return answers_of(
        network,
        inputs,
        lambda batch: network(batch).softmax(1),
        batch_size=batch_size,
        device=device,
        on_batch=lambda done: progress(Progress("Calling subjects", done, len(inputs))),
        cancel=cancel,
    )


def probabilities_of(
    network: nn.Module,
    patches: Iterable[NDArray[np.float32]],
    number: int,
    scaling: Scaling,
    *,
    batch_size: int = 16,
    device: torch.device | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> NDArray[np.float32]:
    """Class probabilities of patches that are read one after the other; no more than a batch is in memory.

    Parameters
    ----------
    network : torch.nn.Module
        As in `predict`.
    patches : iterable of ndarray of float32
        (C, H, W) each, in counts.
    number : int
        How many there are, for the progress.
    scaling : Scaling
        Of the model.
    batch_size, device, progress, cancel
        As in `predict`.

    Returns
    -------
    ndarray of float32
        (N, classes).
    """
    parts: list[NDArray[np.float32]] = []
    waiting: list[NDArray[np.float32]] = []
    for done, patch in enumerate(patches, start=1):
        waiting.append(patch)
        if len(waiting) == batch_size or done == number:
            parts.append(
                predict(
                    network, scaling(np.stack(waiting)), batch_size=batch_size, device=device, cancel=cancel
                )
            )
            waiting = []
            progress(Progress("Calling the section", done, number))
    return np.concatenate(parts)


def evaluate(
    network: nn.Module,
    patches: PatchSet,
    scaling: Scaling,
    classes: list[str],
    *,
    batch_size: int = 16,
    device: torch.device | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Evaluation:
    """Call every subject of `patches` by the mean of its patches' probabilities.

    Parameters
    ----------
    network : torch.nn.Module
        Trained.
    patches : PatchSet
        Of subjects that were held out; with none, the figures are None.
    scaling : Scaling
        Of the training subjects.
    classes : list of str
        Names of the outputs.
    batch_size, device, progress, cancel
        As in `predict`.

    Returns
    -------
    Evaluation
        With a 95 % Wilson interval (Wilson 1927) over subjects.
    """
    if not len(patches):
        return Evaluation(None, None, None, [])
    probabilities = predict(
        network,
        scaling(patches.counts),
        batch_size=batch_size,
        device=device,
        progress=progress,
        cancel=cancel,
    )
    return evaluation_of(probabilities, patches, classes)


def evaluation_of(probabilities: NDArray[np.float32], patches: PatchSet, classes: list[str]) -> Evaluation:
    """What class probabilities (N, classes) of patches add up to; see `evaluate`."""
    calls = []
    for subject in dict.fromkeys(patches.subjects.tolist()):
        own = patches.subjects == subject
        mean = probabilities[own].mean(0)
        calls.append(
            {
                "subject": subject,
                "group": classes[int(patches.labels[own][0])],
                "probability": round(float(mean[-1]), 4),
                "call": classes[int(mean.argmax())],
                "probabilities": {
                    name: round(float(value), 6) for name, value in zip(classes, mean, strict=True)
                },
                "patches": int(own.sum()),
            }
        )
    matrix = confusion(patches.labels, probabilities.argmax(1), len(classes))
    return Evaluation(
        float((probabilities.argmax(1) == patches.labels).mean()),
        *accuracy_of(calls),
        calls,
        scores(matrix, classes),
    )


def accuracy_of(calls: list[dict[str, Any]]) -> tuple[float | None, tuple[float, float] | None]:
    """Share of the subjects called right, and its 95 % interval (Wilson 1927); None without any."""
    if not calls:
        return None, None
    right = sum(call["call"] == call["group"] for call in calls)
    return right / len(calls), wilson(right, len(calls))


def subject_scores(calls: list[dict[str, Any]], classes: list[str]) -> dict[str, Any] | None:
    """Confusion matrix, precision, recall and F1 over subjects; None without any."""
    if not calls:
        return None
    truth, called = ([classes.index(call[key]) for call in calls] for key in ("group", "call"))
    return scores(confusion(truth, called, len(classes)), classes)
