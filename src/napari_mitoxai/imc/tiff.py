"""TIFF stacks: OME-TIFF of every writer, MCD Viewer's exports, ImageJ's and plain ones, with or without a pyramid."""

import io
import logging
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask.array as da
import tifffile

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.acquisitions import Acquisition, choose
from napari_mitoxai.imc.limits import MAX_XML, check_shape, one_line
from napari_mitoxai.imc.names import Names, PanelTable, resolve
from napari_mitoxai.imc.ome_xml import Ome, OmeImage, micrometres, read_ome
from napari_mitoxai.imc.panel import Panel
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.stored_planes import StoredPlanes, lazy_planes
from napari_mitoxai.imc.tiff_planes import open_interleaved, open_level, refuse_beyond, stored_dtype

TIFF_SUFFIXES = (".tif", ".tiff")

_PAGE_NAME = 285
_MAX_PAGES = 1_000_000  # a page a row of pixels, as xtiff writes them broken
_MAX_SORTED = 10_000  # pages of other files: to find which belong together takes the square of their number
_MAX_NAMED_PAGES = 4096
_AXES = {"T": "time points", "Z": "depths", "I": "images", "Q": "an unknown axis", "S": "samples"}
# of the element Creator or the tag Software: what is in it, and what to call its writer
_WRITERS = {
    "bio-formats": "Bio-Formats",
    "imctools": "imctools",
    "xtiff": "xtiff",
    "steinbock": "steinbock",
    "tifffile": "tifffile",
}

# tifffile logs what is odd in a file; what matters to a user is said as an error or a note instead.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class TiffImage:
    """One image of a TIFF.

    Attributes
    ----------
    levels : tuple of dask.array.Array
        (C, Y, X), finest first.
    axes : str
        The axes that the file declares.
    found : tuple of Names
        Channel names, the most trusted first.
    pixel_size_um : float or None
        Where the file has one.
    format, dialect : str
        Kind of file, and who writes such.
    notes : tuple of str
        What was repaired.
    """

    levels: tuple[da.Array, ...]
    axes: str
    found: tuple[Names, ...]
    pixel_size_um: float | None
    format: str
    dialect: str
    notes: tuple[str, ...] = ()


