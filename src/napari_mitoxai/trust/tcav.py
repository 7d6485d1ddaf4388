"""Does a class depend on a concept? Directional derivatives along the concept, against random patches (TCAV).

After Kim, Wattenberg, Gilmer, Cai, Wexler, Viegas and Sayres, ICML 2018 (arXiv 1711.11279). Departures, each for a reason:

* An activation is the mean of a feature map over its positions: a concept is what a patch shows, wherever in the patch. The derivative
  along a direction is then that of moving all positions together.
* The linear classifier is ridge regression on the two labels, which has a closed form: no iterations, no random numbers.
* Random patches come from the same sections in the same numbers as the concept's. Otherwise a direction may tell subjects apart.
* The test is by randomisation (Phipson and Smyth 2010), not a t test over random sets: these all share the concept's own patches,
  so that more of them would make any p as small as one likes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.explain.features import watched
from napari_mitoxai.models import CancellingMode

RIDGE = 0.1  # of the mean squared length of an example
_LEAST = 3  # examples of a concept
_TINY = 1e-12  # sums of the same numbers in another order differ in the last bits

Activations = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ConceptTest:
    """What a class makes of a concept at one layer.

    Attributes
    ----------
    score : float
        Share of the class's patches whose logit rises towards the concept (Kim et al. 2018, equation 2), the mean over
        subjects and over random sets; a half is no preference.
    score_sd : float
        Its standard deviation over random sets.
    effect : float
        Mean cosine of the logit's derivatives with the direction, -1 to 1, over the same; units of the layer are scaled to the same
        deviation.
    low, high : float
        Where 95 % of the effects of patches lie that are drawn at random from the concept's and the random ones.
    p : float
        Of the effect, two-sided: how often such draws are as far from zero.
    accuracy : float
        Share of the patches that the direction puts on the right side, each left out in turn.
    chance : float
        The same of the draws, in the mean; it is about a half.
    accuracy_p : float
        Of the accuracy, one-sided, by the same draws. Where it is large the direction says nothing about the concept.
    examples : int
        Patches of the concept that were used.
    """

    score: float
    score_sd: float
    effect: float
    low: float
    high: float
    p: float
    accuracy: float
    chance: float
    accuracy_p: float
    examples: int


def stage_layers(network: nn.Module, shape: Sequence[int], device: torch.device | None = None) -> list[str]:
    """The layers at which a network's feature maps have become final at each size: the last module of each, below that of the input.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    shape : (C, Y, X)
        Of its input.
    device : torch.device, optional
        Where it is.

    Returns
    -------
    list of str
        Names, in the order of the pass; of nested modules that give the same map, the outermost.
    """
    calls: list[str] = []
    sizes: dict[str, tuple[int, ...]] = {}
    handles = [
        module.register_forward_hook(_noting(name, calls, sizes))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, *shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
    last: dict[tuple[int, ...], str] = {}
    for name in calls:
        size = sizes.get(name)
        if size is not None and calls.count(name) == 1 and 1 < size[0] * size[1] < shape[-2] * shape[-1]:
            last[size] = name
    return sorted(last.values(), key=calls.index)


def _noting(
    name: str, calls: list[str], sizes: dict[str, tuple[int, ...]]
) -> Callable[[nn.Module, object, object], None]:
    def note(module: nn.Module, args: object, output: object) -> None:
        calls.append(name)
        if isinstance(output, Tensor) and output.ndim == 4:
            sizes[name] = tuple(output.shape[2:])

    return note


def look(
    network: nn.Module,
    inputs: NDArray[np.float32],
    layers: Sequence[str],
    *,
    target: int | None = None,
    batch_size: int = 16,
    device: torch.device | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Activations:
    """The activations of patches, or how a class's logit changes with them.

    Parameters
    ----------
    network : torch.nn.Module
        Put into evaluation mode.
    inputs : ndarray of float32
        (N, C, Y, X), scaled.
    layers : sequence of str
        Names of modules that give feature maps (N, K, y, x) or features (N, K).
    target : int, optional
        A class: its logit's derivative by the activations is wanted, in place of these.
    batch_size, device, progress, cancel
        As usual.

    Returns
    -------
    dict of ndarray
        By layer: (N, K), means over positions of activations, or sums over positions of derivatives.

    Raises
    ------
    MitoxaiError
        If there is no such layer, or it gives something else.
    """
    device = device or torch.device("cpu")
    network.eval().to(device)
    found: dict[str, list[NDArray[np.float64]]] = {layer: [] for layer in layers}
    stage = "Reading activations" if target is None else "Asking the class"
    for start in range(0, len(inputs), batch_size):
        batch = torch.from_numpy(inputs[start : start + batch_size]).to(device)
        batch.requires_grad_(target is not None)
        with CancellingMode(cancel or CancelToken()), watched(network, layers, cut=False) as outputs:
            logits = network(batch)
            maps = [_feature_map(outputs.get(layer), layer) for layer in layers]
            if target is not None:
                maps = list(torch.autograd.grad(logits[:, target].sum(), maps))
        for layer, each in zip(layers, maps, strict=True):
            values = each.detach().flatten(2).double() if each.ndim > 2 else each.detach().double()[..., None]
            pooled = values.mean(2) if target is None else values.sum(2)
            found[layer].append(pooled.cpu().numpy())
        progress(Progress(stage, min(start + batch_size, len(inputs)), len(inputs)))
    return {layer: np.concatenate(parts) for layer, parts in found.items()}


def _feature_map(output: object, layer: str) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        raise MitoxaiError(f"The layer {layer} gives no feature map in this network: choose another one.")
    return output


def concept_test(
    concept: NDArray[np.float64],
    others: NDArray[np.float64],
    derivatives: NDArray[np.float64],
    *,
    concept_strata: NDArray[np.integer],
    other_strata: NDArray[np.integer],
    subjects: Sequence[str],
    draws: int = 200,
    partners: int = 5,
    seed: int = 0,
    cancel: CancelToken | None = None,
) -> ConceptTest:
    """Test one concept at one layer.

    Parameters
    ----------
    concept : ndarray of float64
        (n, K), activations of the concept's patches.
    others : ndarray of float64
        (m, K), of random patches: from every stratum at least as many as the concept has there.
    derivatives : ndarray of float64
        (T, K), of the class's logit, at patches of the class.
    concept_strata, other_strata : ndarray of int
        (n,) and (m,), the section of each patch: random sets have as many of each as the concept.
    subjects : sequence of str
        (T,), whose each patch of the class is: subjects count the same.
    draws : int
        Sets in the place of the concept; the smallest p is 1 / (draws + 1).
    partners : int
        Random sets that the concept, and each set in its place, is told from; the score is the mean.
    seed : int
        Of all drawing.
    cancel : CancelToken, optional
        Checked for each draw.

    Returns
    -------
    ConceptTest

    Raises
    ------
    MitoxaiError
        If the concept has fewer than three examples, or a stratum has too few random patches.
    """
    if len(concept) < _LEAST:
        raise MitoxaiError(
            f"A concept of {len(concept)} example{'' if len(concept) == 1 else 's'} has no direction: give at least {_LEAST}, better twenty."
        )
    cancel = cancel or CancelToken()
    rng = np.random.default_rng(seed)
    everything = np.concatenate([concept, others])
    strata = np.concatenate([concept_strata, other_strata])
    counts = {int(stratum): int((concept_strata == stratum).sum()) for stratum in np.unique(concept_strata)}
    if any((other_strata == stratum).sum() < count for stratum, count in counts.items()):
        raise MitoxaiError("There are fewer random patches of a section than examples: draw more of them.")
    deviation = everything.std(0)
    deviation[deviation < 1e-12] = 1.0
    scaled = (everything - everything.mean(0)) / deviation
    gram = scaled @ scaled.T
    towards = derivatives * deviation
    lengths = np.linalg.norm(towards, axis=1)
    # the derivative along a direction that is a sum of examples is the same sum of these
    along = towards @ scaled.T / np.where(lengths > 0, lengths, 1.0)[:, None]
    weights = _per_subject(subjects)
    ridge = RIDGE * float(np.trace(gram)) / len(gram)

    def told_apart(own: NDArray[np.intp]) -> NDArray[np.float64]:
        """Score, effect and accuracy (partners, 3)."""
        rest = np.setdiff1d(np.arange(len(strata)), own)
        found = []
        for _ in range(partners):
            both = np.concatenate([own, _drawn(rest, strata, counts, rng)])
            dual, accuracy = _fit(gram[np.ix_(both, both)], ridge)
            length = float(np.sqrt(max(dual @ gram[np.ix_(both, both)] @ dual, 1e-300)))
            cosines = along[:, both] @ dual / length
            score = weights @ ((cosines > 0) + 0.5 * (cosines == 0))
            found.append((score, weights @ cosines, accuracy))
        return np.array(found)

    found = told_apart(np.arange(len(concept)))
    score, effect, accuracy = found.mean(0).tolist()
    null = np.empty((draws, 3))
    for draw in range(draws):
        cancel.check()
        null[draw] = told_apart(_drawn(np.arange(len(strata)), strata, counts, rng)).mean(0)
    as_far = int((np.abs(null[:, 1]) >= abs(effect) - _TINY).sum())
    as_good = int((null[:, 2] >= accuracy - _TINY).sum())
    low, high = np.percentile(null[:, 1], [2.5, 97.5]).tolist()
    return ConceptTest(
        score, float(found[:, 0].std(ddof=1)) if partners > 1 else float("nan"), effect, low, high, (as_far + 1) / (draws + 1),
        accuracy, float(null[:, 2].mean()), (as_good + 1) / (draws + 1), len(concept),
    )  # fmt: skip


def concept_direction(concept: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction (K,) towards a concept, away from as many other patches: by ridge regression on the two labels.

    Parameters
    ----------
    concept, others : ndarray of float64
        (n, K) activations each, as many of both.
    """
    together = np.concatenate([concept, others])
    deviation = together.std(0)
    deviation[deviation < 1e-12] = 1.0
    scaled = (together - together.mean(0)) / deviation
    gram = scaled @ scaled.T
    dual, _ = _fit(gram, RIDGE * float(np.trace(gram)) / len(gram))
    return np.asarray(scaled.T @ dual / deviation)


