"""Write a section as a pyramidal OME-Zarr image, which opens at once however large it is."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from napari_mitoxai.common import CancelToken, ProgressCallback, no_progress
from napari_mitoxai.tasks.parameters import ADVANCED, ReadingParameters


class ConvertParameters(ReadingParameters):
    """What converting needs to know."""

    path: Path = Field(
        title="Section", description="The section: a file or a folder.", json_schema_extra={"argument": True}
    )
    out: Path = Field(
        title="OME-Zarr",
        description="The image to write, ending in .ome.zarr.",
        json_schema_extra={"argument": True},
    )
    overwrite: bool = Field(
        default=False, title="Replace existing image", description="Whether an existing OME-Zarr may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class ConvertResult:
    """A converted section.

    Attributes
    ----------
    section, out : Path
        What was converted, and the image.
    shape : tuple of int
        (C, Y, X).
    levels : int
        Of the pyramid.
    warnings : tuple of str
        What a user should know about how the section was read.
    """

    section: Path
    out: Path
    shape: tuple[int, int, int]
    levels: int
    warnings: tuple[str, ...]


def run(
    parameters: ConvertParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> ConvertResult:
    """Convert a section.

    Raises
    ------
    MitoxaiError
        If the section cannot be read, or the image exists or cannot be written.
    Cancelled
        If it was cancelled; the same call goes on where it stopped.
    """
    from napari_mitoxai.imc import read_section, write_ome_zarr

    section = read_section(parameters.path, acquisition=parameters.acquisition, panel=parameters.panel)
    write_ome_zarr(parameters.out, section, overwrite=parameters.overwrite, progress=progress, cancel=cancel)
    levels = read_section(parameters.out).levels
    return ConvertResult(parameters.path, parameters.out, section.shape, len(levels), section.notes)
