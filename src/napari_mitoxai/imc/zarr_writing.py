"""Writing a section as an OME-Zarr 0.5 image with a pyramid, some rows at a time."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray

from napari_mitoxai import __version__
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_foreign, refuse_input, remove, replace
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.imc.limits import one_line
from napari_mitoxai.imc.panel import Role
from napari_mitoxai.imc.section import Section

_CHUNK = 256  # pixels; what a viewer loads
_SHARD = (
    1024  # pixels; a file holds the chunks of such a square, so that a store is not a hundred thousand files
)
_COARSEST = 512  # pixels; a level that fits in this is the last
_BAND = 2**28  # bytes read at once
_FINISHED = "finished.jsonl"
_ORIGIN = "mitoxai_section"
_DISPLAY = (1.0, 99.7)  # percentiles that other viewers are told to show
# what other viewers paint a role in
_COLOURS = {
    Role.MEMBRANE: "FF0000",
    Role.MITOCHONDRIAL_MASS: "00FF00",
    Role.COMPLEX_I: "0072B2",
    Role.COMPLEX_II: "56B4E9",
    Role.COMPLEX_III: "009E73",
    Role.COMPLEX_IV: "E69F00",
    Role.COMPLEX_V: "CC79A7",
}


@dataclass(frozen=True)
class _Band:
    """Rows of some channels of a level: what is written, and noted as finished, at once."""

    level: int
    channels: tuple[int, int]
    rows: tuple[int, int]

    @property
    def key(self) -> list[int]:
        return [self.level, *self.channels, *self.rows]


def write_ome_zarr(
    path: Path,
    section: Section,
    *,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Path:
    """Write a section as a pyramidal OME-Zarr 0.5 image.

    The finest level equals the section's data, in its data type. A coarser pixel is the mean of four finer ones; in whole
    numbers the mean is rounded up or down by chance, in proportion, since rounding would make channels with a
    mean of less than one half black. A call that was cancelled or killed is gone on with by the next one.

    Parameters
    ----------
    path : Path
        Ends in ``.ome.zarr``; it appears when it is whole.
    section : Section
        Read some rows at a time.
    overwrite : bool
        Whether an existing OME-Zarr may be replaced.
    progress, cancel : callable, CancelToken
        Told after, and looked at before, each band of rows.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    MitoxaiError
        If it exists and may not be replaced, cannot be written, or the section is damaged.
    Cancelled
        If `cancel` was used.
    """
    if not path.name.endswith(".ome.zarr"):
        raise MitoxaiError(
            f"{path.name} does not end in .ome.zarr: name the image for example {section.name}.ome.zarr."
        )
    refuse_existing(path, overwrite=overwrite)
    refuse_foreign(path, "zarr.json", "an OME-Zarr image")
    refuse_input(path, section.path)
    if path.resolve().is_relative_to(section.path.resolve()):
        raise MitoxaiError(f"{path} lies in the section itself: choose another folder.")
    return _write(path, section, 0, progress, cancel)


def write_pyramid(
    path: Path,
    section: Section,
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Path:
    """Write the coarser levels of a section alone, as an OME-Zarr 0.5 image that begins at half its resolution.

    For files whose own pixels are quick to read, and for looking at: the means are kept as they are, not rounded to whole numbers.
    An existing image is replaced.

    Parameters
    ----------
    path, section, progress, cancel
        As of `write_ome_zarr`; the same holds of calls that were stopped.

    Raises
    ------
    MitoxaiError
        If it cannot be written, or the section is damaged or so small that it has no coarser level.
    Cancelled
        If `cancel` was used.
    """
    if len(_shapes(section.shape)) == 1:
        raise MitoxaiError(f"{section.name} is so small that it needs no pyramid.")
    return _write(path, section, 1, progress, cancel)


def _write(
    path: Path, section: Section, finest: int, progress: ProgressCallback, cancel: CancelToken | None
) -> Path:
    try:
        partial = _open_partial(path, section, finest)
        _fill(partial, section, finest, progress, cancel)
        _describe(partial, section, finest)
        (partial / _FINISHED).unlink()
        replace(partial, path)
    except OSError as error:
        raise MitoxaiError(
            f"{path} could not be written ({error.strerror or one_line(error)}): free the disk or choose another place; "
            "the same command goes on from there."
        ) from error
    return path


def _shapes(shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    shapes = [shape]
    while max(shapes[-1][1:]) > _COARSEST and min(shapes[-1][1:]) > 1:
        channels, height, width = shapes[-1]
        shapes.append((channels, height // 2, width // 2))
    return shapes


def _open_partial(path: Path, section: Section, finest: int) -> Path:
    """The hidden store beside `path`: the one of an earlier, unfinished call on just this section, or a new one."""
    modified = section.path.stat().st_mtime_ns if section.path.exists() else 0
    asked = {
        "version": __version__,
        "path": str(section.path),
        "modified": modified,
        "acquisition": section.acquisition,
        "shape": section.shape,
        "finest": finest,
        "channels": [channel.label for channel in section.panel],
    }
    fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    partial = path.with_name(f".{path.name.removesuffix('.ome.zarr')}.partial.ome.zarr")
    if (partial / _FINISHED).is_file():
        try:
            root: Any = zarr.open_group(partial, mode="r")
            if root.attrs[_ORIGIN]["fingerprint"] == fingerprint:
                return partial
        except Exception:  # noqa: BLE001 - what is wrong with half a store does not matter: it is made anew
            pass
    remove(partial)
    root = zarr.open_group(partial, mode="w-", zarr_format=3)
    for level, shape in enumerate(_shapes(section.shape)[finest:]):
        small = max(shape[1:]) <= _CHUNK
        root.create_array(
            str(level),
            shape=shape,
            chunks=(1, _CHUNK, _CHUNK) if not small else (1, *shape[1:]),
            shards=(1, _SHARD, _SHARD) if not small else None,
            dtype=np.float32 if finest else section.data.dtype,
            dimension_names=("c", "y", "x"),
            config={"write_empty_chunks": False},
        )
    root.attrs[_ORIGIN] = {
        "fingerprint": fingerprint,
        "name": section.name,
        "path": str(section.path),
        "acquisition": section.acquisition,
        "format": section.format,
        "notes": list(section.notes),
        "provenance": {"software": software(), "started": now()},
    }
    (partial / _FINISHED).touch()
    return partial


def _bands(section: Section, finest: int) -> Iterator[_Band]:
    """What is written at once; levels are counted from the section's own."""
    channels, _, width = section.shape
    itemsize = section.data.dtype.itemsize
    chunk = section.data.chunksize
    # where all channels of a pixel lie together, they are read together, unless that is too much
    together = channels if chunk[0] > 1 and prod((channels, _SHARD, width)) * itemsize <= _BAND else 1
    # a strip is decoded as a whole: take all its rows at once where memory allows
    strips = min(-(-chunk[1] // _SHARD), max(_BAND // (_SHARD * width * itemsize * together), 1))
    for level, shape in list(enumerate(_shapes(section.shape)))[finest:]:
        step = _SHARD * (strips if level == finest else 1)
        for first in range(0, channels, together):
            for top in range(0, shape[1], step):
                yield _Band(level, (first, min(first + together, channels)), (top, min(top + step, shape[1])))


def _fill(
    partial: Path, section: Section, finest: int, progress: ProgressCallback, cancel: CancelToken | None
) -> None:
    root: Any = zarr.open_group(partial, mode="r+")
    bands = list(_bands(section, finest))
    finished = _finished(partial)
    for done, band in enumerate(bands):
        if cancel is not None:
            cancel.check()
        if tuple(band.key) not in finished:
            source = (
                section.data
                if band.level == finest
                else da.from_zarr(root[str(band.level - 1 - finest)], inline_array=True)
            )
            array = root[str(band.level - finest)]
            array[slice(*band.channels), slice(*band.rows)] = _values(
                section, source, band, array.shape[2], array.dtype
            )
            with (partial / _FINISHED).open("a", encoding="utf-8") as file:
                file.write(json.dumps(band.key) + "\n")
        progress(Progress("Converting", done + 1, len(bands), f"level {band.level}"))


def _values(
    section: Section, source: da.Array, band: _Band, width: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    rows = slice(*band.rows) if band.level == 0 else slice(2 * band.rows[0], 2 * band.rows[1])
    columns = slice(None) if band.level == 0 else slice(0, 2 * width)
    try:
        values = np.asarray(source[slice(*band.channels), rows, columns].compute(scheduler="threads"))
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise MitoxaiError(
            f"{section.path} cannot be read ({one_line(error)}): the file is damaged or was moved; copy it again."
        ) from error
    if band.level == 0:
        return values
    mean = halved(values)
    if dtype.kind == "f":
        return mean.astype(dtype)
    chance = np.random.default_rng(band.key).random(mean.shape)
    rounded: NDArray[Any] = np.floor(mean + chance).astype(dtype)
    return rounded


def halved(values: NDArray[Any]) -> NDArray[np.floating]:
    """Means of (..., Y, X) over blocks of 2 x 2 pixels; Y and X are even."""
    # four views are added many times faster than numpy takes the mean over two short axes; 16 bits are exact in float32
    values = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64, copy=False)
    rows = values[..., ::2, :] + values[..., 1::2, :]
    means: NDArray[np.floating] = (rows[..., ::2] + rows[..., 1::2]) * values.dtype.type(0.25)
    return means


def _finished(partial: Path) -> set[tuple[int, ...]]:
    """The bands written so far; the last line of a call that was killed may be broken and is cut off."""
    log = partial / _FINISHED
    content = log.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        log.write_bytes(whole)
    return {tuple(json.loads(line)) for line in whole.splitlines()}


def _describe(partial: Path, section: Section, finest: int) -> None:
    """Write what makes the arrays an OME-Zarr image."""
    root: Any = zarr.open_group(partial, mode="r+")
    pixel = section.pixel_size_um
    datasets = []
    for level in range(finest, len(_shapes(section.shape))):
        # the centre of a coarse pixel is the middle of those it is the mean of
        scale, shift = pixel * 2**level, (2**level - 1) / 2 * pixel
        datasets.append(
            {
                "path": str(level - finest),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, scale, scale]},
                    {"type": "translation", "translation": [0.0, shift, shift]},
                ],
            }
        )
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"),
    ]
    coarsest = np.asarray(root[str(len(datasets) - 1)])
    root.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"name": section.name, "axes": axes, "datasets": datasets, "type": "mean"}],
        "omero": {"channels": [_omero(section, index, plane) for index, plane in enumerate(coarsest)]},
    }


def _omero(section: Section, index: int, plane: NDArray[Any]) -> dict[str, Any]:
    channel = section.panel[index]
    finite = plane[np.isfinite(plane)]
    low, high = (float(value) for value in np.percentile(finite, _DISPLAY)) if finite.size else (0.0, 1.0)
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return {
        "label": channel.target,
        "isotope": f"{channel.mass}{channel.metal}" if channel.metal else "",
        "role": channel.role.value,
        "color": _COLOURS.get(channel.role, "FFFFFF"),
        "active": index < 3,
        "window": {"start": low, "end": max(high, low + 1e-6), "min": least, "max": max(most, least + 1e-6)},
    }
