"""The cohort table: which section belongs to which subject and group."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from napari_mitoxai.common import MitoxaiError

_REQUIRED = ("path", "subject", "group")
_OPTIONAL = ("section", "batch", "split")
SPLITS = ("train", "validation", "test")


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
    """

    path: Path
    subject: str
    group: str
    section: str = ""
    batch: str = ""
    split: str = ""
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """The sections of a study, each with its subject and group."""

    members: tuple[Member, ...]
    path: Path

    @property
    def groups(self) -> dict[str, str]:
        """The group of each subject, in the order of the table."""
        return {member.subject: member.group for member in self.members}

    @property
    def subjects(self) -> list[str]:
        """The subjects in the order of the table."""
        return list(self.groups)

    @property
    def classes(self) -> list[str]:
        """The groups as class names: ``control`` first, the others by alphabet."""
        return sorted(
            set(self.groups.values()), key=lambda group: (group.lower() not in ("control", "controls"), group)
        )

    def where(self, conditions: Sequence[str]) -> "Cohort":
        """The part of the cohort for which all conditions hold.

        A group in which nobody has a value in a column is not asked for it: controls have no genotype.

        Parameters
        ----------
        conditions : sequence of str
            ``column=value`` or ``column!=value``, by the table's columns; several values are joined by ``|``.

        Raises
        ------
        MitoxaiError
            If there is no such column or value, or fewer than two groups are left.
        """
        members = self.members
        for condition in conditions:
            members = tuple(member for member in members if _holds(condition, members, member))
        groups = {member.group for member in members}
        if len(groups) < 2:
            left = f"only {groups.pop()}" if groups else "nobody"
            raise MitoxaiError(
                f"{' and '.join(conditions)} leaves {left} of {self.path.name}: a classifier needs at least two groups; "
                "several values are written column=one|other."
            )
        return replace(self, members=members)


def _holds(condition: str, members: Sequence[Member], member: Member) -> bool:
    column, equals, value = condition.partition("=")
    if not equals or not column.strip("! "):
        raise MitoxaiError(
            f"The condition {condition!r} is not of the form column=value: write it as genotype=MT-TL1."
        )
    negated, column = column.rstrip().endswith("!"), column.strip("! ")
    wanted = {part.strip() for part in value.split("|")}
    columns = [*_REQUIRED[1:], *_OPTIONAL, *member.extra]
    if column not in columns:
        raise MitoxaiError(f"The cohort has no column {column!r}: choose one of {', '.join(columns)}.")
    if not any(_value(other, column) for other in members if other.group == member.group):
        return True
    there = {_value(other, column) for other in members}
    if unknown := sorted(wanted - there):
        raise MitoxaiError(
            f"No section has {column} {unknown[0]!r}: there are {', '.join(sorted(there))} in the column."
        )
    return (_value(member, column) in wanted) != negated


def _value(member: Member, column: str) -> str:
    return member.extra[column] if column in member.extra else str(getattr(member, column))


def read_cohort(path: Path | str) -> Cohort:
    """Read a cohort table.

    Parameters
    ----------
    path : Path
        A CSV file with the columns ``path``, ``subject`` and ``group`` and, optional, ``section``, ``batch`` and
        ``split`` (``train``, ``validation`` or ``test``); other columns are kept. Relative paths start at the file.

    Returns
    -------
    Cohort
        At least two groups; every path exists; a subject is in one group and on one side of the split.

    Raises
    ------
    MitoxaiError
        If any of that does not hold.
    """
    path = Path(path).expanduser()
    rows = _read_table(path)
    members = [_member(path, number, row) for number, row in enumerate(rows, start=2)]
    if not members:
        raise MitoxaiError(f"{path.name} has no rows: give one row a section, with path, subject and group.")
    _refuse_two_values(path, members, "group", "give every section of a person the same group")
    _refuse_two_values(
        path, members, "split", "put all sections of a person on one side, as the subject is the unit"
    )
    doubled = sorted(
        {str(member.path) for member in members if sum(m.path == member.path for m in members) > 1}
    )
    if doubled:
        raise MitoxaiError(f"{path.name} lists {doubled[0]} twice: keep one row a section.")
    groups = {member.group for member in members}
    if len(groups) < 2:
        raise MitoxaiError(
            f"{path.name} has the group {groups.pop()} only: a classifier needs sections of at least two groups, as control and patient."
        )
    return Cohort(tuple(members), path.resolve())


def _read_table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        raise MitoxaiError(
            f"{path} is not there: give the path of a cohort table with the columns path, subject and group."
        )
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise MitoxaiError(
            f"{path.name} is not a readable CSV table ({error}): save it as CSV with a header line."
        ) from error
    table.columns = [str(column).strip() for column in table.columns]
    missing = [column for column in _REQUIRED if column not in table.columns]
    if missing:
        raise MitoxaiError(
            f"{path.name} has no column {', '.join(missing)} (it has {', '.join(table.columns)}): "
            "a cohort table needs path, subject and group."
        )
    return [{str(key): str(value).strip() for key, value in row.items()} for row in table.to_dict("records")]


def _member(table: Path, number: int, row: dict[str, str]) -> Member:
    empty = [column for column in _REQUIRED if not row[column]]
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
    if not image.exists():
        raise MitoxaiError(
            f"Line {number} of {table.name} names {row['path']}, which is not there: correct the path; it starts at the table's folder."
        )
    extra = {key: value for key, value in row.items() if key not in (*_REQUIRED, *_OPTIONAL)}
    return Member(
        image.resolve(),
        row["subject"],
        row["group"],
        row.get("section", ""),
        row.get("batch", ""),
        split,
        extra,
    )


def _refuse_two_values(path: Path, members: list[Member], column: str, way_out: str) -> None:
    for subject in {member.subject: None for member in members}:
        values = sorted(
            {getattr(member, column) or "(empty)" for member in members if member.subject == subject}
        )
        if len(values) > 1:
            raise MitoxaiError(
                f"In {path.name} subject {subject} is in {column} {' and '.join(values)}: {way_out}."
            )
