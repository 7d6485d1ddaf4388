"""Measure the fibres of a section: size, shape and every channel, one row a fibre."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from napari_mitoxai.common import CancelToken, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_input
from napari_mitoxai.tasks.parameters import TaskParameters


class MeasureParameters(TaskParameters):
    """What measuring needs to know."""

    section: Path = Field(
        title="Section", description="The section: a file or a folder.", json_schema_extra={"argument": True}
    )
    fibres: Path = Field(title="Fibres", description="The label image of its fibres.")
    out: Path = Field(title="Table", description="The table to write, ending in .csv or .parquet.")
    long: bool = Field(
        default=False, title="Long form", description="Write a row a fibre and quantity instead of a row a fibre.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace existing table", description="Whether an existing file may be replaced.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip


@dataclass(frozen=True)
class MeasureResult:
    """Measured fibres.

    Attributes
    ----------
    table : Path
        The table.
    fibres : int
        How many there are.
    columns : list of str
        Of the table.
    """

    table: Path
    fibres: int
    columns: list[str]


def run(
    parameters: MeasureParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> MeasureResult:
    """Measure the fibres of a section, and write the table.

    Raises
    ------
    MitoxaiError
        If the section or its labels cannot be read, do not fit together, or the table exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.fibres.measurement import measure
    from napari_mitoxai.fibres.tables import refuse_ending, to_long, write_table
    from napari_mitoxai.imc import read_labels, read_section

    refuse_ending(parameters.out)
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_input(parameters.out, parameters.section, parameters.fibres)
    section = read_section(parameters.section)
    table = measure(section, read_labels(parameters.fibres), progress=progress, cancel=cancel)
    fibres = len(table)
    if parameters.long:
        table = to_long(table)
    write_table(parameters.out, table, overwrite=parameters.overwrite)
    return MeasureResult(parameters.out, fibres, list(table.columns))
