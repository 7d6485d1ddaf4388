"""Make a figure of sections and their maps, or make one again from its sidecar."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_input
from napari_mitoxai.figures.spec import Box, FigureLook, FigureSpec
from napari_mitoxai.tasks.figure_files import SPEC_ENDINGS, made_from, read_spec, unchanged
from napari_mitoxai.tasks.figure_inputs import Inputs
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters, validated

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FigureParameters(FigureLook, TaskParameters):
    """What a figure needs to know, beside how it looks."""

    section: Path = Field(
        title="Section",
        description="The section: a file or a folder; or a specification of a figure (.yaml), or the sidecar of one (.json) to make it again.",
        json_schema_extra={"argument": True},
    )
    maps: Path | None = Field(default=None, title="Maps", description="The store that explaining wrote.")
    fibres: Path | None = Field(
        default=None, title="Fibres", description="A label image of the fibres, to outline them."
    )
    crop_um: Box | None = Field(
        default=None,
        title="Crop (um)",
        description="Left, top, right and bottom of the part to show; all by default.",
        json_schema_extra=ADVANCED,
    )
    out: Path = Field(
        title="Figure",
        description="The file to write: .png, .pdf, .svg or .tiff; a sidecar .json lies beside it.",
    )
    overwrite: bool = Field(
        default=False,
        title="Replace an existing figure",
        description="Whether an existing figure may be replaced.",
        json_schema_extra=ADVANCED,
    )


@dataclass(frozen=True)
class FigureResult:
    """A figure.

    Attributes
    ----------
    figure : Path
        The file.
    sidecar : Path
        What it was made from; `run` makes the same pixels of it again.
    """

    figure: Path
    sidecar: Path


def run(
    parameters: FigureParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> FigureResult:
    """Draw a figure and write it with its sidecar.

    Raises
    ------
    MitoxaiError
        If maps or fibres are not of their section, something that is asked for is not there, an input changed since the
        sidecar was written, or the figure exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    files = draw_and_save(parameters, [parameters.out], progress, cancel)
    return FigureResult(files[0], files[-1])


def draw_and_save(
    parameters: FigureParameters,
    files: list[Path],
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Draw a figure once and write it in several formats; returns the files and, last, their sidecar."""
    sidecar = files[0].with_suffix(".json")
    # a figure made again under its own name keeps the sidecar that it is made from
    same = sidecar.resolve() == parameters.section.resolve()
    for file in files if same else [*files, sidecar]:
        refuse_existing(file, overwrite=parameters.overwrite)
    spec = spec_of(parameters)
    return save_spec(
        spec, files, overwrite=parameters.overwrite, sidecar=not same, progress=progress, cancel=cancel
    )


def spec_of(parameters: FigureParameters) -> FigureSpec:
    """The whole specification: that of a file with what was given beside it, or one row for a section.

    Raises
    ------
    MitoxaiError
        If the file is no specification, or an input changed since a sidecar was written.
    """
    given = {
        name: getattr(parameters, name)
        for name in FigureLook.model_fields
        if name in parameters.model_fields_set
    }
    if parameters.section.suffix.lower() in SPEC_ENDINGS:
        found = read_spec(parameters.section)
        unchanged(found)
        return validated(FigureSpec, {**found.spec.model_dump(), **given})
    row = {
        "section": parameters.section,
        "maps": [parameters.maps] if parameters.maps is not None else [],
        "fibres": parameters.fibres,
        "crop_um": parameters.crop_um,
    }
    return validated(FigureSpec, {"rows": [row], **given})


def save_spec(
    spec: FigureSpec,
    files: list[Path],
    *,
    overwrite: bool = False,
    sidecar: bool = True,
    inputs: Inputs | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Draw a specification and write it in several formats.

    Parameters
    ----------
    spec : FigureSpec
        What to draw.
    files : list of Path
        A file for each format; the sidecar is named after the first.
    overwrite : bool
        Whether files of these names may be replaced.
    sidecar : bool
        Whether to write one.
    inputs : Inputs, optional
        That holds files which were read before.
    progress, cancel : callable, CancelToken

    Returns
    -------
    list of Path
        The files and, last, where their sidecar is.

    Raises
    ------
    MitoxaiError, Cancelled
        As for `run`.
    """
    from napari_mitoxai.figures import save_figure, write_sidecar
    from napari_mitoxai.figures.saving import figure_format

    cancel, inputs = cancel or CancelToken(), inputs or Inputs()
    beside = files[0].with_suffix(".json")
    for file in files:
        figure_format(file)
    for file in files + [beside] * sidecar:
        refuse_existing(file, overwrite=overwrite)
        for row in spec.rows:
            refuse_input(file, row.section, row.fibres, row.table, *row.maps)
    figure = draw(spec, inputs, progress, cancel)
    made = made_from(spec, inputs, beside.resolve().parent)
    cancel.check()
    for done, file in enumerate(files):
        progress(Progress("Writing", done, len(files), file.name))
        save_figure(figure, file, overwrite=overwrite)
    if sidecar:
        write_sidecar(files, made, overwrite=overwrite)
    progress(Progress("Writing", len(files), len(files), files[0].name))
    return [*files, beside]


def draw(
    spec: FigureSpec,
    inputs: Inputs | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> "Figure":
    """Draw a specification whose paths can be opened from here.

    Parameters
    ----------
    spec : FigureSpec
        What to draw.
    inputs : Inputs, optional
        Reads the files, and says afterwards which were used.
    progress, cancel : callable, CancelToken

    Returns
    -------
    matplotlib.figure.Figure
        Known to nobody else: it may be drawn at another resolution too, with the same contents.
    """
    from napari_mitoxai.figures import compose
    from napari_mitoxai.tasks.figure_rows import rows_of

    inputs = inputs or Inputs()
    inputs.forget_used()
    rows, below = rows_of(spec, inputs, progress, cancel)
    progress(Progress("Drawing", 0, 0, ""))
    look: Any = {name: getattr(spec, name) for name in FigureLook.model_fields}
    return compose(rows, FigureLook(**look), below=below)
