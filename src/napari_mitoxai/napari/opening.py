"""Sections that are open, so that the reader, the docks and the tasks speak of the same one."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from napari_mitoxai.imc import Panel, Section, read_section, split_address
from napari_mitoxai.imc.panel import canonical
from napari_mitoxai.napari.display import Display
from napari_mitoxai.napari.pyramids import with_pyramid


def open_section(address: Path | str, display: Display | None = None) -> Section:
    """Open a section, or give back the one that is open already if the file has not changed.

    Parameters
    ----------
    address : Path
        A file or folder, with ``#`` and the acquisition in a file of several.
    display : Display, optional
        Its roles go before those that targets have by default.

    Returns
    -------
    Section
        With the pyramid that was made for it, if there is one.

    Raises
    ------
    MitoxaiError
        If it cannot be read.
    """
    path = split_address(address)[0]
    modified = path.stat().st_mtime_ns if path.exists() else 0
    section = with_pyramid(_open(str(address), modified))
    return section if display is None else with_roles(section, display)


@lru_cache(maxsize=32)
def _open(address: str, modified: int) -> Section:
    return read_section(Path(address))


def with_roles(section: Section, display: Display) -> Section:
    """The section with the roles that the user gave its targets."""
    channels = tuple(
        replace(channel, role=display.roles.get(canonical(channel.target), channel.role))
        for channel in section.panel
    )
    return replace(section, panel=Panel(channels)) if channels != section.panel.channels else section
