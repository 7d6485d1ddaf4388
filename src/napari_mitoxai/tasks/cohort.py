"""List the sections of a study: whose they are, what is missing, what is there twice, and write it as a cohort table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    from napari_mitoxai.cohort import Member, Survey


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
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    quick: bool = Field(
        default=False, title="Without pixels", description="Look at what the files say only: no patches are counted, and images are not compared.",
        json_schema_extra=ADVANCED,
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
        What every section has that takes part and can be opened.
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
    from napari_mitoxai.cohort import Survey, read_members, with_groups, write_table

    cancel = cancel or CancelToken()
    if parameters.out is not None:
        refuse_existing(parameters.out, overwrite=parameters.overwrite)
    progress(Progress("Finding sections", 0, 0))
    source, members = read_members(parameters.path.expanduser(), lenient=True, cancel=cancel)
    survey = Survey(with_groups(members, parameters.groups))
    survey.look(progress, cancel)
    if not parameters.quick:
        survey.read(parameters.patch_size, parameters.overlap, progress, cancel)
    same, left_out = survey.same(), survey.to_leave_out()
    sentences = [each.sentence(survey.members) for each in same]
    in_two = [
        sentence for each, sentence in zip(same, sentences, strict=True) if not survey.of_one_subject(each)
    ]
    survey.members = [
        replace(member, include=member.include and index not in left_out)
        for index, member in enumerate(survey.members)
    ]
    if parameters.out is not None:
        write_table(parameters.out, survey.members, overwrite=parameters.overwrite)
    rows = _rows(survey)
    return CohortResult(
        source, rows, groups_of(survey.members), survey.common(), sentences, _notes(survey.members, rows, parameters.path),
        parameters.out, [*_broken(rows), *in_two],
    )  # fmt: skip


def groups_of(members: Sequence["Member"]) -> dict[str, list[str]]:
    """The subjects of each group that take part, in their order."""
    groups: dict[str, list[str]] = {}
    for member in members:
        if member.include and member.subject not in groups.setdefault(member.group, []):
            groups[member.group].append(member.subject)
    return groups


def _rows(survey: "Survey") -> list[SectionRow]:
    return [
        SectionRow(
            member.path, member.acquisition, member.subject, member.group, member.section, member.include, look.shape,
            patches, missing, look.problem, list(look.notes),
        )
        for member, look, patches, missing in zip(survey.members, survey.looks, survey.patches, survey.missing(), strict=True)
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
            f"The table of {path.name} does not list {len(unlisted)} of the sections in the folder, as {unlisted[0].name}: add them to "
            "the table, or take it away to have the folder listed anew."
        )
    return notes


def _unlisted(members: Sequence["Member"], path: Path) -> list[Path]:
    """The sections in a folder that its own table does not have."""
    from napari_mitoxai.imc import find_sections

    if not path.is_dir():
        return []
    listed = {member.path.resolve() for member in members}
    return [each for each in find_sections(path) if each.resolve() not in listed]
