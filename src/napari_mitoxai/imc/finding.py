"""The sections in a folder of many."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.imc.folder import image_files
from napari_mitoxai.imc.mcd import MCD_SUFFIXES
from napari_mitoxai.imc.ome_zarr import is_ome_zarr
from napari_mitoxai.imc.text import TEXT_SUFFIXES, is_imc_text
from napari_mitoxai.imc.tiff import TIFF_SUFFIXES, open_tiff

# folders beside the sections that hold labels and other things made of them
_NOT_SECTIONS = {"masks", "labels", "fibres", "truth"}
_DEEPEST = 6


def find_sections(folder: Path | str, cancel: CancelToken | None = None) -> list[Path]:
    """The sections in a folder, and in the folders in it, in order of their paths.

    A folder of image files is one section where each file has one plane, and as many as it has files where not; folders
    with labels are left out, and links to other folders are not followed.

    Parameters
    ----------
    folder : Path
        Of one section or many.
    cancel : CancelToken, optional
        Checked in every folder.

    Returns
    -------
    list of Path
        What `read_section` opens, or says why not; `folder` itself where it is a section.

    Raises
    ------
    MitoxaiError
        If there is none.
    Cancelled
        If it was cancelled.
    """
    folder = Path(folder).expanduser()
    found = list(_walk(folder, 0, cancel or CancelToken()))
    if not found:
        raise MitoxaiError(
            f"{folder} has no image files in it: give a section, a folder with one TIFF, PNG or JPEG file a channel, or a folder of such."
        )
    return found


def refuse_many(folder: Path) -> None:
    """Raise if a folder that has no image files itself has sections in the folders in it.

    Raises
    ------
    MitoxaiError
        With the names of the first ones.
    """
    if is_ome_zarr(folder) or image_files(folder):
        return
    first = [str(path.relative_to(folder)) for path in islice(_walk(folder, 0, CancelToken()), 4)]
    if first:
        listed = ", ".join(first[:3]) + (" ..." if len(first) > 3 else "")
        raise MitoxaiError(f"{folder} is a folder of sections ({listed}): open one of them.")


def _walk(folder: Path, depth: int, cancel: CancelToken) -> Iterator[Path]:
    cancel.check()
    if folder.name.endswith(".zarr") or is_ome_zarr(folder):
        yield folder
        return
    try:
        images, inside = image_files(folder), sorted(folder.iterdir())
    except OSError:  # one that may not be opened is told of like any other
        yield folder
        return
    if images and any(_is_stack(path) for path in images):
        yield from images
    elif images:
        yield folder
    for path in inside:
        name = path.name.lower()
        if name.startswith(".") or name in _NOT_SECTIONS:
            continue
        if path.is_dir():
            if depth < _DEEPEST and not path.is_symlink():
                yield from _walk(path, depth + 1, cancel)
        elif name.endswith(MCD_SUFFIXES) or (name.endswith(TEXT_SUFFIXES) and is_imc_text(path)):
            yield path


def _is_stack(path: Path) -> bool:
    if not path.name.lower().endswith(TIFF_SUFFIXES):
        return False
    try:
        return bool(open_tiff(path)[0].levels[0].shape[0] > 1)
    except MitoxaiError:
        return False
