"""What OME-XML says of an image, read without following anything it points to."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.limits import MAX_XML, one_line

_MICROMETRES = {
    "µm": 1.0, "um": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0, "nm": 1e-3, "nanometer": 1e-3,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "m": 1e6, "meter": 1e6,
}  # fmt: skip


@dataclass(frozen=True)
class OmeImage:
    """One ``Image`` element.

    Attributes
    ----------
    name : str
        Of the image.
    planes : int
        How many it declares: SizeC x SizeZ x SizeT.
    size : (int, int, int)
        SizeC, SizeY, SizeX; 0 where it is not a number.
    names, metals : tuple of str
        ``Name`` and ``Fluor`` of its channels.
    pixel_size_um : float or None
        PhysicalSizeX.
    elsewhere : tuple of str
        Names of other files that it says hold planes.
    """

    name: str
    planes: int
    size: tuple[int, int, int]
    names: tuple[str, ...]
    metals: tuple[str, ...]
    pixel_size_um: float | None
    elsewhere: tuple[str, ...]


@dataclass(frozen=True)
class Ome:
    """An OME-XML document: who wrote it, and its images."""

    creator: str
    images: tuple[OmeImage, ...]


def micrometres(size: object, unit: str | None) -> float | None:
    """A length in micrometres, or None where it is none."""
    try:
        value = float(str(size)) * _MICROMETRES.get(unit or "µm", 0.0)
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None


def safe_xml(name: str, text: str, what: str = "OME metadata") -> ElementTree.Element:
    """Parse XML of a file, without entities or document types; `what` it is goes into the message.

    Raises
    ------
    MitoxaiError
        If it is larger than any section's, broken, or has a document type.
    """
    if len(text) > MAX_XML:
        raise MitoxaiError(
            f"{name} has {len(text) / 2**20:.0f} MB of metadata: this is not a section, export it again."
        )
    try:
        return fromstring(text, forbid_dtd=True)
    except (DefusedXmlException, ElementTree.ParseError, ValueError) as error:
        raise MitoxaiError(
            f"{name} has unsafe or broken {what} ({one_line(error)}): export it again from its source."
        ) from error


def read_ome(name: str, text: str) -> Ome:
    """Read an OME-XML document.

    Raises
    ------
    MitoxaiError
        As `safe_xml`.
    """
    root = safe_xml(name, text)
    return Ome(root.get("Creator", ""), tuple(_image(element) for element in root.findall("{*}Image")))


def _image(element: ElementTree.Element) -> OmeImage:
    pixels = element.find("{*}Pixels")
    if pixels is None:
        return OmeImage(element.get("Name", ""), 0, (0, 0, 0), (), (), None, ())
    size_c, size_z, size_t, size_y, size_x = (_whole(pixels.attrib, f"Size{axis}") for axis in "CZTYX")
    channels = pixels.findall("{*}Channel")
    files = {uuid.get("FileName", "") for uuid in pixels.findall("{*}TiffData/{*}UUID")}
    return OmeImage(
        element.get("Name", ""),
        size_c * size_z * size_t,
        (size_c, size_y, size_x),
        tuple(channel.get("Name", "") for channel in channels),
        tuple(channel.get("Fluor", "") for channel in channels),
        micrometres(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit")),
        tuple(sorted(files - {""})),
    )


def _whole(attributes: Mapping[str, str], key: str) -> int:
    text = attributes.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
