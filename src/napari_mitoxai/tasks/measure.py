"""Measure the fibres of a section: size, shape and every channel, one row a fibre."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_input
from napari_mitoxai.tasks.parameters import TaskParameters

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


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
    outline: bool = Field(
        default=False, title="On the outline", description="Measure the channels on the line of pixels around each fibre, where mitocyto measures, instead of inside.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    percentiles: list[float] = Field(
        default=[5.0, 25.0, 75.0, 95.0], title="Percentiles", description="Of every channel in a fibre, 0 to 100.",
        json_schema_extra={"option": "--percentile", "advanced": True},
    )  # fmt: skip
    columns: Literal["mitoxai", "mitocyto", "analysis2Dmito"] = Field(
        default="mitoxai", title="Columns", description="Of which tool the columns are; mitocyto's and analysis2Dmito's tables are long.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    subject: str = Field(
        default="", title="Subject", description="Whose section it is; by default what its folder says, or its name.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    group: str = Field(
        default="", title="Group", description="control or patient; by default what the section's folder says.",
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
    return measure_and_write(parameters, None, progress, cancel)[0]


def measure_and_write(
    parameters: MeasureParameters,
    labels: "NDArray[np.integer] | None" = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> tuple[MeasureResult, "pd.DataFrame"]:
    """Do what `run` does, and give the table, a row a fibre, as well.

    Parameters
    ----------
    parameters : MeasureParameters
        What to do.
    labels : ndarray of int, optional
        (Y, X), the fibres as they are now, where they may differ from their file.
    progress, cancel : callable, CancelToken
        As for `run`.
    """
    from napari_mitoxai.fibres.measurement import measure, measure_like_mitocyto
    from napari_mitoxai.fibres.tables import refuse_ending, to_analysis_2d_mito, to_long, write_table
    from napari_mitoxai.imc import read_labels, read_section

    refuse_ending(parameters.out)
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_input(parameters.out, parameters.section, parameters.fibres)
    section = read_section(parameters.section)
    if labels is None:
        labels = read_labels(parameters.fibres)
    table = measure(
        section,
        labels,
        percents=parameters.percentiles,
        outline=parameters.outline,
        progress=progress,
        cancel=cancel,
    )
    # what is not known is left to the section's name when fibres are called
    whose = {"subject": parameters.subject or section.subject, "group": parameters.group or section.group}
    table = table.assign(**{name: value for name, value in whose.items() if value})
    if parameters.columns == "mitocyto":
        written = measure_like_mitocyto(
            section, labels, outline=parameters.outline, progress=progress, cancel=cancel
        )
    elif parameters.columns == "analysis2Dmito":
        if whose["group"] not in ("control", "patient"):
            raise MitoxaiError(
                f"analysis2Dmito must know whether {section.name} is of a control or a patient: say so with --group."
            )
        written = to_analysis_2d_mito(table.assign(subject=whose["subject"] or section.name))
    else:
        written = to_long(table) if parameters.long else table
    write_table(parameters.out, written, overwrite=parameters.overwrite)
    return MeasureResult(parameters.out, len(table), list(written.columns)), table
