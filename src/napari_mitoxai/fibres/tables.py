"""Writing fibre tables: wide and long, in our columns and in those of mitocyto and analysis2Dmito."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import written_beside
from napari_mitoxai.fibres.oxphos import Calls
from napari_mitoxai.fibres.table_reading import CARRIED

TABLE_ENDINGS = (".csv", ".parquet")
KEYS = ("section", "fibre", "subject", "group", "measured_on", "class", "class_by", "labels")


def to_long(table: pd.DataFrame) -> pd.DataFrame:
    """One row a fibre and quantity: ``section, fibre, quantity, value``, and what else a table says in words.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a fibre.
    """
    keys = [key for key in KEYS if key in table]
    numbers = table.astype({name: float for name in table if name not in KEYS})
    return numbers.melt(id_vars=keys, var_name="quantity", value_name="value").sort_values(
        keys[:2], kind="stable", ignore_index=True
    )


def with_a_line(table: pd.DataFrame, **words: str | None) -> pd.DataFrame:
    """The table; of a section without a fibre with one line that holds nothing but these words, so that it is not lost in a cohort.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a fibre.
    **words : str
        By column: whose section it is.
    """
    if len(table):
        return table
    line = pd.DataFrame({name: [words.get(str(name))] for name in table})
    return line.astype({name: kind for name, kind in table.dtypes.items() if kind == np.float64})


def to_analysis_2d_mito(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of the R package analysis2Dmito: ``Value, sampleID, fibreID, sbjType, Channel``.

    Parameters
    ----------
    table : pandas.DataFrame
        As `measure` gives it, with the columns ``subject`` and ``group``. Values are its means + 1, as the published ones.
    """
    means = {name: name.removesuffix("_mean") for name in map(str, table) if name.endswith("_mean")}
    chosen = table[["subject", "fibre", "group", *means]].rename(columns=means)
    long = chosen.melt(["subject", "fibre", "group"], var_name="Channel", value_name="Value")
    long["Value"] += 1
    long = long.rename(columns={"subject": "sampleID", "fibre": "fibreID", "group": "sbjType"})
    return long[["Value", "sampleID", "fibreID", "sbjType", "Channel"]]


def calls_to_long(calls: Calls) -> pd.DataFrame:
    """One row a fibre and protein: ``section, fibre, subject, group, protein, mass, value, z, status, category, theta, r``.

    Parameters
    ----------
    calls : Calls
        As `call_fibres` gives them.
    """
    keys = calls.fibres[[name for name in (*KEYS, *CARRIED) if name in calls.fibres]]
    parts = []
    for protein in calls.proteins:
        own = {
            "value" if name == protein else name.removeprefix(f"{protein}_"): calls.fibres[name]
            for name in (
                protein,
                *(f"{protein}_{what}" for what in ("z", "status", "category", "theta", "r")),
            )
        }
        parts.append(keys.assign(protein=protein, mass=calls.fibres[calls.reference], **own))
    return pd.concat(parts, ignore_index=True)


def refuse_ending(path: Path) -> None:
    """Raise if `path` is no table that can be written.

    Raises
    ------
    MitoxaiError
        If it ends neither in .csv nor in .parquet, or what writes Parquet is not installed.
    """
    if path.suffix.lower() not in TABLE_ENDINGS:
        raise MitoxaiError(
            f"{path.name} ends neither in .csv nor in .parquet: name the table for example FIBRES.csv."
        )
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise MitoxaiError(
            "Parquet needs pyarrow, which is not installed: pip install 'napari-mitoxai[parquet]', or write a .csv."
        )


def write_table(path: Path, table: pd.DataFrame, *, overwrite: bool = False) -> None:
    """Write a table as CSV or Parquet; in CSV, a name that a spreadsheet would take for a formula is quoted.

    Raises
    ------
    MitoxaiError
        If `path` is no table, exists and may not be replaced, or cannot be written.
    """
    refuse_ending(path)
    with written_beside(path, overwrite=overwrite) as partial:
        if path.suffix.lower() == ".parquet":
            table.to_parquet(partial, index=False)
            return
        safe = table.copy(deep=False)
        for column in safe.columns:
            if not pd.api.types.is_numeric_dtype(safe[column]):
                safe[column] = safe[column].map(
                    lambda value: (
                        f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@") else value
                    )
                )
        safe.to_csv(partial, index=False)
