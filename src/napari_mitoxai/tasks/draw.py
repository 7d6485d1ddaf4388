"""Draw a figure as the Figure tab puts it together: its specification is a parameter, not a file."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from napari_mitoxai.common import CancelToken, ProgressCallback, no_progress
from napari_mitoxai.figures.spec import FigureSpec
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters


class DrawParameters(TaskParameters):
    """What drawing a specification needs to know."""

    spec: FigureSpec = Field(title="Specification", description="What is shown, and how.")
    out: list[Path] = Field(
        min_length=1,
        title="Figure",
        description="The files to write, one a format; a sidecar named after the first lies beside them.",
    )
    overwrite: bool = Field(
        default=False,
        title="Replace an existing figure",
        description="Whether an existing figure may be replaced.",
        json_schema_extra=ADVANCED,
    )


@dataclass(frozen=True)
class DrawResult:
    """A figure.

    Attributes
    ----------
    files : list of Path
        One a format.
    sidecar : Path
        What it was made from.
    """

    files: list[Path]
    sidecar: Path


def run(
    parameters: DrawParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> DrawResult:
    """Draw a figure and write it in all formats, with its sidecar.

    Raises
    ------
    MitoxaiError
        If maps or fibres are not of their section, something that is asked for is not there, or a file exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.tasks.figure import save_spec

    *files, sidecar = save_spec(
        parameters.spec,
        parameters.out,
        overwrite=parameters.overwrite,
        progress=progress,
        cancel=cancel,
    )
    return DrawResult(files, sidecar)
