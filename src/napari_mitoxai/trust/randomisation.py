"""Whether a map survives random weights: then it shows the picture and not what the network learnt.

Model-parameter randomisation (Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, arXiv:1810.03292).
"""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.trust.agreement import mean_and_interval, rank_correlations, similarities

FAILS_FROM = 0.5
"""Magnitude of the rank correlation of the maps before and after that the interval of a method must not reach."""


def layers_in_order(model: nn.Module, patch: Tensor) -> list[str]:
    """The modules that hold weights of their own, in the order in which a pass reaches them; those it never reaches come last.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    patch : Tensor (1, C, H, W)
    """
    holding = {
        name: module
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False))
    }  # fmt: skip
    reached: dict[str, None] = {}
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: reached.setdefault(name))
        for name, module in holding.items()
    ]
    try:
        with torch.no_grad():
            model(patch)
    finally:
        for hook in hooks:
            hook.remove()
    return [*reached, *(name for name in holding if name not in reached)]


def randomised(
    model: nn.Module, fresh: nn.Module, layers: list[str], stages: int
) -> Iterator[tuple[float, nn.Module]]:
    """The network with more and more of its layers as they were before training, from the last to the first (cascading).

    Parameters
    ----------
    model, fresh : torch.nn.Module
        The trained network, which stays as it is, and the same one untrained.
    layers : list of str
        See `layers_in_order`.
    stages : int
        1 for all layers at once.

    Yields
    ------
    share : float
        Of the layers that are untrained, above 0 to 1.
    network : torch.nn.Module
        The same object each time, changed further.
    """
    changing = deepcopy(model)
    backwards = layers[::-1]
    done = 0
    for stage in range(1, stages + 1):
        upto = round(stage / stages * len(backwards))
        for name in backwards[done:upto]:
            own, new = changing.get_submodule(name), fresh.get_submodule(name)
            with torch.no_grad():
                for tensors in ("named_parameters", "named_buffers"):
                    values = dict(getattr(new, tensors)(recurse=False))
                    for key, value in getattr(own, tensors)(recurse=False):
                        value.copy_(values[key])
        done = upto
        yield upto / len(backwards), changing


def likeness(
    before: NDArray[np.floating], after: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How similar maps are to those of another network, patch by patch, whatever their sign.

    An untrained network speaks for or against a class by chance; the same picture with its signs changed is the same picture.

    Parameters
    ----------
    before, after : ndarray (N, H, W)
        Sums over channels, as maps are shown.

    Returns
    -------
    rank : ndarray (N,)
        Magnitude of Spearman's rank correlation, 0 to 1; nan if a map is constant.
    structure : ndarray (N,)
        SSIM with the map or with its negative, whichever is larger, see `napari_mitoxai.trust.agreement.similarities`; nan
        likewise, and in patches of 10 pixels or less a side.
    """
    everywhere = np.ones(before.shape[1:], bool)
    ranks, structures = [], []
    for a, b in zip(before, after, strict=True):
        ranks.append(abs(rank_correlations(np.stack([a.ravel(), b.ravel()]))[0, 1]))
        structures.append(max(similarities([a, each], everywhere)[0, 1] for each in (b, -b)))
    return np.array(ranks), np.array(structures)


def fails(rank: NDArray[np.floating]) -> bool:
    """Whether a method fails: it is not shown that its maps are less like those of untrained networks than `FAILS_FROM`.

    Parameters
    ----------
    rank : ndarray (N,)
        From `likeness`, the mean over untrained networks of each patch; nan for a constant map, which counts for nothing.

    Returns
    -------
    bool
        Whether the 95 % interval over patches reaches `FAILS_FROM`; of a single patch, whether its own rank does; false where every
        map is constant.
    """
    mean, _, high = mean_and_interval(rank.tolist())
    return bool((high if np.isfinite(high) else mean) >= FAILS_FROM)
