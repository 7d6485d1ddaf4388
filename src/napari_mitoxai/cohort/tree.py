"""A study as a tree of folders: groups, subjects in them, sections in those."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_mitoxai.cohort.table import Member
from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.imc import GROUP_FOLDERS, find_sections, read_section


def read_tree(folder: Path | str, cancel: CancelToken | None = None) -> list[Member]:
    """Find the sections of a study, and whose they are by the folders that they lie in.

    A folder called ``controls`` or ``patients`` (or one of them) is a group wherever it is, and what follows is the
    subject. Where there is no such folder, the first level on which the sections part is the group, and the next the
    subject. Each acquisition of a file with several is a section; those that the file says are empty are left out of
    the cohort, and listed.

    Parameters
    ----------
    folder : Path
        Of the study.
    cancel : CancelToken, optional
        Checked between files.

    Returns
    -------
    list of Member
        In the order of the paths; the group is empty where no folder tells it of any section of the subject.

    Raises
    ------
    MitoxaiError
        If there is no section.
    Cancelled
        If it was cancelled.
    """
    folder = Path(folder).expanduser()
    root = folder.resolve()
    # links to files stay what they are called here, wherever they lead
    paths = [root / path.relative_to(folder) for path in find_sections(folder, cancel)]
    names = [_names(path, root) for path in paths]
    known = any(_group_level(each) is not None for each in names)
    common = 0 if known else _common(names)
    members = []
    for path, each in zip(paths, names, strict=True):
        if cancel is not None:
            cancel.check()
        subject, group = _known_place(each) if known else _place(each[common:])
        section = each[-1] if each[-1] != subject else ""
        members += _acquisitions(Member(path, subject, group, section))
    told = {member.subject: member.group for member in members if member.group}
    return [replace(member, group=member.group or told.get(member.subject, "")) for member in members]


def with_groups(members: Sequence[Member], beginnings: Sequence[str]) -> list[Member]:
    """Give a group to those that have none, by how the subject's name begins.

    Parameters
    ----------
    members : sequence of Member
        Of a folder or a table.
    beginnings : sequence of str
        ``C=control``, ``P=patient``.

    Raises
    ------
    MitoxaiError
        If one is not of this form.
    """
    pairs = []
    for text in beginnings:
        start, equals, group = (part.strip() for part in text.partition("="))
        if not (start and equals and group):
            raise MitoxaiError(f"{text!r} does not say which group a subject is in: write it as C=control.")
        pairs.append((start, group))
    return [
        member
        if member.group
        else replace(
            member, group=next((group for start, group in pairs if member.subject.startswith(start)), "")
        )
        for member in members
    ]


def _names(path: Path, root: Path) -> list[str]:
    """The folders from the root to a section, and its own name; the root's own name if it says which group it holds."""
    inside = list(path.relative_to(root).parts)
    if root.name.lower() in GROUP_FOLDERS or not inside:
        inside.insert(0, root.name)
    if path == root and root.parent.name.lower() in GROUP_FOLDERS:
        inside.insert(0, root.parent.name)
    name = path.stem if path.is_file() else path.name.removesuffix(".zarr")
    inside[-1] = name.removesuffix(".ome")
    return inside


def _group_level(names: Sequence[str]) -> int | None:
    return next((level for level, name in enumerate(names[:-1]) if name.lower() in GROUP_FOLDERS), None)


def _known_place(names: Sequence[str]) -> tuple[str, str]:
    level = _group_level(names)
    return (names[-1], "") if level is None else (names[level + 1], GROUP_FOLDERS[names[level].lower()])


def _place(names: Sequence[str]) -> tuple[str, str]:
    return (names[1], names[0]) if len(names) > 1 else (names[-1], "")


def _common(names: Sequence[Sequence[str]]) -> int:
    """How many folders all sections have in common."""
    shortest = min(len(each) for each in names) - 1
    return next((level for level in range(shortest) if len({each[level] for each in names}) > 1), shortest)


def _acquisitions(member: Member) -> list[Member]:
    try:
        acquisitions = read_section(member.path).acquisitions
    except MitoxaiError:  # it is told of where the section is looked at
        return [member]
    return [
        replace(member, acquisition=each.id, section=each.description or each.id, include=not each.problem)
        for each in acquisitions
    ] or [member]
