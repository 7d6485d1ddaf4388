"""Writing sections and label images that every IMC tool opens."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_mitoxai.common.files import written_beside
from napari_mitoxai.imc.panel import Panel

_TILE = (256, 256)


def write_section(
    path: Path,
    counts: NDArray[np.generic],
    panel: Panel,
    *,
    pixel_size_um: float = 1.0,
    overwrite: bool = False,
) -> Path:
    """Write a section as a tiled OME-TIFF with channel names and isotopes.

    Parameters
    ----------
    path : Path
        Ends in ``.ome.tiff``.
    counts : ndarray
        (C, Y, X).
    panel : Panel
        One channel a plane.
    pixel_size_um : float
        Side of a pixel.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    MitoxaiError
        If `path` exists and may not be replaced, or cannot be written.
    """
    metadata = {
        "axes": "CYX",
        "PhysicalSizeX": pixel_size_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_size_um,
        "PhysicalSizeYUnit": "µm",
        "Channel": {
            "Name": panel.targets,
            "Fluor": [f"{channel.mass}{channel.metal}" if channel.metal else "" for channel in panel],
        },
    }
    with written_beside(path, overwrite=overwrite) as partial:
        tifffile.imwrite(
            partial,
            counts,
            ome=True,
            photometric="minisblack",
            tile=_TILE,
            compression="zlib",
            metadata=metadata,
        )
    return path


def write_labels(
    path: Path, labels: NDArray[np.integer], *, pixel_size_um: float = 1.0, overwrite: bool = False
) -> Path:
    """Write a label image as a tiled OME-TIFF; 16-bit where the labels fit, else 32-bit.

    Parameters
    ----------
    path : Path
        Ends in ``.tif`` or ``.tiff``.
    labels : ndarray of int
        (Y, X); 0 is outside.
    pixel_size_um : float
        Side of a pixel.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    MitoxaiError
        If `path` exists and may not be replaced, or cannot be written.
    """
    dtype = np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": pixel_size_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_size_um,
        "PhysicalSizeYUnit": "µm",
    }
    with written_beside(path, overwrite=overwrite) as partial:
        tifffile.imwrite(
            partial,
            _tiles(labels, dtype),  # one at a time: a large image is in a file, and not copied
            shape=labels.shape,
            dtype=dtype,
            ome=True,
            photometric="minisblack",
            tile=_TILE,
            compression="zlib",
            metadata=metadata,
        )
    return path


def _tiles(labels: NDArray[np.integer], dtype: type[np.unsignedinteger]) -> Iterator[NDArray[np.integer]]:
    """The tiles of a label image, row by row; those at the end may be smaller."""
    for y in range(0, labels.shape[0], _TILE[0]):
        for x in range(0, labels.shape[1], _TILE[1]):
            yield labels[y : y + _TILE[0], x : x + _TILE[1]].astype(dtype)
