"""TIFF and OME-TIFF stacks."""

import logging
import struct
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import dask.array as da
import tifffile
import zarr
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.panel import Channel, Panel, parse_channel
from napari_mitoxai.imc.section import Section

TIFF_SUFFIXES = (".tif", ".tiff")

_MICROMETRES = {"µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_MAX_XML = 16 * 2**20

# tifffile logs what is odd in a file; what matters to a user is said as an error or a note instead.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@dataclass
class _Metadata:
    """What a file says of itself."""

    channels: list[Channel] = field(default_factory=list)
    pixel_size_um: float | None = None


def stem(path: Path) -> str:
    """A file's name without its ending, ``.ome.tiff`` included."""
    name = path.name
    for suffix in (*TIFF_SUFFIXES, ".ome"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def read_tiff(path: Path) -> Section:
    """Open a TIFF stack lazily, one stored tile or strip a chunk.

    Parameters
    ----------
    path : Path
        OME-TIFF, or a TIFF with a page a channel.

    Returns
    -------
    Section
        Nothing but metadata has been read.

    Raises
    ------
    MitoxaiError
        If it is not a TIFF, truncated, a colour picture, or has more than one axis beside Y and X.
    """
    data, axes, metadata = open_planes(path)
    notes: list[str] = []
    if axes not in ("CYX", "YX"):
        notes.append(
            f"The file declares its planes as {_AXES.get(axes[0], axes[0])}; they are read as channels."
        )
    channels = metadata.channels
    if len(channels) != data.shape[0]:
        channels = [Channel(f"ch{index}", source="position") for index in range(data.shape[0])]
        notes.append("The file has no channel names; channels are named by their position.")
    pixel_size = metadata.pixel_size_um
    if pixel_size is None:
        pixel_size = 1.0
        notes.append("The file has no pixel size; 1 µm is assumed, as is usual for imaging mass cytometry.")
    return Section(stem(path), data, Panel(tuple(channels)), pixel_size, path.resolve(), notes=tuple(notes))


_AXES = {"T": "time points", "Z": "depths", "I": "images", "Q": "an unknown axis", "S": "samples"}


def open_planes(path: Path) -> tuple[da.Array, str, _Metadata]:
    """Open the planes of a TIFF lazily.

    Returns
    -------
    data : dask.array.Array
        (C, Y, X).
    axes : str
        The axes that the file declares.
    metadata : _Metadata
        Channel names and pixel size, where the file has them.

    Raises
    ------
    MitoxaiError
        If it is not a TIFF, truncated, a colour picture, or has more than one axis beside Y and X.
    """
    try:
        # without _multifile=False, names inside a file can make tifffile open any other file of the disk
        file = tifffile.TiffFile(path, _multifile=False)
        series = file.series[0]
        axes = series.get_axes(squeeze=True)
        shape = series.get_shape(squeeze=True)
    except Exception as error:  # what tifffile raises on a damaged file depends on the damaged byte
        raise MitoxaiError(
            f"{path.name} is not a readable TIFF ({error}): copy it again, or export it again as OME-TIFF."
        ) from error
    if len(axes) not in (2, 3) or not axes.endswith("YX"):
        raise MitoxaiError(
            f"{path.name} has the axes {axes} with shape {shape}: give a stack of channels, (C, Y, X), of one section."
        )
    metadata = _ome_metadata(path, file.ome_metadata) if file.is_ome else _Metadata()
    try:
        _refuse_truncated(path, file, series)
        data = da.from_zarr(zarr.open_array(series.aszarr(squeeze=True), mode="r"))
    except MitoxaiError:
        raise
    except Exception as error:
        raise MitoxaiError(
            f"{path.name} is damaged ({error}): copy it again, or export it again as OME-TIFF."
        ) from error
    if data.ndim == 2:
        data = data[None]
    return data, axes, metadata


def _refuse_truncated(path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """A file cut short still opens: compare where its planes and tiles should be with where it ends."""
    size = path.stat().st_size
    if _next_plane(file) != 0:
        raise MitoxaiError(
            f"{path.name} is cut short (its list of planes breaks off): copy it again from its source."
        )
    planes = 0
    for page in series.pages:
        if page is None:
            continue
        planes += 1
        ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size:
            raise MitoxaiError(
                f"{path.name} is cut short (its pixels end beyond the file): copy it again from its source."
            )
    declared = 1 if len(series.get_shape(squeeze=True)) == 2 else series.get_shape(squeeze=True)[0]
    if planes not in (declared, 1):
        raise MitoxaiError(
            f"{path.name} declares {declared} planes and holds {planes}: export it again from its source."
        )


def _next_plane(file: tifffile.TiffFile) -> int:
    """What the last readable plane says of where the next one is: 0 if the list of planes ends there as it should."""
    layout, handle, last = file.tiff, file.filehandle, file.pages[-1]
    handle.seek(last.offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(last.offset + layout.tagnosize + tags * layout.tagsize)
    (offset,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return int(offset)


def _ome_metadata(path: Path, text: str | None) -> _Metadata:
    if not text:
        return _Metadata()
    if len(text) > _MAX_XML:
        raise MitoxaiError(
            f"{path.name} has {len(text) / 2**20:.0f} MB of OME metadata: this is not a section, export it again."
        )
    try:
        root = fromstring(text, forbid_dtd=True)
    except (DefusedXmlException, ElementTree.ParseError) as error:
        raise MitoxaiError(
            f"{path.name} has unsafe or broken OME metadata ({error}): export it again from its source."
        ) from error
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return _Metadata()
    channels = [
        parse_channel(
            element.get("Name") or f"ch{index}",
            element.get("Fluor"),
            source="OME name" if element.get("Name") else "position",
        )
        for index, element in enumerate(pixels.findall("{*}Channel"))
    ]
    size = pixels.get("PhysicalSizeX")
    unit = _MICROMETRES.get(pixels.get("PhysicalSizeXUnit", "µm"))
    try:
        pixel_size = float(size) * unit if size and unit else None
    except ValueError:
        pixel_size = None
    return _Metadata(channels, pixel_size if pixel_size and pixel_size > 0 else None)
