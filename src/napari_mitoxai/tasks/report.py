"""Bundle runs, maps, figures and tables with their provenance into one HTML file that opens offline."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_input, written_beside
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters


class ReportParameters(TaskParameters):
    """What a report needs to know."""

    paths: list[Path] = Field(
        min_length=1,
        title="Results",
        description="Runs, sweeps, stores of maps, figures, tables, or folders with any of these.",
        json_schema_extra={"argument": True},
    )
    out: Path = Field(title="Report", description="The page to write, ending in .html.")
    title: str = Field(
        default="", title="Title", description="Of the page; the first folder's name by default."
    )
    draw_maps: bool = Field(
        default=True,
        title="Draw maps",
        description="Draw the maps of each store over its section, where the section is still where it was.",
    )
    overwrite: bool = Field(
        default=False,
        title="Replace an existing report",
        description="Whether an existing file may be replaced.",
        json_schema_extra=ADVANCED,
    )


@dataclass(frozen=True)
class ReportResult:
    """A report.

    Attributes
    ----------
    report : Path
        The page.
    parts : dict of int
        How many there are of each kind.
    notes : list of str
        What could not be read.
    """

    report: Path
    parts: dict[str, int]
    notes: list[str]


def run(
    parameters: ReportParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> ReportResult:
    """Write a report.

    Raises
    ------
    MitoxaiError
        If a path is not there, nothing in them is known, or the report exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.figures.report_page import ReportPart, report_html
    from napari_mitoxai.tasks.report_finding import find
    from napari_mitoxai.tasks.report_parts import MAKERS

    cancel, out = cancel or CancelToken(), parameters.out
    if out.suffix.lower() not in {".html", ".htm"}:
        raise MitoxaiError(f"{out.name} does not end in .html: name the report so.")
    refuse_existing(out, overwrite=parameters.overwrite)
    refuse_input(out, *(path for path in parameters.paths if path.is_file()))
    found = [each for each in find(parameters.paths) if each.path.resolve() != out.resolve()]
    if not found:
        told = ", ".join(str(path) for path in parameters.paths)
        raise MitoxaiError(
            f"{told} holds no run, maps, figure or table: give the folder that `mitoxai train` or another task wrote into."
        )
    parts: list[ReportPart] = []
    notes: list[str] = []
    for done, each in enumerate(found):
        cancel.check()
        progress(Progress("Collecting", done, len(found), each.path.name))
        try:
            parts.append(MAKERS[each.kind](each, parameters.draw_maps))
        except MitoxaiError as error:
            notes.append(str(error))
            parts.append(ReportPart(each.kind, each.name, warnings=[str(error)]))
    title = parameters.title or parameters.paths[0].resolve().name
    page = report_html(title, parts, made=now(), software=software())
    cancel.check()
    with written_beside(out, overwrite=parameters.overwrite) as partial:
        partial.write_text(page, encoding="utf-8")
    progress(Progress("Collecting", len(found), len(found), out.name))
    counted: dict[str, int] = {}
    for part in parts:
        counted[part.kind] = counted.get(part.kind, 0) + 1
    return ReportResult(out, counted, notes)
