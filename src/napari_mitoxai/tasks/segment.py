"""Find the muscle fibres of a section."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_outputs
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    from napari_mitoxai.fibres import Window
    from napari_mitoxai.imc import Section

_STRIP = 512  # rows read at once


class Mode(StrEnum):
    """How fibres are found."""

    WATERSHED = "watershed"
    MITOCYTO = "mitocyto"
    CELLPOSE = "cellpose"


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
        description="Typical diameter of a fibre; mitocyto's steps have sizes of their own.",
        json_schema_extra={"option": "--fibre-size"},
    )
    mode: Mode = Field(
        default=Mode.WATERSHED,
        title="Mode",
        description="watershed needs nothing else; mitocyto repeats the published steps, to compare with its tables; cellpose runs a Cellpose model.",
    )
    channels: list[str] = Field(
        default=[], title="Membrane channels", description="Targets whose sum outlines the fibres; the section's membrane channels by default.",
        json_schema_extra={"option": "--channel"},
    )  # fmt: skip
    weights: Path | None = Field(
        default=None, title="Cellpose model", description="The model file for the mode cellpose.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    download: bool = Field(
        default=False, title="Let Cellpose fetch its model",
        description="Whether Cellpose may download its own model, about 1 GB, if no file is given. Its weights were trained on data for non-commercial use.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace existing labels", description="Whether an existing file may be replaced.",
        json_schema_extra=ADVANCED,
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
    classes : Path
        The table beside it, with a class for each fibre.
    analysable : int
        How many are analysable by the published rule.
    """

    labels: Path
    fibres: int
    classes: Path
    analysable: int


