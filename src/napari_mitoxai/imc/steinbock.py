"""steinbock's folder: ``img/*.tiff`` without channel names, which stand in ``panel.csv`` beside ``img``."""

from dataclasses import replace
from pathlib import Path

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.names import PanelTable, read_panel
from napari_mitoxai.imc.panel import Panel
from napari_mitoxai.imc.section import Section
from napari_mitoxai.imc.tiff import read_tiff

_IMAGES, _PANEL = "img", "panel.csv"


def is_steinbock(folder: Path) -> bool:
    """Whether a folder is laid out as steinbock does."""
    return (folder / _PANEL).is_file() and (folder / _IMAGES).is_dir()


def read_steinbock_or_tiff(
    path: Path, acquisition: str | None = None, panel: PanelTable | Panel | None = None
) -> Section:
    """Open a TIFF; one in steinbock's ``img`` takes its names from the panel there, unless the user gives another.

    Parameters and errors are those of `read_tiff`. A panel that does not fit the stack is said so and left out.
    """
    beside = path.resolve().parent
    if panel is not None or beside.name != _IMAGES or not is_steinbock(beside.parent):
        return read_tiff(path, acquisition, panel)
    try:
        section = read_tiff(path, acquisition, read_panel(beside.parent / _PANEL))
    except MitoxaiError as error:
        section = read_tiff(path, acquisition)
        return replace(
            section, notes=(*section.notes, f"steinbock's {_PANEL} is not used: {error}"), dialect="steinbock"
        )
    return replace(section, dialect="steinbock")
