"""Tables that people write: rows of words under a header line."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from napari_mitoxai.common import MitoxaiError


def read_rows(path: Path, needed: Sequence[str], what: str) -> list[dict[str, str]]:
    """Read a CSV table; with semicolons, as spreadsheets of many countries write it, or with commas.

    Parameters
    ----------
    path : Path
        The file.
    needed : sequence of str
        Columns that it must have.
    what : str
        What it is, for messages: ``a cohort table``.

    Returns
    -------
    list of dict
        A row each, all columns, without spaces around the words; empty where there is no row.

    Raises
    ------
    MitoxaiError
        If it is not there, no CSV table, or lacks a column.
    """
    columns = f"{', '.join(needed[:-1])} and {needed[-1]}"
    if not path.exists():
        raise MitoxaiError(f"{path} is not there: give the path of {what} with the columns {columns}.")
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = ";" if ";" in header and "," not in header else ","
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True)
    except UnicodeDecodeError as error:
        raise MitoxaiError(f"{path.name} is not written in UTF-8: save it again as CSV UTF-8.") from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise MitoxaiError(
            f"{path.name} is not a readable CSV table ({error}): save it as CSV with a header line."
        ) from error
    table.columns = [str(column).strip() for column in table.columns]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise MitoxaiError(
            f"{path.name} has no column {', '.join(missing)} (it has {', '.join(table.columns)}): {what} needs {columns}."
        )
    return [{str(key): str(value).strip() for key, value in row.items()} for row in table.to_dict("records")]
