"""Writing so that nothing a user made is lost: write beside, verify, replace; refuse to overwrite."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from napari_mitoxai.common.errors import MitoxaiError


def refuse_existing(path: Path, *, overwrite: bool = False) -> None:
    """Raise if `path` exists and may not be replaced.

    Raises
    ------
    MitoxaiError
        If `path` exists and `overwrite` is false, or its parent folder does not exist and cannot be made.
    """
    if path.exists() and not overwrite:
        raise MitoxaiError(
            f"{path} exists already: choose another name, or allow it to be replaced (--overwrite; in the window, tick Replace)."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MitoxaiError(
            f"{path.parent} cannot be made ({error.strerror}): choose another folder."
        ) from error


def refuse_foreign(folder: Path, marker: str, what: str) -> None:
    """Raise if `folder` holds anything but what an earlier call wrote: ``--overwrite`` must not cost a user's own files.

    Parameters
    ----------
    folder : Path
        About to be replaced, if it exists.
    marker : str
        A file that every folder of the right kind has.
    what : str
        That kind, for the message: ``"a run"``.

    Raises
    ------
    MitoxaiError
        If it is a file, or a folder with other things in it.
    """
    if folder.is_dir() and ((folder / marker).is_file() or not any(folder.iterdir())):
        return
    if folder.exists():
        raise MitoxaiError(f"{folder} is not {what} and is not replaced: choose another name.")


def refuse_input(out: Path, *inputs: Path | None) -> None:
    """Raise if an output would replace one of its own inputs.

    Raises
    ------
    MitoxaiError
        If `out` is one of `inputs`, or an input lies in it.
    """
    for path in inputs:
        if path is not None and (path.resolve() == out.resolve() or out.resolve() in path.resolve().parents):
            raise MitoxaiError(f"{out} would replace {path}, which it is made from: choose another name.")


def refuse_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None], *, overwrite: bool) -> None:
    """Refuse what a task would write before it begins; see `refuse_existing` and `refuse_input`. What is None is not written, or not read."""
    inputs = tuple(inputs)
    for path in outputs:
        if path is not None:
            refuse_existing(path, overwrite=overwrite)
            refuse_input(path, *inputs)


@contextmanager
def written_beside(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it to `path` when the block ends without an error.

    The block may make a file or a folder. Whatever it left is removed if it fails, so that no half-written output
    ever stands under the final name.

    Raises
    ------
    MitoxaiError
        If `path` exists and `overwrite` is false, or the disk is full or not writable.
    """
    refuse_existing(path, overwrite=overwrite)
    suffix = "".join(path.suffixes[-2:])
    partial = path.with_name(f".{path.name.removesuffix(suffix)}.{uuid4().hex[:8]}{suffix}")
    try:
        yield partial
        if not partial.is_dir():
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        replace(partial, path)
    except OSError as error:
        raise MitoxaiError(
            f"{path} could not be written ({error.strerror or error}): free the disk or choose another place."
        ) from error
    finally:
        remove(partial)


def replace(source: Path, target: Path) -> None:
    """Move `source` to `target`, a file or a folder, keeping the old target until the new one stands."""
    if target.is_dir() and not target.is_symlink():
        old = target.with_name(f".{target.name}.{uuid4().hex[:8]}.old")
        target.rename(old)
        source.rename(target)
        shutil.rmtree(old)
    else:
        os.replace(source, target)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):  # a read-only disk refuses to remove even what is not there
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any, *, overwrite: bool = True) -> None:
    """Write `content` as indented UTF-8 JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    with written_beside(path, overwrite=overwrite) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    MitoxaiError
        If it is not there or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MitoxaiError(f"{path} is not there: check the path.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MitoxaiError(
            f"{path} is not readable JSON ({error}): it is damaged or another kind of file."
        ) from error


def sha256(path: Path) -> str:
    """SHA-256 of a file, as a hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
