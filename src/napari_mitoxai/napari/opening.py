"""Sections that are open, so that the reader, the docks and the tasks speak of the same one."""

from functools import lru_cache
from pathlib import Path

from napari_mitoxai.imc import Section, read_section


def open_section(path: Path | str) -> Section:
    """Open a section, or give back the one that is open already if the file has not changed.

    Raises
    ------
    MitoxaiError
        If it cannot be read.
    """
    path = Path(path)
    modified = path.stat().st_mtime_ns if path.exists() else 0
    return _open(str(path), modified)


@lru_cache(maxsize=32)
def _open(path: str, modified: int) -> Section:
    return read_section(Path(path))
