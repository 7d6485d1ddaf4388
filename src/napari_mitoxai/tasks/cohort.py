"""List the sections of a study: whose they are, what is missing, what is there twice, and write it as a cohort table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing
from napari_mitoxai.tasks.parameters import TaskParameters

if TYPE_CHECKING:
    from napari_mitoxai.cohort import Look, Member, Pixels


class CohortParameters(TaskParameters):
    """What to look at, and where to write the table."""

    path: Path = Field(
        title="Cohort",
        description="A folder with the sections, as controls/C01 and patients/P01, or a CSV table with the columns path, subject, group.",
        json_schema_extra={"argument": True},
    )
    out: Path | None = Field(
        default=None, title="Table", description="CSV table to write; the listing is printed in any case."
    )
    groups: list[str] = Field(
        default=[], title="Groups",
        description="Where the folders do not tell the group: how the subjects' names begin, as C=control P=patient.",
    )  # fmt: skip
    patch_size: int = Field(
        default=512, ge=16, le=4096, title="Patch size (px)", description="Side of the patches that are counted, in pixels of the section.",
    )  # fmt: skip
    overlap: float = Field(
        default=0.5, ge=0, lt=1, title="Overlap", description="Share of a patch's side that its neighbour covers too.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    quick: bool = Field(
        default=False, title="Without pixels", description="Look at what the files say only: no patches are counted, and images are not compared.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace an existing table", description="Whether an existing table may be replaced.",
        json_schema_extra={"hidden": True},
    )  # fmt: skip


@dataclass(frozen=True)
class SectionRow:
    """One section of a study.

    Attributes
    ----------
    path : Path
        Where it is.
    acquisition : str
        Which image of a file with several; empty where there is one.
    subject, group, section : str
        Whose it is; empty where nothing tells.
    include : bool
        Whether it takes part.
    shape : (C, Y, X) or None
        None where it cannot be opened.
    patches : int or None
        With tissue, of the size asked for; None where they were not counted.
    missing : list of str
        Channels that other sections have.
    problem : str
        Why it cannot be opened or read; empty where it can.
    notes : list of str
        What a user should know about how it was read.
    """

    path: Path
    acquisition: str
    subject: str
    group: str
    section: str
    include: bool
    shape: tuple[int, int, int] | None
    patches: int | None
    missing: list[str]
    problem: str
    notes: list[str]


@dataclass(frozen=True)
class CohortResult:
    """What is known of a study.

    Attributes
    ----------
    path : Path
        The table or the folder.
    sections : list of SectionRow
        All of them.
    groups : dict
        The subjects of each group that take part; those without one are under an empty name.
    channels : list of str
        What every section has that can be opened.
    same : list of str
        What is there twice, a sentence each.
    notes : list of str
        What a user should know.
    table : Path or None
        What was written.
    problems : list of str
        What stands against training on it: broken sections, one image in two subjects.
    """

    path: Path
    sections: list[SectionRow]
    groups: dict[str, list[str]]
    channels: list[str]
    same: list[str]
    notes: list[str]
    table: Path | None
    problems: list[str]


def run(
    parameters: CohortParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> CohortResult:
    """List a study; a section that cannot be opened does not stop the others.

    In the table, sections that cannot be opened and those that repeat an image of the same subject are left out
    (``include`` is ``no``).

    Raises
    ------
    MitoxaiError
        If there is no section, the table cannot be read, or the one to write exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from dataclasses import replace

    from napari_mitoxai.cohort import common_channels, read_members, same_pictures, with_groups, write_table

    cancel = cancel or CancelToken()
    if parameters.out is not None:
        refuse_existing(parameters.out, overwrite=parameters.overwrite)
    progress(Progress("Finding sections", 0, 0))
    source, members = read_members(parameters.path.expanduser(), lenient=True, cancel=cancel)
    members = with_groups(members, parameters.groups)
    looks, pixels = survey(members, quick=parameters.quick, progress=progress, cancel=cancel)
    same = same_pictures(members, pixels)
    repeats = {
        each.second for each in same if each.whole and members[each.first].subject == members[each.second].subject
    }  # fmt: skip
    left_out = repeats | {index for index, look in enumerate(looks) if look.problem}
    kept = [
        replace(member, include=member.include and index not in left_out)
        for index, member in enumerate(members)
    ]
    rows = _rows(kept, looks, pixels, parameters)
    if parameters.out is not None:
        write_table(parameters.out, kept, overwrite=parameters.overwrite)
    in_two = [each.sentence(members) for each in same if members[each.first].subject != members[each.second].subject]  # fmt: skip
    return CohortResult(
        source, rows, groups_of(kept), common_channels(looks), [each.sentence(members) for each in same],
        _notes(kept, rows, parameters.path), parameters.out, [*_broken(rows), *in_two],
    )  # fmt: skip


