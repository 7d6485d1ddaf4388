"""The rows of a cohort table, read and written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from napari_mitoxai.cohort.rows import read_rows
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import written_beside
from napari_mitoxai.imc import Section, read_section

REQUIRED = ("path", "subject", "group")
OPTIONAL = ("section", "acquisition", "batch", "split")
SPLITS = ("train", "validation", "test")
_INCLUDE = "include"
_YES, _NO = ("", "yes", "true", "1"), ("no", "false", "0")


@dataclass(frozen=True)
class Member:
    """One section of a cohort: one row of its table.

    Attributes
    ----------
    path : Path
        The file or folder of the section, absolute.
    subject : str
        Whose section it is; the unit of every split.
    group : str
        ``control``, ``patient`` or any class the user names.
    section, batch, split : str
        The optional columns; empty where they are not given.
    extra : dict
        All other columns, kept as text.
    acquisition : str
        Which image of a file with several; empty for the first that can be opened.
    include : bool
        Whether it takes part: a row may be kept and left out.
    """

    path: Path
    subject: str
    group: str
    section: str = ""
    batch: str = ""
    split: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    acquisition: str = ""
    include: bool = True

    @property
    def address(self) -> Path:
        """What `read_section` opens as just this section: ``slide.mcd#2`` in a file of several."""
        return self.path.with_name(f"{self.path.name}#{self.acquisition}") if self.acquisition else self.path

    @property
    def label(self) -> str:
        """What to call it in a sentence: its file, and its acquisition where it has one."""
        return f"{self.path.name} ({self.acquisition})" if self.acquisition else self.path.name

    def read(self) -> Section:
        """Open the section, lazily.

        Raises
        ------
        MitoxaiError
            If it cannot be opened.
        """
        return read_section(self.path, acquisition=self.acquisition or None)


def read_table(path: Path | str, *, lenient: bool = False) -> list[Member]:
    """Read the rows of a cohort table.

    Parameters
    ----------
    path : Path
        A CSV file with the columns ``path``, ``subject`` and ``group`` and, optional, ``section``, ``acquisition``, ``batch``,
        ``split`` (``train``, ``validation`` or ``test``) and ``include`` (``yes`` or ``no``); others are kept. Relative
        paths start at the file.
    lenient : bool
        Whether a row may lack its subject, its group and its file, to be filled in by a person. Rows that are left out
        may lack them in any case.

    Raises
    ------
    MitoxaiError
        If it is not such a table, or a row does not hold what it should.
    """
    path = Path(path).expanduser()
    members = [
        _member(path, number, row, lenient=lenient)
        for number, row in enumerate(read_rows(path, REQUIRED, "a cohort table"), start=2)
    ]
    if not members:
        raise MitoxaiError(f"{path.name} has no rows: give one row a section, with path, subject and group.")
    return members


def write_table(path: Path, members: Sequence[Member], *, overwrite: bool = False) -> Path:
    """Write a cohort table.

    Paths in the table's folder are written relative to it, so that both can be moved together; columns that nobody
    uses are left out.

    Raises
    ------
    MitoxaiError
        If it exists and may not be replaced, or cannot be written.
    """
    path = Path(path).expanduser()
    extras = list(dict.fromkeys(name for member in members for name in member.extra))
    rows = [
        {
            "path": _relative(member.path, path.parent.resolve()),
            **{name: getattr(member, name) for name in (*REQUIRED[1:], *OPTIONAL)},
            _INCLUDE: "" if member.include else "no",
            **{name: member.extra.get(name, "") for name in extras},
        }
        for member in members
    ]
    table = pd.DataFrame(rows, dtype=str)
    unused = [name for name in (*OPTIONAL, _INCLUDE) if not table[name].any()]
    with written_beside(path, overwrite=overwrite) as partial:
        table.drop(columns=unused).to_csv(partial, index=False, encoding="utf-8", lineterminator="\n")
    return path


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else os.fspath(path)


def _member(table: Path, number: int, row: dict[str, str], *, lenient: bool) -> Member:
    include = row.get(_INCLUDE, "").lower()
    if include not in (*_YES, *_NO):
        raise MitoxaiError(
            f"Line {number} of {table.name} has {include!r} under include: write yes or no, or leave it empty."
        )
    lenient = lenient or include in _NO
    empty = [column for column in (REQUIRED[:1] if lenient else REQUIRED) if not row[column]]
    if empty:
        raise MitoxaiError(
            f"Line {number} of {table.name} has no {', '.join(empty)}: fill it in, or delete the line."
        )
    split = row.get("split", "").lower()
    if split and split not in SPLITS:
        raise MitoxaiError(
            f"Line {number} of {table.name} has the split {split!r}: write train, validation or test, or leave it empty."
        )
    image = Path(row["path"]).expanduser()
    image = image if image.is_absolute() else table.parent / image
    if not lenient and not image.exists():
        raise MitoxaiError(
            f"Line {number} of {table.name} names {row['path']}, which is not there: correct the path; it starts at the table's folder."
        )
    return Member(
        image.resolve(),
        row["subject"],
        row["group"],
        row.get("section", ""),
        row.get("batch", ""),
        split,
        {key: value for key, value in row.items() if key not in (*REQUIRED, *OPTIONAL, _INCLUDE)},
        row.get("acquisition", ""),
        include not in _NO,
    )
