"""Find the muscle fibres of a section."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_input
from napari_mitoxai.tasks.parameters import TaskParameters


class SegmentParameters(TaskParameters):
    """What segmenting needs to know."""

    section: Path = Field(
        title="Section", description="The section: a file or a folder.", json_schema_extra={"argument": True}
    )
    out: Path = Field(title="Labels", description="The label image to write, ending in .tif or .tiff.")
    fibre_size_um: float = Field(
        default=50.0,
        ge=5,
        le=500,
        title="Fibre size (µm)",
        description="Typical diameter of a fibre.",
        json_schema_extra={"option": "--fibre-size"},
    )
    channels: list[str] = Field(
        default=[], title="Membrane channels", description="Targets whose sum outlines the fibres; the section's membrane channels by default.",
        json_schema_extra={"option": "--channel"},
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace existing labels", description="Whether an existing file may be replaced.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip


@dataclass(frozen=True)
class SegmentResult:
    """Segmented fibres.

    Attributes
    ----------
    labels : Path
        The label image: 0 outside, 1 to `fibres` inside.
    fibres : int
        How many there are.
    """

    labels: Path
    fibres: int


def run(
    parameters: SegmentParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> SegmentResult:
    """Segment the fibres of a section by their membrane, and write the labels.

    Raises
    ------
    MitoxaiError
        If the section has no membrane channel, cannot be read, or the labels exist.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.cohort import TISSUE_BLOCK, tissue_mask
    from napari_mitoxai.fibres import keep_in_tissue, segment
    from napari_mitoxai.imc import Role, read_section, write_labels

    if parameters.out.suffix.lower() not in (".tif", ".tiff"):
        raise MitoxaiError(
            f"{parameters.out.name} does not end in .tif or .tiff: name the labels for example FIBRES.tiff."
        )
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_input(parameters.out, parameters.section)
    section = read_section(parameters.section)
    if parameters.channels:
        planes = section.panel.match(parameters.channels, what=section.name)
    else:
        planes = section.panel.with_role(Role.MEMBRANE)
    if not planes:
        raise MitoxaiError(
            f"{section.name} has no membrane channel that is known (it has {', '.join(section.panel.targets)}): name one with --channel."
        )
    progress(Progress("Reading", 0, 1, section.name))
    membrane = section.read(planes).sum(0)
    labels = segment(
        membrane,
        pixel_size_um=section.pixel_size_um,
        fibre_size_um=parameters.fibre_size_um,
        progress=progress,
        cancel=cancel,
    )
    labels = keep_in_tissue(labels, tissue_mask(section), TISSUE_BLOCK)
    write_labels(parameters.out, labels, pixel_size_um=section.pixel_size_um, overwrite=parameters.overwrite)
    return SegmentResult(parameters.out, int(labels.max(initial=0)))
