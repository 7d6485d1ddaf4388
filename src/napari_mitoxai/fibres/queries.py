"""Fibres chosen by what a table says of them: ``NDUFB8_z < -3``, ``NDUFB8_status = deficient``."""

import operator
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError

_CONDITION = re.compile(r"^\s*(?P<column>.+?)\s*(?P<sign><=|>=|!=|<|>|==?)\s*(?P<value>.+?)\s*$")
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_NAMED = 12  # columns in a sentence


def fibres_where(table: pd.DataFrame, conditions: Sequence[str]) -> NDArray[np.bool_]:
    """The fibres for which all conditions hold.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a fibre.
    conditions : sequence of str
        A column, one of ``< <= > >= = !=``, and a number or a word. A fibre without a value in the column meets none.

    Returns
    -------
    ndarray of bool
        A value a row.

    Raises
    ------
    MitoxaiError
        If a condition is not of this form, there is no such column or word, or words are compared by size.
    """
    chosen = np.ones(len(table), bool)
    for condition in conditions:
        chosen &= _holds(table, condition)
    return chosen


def _holds(table: pd.DataFrame, condition: str) -> NDArray[np.bool_]:
    found = _CONDITION.match(condition)
    if found is None:
        raise MitoxaiError(
            f"The condition {condition!r} is not of the form column, sign, value: write it as NDUFB8_z < -3 or NDUFB8_status = deficient."
        )
    column, sign, value = found["column"], found["sign"], found["value"]
    if column not in table:
        every = [str(name) for name in table.columns]
        near = get_close_matches(column, every)  # 'NDUFB8 z' is NDUFB8_z
        named = ", ".join(near or every[:_NAMED]) + (", ..." if len(every) > _NAMED else "")
        raise MitoxaiError(f"The fibres have no {column!r}: choose one of {named}.")
    values = table[column]
    try:
        number = float(value)
    except ValueError:
        number = None
    if number is not None and pd.api.types.is_numeric_dtype(values):
        known = values.notna().to_numpy()
        if sign in _SIGNS:
            return np.asarray(_SIGNS[sign](values, number)) & known
        same = np.asarray(values == number)
        return (same if sign in ("=", "==") else ~same) & known
    if sign in _SIGNS:
        what = "is told in words" if not pd.api.types.is_numeric_dtype(values) else "is a number"
        raise MitoxaiError(f"{column} {what}: {condition!r} compares it with {value!r} by size.")
    words = values.astype("string").fillna("").str.strip()
    if value not in set(words):
        there = ", ".join(sorted(set(words) - {""})[:_NAMED]) or "nothing"
        raise MitoxaiError(f"No fibre has {column} {value!r}: there is {there}.")
    same = (words == value).to_numpy(bool)
    return (same if sign in ("=", "==") else ~same) & (words != "").to_numpy(bool)
