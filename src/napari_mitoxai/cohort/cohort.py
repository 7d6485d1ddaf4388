"""The cohort table: which section belongs to which subject and group."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_mitoxai.cohort.table import OPTIONAL, REQUIRED, Member, read_table, write_table
from napari_mitoxai.cohort.tree import read_tree
from napari_mitoxai.common import CancelToken, MitoxaiError

TABLE = "cohort.csv"  # what a folder's own table is called
_NAMED = 3  # sections in a sentence; the others are counted


@dataclass(frozen=True)
class Cohort:
    """The sections of a study, each with its subject and group.

    Attributes
    ----------
    members : tuple of Member
        Those that take part.
    path : Path
        The table, or the folder, that they were read from.
    """

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
    columns = [*REQUIRED[1:], *OPTIONAL, *member.extra]
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
    """Read a cohort from its table, or from the folders that its sections lie in.

    Parameters
    ----------
    path : Path
        A CSV file as `read_table` describes it, or a folder: its own ``cohort.csv`` where it has one, else its sections
        as `read_tree` finds them. Rows that are left out (``include`` is ``no``) are not looked at.

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
    source, members = read_members(path)
    members = [member for member in members if member.include]
    if not members:
        raise MitoxaiError(f"{path.name} has no section that takes part: write yes under include.")
    ungrouped = [member for member in members if not member.group]
    if ungrouped:
        raise MitoxaiError(
            f"{path} does not tell the group of {_listed(ungrouped)}: put the sections into folders such as controls and "
            "patients, or write a table with `mitoxai cohort` and fill in its column group."
        )
    _refuse_two_values(source, members, "group", "give every section of a person the same group")
    _refuse_two_values(
        source, members, "split", "put all sections of a person on one side, as the subject is the unit"
    )
    places = [(member.path, member.acquisition) for member in members]
    doubled = sorted({str(place[0]) for place in places if places.count(place) > 1})
    if doubled:
        raise MitoxaiError(f"{source.name} lists {doubled[0]} twice: keep one row a section.")
    groups = {member.group for member in members}
    if len(groups) < 2:
        raise MitoxaiError(
            f"{source.name} has the group {groups.pop()} only: a classifier needs sections of at least two groups, as control and patient."
        )
    return Cohort(tuple(members), source.resolve())


def read_members(
    path: Path, *, lenient: bool = False, cancel: CancelToken | None = None
) -> tuple[Path, list[Member]]:
    """Read the rows of a cohort: of a table, or of a folder.

    Returns
    -------
    source : Path
        The table, also that of a folder which has one, or the folder.
    members : list of Member
        Not checked against each other.

    Raises
    ------
    MitoxaiError
        If there are none, or the table cannot be read; see `read_table` for `lenient`.
    Cancelled
        If it was cancelled.
    """
    if not path.is_dir():
        return path, read_table(path, lenient=lenient)
    table = path / TABLE
    if table.is_file():
        return table, read_table(table, lenient=lenient)
    return path, read_tree(path, cancel)


def keep_table(cohort: Cohort, path: Path) -> None:
    """Keep what a run was trained on: a copy of the table, or one made of the folder."""
    if cohort.path.is_dir():
        write_table(path, cohort.members, overwrite=True)
    else:
        shutil.copyfile(cohort.path, path)


def _listed(members: Sequence[Member]) -> str:
    names = ", ".join(member.label for member in members[:_NAMED])
    return f"{names} and {len(members) - _NAMED} more" if len(members) > _NAMED else names


def _refuse_two_values(path: Path, members: list[Member], column: str, way_out: str) -> None:
    for subject in {member.subject: None for member in members}:
        values = sorted(
            {getattr(member, column) or "(empty)" for member in members if member.subject == subject}
        )
        if len(values) > 1:
            raise MitoxaiError(
                f"In {path.name} subject {subject} is in {column} {' and '.join(values)}: {way_out}."
            )
