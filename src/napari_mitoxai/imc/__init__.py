"""Reading imaging mass cytometry: files and folders become a lazy Section with a Panel."""

from napari_mitoxai.imc.acquisitions import Acquisition
from napari_mitoxai.imc.finding import find_sections
from napari_mitoxai.imc.folder import GROUP_FOLDERS
from napari_mitoxai.imc.labels import read_labels
from napari_mitoxai.imc.mcd import Panorama, read_panoramas
from napari_mitoxai.imc.names import read_panel, write_panel
from napari_mitoxai.imc.panel import Channel, Panel, Role, parse_channel
from napari_mitoxai.imc.reading import can_read, read_section, split_address
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.writing import write_labels, write_section
from napari_mitoxai.imc.zarr_writing import halved, write_ome_zarr, write_pyramid

__all__ = [
    "GROUP_FOLDERS",
    "Acquisition",
    "Channel",
    "Panel",
    "Panorama",
    "Role",
    "Section",
    "can_read",
    "find_sections",
    "halved",
    "parse_channel",
    "read_labels",
    "read_panel",
    "read_panoramas",
    "read_section",
    "split_address",
    "write_labels",
    "write_ome_zarr",
    "write_panel",
    "write_pyramid",
    "write_section",
]
