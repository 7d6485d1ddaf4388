"""What a classifier says of a section, and how much that depends on which part of it was imaged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000


@dataclass(frozen=True)
class SectionCall:
    """The call of a section.

    Attributes
    ----------
    call : str
        The class with the highest mean probability.
    probability : dict
        Mean over patches, by class.
    interval : (float, float)
        Of the last class's probability: where 95 % of resampled sections lie. It tells how much the call depends on which
        part of the tissue was imaged; it is not the chance of the call being right.
    agreement : float
        Share of the patches that are called the same.
    patches : int
        How many there are.
    """

    call: str
    probability: dict[str, float]
    interval: tuple[float, float]
    agreement: float
    patches: int


def call_section(
    probabilities: NDArray[np.floating], corners: Sequence[tuple[int, int]], side: int, classes: Sequence[str], *, seed: int = 0
) -> SectionCall:  # fmt: skip
    """Call a section by the mean of its patches' probabilities.

    Parameters
    ----------
    probabilities : ndarray of float
        (N, classes), one row a patch.
    corners : sequence of (y, x)
        Upper left corners of the patches, in pixels.
    side : int
        Of a patch.
    classes : sequence of str
        Names of the outputs.
    seed : int
        Of the resampling.

    Returns
    -------
    SectionCall
        Its interval is a percentile bootstrap (Efron 1979) over squares of two patches a side, as neighbouring patches
        overlap and are no independent witnesses. A section with a single square has no such interval: it is 0 to 1.
    """
    mean = probabilities.mean(0)
    winner = int(mean.argmax())
    _, block = np.unique(
        [(y // (2 * side), x // (2 * side)) for y, x in corners], axis=0, return_inverse=True
    )
    block = block.reshape(-1)
    blocks = int(block.max()) + 1
    interval = (0.0, 1.0)
    if blocks > 1:
        sums = np.bincount(block, probabilities[:, -1], blocks)
        counts = np.bincount(block, minlength=blocks)
        drawn = np.random.default_rng(seed).integers(blocks, size=(_RESAMPLES, blocks))
        low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
        interval = (float(low), float(high))
    return SectionCall(
        classes[winner],
        {name: float(value) for name, value in zip(classes, mean, strict=True)},
        interval,
        float((probabilities.argmax(1) == winner).mean()),
        len(probabilities),
    )