def survey(
    members: Sequence["Member"],
    *,
    quick: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
    looks: list["Look"] | None = None,
    pixels: list["Pixels | None"] | None = None,
) -> tuple[list["Look"], list["Pixels | None"]]:
    """Look at every section, and at its pixels unless it is to be quick.

    Parameters
    ----------
    members : sequence of Member
        Also those left out.
    quick : bool
        Whether no pixels are read.
    progress, cancel
        Reported and checked for every section.
    looks, pixels : list, optional
        Filled as they come, for somebody who looks on.

    Raises
    ------
    Cancelled
        If it was cancelled.
    """
    from dataclasses import replace

    from napari_mitoxai.cohort import look_at, read_pixels

    cancel = cancel or CancelToken()
    looks = [] if looks is None else looks
    pixels = [] if pixels is None else pixels
    for done, member in enumerate(members):
        cancel.check()
        progress(Progress("Looking at files", done, len(members), member.label))
        looks.append(look_at(member)[0])
    if quick:
        pixels += [None] * len(members)
        return looks, pixels
    for done, member in enumerate(members):
        progress(Progress("Reading images", done, len(members), member.label))
        found = None
        if member.include and not looks[done].problem:
            try:
                found = read_pixels(member.read(), cancel)
            except MitoxaiError as error:
                looks[done] = replace(looks[done], problem=str(error), shape=None)
        pixels.append(found)
    progress(Progress("Reading images", len(members), len(members)))
    return looks, pixels


def groups_of(members: Sequence["Member"]) -> dict[str, list[str]]:
    """The subjects of each group that take part, in their order."""
    groups: dict[str, list[str]] = {}
    for member in members:
        if member.include and member.subject not in groups.setdefault(member.group, []):
            groups[member.group].append(member.subject)
    return groups


def _rows(
    members: Sequence["Member"],
    looks: Sequence["Look"],
    pixels: Sequence["Pixels | None"],
    parameters: CohortParameters,
) -> list[SectionRow]:
    from napari_mitoxai.cohort import count_patches, missing_channels

    return [
        SectionRow(
            member.path, member.acquisition, member.subject, member.group, member.section, member.include, look.shape,
            None if each is None else count_patches(look, each, parameters.patch_size, parameters.overlap),
            missing, look.problem, list(look.notes),
        )
        for member, look, each, missing in zip(members, looks, pixels, missing_channels(looks), strict=True)
    ]  # fmt: skip


def _broken(rows: Sequence[SectionRow]) -> list[str]:
    broken = [row for row in rows if row.problem]
    if not broken:
        return []
    names = ", ".join(str(row.path) for row in broken)
    return [
        f"{len(broken)} of {len(rows)} sections could not be read ({names}): the reasons are listed with the result."
    ]


def _notes(members: Sequence["Member"], rows: Sequence[SectionRow], path: Path) -> list[str]:
    notes = []
    ungrouped = sorted({member.subject for member in members if member.include and not member.group})
    if ungrouped:
        notes.append(
            f"Nothing tells the group of {', '.join(ungrouped)}: fill in the column group of the table, or pass --groups C=control P=patient."
        )
    groups = groups_of(members)
    for subject in dict.fromkeys(name for names in groups.values() for name in names):
        several = [group for group, names in groups.items() if subject in names]
        if len(several) > 1:
            notes.append(
                f"Subject {subject} is in {' and '.join(group or '(no group)' for group in several)}: give every section of a person the same group."
            )
    empty = [row.path.name for row in rows if row.include and row.patches == 0]
    if empty:
        notes.append(
            f"No patch with tissue fits on {', '.join(empty)}: choose a smaller patch, or leave it out."
        )
    unlisted = _unlisted(members, path)
    if unlisted:
        notes.append(
            f"{len(unlisted)} sections in {path.name} are not in its table, as {unlisted[0].name}: add them to the table, "
            "or list the folder without it."
        )
    return notes


def _unlisted(members: Sequence["Member"], path: Path) -> list[Path]:
    """The sections in a folder that its own table does not have."""
    from napari_mitoxai.imc import find_sections

    if not path.is_dir():
        return []
    listed = {member.path.resolve() for member in members}
    return [each for each in find_sections(path) if each.resolve() not in listed]
