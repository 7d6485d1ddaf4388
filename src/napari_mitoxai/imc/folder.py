"""Folders: one image file a channel, as the published muscle sections, mitocyto and histoCAT have them, and whole studies."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import dask.array as da
import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray
from PIL import Image

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.acquisitions import refuse_choice
from napari_mitoxai.imc.limits import MAX_PLANES, check_shape, one_line
from napari_mitoxai.imc.names import Names, PanelTable, resolve
from napari_mitoxai.imc.panel import Panel, parse_channel
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.tiff import TIFF_SUFFIXES, open_tiff, stem

_PICTURES = (".png", ".jpg", ".jpeg")
_LOSSY = (".jpg", ".jpeg")
# what other tools leave beside the channels
_NOT_CHANNELS = re.compile(r"^\.|thumbs|mitocyto\.png$|BYPIX|(^|_)(cp_)?masks?\.[a-z.]+$", re.IGNORECASE)
GROUP_FOLDERS = {"controls": "control", "control": "control", "patients": "patient", "patient": "patient"}


def image_files(folder: Path) -> list[Path]:
    """The channel files in `folder`, sorted by name; a lossy twin of a TIFF is left out."""
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.lower().endswith((*TIFF_SUFFIXES, *_PICTURES))
            and not _NOT_CHANNELS.search(entry.name)
            and entry.is_file()
        ]
    files = sorted(folder / name for name in names)
    exact = {stem(path) for path in files if path.suffix.lower() in TIFF_SUFFIXES}
    return [path for path in files if path.suffix.lower() in TIFF_SUFFIXES or path.stem not in exact]


def place(path: Path) -> tuple[str | None, str | None]:
    """The subject and the group of a file or folder, where the layout ``controls/C01`` or ``controls/C01/file`` tells."""
    path = path.resolve()
    name = stem(path) if path.is_file() else path.name.removesuffix(".zarr").removesuffix(".ome")
    for subject, group in ((name, path.parent.name), (path.parent.name, path.parent.parent.name)):
        if group.lower() in GROUP_FOLDERS:
            return subject, GROUP_FOLDERS[group.lower()]
    return None, None


def read_folder(
    folder: Path, acquisition: str | None = None, panel: PanelTable | Panel | None = None
) -> Section:
    """Open a folder with one image file a channel as a section, lazily.

    The subject is the folder's name and the group its parent's (``controls`` or ``patients``); file names are only
    asked for the channel, as their subject part is known to be unreliable.

    Parameters
    ----------
    folder : Path
        Holds TIFF, PNG or JPEG files of one size, one plane each.
    acquisition : str, optional
        Refused: a folder is one section.
    panel : PanelTable or Panel, optional
        The user's channel names, which go before those of the files.

    Returns
    -------
    Section
        Nothing but metadata has been read.

    Raises
    ------
    MitoxaiError
        If it has no image files, they differ in size, or one is damaged or holds several planes.
    """
    refuse_choice(folder, acquisition)
    files = image_files(folder)
    if not files:
        raise MitoxaiError(
            f"{folder} has no image files in it: give a folder with one TIFF, PNG or JPEG file a channel."
        )
    if len(files) > MAX_PLANES:
        raise MitoxaiError(
            f"{folder} has {len(files)} image files, more than any section has channels: give a folder of one section."
        )
    planes: list[da.Array] = []
    found: list[tuple[Names, ...]] = []
    pixel_size: float | None = None
    notes: list[str] = []
    for path in files:
        if path.suffix.lower() in TIFF_SUFFIXES:
            image, _, _ = open_tiff(path)
            plane = image.levels[0]
            found.append(image.found)
            pixel_size = pixel_size or image.pixel_size_um
            notes += [note for note in image.notes if note not in notes]
        else:
            plane = _open_picture(path)
            found.append(())
        if plane.shape[0] != 1:
            raise MitoxaiError(
                f"{path.name} holds {plane.shape[0]} planes, but a folder is read as one file a channel: open the file itself."
            )
        planes.append(plane)
    (usual, _), *others = Counter(plane.shape for plane in planes).most_common()
    if others:
        odd = ", ".join(path.name for path, plane in zip(files, planes, strict=True) if plane.shape != usual)
        raise MitoxaiError(
            f"In {folder} {odd} differ in size from the other files: keep one section a folder."
        )
    if any(path.suffix.lower() in _LOSSY for path in files):
        notes.append(
            "The channels are JPEG files: 8-bit and lossy, stretched per image; levels cannot be compared between sections."
        )
    channels, about_names = resolve(len(files), _names(files, found), panel, what=folder.name)
    if pixel_size is None:
        about_names.append(
            "The files have no pixel size; 1 µm is assumed, as is usual for imaging mass cytometry."
        )
    _, group = place(folder)
    return Section(
        folder.resolve().name,
        da.concatenate(planes),
        channels,
        pixel_size or 1.0,
        folder.resolve(),
        subject=folder.resolve().name,
        group=group,
        notes=(*notes, *about_names),
        format="folder of images",
        dialect="one file a channel",
    )


def _names(files: Sequence[Path], found: Sequence[tuple[Names, ...]]) -> list[Names]:
    """The names of all files, source by source, in the order of trust."""
    collected = []
    for source in ("OME name", "page name", "ImageJ label"):
        each = [next((names for names in of_file if names.source == source), None) for of_file in found]
        if any(each):
            names = [one.names[0] if one is not None and len(one.names) == 1 else "" for one in each]
            metals = [one.metals[0] if one is not None and len(one.metals) == 1 else None for one in each]
            collected.append(Names(source, names, metals))
    stems = [stem(path) if path.suffix.lower() in TIFF_SUFFIXES else path.stem for path in files]
    return [*collected, Names("file name", _without_common_part(stems))]


def _without_common_part(stems: list[str]) -> list[str]:
    """File names without what all of them begin with, where the rest still says which isotope it is."""
    common = os.path.commonprefix(stems)  # noqa: RUF071 - of names, letter by letter
    rest = [name[common.rfind("_") + 1 :] for name in stems]
    return rest if len(stems) > 1 and all(parse_channel(name).metal for name in rest) else stems


def _open_picture(path: Path) -> da.Array:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            dtype = np.dtype(
                np.uint16 if picture.mode.startswith("I;16") or picture.mode == "I" else np.uint8
            )
        check_shape(path.name, (1, height, width), (1, height, width), dtype.itemsize)
    except MitoxaiError:
        raise
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise MitoxaiError(
            f"{path.name} is not a readable picture ({one_line(error)}): copy it again from its source."
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
