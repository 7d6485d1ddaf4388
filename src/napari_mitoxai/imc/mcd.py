"""The instrument's .mcd file: several acquisitions, their panels, and pictures of the slide.

Read piece by piece with code of our own: the library for these files, readimc, looks at the coordinates of all pixels for
every region, and one damaged acquisition makes it refuse the whole file. The tests compare with it.
"""

import io
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.acquisitions import Acquisition, choose
from napari_mitoxai.imc.limits import MAX_PLANES, MAX_XML, check_shape, one_line
from napari_mitoxai.imc.names import Names, PanelTable, resolve
from napari_mitoxai.imc.ome_xml import safe_xml
from napari_mitoxai.imc.panel import Panel
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.stored_planes import as_slices

MCD_SUFFIXES = (".mcd",)

_ENCODING = "utf-16-le"
_BEGIN, _END = ("<MCDSchema".encode(_ENCODING), "</MCDSchema>".encode(_ENCODING))
_TAIL = 4 * MAX_XML  # the schema stands at the end of the file
_PLACES = 3  # X, Y and Z come before the channels
_VALUE = np.dtype("<f4")
_BAND = 2**25  # bytes of pixels read at once; all channels of a pixel lie together
_PROBES = 64
_MAX_ACQUISITIONS = 2000
_LEAST_SHARE = 0.01  # of the declared pixels; a stopped acquisition has fewer than declared
_MAX_PICTURE = 2**28  # bytes
_PICTURE_HEAD, _PICTURE_FOOT = 161, 1  # what stands around a picture


@dataclass(frozen=True)
class _Pixels:
    """Where an acquisition lies in the file."""

    start: int
    pixels: int
    channels: int
    height: int
    width: int
    in_order: bool


@dataclass(frozen=True)
class _Found:
    """An acquisition as the schema describes it."""

    entry: Acquisition
    names: tuple[str, ...]
    metals: tuple[str, ...]
    pixel_size_um: float | None
    pixels: _Pixels | None
    corner_um: tuple[float, float] | None