def _per_subject(subjects: Sequence[str]) -> NDArray[np.float64]:
    names, place, counts = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(names) * counts[place]))


def _drawn(
    rows: NDArray[np.intp], strata: NDArray[np.integer], counts: dict[int, int], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Some of these rows, as many of each stratum as counted, none twice."""
    chosen = [
        rng.choice(rows[strata[rows] == stratum], count, replace=False) for stratum, count in counts.items()
    ]
    return np.concatenate(chosen)


def _fit(kernel: NDArray[np.float64], ridge: float) -> tuple[NDArray[np.float64], float]:
    """Ridge regression with an intercept in its dual form; the first half is labelled 1, the second -1.

    Parameters
    ----------
    kernel : ndarray
        Products of the examples with each other.
    ridge : float

    Returns
    -------
    ndarray
        The direction as a sum of the examples.
    float
        Share called right, each example left out in turn.
    """
    number = len(kernel)
    labels = np.repeat([1.0, -1.0], number // 2)
    centred = kernel - kernel.mean(0) - kernel.mean(1, keepdims=True) + kernel.mean()
    inverse = np.linalg.inv(centred + ridge * np.eye(number))
    dual = inverse @ labels
    # leaving one out of a linear smoother: its residual over one minus its own share
    hat = centred @ inverse + 1 / number
    residual = (labels - hat @ labels) / (1 - np.diag(hat))
    return dual - dual.mean(), float(((labels - residual) * labels > 0).mean())
