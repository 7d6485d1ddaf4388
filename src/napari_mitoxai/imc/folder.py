"""Folders with one image file a channel, as ``Dataset/controls/C01`` of the published muscle sections."""

import re
from functools import lru_cache
from pathlib import Path

import dask.array as da
import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.panel import Channel, Panel, parse_channel
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.tiff import TIFF_SUFFIXES, open_planes, stem

_PICTURES = (".png", ".jpg", ".jpeg")
_LOSSY = (".jpg", ".jpeg")
# what other tools leave beside the channels
_NOT_CHANNELS = re.compile(r"^\.|thumbs|mitocyto\.png$|BYPIX", re.IGNORECASE)
_GROUP_FOLDERS = {"controls": "control", "control": "control", "patients": "patient", "patient": "patient"}


def image_files(folder: Path) -> list[Path]:
    """The channel files in `folder`, sorted by name; a lossy twin of a TIFF is left out."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.suffix.lower() in (*TIFF_SUFFIXES, *_PICTURES)
        and not _NOT_CHANNELS.search(path.name)
    )
    exact = {stem(path) for path in files if path.suffix.lower() in TIFF_SUFFIXES}
    return [path for path in files if path.suffix.lower() in TIFF_SUFFIXES or path.stem not in exact]


def read_folder(folder: Path) -> Section:
    """Open a folder with one image file a channel as a section, lazily.

    The subject is the folder's name and the group its parent's (``controls`` or ``patients``); file names are only
    asked for the channel, as their subject part is known to be unreliable.

    Parameters
    ----------
    folder : Path
        Holds TIFF, PNG or JPEG files of one size, one plane each.

    Returns
    -------
    Section
        Nothing but metadata has been read.

    Raises
    ------
    MitoxaiError
        If it has no image files, they differ in size, or one is damaged or holds several planes.
    """
    files = image_files(folder)
    if not files:
        raise MitoxaiError(
            f"{folder} has no image files in it: give a folder with one TIFF, PNG or JPEG file a channel."
        )
    planes: list[da.Array] = []
    channels: list[Channel] = []
    pixel_size: float | None = None
    for path in files:
        if path.suffix.lower() in TIFF_SUFFIXES:
            plane, _, metadata = open_planes(path)
            pixel_size = pixel_size or metadata.pixel_size_um
        else:
            plane = _open_picture(path)
        if plane.shape[0] != 1:
            raise MitoxaiError(
                f"{path.name} holds {plane.shape[0]} planes, but a folder is read as one file a channel: open the file itself."
            )
        planes.append(plane)
        channels.append(
            parse_channel(
                stem(path) if path.suffix.lower() in TIFF_SUFFIXES else path.stem, source="file name"
            )
        )
    odd = [path.name for path, plane in zip(files, planes, strict=True) if plane.shape != planes[0].shape]
    if odd:
        raise MitoxaiError(
            f"In {folder} {', '.join(odd)} differ in size from {files[0].name}: keep one section a folder."
        )
    notes = []
    if any(path.suffix.lower() in _LOSSY for path in files):
        notes.append(
            "The channels are JPEG files: 8-bit and lossy, stretched per image; levels cannot be compared between sections."
        )
    if pixel_size is None:
        notes.append("The files have no pixel size; 1 µm is assumed, as is usual for imaging mass cytometry.")
    return Section(
        folder.resolve().name,
        da.concatenate(planes),
        Panel(tuple(channels)),
        pixel_size or 1.0,
        folder.resolve(),
        subject=folder.resolve().name,
        group=_GROUP_FOLDERS.get(folder.resolve().parent.name.lower()),
        notes=tuple(notes),
    )


def _open_picture(path: Path) -> da.Array:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            dtype = np.dtype(
                np.uint16 if picture.mode.startswith("I;16") or picture.mode == "I" else np.uint8
            )
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise MitoxaiError(
            f"{path.name} is not a readable picture ({error}): copy it again from its source."
        ) from error
    # pictures have no tiles: one is decoded as a whole, once, when a part of it is looked at
    decoded = delayed(_decode)(path, path.stat().st_mtime_ns)
    plane: da.Array = da.from_delayed(decoded, shape=(height, width), dtype=dtype)[None]
    return plane


@lru_cache(maxsize=16)
def _decode(path: Path, modified: int) -> NDArray[np.generic]:
    with Image.open(path) as picture:
        grey = picture if picture.mode in ("L", "I", "I;16", "I;16B") else picture.convert("L")
        pixels = np.asarray(grey)
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)