@dataclass(frozen=True)
class Panorama:
    """A picture of the slide, taken by the instrument.

    Attributes
    ----------
    id, description : str
        As the operator called it.
    corners_um : tuple of (x, y)
        Where it lies on the slide, in micrometres, y upwards: upper left, upper right, lower right, lower left.
    path : Path
        The .mcd file.
    """

    id: str
    description: str
    corners_um: tuple[tuple[float, float], ...]
    path: Path
    _start: int
    _stop: int

    def read(self) -> NDArray[np.uint8]:
        """The picture now: (Y, X, 3).

        Raises
        ------
        MitoxaiError
            If it is damaged.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._start)
                content = file.read(self._stop - self._start)
            with Image.open(io.BytesIO(content)) as picture:
                return np.asarray(picture.convert("RGB"))
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise MitoxaiError(
                f"{self.description or self.id} in {self.path.name} is not a readable picture ({one_line(error)}); the "
                "acquisitions can be opened without it."
            ) from error


def read_mcd(path: Path, acquisition: str | None = None, panel: PanelTable | Panel | None = None) -> Section:
    """Open one acquisition of an .mcd file lazily.

    Parameters
    ----------
    path : Path
        The file.
    acquisition : str, optional
        Which, by its id or description; the first that can be opened by default.
    panel : PanelTable or Panel, optional
        The user's channel names, which go before those the operator gave.

    Returns
    -------
    Section
        Nothing but metadata has been read; `acquisitions` lists all, also those that cannot be opened, with the reason.

    Raises
    ------
    MitoxaiError
        If it is no .mcd file, or has no acquisition that can be opened.
    """
    schema = _schema(path)
    elements = schema.findall("{*}Acquisition")
    if len(elements) > _MAX_ACQUISITIONS:
        raise MitoxaiError(
            f"{path.name} lists {len(elements)} acquisitions, more than any slide has: it is damaged."
        )
    channels_of: dict[str, list[ElementTree.Element]] = {}
    for channel in schema.findall("{*}AcquisitionChannel"):
        channels_of.setdefault(_text(channel, "AcquisitionID"), []).append(channel)
    found = [_found(path, element, channels_of.get(_text(element, "ID"), [])) for element in elements]
    acquisitions = tuple(each.entry for each in found)
    chosen = choose(path, acquisitions, acquisition)
    one = next(each for each in found if each.entry is chosen)
    assert one.pixels is not None
    notes = []
    if len(found) > 1:
        notes.append(
            f"The file has {len(found)} acquisitions ({', '.join(each.description or each.id for each in acquisitions)}); "
            f"this is {chosen.description or chosen.id}."
        )
    notes += [
        f"Acquisition {each.description or each.id} cannot be opened: {each.problem}."
        for each in acquisitions
        if each.problem
    ]
    place = one.pixels
    if place.pixels < place.height * place.width:
        notes.append(
            f"The acquisition was stopped: {place.pixels} of {place.height * place.width} pixels are there, the others are 0."
        )
    channels, about_names = resolve(
        place.channels, [Names("acquisition", one.names, one.metals)], panel, what=path.name
    )
    if one.pixel_size_um is None:
        about_names.append(
            "The file has no pixel size; 1 µm is assumed, as is usual for imaging mass cytometry."
        )
    stem = path.name.removesuffix(path.suffix)
    return Section(
        f"{stem} {chosen.description or chosen.id}" if len(found) > 1 else stem,
        _lazy(path, place),
        channels,
        one.pixel_size_um or 1.0,
        path.resolve(),
        notes=(*notes, *about_names),
        format="MCD",
        dialect="Hyperion",
        acquisition=chosen.id if len(found) > 1 else None,
        acquisitions=acquisitions if len(found) > 1 else (),
        corner_um=one.corner_um,
    )


def read_panoramas(path: Path | str) -> tuple[Panorama, ...]:
    """The pictures of the slide in an .mcd file; none is decoded before it is asked for.

    Raises
    ------
    MitoxaiError
        If it is no .mcd file.
    """
    path = Path(path).expanduser()
    panoramas = []
    size = path.stat().st_size if path.exists() else 0
    for element in _schema(path).findall("{*}Panorama"):
        start = _whole(element, "ImageStartOffset") + _PICTURE_HEAD
        stop = _whole(element, "ImageEndOffset") - _PICTURE_FOOT
        corners = tuple(
            (_decimal(element, f"SlideX{corner}PosUm"), _decimal(element, f"SlideY{corner}PosUm"))
            for corner in range(1, 5)
        )
        if (
            _text(element, "Type") != "Default"
            and _PICTURE_HEAD < start < stop <= size
            and stop - start < _MAX_PICTURE
        ):
            panoramas.append(
                Panorama(_text(element, "ID"), _text(element, "Description"), corners, path, start, stop)
            )
    return tuple(panoramas)


def _schema(path: Path) -> ElementTree.Element:
    """The XML at the end of the file; where it was written several times, the last."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(size - _TAIL, 0))
            tail = file.read(min(size, _TAIL))
    except OSError as error:
        raise MitoxaiError(f"{path} cannot be read ({one_line(error)}): check the path.") from error
    begin = tail.rfind(_BEGIN)
    end = tail.find(_END, begin)
    if begin < 0 or end < 0:
        raise MitoxaiError(
            f"{path.name} is no .mcd file or is cut short (its description of the acquisitions is missing): copy it again."
        )
    return safe_xml(path.name, tail[begin : end + len(_END)].decode(_ENCODING, "replace"), "metadata")


def _text(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(f"{{*}}{name}") or "").strip()


