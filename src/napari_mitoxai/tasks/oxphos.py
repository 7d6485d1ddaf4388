"""Call the OXPHOS status of fibres against control fibres, and the proportion deficient of each subject."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_outputs
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    from napari_mitoxai.fibres.oxphos import Calls

_PLOTS = (".png", ".pdf", ".svg")


class OxphosParameters(TaskParameters):
    """What calling needs to know."""

    tables: list[Path] = Field(
        title="Fibre tables",
        description="Tables of measured fibres: of mitoxai measure, mitocyto's results.csv, or analysis2Dmito's columns.",
        min_length=1,
        json_schema_extra={"argument": True},
    )
    out: Path = Field(
        title="Calls",
        description="The table to write, ending in .csv or .parquet; the subjects' proportions go beside it as NAME_subjects.csv.",
    )
    reference: str = Field(
        default="VDAC1",
        title="Mitochondrial mass",
        description="The channel that proteins are compared with.",
    )
    proteins: list[str] = Field(
        default=[], title="Proteins", description="What to call; all OXPHOS proteins by default.",
        json_schema_extra={"option": "--protein"},
    )  # fmt: skip
    controls: list[str] = Field(
        default=[], title="Controls", description="The control subjects; by default those of the group control, or else those named C and a number.",
        json_schema_extra={"option": "--control"},
    )  # fmt: skip
    statistic: Literal["mean", "median"] = Field(
        default="mean", title="Value of a fibre", description="What stands for a fibre's pixels.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    offset: float | None = Field(
        default=None, ge=0, title="Added before log",
        description="What is added to values before their logarithm: by default 1 to our values, as mitocyto's and so the published ones have it, and 0 to those of other tables.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    subjects: Path | None = Field(
        default=None, title="Subjects", description="A table section, subject, group that says whose each section is.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    keep_all: bool = Field(
        default=False, title="Keep all fibres", description="Call fibres too that are not analysable by their class, or next to empty; tables without a class are called whole.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    resamples: int = Field(
        default=1000, ge=0, le=100_000, title="Bootstrap samples", description="How often fibres are drawn again for the 95 % intervals; 0 leaves them out.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    seed: int = Field(
        default=0, ge=0, title="Seed", description="Of the bootstrap.", json_schema_extra=ADVANCED
    )
    plot: Path | None = Field(
        default=None, title="Plot", description="A PNG, PDF or SVG to write, with the 2Dmito plot of every subject and protein.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    long: bool = Field(
        default=False, title="Long form", description="Write a row a fibre and protein instead of a row a fibre.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace existing files", description="Whether existing files may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class OxphosResult:
    """Called fibres.

    Attributes
    ----------
    calls : Path
        The table of the fibres.
    proportions : Path
        The table of the subjects.
    plot : Path or None
        The plots.
    fibres : int
        How many there are.
    subjects : list of dict
        The rows of `proportions`.
    notes : list of str
        What a user should know.
    """

    calls: Path
    proportions: Path
    plot: Path | None
    fibres: int
    subjects: list[dict[str, Any]]
    notes: list[str]


def run(
    parameters: OxphosParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> OxphosResult:
    """Call the fibres of some tables, and write the calls and the subjects' proportions.

    Raises
    ------
    MitoxaiError
        If a table cannot be read, a channel or all controls are missing, or an output exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    return call_and_write(parameters, progress, cancel)[0]


def call_and_write(
    parameters: OxphosParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> tuple[OxphosResult, "Calls"]:
    """Do what `run` does, and give the calls as well."""
    from napari_mitoxai.fibres.oxphos import call_fibres
    from napari_mitoxai.fibres.table_reading import read_fibre_tables
    from napari_mitoxai.fibres.tables import calls_to_long, refuse_ending, write_table

    out, plot = parameters.out, parameters.plot
    proportions = out.with_name(f"{out.stem}_subjects.csv")
    refuse_ending(out)
    if plot is not None and plot.suffix.lower() not in _PLOTS:
        raise MitoxaiError(f"{plot.name} does not end in .png, .pdf or .svg: name the plot so.")
    refuse_outputs(
        (out, proportions, plot), (*parameters.tables, parameters.subjects), overwrite=parameters.overwrite
    )
    values = read_fibre_tables(
        parameters.tables, statistic=parameters.statistic, subjects=parameters.subjects
    )
    calls = call_fibres(
        values,
        reference=parameters.reference,
        proteins=parameters.proteins,
        controls=parameters.controls,
        offset=parameters.offset,
        keep_all=parameters.keep_all,
        resamples=parameters.resamples,
        seed=parameters.seed,
        progress=progress,
        cancel=cancel,
    )
    write_table(
        out, calls_to_long(calls) if parameters.long else calls.fibres, overwrite=parameters.overwrite
    )
    write_table(proportions, calls.subjects, overwrite=parameters.overwrite)
    if plot is not None:
        from napari_mitoxai.figures.mito_plot import save_mito_plots

        save_mito_plots(calls, plot, overwrite=parameters.overwrite)
    known = calls.subjects.astype(object).where(calls.subjects.notna(), None)
    rows = [{str(name): value for name, value in row.items()} for row in known.to_dict("records")]
    return OxphosResult(out, proportions, plot, len(calls.fibres), rows, calls.notes), calls
