"""Reading imaging mass cytometry: files and folders become a lazy Section with a Panel."""

from napari_mitoxai.imc.panel import Channel, Panel, Role, parse_channel
from napari_mitoxai.imc.reading import can_read, read_labels, read_section
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.writing import write_labels, write_section

__all__ = [
    "Channel",
    "Panel",
    "Role",
    "Section",
    "can_read",
    "parse_channel",
    "read_labels",
    "read_section",
    "write_labels",
    "write_section",
]
