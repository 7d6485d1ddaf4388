"""Which channels a blend takes: its shares, on the scale of the training patches, over folds and seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_mitoxai.cohort import Scaling
from napari_mitoxai.models import ChannelMixing
from napari_mitoxai.training.data import PatchSet

Row = dict[str, Any]


def channel_shares(mixing: ChannelMixing, patches: PatchSet, scaling: Scaling) -> list[Row]:
    """The channels by what a trained blend takes of them.

    Parameters
    ----------
    mixing : ChannelMixing
        Trained.
    patches : PatchSet
        What it was trained on: the standard deviations are those of these patches, scaled, not augmented.
    scaling : Scaling
        Of the training.

    Returns
    -------
    list of dict
        A row a channel, the largest share first: ``channel``, ``weight`` (its share of the weights, 1 together),
        ``deviation`` (as the blend reads it), ``weight_x_sd`` (its share of weight x deviation, 1 together), ``blend``
        (the weights themselves, one an image).
    """
    deviation = _deviation(patches, scaling)
    cpu = ChannelMixing(*reversed(mixing.weight.shape))
    cpu.load_state_dict(mixing.state_dict())
    scaled = cpu.scaled_importance(torch.from_numpy(deviation)).tolist()
    columns = (
        patches.panel.targets,
        cpu.importance.tolist(),
        deviation.tolist(),
        scaled,
        cpu.blend.T.tolist(),
    )
    rows = [
        {"channel": target, "weight": weight, "deviation": own, "weight_x_sd": both, "blend": blend}
        for target, weight, own, both, blend in zip(*columns, strict=True)
    ]
    return sorted(rows, key=_share)


def shares_over(models: Sequence[Sequence[Row]]) -> list[Row]:
    """Mean and spread of the shares over models of the same channels: folds, or seeds.

    Parameters
    ----------
    models : sequence of sequences of dict
        Rows of `channel_shares`, or of this function, for each model.

    Returns
    -------
    list of dict
        A row a channel, the largest mean share first: ``channel``, ``weight``, ``weight_sd``, ``weight_x_sd``,
        ``weight_x_sd_sd`` (means, and standard deviations of a sample; None for a single model), ``models``.
    """
    rows = []
    for target in [row["channel"] for row in models[0]]:
        own = [next(row for row in model if row["channel"] == target) for model in models]
        joined: Row = {"channel": target}
        for key in ("weight", "weight_x_sd"):
            values = np.array([row[key] for row in own])
            joined[key] = float(values.mean())
            joined[f"{key}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append({**joined, "models": len(own)})
    return sorted(rows, key=_share)


def _share(row: Row) -> float:
    return -float(row["weight_x_sd"])


def _deviation(patches: PatchSet, scaling: Scaling) -> NDArray[np.float32]:
    """Of each channel over all pixels of all patches, a patch at a time: scaled at once they could fill the memory."""
    sums, squares = np.zeros((2, len(patches.panel)))
    for counts in patches.counts:
        scaled = scaling(counts).astype(np.float64)
        sums += scaled.mean((1, 2))
        squares += (scaled**2).mean((1, 2))
    mean = sums / len(patches)
    return np.sqrt(np.maximum(squares / len(patches) - mean**2, 0)).astype(np.float32)
