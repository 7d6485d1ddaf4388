"""Say what a file or folder is: its format, its channels and where their names come from, its size, and what is odd."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.tasks.parameters import ReadingParameters

if TYPE_CHECKING:
    from napari_mitoxai.imc import Section

_NAMED = 3  # sections in a warning; the others are counted


class InfoParameters(ReadingParameters):
    """What to look at."""

    path: Path = Field(
        title="Path",
        description="A section, a file or a folder, or a folder of many.",
        json_schema_extra={"argument": True},
    )


@dataclass(frozen=True)
class SectionInfo:
    """What is known of a section without reading its pixels.

    Attributes
    ----------
    path : Path
        Where it is.
    name : str
        What to call it.
    format, dialect : str
        What kind of file it is, and who writes such.
    subject, group : str or None
        Whose section it is, where the layout of the folders tells.
    shape : tuple of int
        (C, Y, X).
    dtype : str
        Of its values.
    pixel_size_um : float
        Side of a pixel.
    levels : list of (Y, X)
        Of its pyramid, finest first.
    channels : list of dict
        ``index``, ``metal``, ``mass``, ``target``, ``role`` and ``source``, where the name was read.
    acquisition : str or None
        Which of `acquisitions` this is.
    acquisitions : list of dict
        ``id``, ``description``, ``shape`` and ``problem`` of each, where a file has several.
    warnings : list of str
        What was guessed or is odd.
    """

    path: Path
    name: str
    format: str
    dialect: str
    subject: str | None
    group: str | None
    shape: tuple[int, int, int]
    dtype: str
    pixel_size_um: float
    levels: list[tuple[int, int]]
    channels: list[dict[str, Any]]
    acquisition: str | None
    acquisitions: list[dict[str, Any]]
    warnings: list[str]


@dataclass(frozen=True)
class FolderInfo:
    """What is known of a folder of sections.

    Attributes
    ----------
    path : Path
        The folder.
    format : str
        ``folder of sections``.
    sections : list of SectionInfo
        Those that can be opened.
    failed : list of dict
        ``path`` and ``error`` of the others.
    warnings : list of str
        What differs between the sections.
    """

    path: Path
    format: str
    sections: list[SectionInfo]
    failed: list[dict[str, str]]
    warnings: list[str]

    @property
    def problems(self) -> list[str]:
        """What a script must know: that some sections could not be opened."""
        if not self.failed:
            return []
        total = len(self.sections) + len(self.failed)
        names = ", ".join(each["path"] for each in self.failed)
        return [
            f"{len(self.failed)} of {total} sections could not be opened ({names}): the reasons are listed with the result."
        ]


def run(
    parameters: InfoParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> SectionInfo | FolderInfo:
    """Look at a section, or at each of a folder of them; one that cannot be opened does not stop the others.

    Raises
    ------
    MitoxaiError
        If it is one section that cannot be opened, or there is none.
    Cancelled
        If it was cancelled.
    """
    from napari_mitoxai.imc import find_sections, read_section

    def look(path: Path) -> SectionInfo:
        return _section_info(
            read_section(path, acquisition=parameters.acquisition, panel=parameters.panel), path
        )

    if not parameters.path.is_dir():
        return look(parameters.path)
    paths = find_sections(parameters.path)
    if paths == [parameters.path]:
        return look(parameters.path)
    sections: list[SectionInfo] = []
    failed: list[dict[str, str]] = []
    for done, path in enumerate(paths):
        if cancel is not None:
            cancel.check()
        progress(Progress("Looking", done, len(paths), path.name))
        try:
            sections.append(look(path))
        except MitoxaiError as error:
            failed.append({"path": str(path), "error": str(error)})
    progress(Progress("Looking", len(paths), len(paths)))
    return FolderInfo(parameters.path, "folder of sections", sections, failed, _differences(sections))


def _section_info(section: "Section", path: Path) -> SectionInfo:
    return SectionInfo(
        path,
        section.name,
        section.format,
        section.dialect,
        section.subject,
        section.group,
        section.shape,
        str(section.data.dtype),
        section.pixel_size_um,
        [(level.shape[1], level.shape[2]) for level in section.levels],
        [
            {
                "index": index,
                "metal": channel.metal,
                "mass": channel.mass,
                "target": channel.target,
                "role": channel.role.value,
                "source": channel.source,
            }
            for index, channel in enumerate(section.panel)
        ],
        section.acquisition,
        [asdict(each) for each in section.acquisitions],
        [*section.notes, *_may_be_labels(section, path)],
    )


def _may_be_labels(section: "Section", path: Path) -> list[str]:
    """A plane of whole numbers that is called a mask is hardly a section."""
    called = any(word in f"{path.parent.name}/{path.name}".lower() for word in ("mask", "label", "fibres"))
    if len(section.panel) > 1 or section.data.dtype.kind not in "iub" or not called:
        return []
    return [
        "This looks like labels of cells or fibres, not like a section: give it as --fibres, or import it under Fibres."
    ]


def _differences(sections: list[SectionInfo]) -> list[str]:
    """Channels are matched by name, so that only those in every section can be used together."""
    from napari_mitoxai.imc.names import POSITION
    from napari_mitoxai.imc.panel import canonical

    having: dict[str, tuple[str, set[str]]] = {}
    for each in sections:
        for channel in each.channels:
            if channel["source"] != POSITION:
                having.setdefault(canonical(channel["target"]), (channel["target"], set()))[1].add(each.name)
    told = []
    for target, names in having.values():
        lacking = [each.name for each in sections if each.name not in names]
        if lacking:
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            told.append(f"{target} (not in {', '.join(lacking[:_NAMED])}{more})")
    return [f"Not every section has {'; '.join(told)}."] if told else []
