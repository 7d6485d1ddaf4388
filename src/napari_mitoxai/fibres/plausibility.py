"""Which of the pieces between the membranes are fibres.

A logistic score weighs what a person looks at: a compact outline, a plausible size, an inside that is darker in the
membrane channel than its rim, and, where there are other channels, an inside that is brighter in them than its rim and
no darker than its surroundings. Every feature is relative to the fibre size or to the section's own pieces, so that the
weights hold for any section. They were fitted by `benchmarks/fibre_weights.py` on one hand-labelled section; the same script tells how well
the score does on blocks that it was not fitted on.
"""

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.fibres.pieces import FEATURES

# intercept; solidity; log area and its square; log leak; squared log density; density against rim, against surroundings
_WEIGHTS = np.array([-7.23, 12.14, 0.44, -0.88, -3.26, -0.50, 6.20, -2.86])
# the same without the other channels
_MEMBRANE_WEIGHTS = np.array([-9.78, 15.31, 0.47, -1.20, -2.41])
_MOST_LEAK = (
    0.55  # of what the rim has; between the membranes of pure noise there is hardly less than on them
)


def terms(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the score weighs.

    Parameters
    ----------
    features : ndarray
        (n, len(FEATURES)) of all pieces of a section, as `find_pieces` gives them.

    Returns
    -------
    ndarray of float64
        (n, 4), or (n, 7) where there is a density.
    """
    found = dict(zip(FEATURES, features.T, strict=True))
    area = np.log(found["area"])
    leak = found["membrane"] / np.maximum(found["ring"], 1e-9)
    columns = [found["solidity"], area, area**2, np.log(_relative(leak, leak) + 0.1)]
    if np.isfinite(found["density"]).all():
        inside, rim, around = (
            np.log(_relative(found[name], found["density"]) + 0.05)
            for name in ("density", "density_ring", "density_around")
        )
        columns += [inside**2, inside - rim, inside - around]
    return np.stack(columns, axis=1)


def plausible(features: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say of each piece of a section whether it is a fibre."""
    if len(features) == 0:
        return np.zeros(0, dtype=bool)
    weighed = terms(features)
    weights = _WEIGHTS if weighed.shape[1] + 1 == len(_WEIGHTS) else _MEMBRANE_WEIGHTS
    inside, rim = features[:, FEATURES.index("membrane")], features[:, FEATURES.index("ring")]
    accepted: NDArray[np.bool_] = (weights[0] + weighed @ weights[1:] > 0) & (inside < _MOST_LEAK * rim)
    return accepted


def _relative(values: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values as multiples of a typical one."""
    return np.asarray(values / max(float(np.median(to)), 1e-9))