def _whole(element: ElementTree.Element, name: str) -> int:
    """A whole number, or -1 where there is none."""
    text = _text(element, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def _decimal(element: ElementTree.Element, name: str) -> float:
    try:
        return float(_text(element, name))
    except ValueError:
        return float("nan")


def _found(path: Path, element: ElementTree.Element, channels: list[ElementTree.Element]) -> _Found:
    identity, description = _text(element, "ID"), _text(element, "Description")
    own = [channel for channel in channels if _text(channel, "ChannelName") not in ("X", "Y", "Z")]
    own.sort(key=lambda channel: _whole(channel, "OrderNumber"))
    names = tuple(_text(channel, "ChannelLabel") for channel in own)
    # "Sm(147)"
    metals = tuple(_text(channel, "ChannelName").replace("(", "").replace(")", "") for channel in own)
    distance = _decimal(element, "AblationDistanceBetweenShotsX")
    pixels, problem = None, ""
    try:
        pixels = _place(path, element, len(own))
    except (MitoxaiError, OSError) as error:
        problem = one_line(error).rstrip(".")
    entry = Acquisition(
        identity,
        description,
        (pixels.channels, pixels.height, pixels.width) if pixels is not None else None,
        problem,
    )
    return _Found(entry, names, metals, distance if 0 < distance < 1000 else None, pixels, _corner(element))


def _corner(element: ElementTree.Element) -> tuple[float, float] | None:
    """Where the first pixel's corner lies on the slide; some versions of the instrument's software write it in nanometres."""
    corner = []
    for axis in "XY":
        start, end = _decimal(element, f"ROIStart{axis}PosUm"), _decimal(element, f"ROIEnd{axis}PosUm")
        corner.append(start / 1000 if abs(start / 1000 - end) < abs(start - end) else start)
    return (corner[0], corner[1]) if np.isfinite(corner).all() else None


def _place(path: Path, element: ElementTree.Element, channels: int) -> _Pixels:
    """Where the pixels lie, after what the schema claims was compared with the file."""
    start, end = _whole(element, "DataStartOffset"), _whole(element, "DataEndOffset")
    width, height = _whole(element, "MaxX"), _whole(element, "MaxY")
    record = (channels + _PLACES) * _VALUE.itemsize
    if min(start, end) < 0 or min(width, height) < 0 or _whole(element, "ValueBytes") != _VALUE.itemsize:
        raise MitoxaiError("its description is damaged")
    if not 0 < channels <= MAX_PLANES:
        raise MitoxaiError(f"it has {channels} channels")
    if start == end:
        raise MitoxaiError("it was not acquired, it has no pixels")
    if not start < end <= path.stat().st_size:
        raise MitoxaiError("its pixels end beyond the file")
    pixels = (end - start) // record
    if pixels > width * height or pixels < max(_LEAST_SHARE * width * height, 1):
        raise MitoxaiError(f"it declares {width} x {height} pixels and holds {pixels}")
    check_shape("it", (channels, height, width), (channels, 1, width), _VALUE.itemsize)
    records = np.memmap(path, _VALUE, "r", start, (pixels, channels + _PLACES))
    probes = np.unique(np.linspace(0, pixels - 1, _PROBES).astype(np.intp))
    with np.errstate(invalid="ignore"):  # a damaged place may be no number
        x, y = records[probes, 0].astype(np.float64), records[probes, 1].astype(np.float64)
    in_order = np.array_equal(x, probes % width) and np.array_equal(y, probes // width)
    if not in_order:
        check_shape("it", (channels, height, width), (channels, height, width), _VALUE.itemsize)
    return _Pixels(start, pixels, channels, height, width, in_order)


class _Bands:
    """An acquisition's pixels as an array that dask can slice by rows."""

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(self, path: Path, place: _Pixels) -> None:
        self._path = path
        self._place = place
        self.shape = (place.channels, place.height, place.width)

    def __getitem__(self, key: tuple[slice | int, ...]) -> NDArray[np.float32]:
        (planes, rows, columns), whole = as_slices(key, self.shape)
        top, bottom, step = rows.indices(self.shape[1])
        place = self._place
        first, last = (top * place.width, bottom * place.width) if place.in_order else (0, place.pixels)
        last = min(last, place.pixels)
        counts = np.zeros((place.channels, bottom - top, place.width), np.float32)
        if first < last:
            record = (place.channels + _PLACES) * _VALUE.itemsize
            offset, shape = place.start + first * record, (last - first, place.channels + _PLACES)
            records = np.memmap(self._path, _VALUE, "r", offset, shape)
            with np.errstate(invalid="ignore"):  # a damaged place may be any number, or none
                x, y = records[:, 0].astype(np.float64), records[:, 1].astype(np.float64) - top
            if not ((x >= 0) & (x < place.width) & (y >= 0) & (y < bottom - top)).all():
                raise MitoxaiError(f"{self._path.name} has pixels that are out of place")
            counts[:, y.astype(np.intp), x.astype(np.intp)] = records[:, _PLACES:].T
        return np.ascontiguousarray(counts[planes, ::step, columns][whole])


def _lazy(path: Path, place: _Pixels) -> da.Array:
    row = place.width * (place.channels + _PLACES) * _VALUE.itemsize
    rows = min(max(_BAND // row, 1), place.height) if place.in_order else place.height
    bands = _Bands(path.resolve(), place)
    chunks = (place.channels, rows, place.width)
    data: da.Array = da.from_array(
        bands,
        chunks,
        name=False,
        asarray=False,
        fancy=False,
        inline_array=True,
        meta=np.empty((0, 0, 0), np.float32),
    )
    return data
