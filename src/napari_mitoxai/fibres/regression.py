"""The line through control fibres and what lies off it (Warren et al. 2020, Sci Rep 10:15336)."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from napari_mitoxai.common import MitoxaiError

_NORMAL_95 = 1.959964  # as the published code has it
# quad_immuno (Rocha et al. 2015, Sci Rep 5:15037): cuts of z, and what lies between them
_PROTEIN_CUTS, _PROTEIN_CATEGORIES = (-6.0, -4.5, -3.0), ("Neg", "Int(-)", "Int(+)", "Pos")
_MASS_CUTS = (-3.0, -2.0, 2.0, 3.0)
_MASS_CATEGORIES = ("Very low", "Low", "Norm", "High", "Very high")
NO_CATEGORY = "not called"


class Status(StrEnum):
    """The call of a protein in a fibre."""

    DEFICIENT = "deficient"
    NORMAL = "normal"
    OVER_EXPRESSED = "over-expressed"
    NOT_CALLED = NO_CATEGORY
    NOT_ANALYSABLE = "not analysable"


@dataclass(frozen=True)
class ControlLine:
    """The least-squares line of a protein's log over the mitochondrial mass's log in control fibres.

    Attributes
    ----------
    slope, intercept : float
        Of the line.
    number : int
        Of fibres.
    centre, spread : float
        Mean of the logged masses, and the sum of their squared distances from it.
    deviation : float
        Residual standard deviation (number - 2 degrees of freedom).
    """

    slope: float
    intercept: float
    number: int
    centre: float
    spread: float
    deviation: float

    def fit(self, mass: ArrayLike) -> NDArray[np.float64]:
        """The line at logged masses."""
        line: NDArray[np.float64] = self.intercept + self.slope * np.asarray(mass, np.float64)
        return line

    def half_width(self, mass: ArrayLike) -> NDArray[np.float64]:
        """Half the 95 % prediction interval at logged masses, by Student's t."""
        away = (np.asarray(mass, np.float64) - self.centre) ** 2 / self.spread
        error = self.deviation * np.sqrt(1 + 1 / self.number + away)
        half: NDArray[np.float64] = stats.t.ppf(0.975, self.number - 2) * error
        return half

    def z(self, mass: ArrayLike, protein: ArrayLike) -> NDArray[np.float64]:
        """Distance from the line in units in which the prediction interval ends at -1.96 and 1.96."""
        away = np.asarray(protein, np.float64) - self.fit(mass)
        distance: NDArray[np.float64] = away / (self.half_width(mass) / _NORMAL_95)
        return distance


def logged(values: ArrayLike) -> NDArray[np.float64]:
    """The natural logarithm; nan where there is none."""
    numbers = np.asarray(values, np.float64)
    result = np.full(numbers.shape, np.nan)
    np.log(numbers, out=result, where=np.isfinite(numbers) & (numbers > 0))
    return result


def fit_controls(mass: ArrayLike, protein: ArrayLike) -> ControlLine:
    """Fit the line of control fibres.

    Parameters
    ----------
    mass, protein : array-like
        Logged means, one a fibre; fibres without either are left out.

    Raises
    ------
    MitoxaiError
        If fewer than three fibres are left, or no line can be laid through them.
    """
    x, y = np.asarray(mass, np.float64), np.asarray(protein, np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < 3:
        raise MitoxaiError(
            f"The controls have {len(x)} fibres with both proteins, and a line needs three: add control fibres."
        )
    centre = float(x.mean())
    spread = float(((x - centre) ** 2).sum())
    # rounding alone must not make a line of equal masses
    if spread <= len(x) * (1e-12 * max(abs(centre), 1.0)) ** 2:
        raise MitoxaiError(
            "All control fibres have the same mitochondrial mass, and no line can be laid through them: check the reference channel."
        )
    slope = float(((x - centre) * (y - y.mean())).sum() / spread)
    intercept = float(y.mean() - slope * centre)
    residual = y - intercept - slope * x
    deviation = float(np.sqrt((residual**2).sum() / (len(x) - 2)))
    if deviation <= 1e-12 * max(float(np.abs(y).max()), 1.0):
        raise MitoxaiError(
            "All control fibres lie on one line, and nothing can be told from their spread: check the tables."
        )
    return ControlLine(slope, intercept, len(x), centre, spread, deviation)


def status(z: NDArray[np.float64]) -> NDArray[np.str_]:
    """Below the prediction interval deficient, above it over-expressed."""
    return np.select(
        [~np.isfinite(z), z < -_NORMAL_95, z > _NORMAL_95],
        [Status.NOT_CALLED.value, Status.DEFICIENT.value, Status.OVER_EXPRESSED.value],
        Status.NORMAL.value,
    )


def protein_category(z: NDArray[np.float64]) -> NDArray[np.str_]:
    """The quadrant method's class of a protein: Pos above -3, Int(+), Int(-), Neg below -6."""
    return _category(z, _PROTEIN_CUTS, _PROTEIN_CATEGORIES)


def mass_category(z: NDArray[np.float64]) -> NDArray[np.str_]:
    """The quadrant method's class of the mitochondrial mass, by its distance from the controls' mean."""
    return _category(z, _MASS_CUTS, _MASS_CATEGORIES)


def _category(z: NDArray[np.float64], cuts: tuple[float, ...], names: tuple[str, ...]) -> NDArray[np.str_]:
    place = np.searchsorted(cuts, z)
    return np.where(np.isfinite(z), np.array(names)[np.minimum(place, len(cuts))], NO_CATEGORY)
