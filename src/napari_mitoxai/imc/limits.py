"""What a file may claim: bounds that no real section comes near, checked before anything of that size is made."""

from collections.abc import Sequence
from math import prod

from napari_mitoxai.common import MitoxaiError

MAX_XML = 16 * 2**20  # bytes of metadata
MAX_PLANES = 4096
MAX_CHUNK = 2**31  # bytes that must be decoded at once: a plane of 23,000 x 23,000 16-bit pixels in one strip
MAX_CHUNKS = 8_000_000  # in all: forty planes of 100,000 x 100,000 pixels in tiles of 256
_MAX_RATIO = 4000  # no real picture is packed closer than this
_SMALL = 2**26


def one_line(error: object) -> str:
    """What a library says is wrong, on one line and no longer than a sentence should be."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def check_shape(name: str, shape: Sequence[int], chunk: Sequence[int], itemsize: int) -> None:
    """Refuse an image whose declared size or pieces no real section has.

    Parameters
    ----------
    name : str
        The file, for the message.
    shape, chunk : sequence of int
        Of the image, and of what is decoded at once.
    itemsize : int
        Bytes a pixel.

    Raises
    ------
    MitoxaiError
        If it has no pixels, too many planes, or pieces too large or too many to be true.
    """
    if len(shape) == 3 and shape[0] > MAX_PLANES:
        raise MitoxaiError(
            f"{name} declares {shape[0]} channels, more than any instrument has: it is damaged, or no section."
        )
    if min(shape, default=0) < 1 or min(chunk, default=0) < 1:
        raise MitoxaiError(f"{name} has no pixels (its shape is {tuple(shape)}): export it again.")
    chunks = prod(-(-size // step) for size, step in zip(shape, chunk, strict=True))
    if prod(chunk) * itemsize > MAX_CHUNK or chunks > MAX_CHUNKS:
        raise MitoxaiError(
            f"{name} declares {' x '.join(map(str, shape))} pixels in pieces of {' x '.join(map(str, chunk))}, too large to be "
            "read piece by piece: it is damaged, or must be exported again in tiles."
        )


def check_ratio(name: str, decoded: int, stored: int) -> None:
    """Refuse a piece that claims to decode to far more than its stored bytes can hold.

    Raises
    ------
    MitoxaiError
        If it is large and packed closer than any real picture.
    """
    if decoded > _SMALL and decoded > _MAX_RATIO * max(stored, 1):
        raise MitoxaiError(
            f"{name} claims {decoded / 2**20:.0f} MB of pixels in {stored} stored bytes: it is damaged; copy it again from its source."
        )