def run(
    parameters: SegmentParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> SegmentResult:
    """Segment the fibres of a section by their membrane, and write the labels and the class of each fibre.

    Raises
    ------
    MitoxaiError
        If the section has no membrane channel, cannot be read, or the labels exist; or the mode needs what is not installed.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.fibres import FibreClass, classes_path, classify, write_classes
    from napari_mitoxai.imc import read_section, write_labels

    if parameters.out.suffix.lower() not in (".tif", ".tiff"):
        raise MitoxaiError(
            f"{parameters.out.name} does not end in .tif or .tiff: name the labels for example FIBRES.tiff."
        )
    table = classes_path(parameters.out)
    refuse_outputs((parameters.out, table), [parameters.section], overwrite=parameters.overwrite)
    section = read_section(parameters.section)
    planes = membrane_planes(section, parameters.channels)
    labels = _labels(section, planes, parameters, progress, cancel)
    progress(Progress("Classing", 0, 1, section.name))
    classes = classify(labels, pixel_size_um=section.pixel_size_um)
    write_labels(parameters.out, labels, pixel_size_um=section.pixel_size_um, overwrite=parameters.overwrite)
    write_classes(table, classes, overwrite=parameters.overwrite)
    analysable = sum(kind is FibreClass.ANALYSABLE for kind in classes.values())
    return SegmentResult(parameters.out, len(classes), table, analysable)


def membrane_planes(section: "Section", channels: Sequence[str]) -> list[int]:
    """The planes whose sum outlines the fibres.

    Raises
    ------
    MitoxaiError
        If a channel is not there, or none is given and the section has no membrane channel that is known.
    """
    from napari_mitoxai.imc import Role

    planes = (
        section.panel.match(list(channels), what=section.name)
        if channels
        else section.panel.with_role(Role.MEMBRANE)
    )
    if not planes:
        raise MitoxaiError(
            f"{section.name} has no membrane channel that is known (it has {', '.join(section.panel.targets)}): choose one under Membrane channels (--channel)."
        )
    return list(planes)


def _labels(
    section: "Section",
    planes: list[int],
    parameters: SegmentParameters,
    progress: ProgressCallback,
    cancel: CancelToken | None,
) -> NDArray[np.int32]:
    if parameters.mode is Mode.WATERSHED:
        from napari_mitoxai.fibres import segment_windows
        from napari_mitoxai.fibres.segmentation import check_sizes

        check_sizes(section.pixel_size_um, parameters.fibre_size_um)
        progress(Progress("Reading", 0, 1, section.name))
        return segment_windows(
            WindowReader(section, planes, cancel),
            section.shape[-2:],
            pixel_size_um=section.pixel_size_um,
            fibre_size_um=parameters.fibre_size_um,
            progress=progress,
            cancel=cancel,
        )
    progress(Progress("Reading", 0, 1, section.name))
    membrane = section.read(planes).sum(0)
    if parameters.mode is Mode.MITOCYTO:
        from napari_mitoxai.fibres.mitocyto import segment_mitocyto

        return segment_mitocyto(membrane, progress=progress, cancel=cancel).labels
    from napari_mitoxai.fibres.cellpose import segment_cellpose

    return segment_cellpose(
        membrane,
        weights=parameters.weights,
        download=parameters.download,
        pixel_size_um=section.pixel_size_um,
        fibre_size_um=parameters.fibre_size_um,
        progress=progress,
        cancel=cancel,
    )


class WindowReader:
    """Reads windows of a section for segmenting: the membrane, the density of the other channels, and the tissue.

    Parameters
    ----------
    section : Section
        Read twice: strip by strip for the level of each channel in the tissue, then window by window.
    planes : list of int
        The membrane's.
    cancel : CancelToken, optional
        Checked between strips.
    """

    def __init__(self, section: "Section", planes: list[int], cancel: CancelToken | None = None) -> None:
        from napari_mitoxai.cohort import tissue_mask

        self._section, self._planes = section, planes
        self._others = [index for index in range(len(section.panel)) if index not in planes]
        self._together = _stored_together(section, self._others)
        self._tissue = tissue_mask(section, cancel)
        self._levels = self._find_levels(cancel)

    def _find_levels(self, cancel: CancelToken | None) -> NDArray[np.float64]:
        """The mean of each of the other channels in the tissue."""
        sums, pixels = np.zeros(len(self._others)), 0
        height, width = self._section.shape[-2:]
        for y in range(0, height if self._others else 0, _STRIP):
            if cancel is not None:
                cancel.check()
            place = slice(y, min(y + _STRIP, height)), slice(0, width)
            tissue = self._tissue_in(place)
            for index, counts in enumerate(self._planes_in(place)):
                sums[index] += np.nan_to_num(counts[tissue], posinf=0.0, neginf=0.0).sum(dtype=np.float64)
            pixels += int(tissue.sum())
        return sums / max(pixels, 1)

    def _planes_in(self, place: tuple[slice, slice]) -> Iterator[NDArray[np.float32]]:
        """The counts of the other channels, one after the other."""
        for planes in self._together:
            yield from self._section.read(planes, y=place[0], x=place[1])

    def _tissue_in(self, place: tuple[slice, slice]) -> NDArray[np.bool_]:
        from napari_mitoxai.cohort import TISSUE_BLOCK

        y, x = (np.arange(one.start, one.stop) // TISSUE_BLOCK for one in place)
        return np.asarray(self._tissue[np.ix_(y, x)])

    def __call__(self, place: tuple[slice, slice]) -> "Window":
        """Read the window at these rows and columns."""
        from napari_mitoxai.fibres import Window, mean_density

        membrane = self._section.read(self._planes, y=place[0], x=place[1]).sum(0)
        density = None
        if self._others:
            density = mean_density(self._planes_in(place), self._levels)
        return Window(membrane, density, self._tissue_in(place))


def _stored_together(section: "Section", planes: Sequence[int]) -> list[list[int]]:
    """Planes in order, those of one stored block side by side: blocks are decoded once, and no more is held than one has."""
    block = np.repeat(np.arange(len(section.data.chunks[0])), section.data.chunks[0])
    return [
        [plane for plane in planes if block[plane] == each]
        for each in dict.fromkeys(block[list(planes)].tolist())
    ]


def preview(
    reader: WindowReader,
    place: tuple[slice, slice],
    *,
    pixel_size_um: float,
    fibre_size_um: float,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> NDArray[np.int32]:
    """Find the fibres of a window of a section, for a look at what a fibre size does; those at its edges may be cut.

    Raises
    ------
    MitoxaiError
        If fibres of that size cannot be found on such pixels.
    Cancelled
        If it was cancelled.
    """
    from napari_mitoxai.fibres import segment_windows
    from napari_mitoxai.fibres.segmentation import check_sizes

    check_sizes(pixel_size_um, fibre_size_um)

    def read(part: tuple[slice, slice]) -> "Window":
        y, x = (
            slice(whole.start + one.start, whole.start + one.stop)
            for one, whole in zip(part, place, strict=True)
        )
        return reader((y, x))

    return segment_windows(
        read,
        (place[0].stop - place[0].start, place[1].stop - place[1].start),
        pixel_size_um=pixel_size_um,
        fibre_size_um=fibre_size_um,
        progress=progress,
        cancel=cancel,
    )
