"""The planes of a TIFF as lazy arrays, after what the file claims of them was compared with what it holds."""

from math import prod
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import tifffile
import zarr

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.limits import check_ratio, check_shape
from napari_mitoxai.imc.stored_planes import StoredPlanes, lazy_planes


def stored_dtype(file: tifffile.TiffFile, page: tifffile.TiffPage) -> np.dtype[Any]:
    """The data type of a page as it is stored, its byte order included."""
    assert page.dtype is not None
    return page.dtype.newbyteorder(file.byteorder)


def open_level(path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> da.Array:
    """One level of a pyramid as a lazy (C, Y, X) array, after its claims were compared with the file."""
    shape = series.get_shape(squeeze=True)
    page = series.keyframe
    assert page.dtype is not None
    planes, size = (1 if len(shape) == 2 else shape[0]), (shape[-2], shape[-1])
    pages = list(series.pages)
    alone = len(pages) == 1 and planes > 1  # the others follow the first without pages of their own,
    samples = alone and page.size == planes * prod(size)  # or are samples of one page
    if page.shape[-2:] != size or (page.size != prod(size) and not samples):
        raise MitoxaiError(f"{path.name} has planes of different sizes: export it again from its source.")
    if not alone and (len(pages) != planes or any(each is None for each in pages)):
        raise MitoxaiError(
            f"{path.name} declares {planes} planes and holds {sum(each is not None for each in pages)}: export it again from its source."
        )
    uncompressed = page.is_final and all(each is not None and each.is_final for each in pages)
    if alone and not uncompressed and not samples:
        raise MitoxaiError(
            f"{path.name} declares {planes} planes and holds 1: export it again from its source."
        )
    plane_bytes = prod(size) * page.dtype.itemsize
    if uncompressed:
        check_shape(
            path.name, (planes, *size), (1, min(size[0], 1024), min(size[1], 1024)), page.dtype.itemsize
        )
        offsets = [each.dataoffsets[0] for each in pages if each is not None]
        if alone:
            offsets = [offsets[0] + index * plane_bytes for index in range(planes)]
        refuse_beyond(path, max(offsets) + plane_bytes)
        return lazy_planes(StoredPlanes(path, offsets, size, stored_dtype(file, page)))
    chunk = page.chunks[-2:]
    check_shape(path.name, (planes, *size), (1, *chunk), page.dtype.itemsize)
    for each in pages:
        assert each is not None
        starts, counts = each.dataoffsets, each.databytecounts
        if len(starts) < prod(page.chunked) or len(starts) != len(counts):
            raise MitoxaiError(
                f"{path.name} lacks some of its pixels: it is damaged; copy it again from its source."
            )
        refuse_beyond(path, max(map(sum, zip(starts, counts, strict=True))))
        check_ratio(path.name, prod(chunk) * page.dtype.itemsize, max(counts))
    data: da.Array = da.from_zarr(
        zarr.open_array(series.aszarr(level=0, squeeze=True), mode="r"), inline_array=True
    )
    return data[None] if data.ndim == 2 else data


def open_interleaved(path: Path, series: tifffile.TiffPageSeries) -> da.Array:
    """A page whose pixels hold all channels, as a lazy (C, Y, X) array."""
    page = series.keyframe
    shape = series.get_shape(squeeze=True)
    assert page.dtype is not None
    if page.shape != shape or len(page.dataoffsets) < prod(page.chunked):
        raise MitoxaiError(
            f"{path.name} lacks some of its pixels: it is damaged; copy it again from its source."
        )
    check_shape(path.name, (shape[2], *shape[:2]), (shape[2], *page.chunks[:2]), page.dtype.itemsize)
    refuse_beyond(path, max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))))
    check_ratio(path.name, prod(page.chunks) * page.dtype.itemsize, max(page.databytecounts))
    data = da.from_zarr(zarr.open_array(series.aszarr(level=0, squeeze=True), mode="r"), inline_array=True)
    planes: da.Array = da.moveaxis(data, -1, 0)
    return planes


def refuse_beyond(path: Path, end: int) -> None:
    """Raise if pixels should lie up to `end`, and the file ends before.

    Raises
    ------
    MitoxaiError
        If it is cut short.
    """
    if end > path.stat().st_size:
        raise MitoxaiError(
            f"{path.name} is cut short (its pixels end beyond the file): copy it again from its source."
        )
