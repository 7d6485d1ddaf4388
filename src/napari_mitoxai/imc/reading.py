"""Opening a file or a folder as a Section, lazily: metadata now, pixels when they are looked at."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.finding import refuse_many
from napari_mitoxai.imc.folder import image_files, place, read_folder
from napari_mitoxai.imc.limits import one_line
from napari_mitoxai.imc.mcd import MCD_SUFFIXES, read_mcd
from napari_mitoxai.imc.names import PanelTable, read_panel
from napari_mitoxai.imc.ome_zarr import is_ome_zarr, read_ome_zarr
from napari_mitoxai.imc.panel import Panel
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.steinbock import read_steinbock_or_tiff
from napari_mitoxai.imc.text import TEXT_SUFFIXES, is_imc_text, read_text
from napari_mitoxai.imc.tiff import TIFF_SUFFIXES, stem

FileReader = Callable[[Path, str | None, PanelTable | Panel | None], Section]

# A file dialect is one reader here: the suffixes it answers to and the function that opens it.
_FILE_READERS: dict[tuple[str, ...], FileReader] = {
    TIFF_SUFFIXES: read_steinbock_or_tiff,
    MCD_SUFFIXES: read_mcd,
    TEXT_SUFFIXES: read_text,
}


def _file_reader(path: Path) -> FileReader | None:
    for suffixes, reader in _FILE_READERS.items():
        if path.name.lower().endswith(suffixes):
            return reader
    return None


def can_read(path: Path | str) -> bool:
    """Whether `path` looks like a section: an ending that is known, or a folder with image files in it."""
    path = Path(path)
    if path.is_dir():
        return is_ome_zarr(path) or (not path.name.endswith(".zarr") and bool(image_files(path)))
    reader = _file_reader(path)
    return reader is not None and (reader is not read_text or is_imc_text(path))


def split_address(address: Path | str) -> tuple[Path, str | None]:
    """The file or folder, and the acquisition in it, that an address names: ``slide.mcd#2`` is acquisition 2 of ``slide.mcd``.

    A path that is there is taken as it is, whatever signs are in its name.
    """
    path = Path(address).expanduser()
    name, sign, acquisition = path.name.rpartition("#")
    if not sign or not name or not acquisition or path.exists() or not path.with_name(name).exists():
        return path, None
    return path.with_name(name), acquisition


def read_section(
    path: Path | str, *, acquisition: str | int | None = None, panel: Path | str | Panel | None = None
) -> Section:
    """Open a section.

    Parameters
    ----------
    path : Path
        A TIFF or OME-TIFF stack, an OME-Zarr, an .mcd or .txt of the instrument, or a folder with one image file a channel
        (TIFF, JPEG or PNG). ``slide.mcd#2`` is acquisition 2 of a file with several.
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
    path, addressed = split_address(path)
    if not path.exists():
        raise MitoxaiError(f"{path} is not there: check the path.")
    if not path.is_file() and not path.is_dir():  # a device may never end
        raise MitoxaiError(f"{path} is no file and no folder: give the section's own.")
    wanted = addressed if acquisition is None else str(acquisition)
    names = read_panel(panel) if isinstance(panel, str | Path) else panel
    try:
        if path.is_dir() and not path.name.endswith(".zarr"):
            refuse_many(path)
        section = _reader(path)(path, wanted, names)
    except OSError as error:
        raise MitoxaiError(
            f"{path} cannot be read ({one_line(error)}): check that you may open it, and copy it again."
        ) from error
    subject, group = place(path)
    return replace(section, subject=section.subject or subject, group=section.group or group)


def _reader(path: Path) -> FileReader:
    if path.is_dir():
        return read_ome_zarr if path.name.endswith(".zarr") or is_ome_zarr(path) else read_folder
    reader = _file_reader(path)
    if reader is None:
        raise MitoxaiError(
            f"{path} is not a kind of image that is known here: give a TIFF, an OME-Zarr, an .mcd or .txt of the instrument, or a folder with one file a channel; unpack archives first."
        )
    return reader


__all__ = ["can_read", "read_section", "split_address", "stem"]
