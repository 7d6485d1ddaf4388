"""Measure the fibres of a section: size, shape and every channel, one row a fibre."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    maps: Path | None = Field(
        default=None,
        title="Maps",
        description="The store that `mitoxai explain` wrote: their relevance is summed over fibres and compartments too.",
    )
    calls: Path | None = Field(
        default=None,
        title="OXPHOS calls",
        description="The table that `mitoxai oxphos` wrote: do the deficient fibres carry the relevance?",
    )
    membrane_um: float = Field(
        default=2.0, ge=0, le=100, title="Membrane (µm)", description="Width of the ring along a fibre's edge.",
        json_schema_extra={"option": "--membrane", "advanced": True},
    )  # fmt: skip
    submembrane_um: float = Field(
        default=5.0, ge=0, le=100, title="Sub-membrane (µm)", description="Width of the ring inside of the membrane.",
        json_schema_extra={"option": "--submembrane", "advanced": True},
    )  # fmt: skip
    gap_um: float = Field(
        default=25.0, ge=0, le=500, title="Gaps (µm)",
        description="Widest gap between two fibres; what is outside and further from fibres is background.",
        json_schema_extra={"option": "--gap", "advanced": True},
    )  # fmt: skip
    draws: int = Field(
        default=199, ge=0, le=99_999, title="Draws",
        description="How often maps are moved about for p values, the smallest of which is 1 / (draws + 1); 0 for none.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    figure: Path | None = Field(
        default=None, title="Figure", description="Where the relevance falls, as a picture: .pdf, .svg, .png or .tiff.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace existing table", description="Whether an existing file may be replaced.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip


MAP_FIELDS = ("maps", "calls", "membrane_um", "submembrane_um", "gap_um", "draws", "figure")


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
    if parameters.maps is not None:
        from napari_mitoxai.tasks.measure_maps import measure_with_maps

        return measure_with_maps(parameters, progress=progress, cancel=cancel)[0]
    _refuse_what_needs_maps(parameters)
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
    from napari_mitoxai.fibres.measurement import measure
    from napari_mitoxai.fibres.tables import refuse_ending, to_long, write_table
    from napari_mitoxai.imc import read_labels, read_section

    refuse_ending(parameters.out)
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_input(parameters.out, parameters.section, parameters.fibres)
    section = read_section(parameters.section)
    if labels is None:
        labels = read_labels(parameters.fibres)
    table = measure(section, labels, progress=progress, cancel=cancel)
    written = to_long(table) if parameters.long else table
    write_table(parameters.out, written, overwrite=parameters.overwrite)
    return MeasureResult(parameters.out, len(table), list(written.columns)), table


def _refuse_what_needs_maps(parameters: MeasureParameters) -> None:
    for name in ("calls", "figure"):
        if getattr(parameters, name) is not None:
            raise MitoxaiError(
                f"--{name} is about relevance: give the maps that `mitoxai explain` wrote with --maps."
            )
