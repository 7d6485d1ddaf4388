"""Opening a file or a folder as a Section, lazily: metadata now, pixels when they are looked at."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.folder import image_files, place, read_folder
from napari_mitoxai.imc.limits import one_line
from napari_mitoxai.imc.names import PanelTable, read_panel
from napari_mitoxai.imc.panel import Panel
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.tiff import TIFF_SUFFIXES, read_tiff, stem

FileReader = Callable[[Path, str | None, PanelTable | Panel | None], Section]

# A file dialect is one reader here: the suffixes it answers to and the function that opens it.
_FILE_READERS: dict[tuple[str, ...], FileReader] = {TIFF_SUFFIXES: read_tiff}


def _file_reader(path: Path) -> FileReader | None:
    for suffixes, reader in _FILE_READERS.items():
        if path.name.lower().endswith(suffixes):
            return reader
    return None


def can_read(path: Path | str) -> bool:
    """Whether `path` looks like a section: an ending that is known, or a folder with image files in it."""
    path = Path(path)
    if path.is_dir():
        return not path.name.endswith(".zarr") and bool(image_files(path))
    return _file_reader(path) is not None


def read_section(
    path: Path | str, *, acquisition: str | int | None = None, panel: Path | str | Panel | None = None
) -> Section:
    """Open a section.

    Parameters
    ----------
    path : Path
        A TIFF or OME-TIFF stack, an OME-Zarr, an .mcd or .txt of the instrument, or a folder with one image file a channel
        (TIFF, JPEG or PNG).
    acquisition : str or int, optional
        Which image of a file that has several, by its id or description; the first that can be opened by default.
    panel : Path or Panel, optional
        The user's channel names, which go before those in the file: a table (`read_panel`) or a Panel.

    Returns
    -------
    Section
        Nothing but metadata has been read.

    Raises
    ------
    MitoxaiError
        If it is not there, no image, damaged, or its planes do not fit together.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MitoxaiError(f"{path} is not there: check the path.")
    wanted = None if acquisition is None else str(acquisition)
    names = read_panel(panel) if isinstance(panel, str | Path) else panel
    try:
        section = _reader(path)(path, wanted, names)
    except OSError as error:
        raise MitoxaiError(
            f"{path} cannot be read ({one_line(error)}): check that you may open it, and copy it again."
        ) from error
    subject, group = place(path)
    return replace(section, subject=section.subject or subject, group=section.group or group)


def _reader(path: Path) -> FileReader:
    if path.is_dir():
        return read_folder
    reader = _file_reader(path)
    if reader is None:
        raise MitoxaiError(
            f"{path} is not a kind of image that is known here: give a TIFF, an OME-TIFF or a folder with one file a channel."
        )
    return reader


def read_labels(path: Path | str) -> NDArray[np.int32]:
    """Read a label image.

    Parameters
    ----------
    path : Path
        A TIFF with one plane of whole numbers; 0 is outside.

    Returns
    -------
    ndarray of int32
        (Y, X), the labels as stored.

    Raises
    ------
    MitoxaiError
        If it is not there, damaged, or not one plane of whole numbers.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MitoxaiError(f"{path} is not there: check the path.")
    try:
        with tifffile.TiffFile(path, _multifile=False) as file:
            labels = np.squeeze(file.asarray())
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise MitoxaiError(
            f"{path} cannot be read as labels ({error}): give a TIFF label image, as `mitoxai segment` writes."
        ) from error
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise MitoxaiError(
            f"{path} holds {labels.dtype} with shape {labels.shape}, not one plane of labels: give the label image of one section."
        )
    return labels.astype(np.int32)


__all__ = ["can_read", "read_labels", "read_section", "stem"]
