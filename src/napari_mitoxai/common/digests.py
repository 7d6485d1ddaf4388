"""What a file or a folder holds, as one number."""

import hashlib
from pathlib import Path

from napari_mitoxai.common.progress import CancelToken

_BLOCK = 2**22
_OF_DESKTOPS = (".DS_Store", "Thumbs.db", "desktop.ini")


def digest_of(path: Path, cancel: CancelToken | None = None) -> str:
    """SHA-256 of a file; of a folder that of the names in it, with the digests of their files.

    What a desktop leaves in folders does not count.

    Parameters
    ----------
    path : Path
        That exists.
    cancel
        Checked every few megabytes.

    Raises
    ------
    OSError
        If a file cannot be read.
    Cancelled
        If it was cancelled.
    """
    digest = hashlib.sha256()
    if not path.is_dir():
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if cancel is not None:
                    cancel.check()
                digest.update(block)
        return digest.hexdigest()
    for file_path in sorted(path.rglob("*")):
        name = file_path.relative_to(path)
        if file_path.is_file() and file_path.name not in _OF_DESKTOPS:
            digest.update(f"{name.as_posix()}\0{digest_of(file_path, cancel)}\n".encode())
    return digest.hexdigest()
