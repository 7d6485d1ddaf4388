"""Measure the fibres of a section: size, shape and every channel, one row a fibre."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_outputs
from napari_mitoxai.tasks.fields import ReplaceTable
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_mitoxai.imc import Section


class MeasureParameters(TaskParameters):
    """What measuring needs to know."""

    section: Path = Field(
        title="Section", description="The section: a file or a folder.", json_schema_extra={"argument": True}
    )
    fibres: Path = Field(title="Fibres", description="The label image of its fibres.")
    out: Path = Field(title="Table", description="The table to write, ending in .csv or .parquet.")
    long: bool = Field(
        default=False, title="Long form", description="Write a row a fibre and quantity instead of a row a fibre.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    outline: bool = Field(
        default=False, title="On the outline", description="Measure the channels on the line of pixels around each fibre, where mitocyto measures, instead of inside.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    percentiles: list[float] = Field(
        default=[5.0, 25.0, 75.0, 95.0], title="Percentiles", description="Of every channel in a fibre, 0 to 100.",
        json_schema_extra={"option": "--percentile", "advanced": True},
    )  # fmt: skip
    columns: Literal["mitoxai", "mitocyto", "analysis2Dmito"] = Field(
        default="mitoxai", title="Columns", description="Of which tool the columns are; mitocyto's and analysis2Dmito's tables are long.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    subject: str = Field(
        default="", title="Subject", description="Whose section it is; by default what its folder says, or its name.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    group: str = Field(
        default="", title="Group", description="control or patient; by default what the section's folder says.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    classes: Path | None = Field(
        default=None, title="Classes",
        description="The table of the fibres' classes; by default the one beside the labels. Fibres that nobody classed get their class by the published rule.",
        json_schema_extra=ADVANCED,
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
    keep_all: bool = Field(
        default=False, title="Keep all fibres", description="Let fibres count in the answers on maps that are not analysable by their class, or next to empty; they are in the tables in any case.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
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
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    figure: Path | None = Field(
        default=None, title="Figure", description="Where the relevance falls, as a picture: .pdf, .svg, .png or .tiff.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    overwrite: ReplaceTable = False


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
    classes : dict of int
        How many there are of each class.
    near_empty : int
        How many hold next to nothing.
    """

    table: Path
    fibres: int
    columns: list[str]
    classes: dict[str, int]
    near_empty: int


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
    return measure_and_write(parameters, progress=progress, cancel=cancel)[0]


def measure_and_write(
    parameters: MeasureParameters,
    labels: "NDArray[np.integer] | None" = None,
    by_hand: Mapping[int, str] | None = None,
    *,
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
    by_hand : mapping of int to str, optional
        With `labels`: the classes that a person gave; there is no other table of them then.
    progress, cancel : callable, CancelToken
        As for `run`.
    """
    from napari_mitoxai.fibres.measurement import measure_like_mitocyto
    from napari_mitoxai.fibres.tables import (
        refuse_ending,
        to_analysis_2d_mito,
        to_long,
        with_a_line,
        write_table,
    )
    from napari_mitoxai.imc import read_labels, read_section

    refuse_ending(parameters.out)
    inputs = (parameters.section, parameters.fibres, parameters.classes)
    refuse_outputs([parameters.out], inputs, overwrite=parameters.overwrite)
    section = read_section(parameters.section)
    given = classes_by_hand(parameters) if labels is None else by_hand or {}
    if labels is None:
        labels = read_labels(parameters.fibres)
    table, whose = measured_table(parameters, section, labels, given, progress, cancel)
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
        written = with_a_line(table, section=section.name, **whose)
        written = to_long(written) if parameters.long else written
    write_table(parameters.out, written, overwrite=parameters.overwrite)
    return MeasureResult(parameters.out, len(table), list(written.columns), *counted(table)), table


def counted(table: "pd.DataFrame") -> tuple[dict[str, int], int]:
    """How many fibres there are of each class, and how many are near-empty."""
    classes = table["class"].value_counts()
    return {str(name): int(number) for name, number in classes.items()}, int(table["near_empty"].sum())


def classes_by_hand(parameters: MeasureParameters) -> dict[int, str]:
    """The classes that a person gave, from the table that is named, or else from the one beside the labels, if it is there."""
    from napari_mitoxai.fibres import classes_path, read_classes

    path = parameters.classes or classes_path(parameters.fibres)
    if parameters.classes is None and not path.is_file():
        return {}
    kinds, by_hand = read_classes(path)
    return {fibre: kinds[fibre].value for fibre in by_hand}


def measured_table(
    parameters: MeasureParameters,
    section: "Section",
    labels: "NDArray[np.integer]",
    by_hand: Mapping[int, str],
    progress: ProgressCallback,
    cancel: CancelToken | None,
) -> tuple["pd.DataFrame", dict[str, str | None]]:
    """The measurements, a row a fibre, with its class and of which labels it is; and whose the section is."""
    from napari_mitoxai.fibres import classify
    from napari_mitoxai.fibres.identity import digest
    from napari_mitoxai.fibres.measurement import measure

    table = measure(
        section,
        labels,
        percents=parameters.percentiles,
        outline=parameters.outline,
        progress=progress,
        cancel=cancel,
    )
    kinds = {
        fibre: kind.value for fibre, kind in classify(labels, pixel_size_um=section.pixel_size_um).items()
    }
    table["class"] = table["fibre"].map(kinds | dict(by_hand)).astype(object)
    table["class_by"] = np.where(table["fibre"].isin(list(by_hand)), "hand", "rule")
    table["labels"] = digest(labels)
    # what is not known is left to the section's name when fibres are called
    whose = {"subject": parameters.subject or section.subject, "group": parameters.group or section.group}
    return table.assign(**{name: value for name, value in whose.items() if value}), whose


def _refuse_what_needs_maps(parameters: MeasureParameters) -> None:
    if parameters.keep_all:
        raise MitoxaiError(
            "--keep-all is about the answers on maps: a table has all fibres in any case; `mitoxai oxphos` has the same option."
        )
    for name in ("calls", "figure"):
        if getattr(parameters, name) is not None:
            raise MitoxaiError(
                f"--{name} is about relevance: give the maps that `mitoxai explain` wrote with --maps."
            )
