"""Label images of every tool: one number a fibre, or one colour a fibre."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.limits import MAX_CHUNK, one_line
from napari_mitoxai.imc.tiff import TIFF_SUFFIXES, open_tiff

_PICTURES = (".png",)


def read_labels(path: Path | str) -> NDArray[np.int32]:
    """Read a label image.

    Parameters
    ----------
    path : Path
        A TIFF with one plane of whole numbers, as steinbock, Cellpose (``_cp_masks``) and `mitoxai segment` write; or a PNG: of
        numbers, of one colour a fibre (grey is outside), as mitocyto's ``CONTOURS_mitocyto.png``, or black and white, where
        every patch of white is a fibre. 0 is outside.

    Returns
    -------
    ndarray of int32
        (Y, X), the labels as stored; 1 to n where the file has colours.

    Raises
    ------
    MitoxaiError
        If it is not there, damaged, or not one plane of labels.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MitoxaiError(f"{path} is not there: check the path.")
    if not path.is_file():
        raise MitoxaiError(f"{path} is no file: give the label image of one section.")
    if path.name.endswith("_seg.npy"):
        raise MitoxaiError(
            f"{path.name} can run code when it is opened: give the _cp_masks.tif or _cp_masks.png that Cellpose saves beside it."
        )
    if path.name in ("EDGE_mitocyto.png", "AVE_mitocyto.png"):
        raise MitoxaiError(
            f"{path.name} shows edges, not fibres: give CONTOURS_mitocyto.png, which stands beside it."
        )
    try:
        labels = _from_picture(path) if path.suffix.lower() in _PICTURES else _from_tiff(path)
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise MitoxaiError(
            f"{path} cannot be read as labels ({one_line(error)}): give a TIFF label image, as `mitoxai segment` writes."
        ) from error
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise MitoxaiError(
            f"{path} holds {labels.dtype} with shape {labels.shape}, not one plane of labels: give the label image of one section."
        )
    if labels.size and (labels.min() < 0 or labels.max() >= 2**31):
        raise MitoxaiError(f"{path} has labels below 0 or above 2,147,483,647: number the fibres from 1.")
    return labels.astype(np.int32)


def _from_tiff(path: Path) -> NDArray[np.generic]:
    if not path.name.lower().endswith(TIFF_SUFFIXES):
        raise MitoxaiError("it is neither a TIFF nor a PNG")
    data = open_tiff(path)[0].levels[0]
    if data.nbytes > MAX_CHUNK:
        raise MitoxaiError(f"it has {data.nbytes / 2**30:.0f} GB")
    planes = np.asarray(data.compute(scheduler="threads"))
    return planes[0] if len(planes) == 1 else planes


def _from_picture(path: Path) -> NDArray[np.integer]:
    with Image.open(path) as picture:
        if picture.mode in ("P", "RGB", "RGBA", "LA", "PA"):
            return _from_colours(np.asarray(picture.convert("RGBA")))
        values = np.asarray(picture)
    if values.dtype == bool or (len(np.unique(values)) == 2 and values.max() == 255):
        return _patches(values > 0)
    return values


def _from_colours(pixels: NDArray[np.uint8]) -> NDArray[np.integer]:
    """One label for each patch of one colour; grey and transparent pixels are outside, unless a patch surrounds them."""
    colours = pixels[..., :3].astype(np.int32) @ (1 << 16, 1 << 8, 1)
    grey = (pixels[..., :3] == pixels[..., :1]).all(-1)
    colours[grey | (pixels[..., 3] == 0)] = 0
    return _without_holes(_patches(colours))


def _patches(values: NDArray[np.generic]) -> NDArray[np.integer]:
    from skimage.measure import label  # it takes half a second to import

    patches: NDArray[np.integer] = label(values.astype(np.int32), background=0, connectivity=1)
    return patches


def _without_holes(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """The numbers that mitocyto writes on its fibres are white: fill them in."""
    from scipy import ndimage

    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        region = labels[place]
        filled = ndimage.binary_fill_holes(region == number)
        region[filled & (region == 0)] = number
    return labels
