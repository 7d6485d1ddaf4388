"""Fibres divided by a call: those that are deficient, those that are not, and those of which nothing is known."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_mitoxai.fibres.regression import Status

ANY = "deficient in at least one protein"
_STATUS = "_status"
_KNOWN = (Status.DEFICIENT.value, Status.NORMAL.value, Status.OVER_EXPRESSED.value)


@dataclass(frozen=True)
class StatusGroup:
    """Fibres by a call.

    Attributes
    ----------
    deficient, others : frozenset of int
        Labels of the fibres that are called so, and of those that are called otherwise; the rest was not called.
    """

    deficient: frozenset[int]
    others: frozenset[int]

    def among(self, ids: NDArray[np.integer], analysable: NDArray[np.bool_]) -> "Divided":
        """Where its fibres are among others, of which only the analysable ones count."""
        deficient, others = (np.isin(ids, list(each)) & analysable for each in (self.deficient, self.others))
        return Divided(deficient, others)


@dataclass(frozen=True)
class Divided:
    """Some of a section's fibres and those that they are compared with; each (fibres,)."""

    chosen: NDArray[np.bool_]
    others: NDArray[np.bool_]


def status_groups(table: pd.DataFrame, fibre: str = "fibre") -> dict[str, StatusGroup]:
    """Divide the fibres of one section by what they lack.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a fibre, with ``<protein>_status`` for every protein that was called.
    fibre : str
        The column with the fibres' labels.

    Returns
    -------
    dict of StatusGroup
        ``deficient in NDUFB8`` and so on, for every protein; with several, `ANY` too, whose others are called in a protein and
        deficient in none.
    """
    called = [str(name) for name in table if str(name).endswith(_STATUS)]
    ids = table[fibre].to_numpy()

    def group(deficient: NDArray[np.bool_], known: NDArray[np.bool_]) -> StatusGroup:
        return StatusGroup(_labels(ids[deficient]), _labels(ids[known & ~deficient]))

    lacking = {name: (table[name] == Status.DEFICIENT.value).to_numpy(bool) for name in called}
    known = {name: table[name].isin(_KNOWN).to_numpy(bool) for name in called}
    groups = {
        f"deficient in {name.removesuffix(_STATUS)}": group(lacking[name], known[name]) for name in called
    }
    if len(groups) > 1:
        groups[ANY] = group(np.any(list(lacking.values()), axis=0), np.any(list(known.values()), axis=0))
    return groups


def _labels(ids: Collection[int]) -> frozenset[int]:
    return frozenset(map(int, ids))