def stem(path: Path) -> str:
    """A file's name without its ending, ``.ome.tiff`` included."""
    name = path.name
    for suffix in (*TIFF_SUFFIXES, ".ome"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def read_tiff(path: Path, acquisition: str | None = None, panel: PanelTable | Panel | None = None) -> Section:
    """Open a TIFF stack lazily.

    Parameters
    ----------
    path : Path
        OME-TIFF, or a TIFF with a page a channel.
    acquisition : str, optional
        Which image of a file with several, by its number or name; the first by default.
    panel : PanelTable or Panel, optional
        The user's channel names, which go before the file's.

    Returns
    -------
    Section
        Nothing but metadata has been read.

    Raises
    ------
    MitoxaiError
        If it is not a TIFF, truncated, a colour picture, or has more than one axis beside Y and X.
    """
    image, chosen, acquisitions = open_tiff(path, acquisition)
    notes = list(image.notes)
    if len(acquisitions) > 1:
        notes.append(
            f"The file has {len(acquisitions)} images ({', '.join(each.description or each.id for each in acquisitions)}); "
            f"this is {chosen.description or chosen.id}."
        )
    if image.axes not in ("CYX", "YX"):
        notes.append(
            f"The file declares its planes as {_AXES.get(image.axes[0], image.axes[0])}; they are read as channels."
        )
    channels, about_names = resolve(image.levels[0].shape[0], image.found, panel, what=path.name)
    pixel_size = image.pixel_size_um
    if pixel_size is None:
        pixel_size = 1.0
        about_names.append(
            "The file has no pixel size; 1 µm is assumed, as is usual for imaging mass cytometry."
        )
    several = len(acquisitions) > 1
    return Section(
        f"{stem(path)} {chosen.id}" if several else stem(path),
        image.levels[0],
        channels,
        pixel_size,
        path.resolve(),
        notes=(*notes, *about_names),
        coarser=image.levels[1:],
        format=image.format,
        dialect=image.dialect,
        acquisition=chosen.id if several else None,
        acquisitions=acquisitions if several else (),
    )


class _Handle(io.BufferedReader):
    """A file that is closed with the last array that reads its pixels: lazy arrays have no other end."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def __del__(self) -> None:
        self.close()


def open_tiff(
    path: Path, acquisition: str | None = None
) -> tuple[TiffImage, Acquisition, tuple[Acquisition, ...]]:
    """Open one image of a TIFF lazily.

    Returns
    -------
    image : TiffImage
        The one asked for.
    chosen : Acquisition
        Which it is.
    acquisitions : tuple of Acquisition
        All images of the file.

    Raises
    ------
    MitoxaiError
        If it is not a TIFF, truncated, a colour picture, or has more than one axis beside Y and X.
    """
    with ExitStack() as closing:
        try:
            handle = closing.enter_context(_Handle(path))
            # without these, names inside a file, or files beside it, make tifffile open other files of the disk
            file = tifffile.TiffFile(handle, _multifile=False, is_mmstack=False, is_ndtiff=False)
            opened = _open_image(path, file, acquisition)
        except MitoxaiError:
            raise
        except Exception as error:  # what tifffile raises on a damaged file depends on the damaged byte
            raise MitoxaiError(
                f"{path.name} is not a readable TIFF ({one_line(error)}): copy it again, or export it again as OME-TIFF."
            ) from error
        closing.pop_all()  # its pixels are read later
    return opened


def _open_image(
    path: Path, file: tifffile.TiffFile, acquisition: str | None
) -> tuple[TiffImage, Acquisition, tuple[Acquisition, ...]]:
    planes = _count_pages(path, file)
    ome = _ome(path, file)
    if ome is not None:
        _refuse_absent_planes(path, ome, planes)
        repaired = _repaired(path, file, ome, planes)
        if repaired is not None:
            return repaired, choose(path, [Acquisition("0", ome.images[0].name)], acquisition), ()
    if planes > _MAX_SORTED:
        raise MitoxaiError(
            f"{path.name} has {planes} pages, more than any section: export its sections into files of their own."
        )
    # an image without pixels is no series: the two lists must run in step
    images = [image for image in ome.images if image.planes] if ome is not None else []
    series = list(file.series)
    acquisitions = tuple(
        Acquisition(
            str(index),
            images[index].name if index < len(images) else one.name,
            _shape_of(one),
        )
        for index, one in enumerate(series)
    )
    chosen = choose(path, acquisitions, acquisition)
    index = int(chosen.id)
    image = images[index] if index < len(images) else None
    return _open_series(path, file, series[index], ome, image), chosen, acquisitions


def _shape_of(series: tifffile.TiffPageSeries) -> tuple[int, int, int] | None:
    shape = series.get_shape(squeeze=True)
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else None


def _count_pages(path: Path, file: tifffile.TiffFile) -> int:
    """Follow the list of pages to its end, which a file cut short does not have and a malicious one never reaches."""
    layout, handle = file.tiff, file.filehandle
    seen: set[int] = set()
    offset = file.pages.first.offset
    while offset:
        if offset in seen or len(seen) >= _MAX_PAGES:
            raise MitoxaiError(
                f"{path.name} has a list of planes without an end: it is damaged; copy it again."
            )
        seen.add(offset)
        handle.seek(offset)
        try:
            (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
            handle.seek(offset + layout.tagnosize + tags * layout.tagsize)
            (offset,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
        except (struct.error, OSError, OverflowError) as error:
            raise MitoxaiError(
                f"{path.name} is cut short (its list of planes breaks off): copy it again from its source."
            ) from error
    return len(seen)


def _ome(path: Path, file: tifffile.TiffFile) -> Ome | None:
    text = file.pages.first.description
    if len(text) > MAX_XML or not file.is_ome:
        if text.lstrip()[:5] == "<?xml" and "<OME" in text[:2000]:
            return read_ome(path.name, text)  # says what is wrong with it
        return None
    return read_ome(path.name, text)


def _refuse_absent_planes(path: Path, ome: Ome, planes: int) -> None:
    elsewhere = {name for image in ome.images for name in image.elsewhere if name != path.name}
    declared = sum(image.planes for image in ome.images)
    if declared > planes and elsewhere:
        raise MitoxaiError(
            f"{path.name} is one file of a set ({', '.join(sorted(elsewhere)[:3])}), and other files are not opened from it: "
            "export the section into one file."
        )
    if declared > planes:
        raise MitoxaiError(
            f"{path.name} declares {declared} planes and holds {planes}: export it again from its source."
        )


def _repaired(path: Path, file: tifffile.TiffFile, ome: Ome, planes: int) -> TiffImage | None:
    """The stack that xtiff meant where a newer tifffile made every row of pixels a page of its own.

    The pixels lie in the file as they should, and so do the metadata; only the pages are cut wrongly.
    """
    image = ome.images[0] if len(ome.images) == 1 else None
    page = file.pages.first
    if image is None or page.dtype is None:
        return None
    channels, height, width = image.size
    if planes != channels * height or page.shape != (width, 1) or image.planes != channels or height == 1:
        return None
    if not page.is_final:
        raise MitoxaiError(
            f"{path.name} has one page a row of pixels, and they are compressed: export it again with an older tifffile."
        )
    check_shape(path.name, image.size, (1, height, width), page.dtype.itemsize)
    size = height * width * page.dtype.itemsize
    start = page.dataoffsets[0]
    last = file.pages[planes - 1].dataoffsets[0] + width * page.dtype.itemsize
    if last - start != channels * size:
        raise MitoxaiError(
            f"{path.name} has one page a row of pixels, and they are not in order: export it again from its source."
        )
    refuse_beyond(path, last)
    stored = StoredPlanes(path, range(start, last, size), (height, width), stored_dtype(file, page))
    return TiffImage(
        (lazy_planes(stored),),
        "CYX",
        (Names("OME name", image.names, image.metals),),
        image.pixel_size_um,
        "OME-TIFF",
        "xtiff",
        (
            "Every row of pixels is a page of its own, as xtiff writes with newer tifffile; the stack was put together again.",
        ),
    )


def _open_series(
    path: Path,
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    ome: Ome | None,
    image: OmeImage | None,
) -> TiffImage:
    axes, shape = series.get_axes(squeeze=True), series.get_shape(squeeze=True)
    interleaved = axes == "YXS" and series.keyframe.photometric != tifffile.PHOTOMETRIC.RGB
    if len(axes) not in (2, 3) or not (axes.endswith("YX") or interleaved):
        raise MitoxaiError(
            f"{path.name} has the axes {axes} with shape {shape}: give a stack of channels, (C, Y, X), of one section."
        )
    if series.dtype is None or series.dtype.kind not in "uif":
        raise MitoxaiError(
            f"{path.name} holds values of the kind {series.dtype}: give a section with counts, whole or decimal numbers."
        )
    levels = [
        open_interleaved(path, level) if interleaved else open_level(path, file, level)
        for level in series.levels
    ]
    coarser = [
        level
        for finer, level in pairwise(levels)
        if level.shape[0] == finer.shape[0] and level.shape[1:] < finer.shape[1:]
    ]
    found = []
    if image is not None:
        found.append(Names("OME name", image.names, image.metals))
    pages = _page_names(series)
    if any(pages):
        found.append(Names("page name", pages))
    about = (file.imagej_metadata or {}) if file.is_imagej else {}
    if about.get("images", 1) > levels[0].shape[0]:
        raise MitoxaiError(
            f"{path.name} is cut short ({levels[0].shape[0]} of {about['images']} planes are there): copy it again from its source."
        )
    labels = about.get("Labels")
    if isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels):
        found.append(Names("ImageJ label", labels))
    kind = "OME-TIFF" if ome is not None else "TIFF"
    return TiffImage(
        (levels[0], *(coarser if len(coarser) == len(levels) - 1 else [])),
        "SYX" if interleaved else axes,
        tuple(found),
        image.pixel_size_um if image is not None else _imagej_pixel_size(series.keyframe, about),
        kind,
        _dialect(file, ome, axes, any(pages)),
    )


def _dialect(file: tifffile.TiffFile, ome: Ome | None, axes: str, page_names: bool) -> str:
    if page_names and ome is None:
        return "MCD Viewer 16-bit"
    if page_names and axes[0] in "TZ":
        return "MCD Viewer 32-bit"
    writers = f"{ome.creator if ome is not None else ''} {file.pages.first.software}".lower()
    for sign, writer in _WRITERS.items():
        if ome is not None and sign in writers:
            return writer
    if file.is_imagej:
        return "ImageJ"
    return "OME" if ome is not None else "plain"


def _page_names(series: tifffile.TiffPageSeries) -> list[str]:
    if len(series) > _MAX_NAMED_PAGES:
        return []
    names = []
    for page in series:
        tag = page.aspage().tags.get(_PAGE_NAME) if page is not None else None
        names.append(tag.value.strip() if tag is not None and isinstance(tag.value, str) else "")
    return names


def _imagej_pixel_size(page: tifffile.TiffPage, about: dict[str, Any]) -> float | None:
    """ImageJ keeps pixels a unit as the resolution, and the unit in its own text."""
    resolution = page.tags.get(282)
    value = resolution.value if resolution is not None else None
    if not isinstance(value, tuple) or len(value) != 2 or value[0] <= 0 or "unit" not in about:
        return None
    unit = str(about["unit"]).replace("\\u00B5", "µ")
    return micrometres(value[1] / value[0], unit)
