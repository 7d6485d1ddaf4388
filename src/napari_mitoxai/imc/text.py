"""The text file that the instrument writes for each acquisition: one line a pixel."""

import csv
import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
from dask.delayed import delayed
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.acquisitions import refuse_choice
from napari_mitoxai.imc.limits import MAX_PLANES, check_shape
from napari_mitoxai.imc.names import Names, PanelTable, resolve
from napari_mitoxai.imc.panel import Panel
from napari_mitoxai.imc.section import Section

TEXT_SUFFIXES = (".txt",)

_LEADING = ("Start_push", "End_push", "Pushes_duration", "X", "Y", "Z")
_MAX_HEADER = 2**18
_BLOCK = 2**24  # bytes parsed at once
# an acquisition that was stopped lacks its last lines; more than this share must be there
_LEAST_SHARE = 0.05


def is_imc_text(path: Path) -> bool:
    """Whether a text file begins as the instrument's do; other text files are none of ours."""
    try:
        with path.open("rb") as file:
            return file.read(len(_LEADING[0])) == _LEADING[0].encode()
    except OSError:
        return False


def read_text(path: Path, acquisition: str | None = None, panel: PanelTable | Panel | None = None) -> Section:
    """Open an acquisition's text file.

    The file says nowhere how large the section is: its coordinates are looked through once on opening. The counts are
    parsed when they are first looked at, and all at once.

    Parameters
    ----------
    path : Path
        Tab-separated, six leading columns and one a channel, ``Laminin_681((851))Sm147(Sm147Di)``.
    acquisition : str, optional
        Refused: a file holds one.
    panel : PanelTable or Panel, optional
        The user's channel names, which go before the headers.

    Returns
    -------
    Section
        No counts have been read.

    Raises
    ------
    MitoxaiError
        If it is another kind of text, broken, or its coordinates belong to no image.
    """
    refuse_choice(path, acquisition)
    headers = _headers(path)
    height, width = _size(path, path.stat().st_mtime_ns)
    channels, notes = resolve(len(headers), [Names("column header", headers)], panel, what=path.name)
    shape = (len(headers), height, width)
    check_shape(path.name, shape, shape, 4)
    counts = delayed(_counts)(path, path.stat().st_mtime_ns, shape)
    notes.append("The file has no pixel size; 1 µm is assumed, as is usual for imaging mass cytometry.")
    return Section(
        path.name.removesuffix(path.suffix),
        da.from_delayed(counts, shape, np.float32),
        channels,
        1.0,
        path.resolve(),
        notes=tuple(notes),
        format="IMC text",
        dialect="Hyperion",
    )


def _headers(path: Path) -> list[str]:
    with path.open("rb") as file:
        line = file.readline(_MAX_HEADER)
    columns = line.decode("utf-8", "replace").rstrip("\r\n").split("\t")
    if tuple(columns[:6]) != _LEADING or len(columns) == 6 or len(columns) > MAX_PLANES:
        raise MitoxaiError(
            f"{path.name} is no text file of an IMC instrument (those begin with {', '.join(_LEADING)}): give the section's image."
        )
    return columns[6:]


def _blocks(path: Path) -> Iterator[bytes]:
    """The file without its header, some whole lines at a time."""
    rest = b""
    with path.open("rb") as file:
        file.readline(_MAX_HEADER)
        while block := file.read(_BLOCK):
            end = block.rfind(b"\n") + 1
            if not end and len(block) == _BLOCK:
                raise MitoxaiError(
                    f"{path.name} has a line of more than {_BLOCK / 2**20:.0f} MB: it is damaged; copy it again from its source."
                )
            if end:
                yield rest + block[:end]
            rest = block[end:] if end else rest + block
    if rest.strip():
        yield rest


def _tables(path: Path, columns: list[int] | None) -> Iterator[pd.DataFrame]:
    """The file's numbers, some lines at a time."""
    try:
        for block in _blocks(path):
            if block.strip():
                yield pd.read_csv(
                    io.BytesIO(block), sep="\t", header=None, usecols=columns, dtype=np.float32,
                    encoding_errors="replace", na_filter=False, quoting=csv.QUOTE_NONE,
                )  # fmt: skip
    except (ValueError, OverflowError, pd.errors.ParserError) as error:
        raise MitoxaiError(
            f"{path.name} has a line that is cut short or is not numbers: copy it again from its source."
        ) from error


@lru_cache(maxsize=256)
def _size(path: Path, modified: int) -> tuple[int, int]:
    """(Y, X), from the largest coordinates; refused where there are far fewer pixels than those would need."""
    pixels, largest = 0, np.zeros(2)
    for table in _tables(path, [3, 4]):
        places = table.to_numpy(np.float64)
        if not np.isfinite(places).all() or (places < 0).any() or (places % 1).any():
            raise MitoxaiError(f"{path.name} has pixels without a place: copy it again from its source.")
        pixels += len(places)
        largest = np.maximum(largest, places.max(0))
    width, height = (int(value) + 1 for value in largest)
    if pixels == 0 or pixels < _LEAST_SHARE * width * height:
        raise MitoxaiError(
            f"{path.name} has {pixels} pixels, too few for its coordinates, up to X {width - 1} and Y {height - 1}: "
            "it is damaged; copy it again from its source."
        )
    return height, width


@lru_cache(maxsize=2)
def _counts(path: Path, modified: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    counts = np.zeros(shape, np.float32)
    for table in _tables(path, None):
        values = table.to_numpy(np.float32)
        counts[:, values[:, 4].astype(np.intp), values[:, 3].astype(np.intp)] = values[:, 6:].T
    return counts
