"""Which label image a table is about, and whether its rows still mean the fibres that have these numbers."""

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.fibres.numbering import numbered

_ROWS = 256  # at once
_NEAR_UM = 2.0  # a fibre whose outline was touched up has its centre no further away
_MOST = 0.5  # of the rows; below, it is another segmentation


def digest(labels: NDArray[np.integer]) -> str:
    """A short fingerprint of a label image: its shape and which pixels have which number, whatever their type."""
    found = hashlib.blake2b(repr(tuple(labels.shape)).encode(), digest_size=8)
    for first in range(0, len(labels), _ROWS):
        found.update(np.ascontiguousarray(labels[first : first + _ROWS], "<i8").data)
    return found.hexdigest()


def centres(labels: NDArray[np.integer], pixel_size_um: float) -> pd.DataFrame:
    """``fibre, x_um, y_um, labels`` of a label image: what tells its fibres from others of the same number."""
    fibres = numbered(labels)
    sums = np.zeros((2, len(fibres)))
    for first in range(0, len(labels), _ROWS):
        y, x = np.nonzero(fibres.index[first : first + _ROWS])
        owner = fibres.index[first : first + _ROWS][y, x] - 1
        sums += [np.bincount(owner, where, len(fibres)) for where in (y + first, x)]
    y_um, x_um = sums / fibres.pixels * pixel_size_um
    return pd.DataFrame({"fibre": fibres.ids, "x_um": x_um, "y_um": y_um, "labels": digest(labels)})


def of_these_fibres(
    rows: pd.DataFrame, fibres: pd.DataFrame, what: str = "The calls"
) -> tuple[pd.DataFrame, str | None]:
    """The rows of a table that are about given fibres, joined by number where the label image is the same, else by number and place.

    Parameters
    ----------
    rows : pandas.DataFrame
        With ``fibre``, and where it is known ``labels`` (see `digest`) and ``x_um, y_um``.
    fibres : pandas.DataFrame
        As they are now, with the same columns.
    what : str
        What the rows are, for the messages.

    Returns
    -------
    pandas.DataFrame, str or None
        The rows, and what a user should know.

    Raises
    ------
    MitoxaiError
        If most of the rows mean other fibres: they are of another segmentation.
    """
    if "labels" in rows and set(rows["labels"]) == set(fibres["labels"]):
        return rows, None
    here = fibres.set_index("fibre")[["x_um", "y_um"]].reindex(rows["fibre"])
    same = here["x_um"].notna().to_numpy(copy=True)
    placed = {"x_um", "y_um"} <= set(rows)
    if placed:
        apart = np.hypot(*(rows[["x_um", "y_um"]].to_numpy(float) - here.to_numpy(float)).T)
        same &= apart <= _NEAR_UM
    if same.sum() < _MOST * len(rows):
        raise MitoxaiError(
            f"{what} are of another segmentation ({len(rows) - same.sum():,} of {len(rows):,} fibres are not where they were): "
            "measure these fibres and call them again."
        )
    changed = int((~same).sum())
    note = None
    if not placed:
        note = f"{what} do not say of which labels they are: they were joined by the fibres' numbers alone."
    elif changed:
        note = f"{what} were made before the fibres were changed: {changed:,} of {len(rows):,} are left out."
    return rows[same], note
