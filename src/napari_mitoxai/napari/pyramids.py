"""Pyramids of large sections that have none: made once, kept in the user's cache, used as long as the file is the same."""

import hashlib
import json
from dataclasses import replace
from math import prod
from pathlib import Path

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.common.files import remove
from napari_mitoxai.imc import Section, read_section, write_ome_zarr, write_pyramid
from napari_mitoxai.napari.places import cache_folder

# A plane that costs less to decode needs no pyramid: sections of a few thousand pixels a side are drawn as a whole.
_COSTLY = 2**27
# A stored piece that is larger than this is too slow to be decoded whenever the picture moves.
_SLOW_PIECE = 2**26
_FOLDER = "pyramids"


def plane_cost(section: Section) -> int:
    """Bytes that must be decoded to see one plane: where all channels lie together, all of theirs."""
    _, rows, columns = section.data.numblocks
    return prod(section.data.chunksize) * section.data.dtype.itemsize * rows * columns


def needs_pyramid(section: Section) -> bool:
    """Whether a section is large and has no coarser levels."""
    return not section.coarser and plane_cost(section) > _COSTLY and max(section.shape[1:]) > 1024


def has_slow_pieces(section: Section) -> bool:
    """Whether to see any pixel of a section much of a plane must be decoded, so that even its own pixels need a copy."""
    return prod(section.data.chunksize) * section.data.dtype.itemsize > _SLOW_PIECE


def pyramids_folder() -> Path:
    """Where pyramids are kept."""
    return cache_folder() / _FOLDER


def size_on_disk(section: Section) -> int:
    """About how many bytes a pyramid takes: counts are small and pack well."""
    pixels = prod(section.shape) * section.data.dtype.itemsize
    return pixels // (3 if has_slow_pieces(section) else 6)


def with_pyramid(section: Section) -> Section:
    """The section with the coarser levels that were made for it, if there are any and its file has not changed since."""
    if section.coarser or not needs_pyramid(section):
        return section
    store = _store(section)
    if not store.is_dir():
        return section
    try:
        levels = read_section(store).levels
        whole = has_slow_pieces(section)
        expected = section.shape if whole else (section.shape[0], *(side // 2 for side in section.shape[1:]))
        if levels[0].shape != expected:
            return section
    except MitoxaiError:  # damaged: it can be made again
        return section
    if whole:
        return replace(section, data=levels[0], coarser=levels[1:])
    return replace(section, coarser=levels)


def make_pyramid(
    section: Section, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> Section:
    """Make the pyramid of a section, in place of those of earlier versions of its file.

    Returns
    -------
    Section
        With its coarser levels.

    Raises
    ------
    MitoxaiError
        If the section is damaged, or the cache cannot be written.
    Cancelled
        If it was cancelled; the next call goes on where it stopped.
    """
    store = _store(section)
    for old in pyramids_folder().glob(f"{store.name.rsplit('-', 1)[0]}-*"):
        if old != store:
            remove(old)
    if has_slow_pieces(section):
        write_ome_zarr(store, section, overwrite=True, progress=progress, cancel=cancel)
    else:
        write_pyramid(store, section, progress=progress, cancel=cancel)
    return with_pyramid(section)


def kept_bytes() -> int:
    """What all pyramids take of the disk."""
    folder = pyramids_folder()
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0


def clear_pyramids() -> None:
    """Remove all pyramids; they can be made again.

    Raises
    ------
    MitoxaiError
        If one cannot be removed.
    """
    try:
        remove(pyramids_folder())
    except OSError as error:
        raise MitoxaiError(
            f"{pyramids_folder()} cannot be removed ({error.strerror}): close other windows that show its sections."
        ) from error


def _store(section: Section) -> Path:
    """Where the pyramid of just this version of the file is kept."""
    where = hashlib.sha256(str(section.address).encode()).hexdigest()[:10]
    what = json.dumps([_stamp(section.path), section.shape, str(section.data.dtype)])
    version = hashlib.sha256(what.encode()).hexdigest()[:10]
    name = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in section.name)[:60]
    return pyramids_folder() / f"{name}-{where}-{version}.ome.zarr"


def _stamp(path: Path) -> list[list[str | int]]:
    """Name, size and time of a file, or of those in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()]
