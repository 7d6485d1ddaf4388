"""How channels are shown, for all sections of a window: colours and roles by target, percentiles, the same contrast or not."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import read_json, write_json
from napari_mitoxai.imc import Channel, Role
from napari_mitoxai.imc.panel import canonical
from napari_mitoxai.napari.places import settings_folder
from napari_mitoxai.napari.styles import role_colour

PERCENTILES = (1.0, 99.7)
Limits = tuple[float, float]


@dataclass
class Display:
    """What the user chose for channels, wherever they are shown.

    A target means the same protein in every section, so a colour, a role and a common contrast belong to it and not
    to one layer.

    Attributes
    ----------
    percentiles : (float, float)
        Of a channel's counts: where its colour begins, and where it is full.
    arcsinh : bool
        Whether colours follow the arcsinh of counts, not counts.
    same : bool
        Whether a target has the same limits in all sections.
    limits : dict
        The common limits, by target.
    colours : dict
        Chosen colours as ``#rrggbb``, by target.
    roles : dict
        Chosen roles, by target.
    """

    percentiles: tuple[float, float] = PERCENTILES
    arcsinh: bool = False
    same: bool = False
    limits: dict[str, Limits] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)

    def colour(self, channel: Channel) -> str:
        """The chosen colour of a channel, or that of its role."""
        return self.colours.get(canonical(channel.target), role_colour(channel))

    def common_limits(self, target: str) -> Limits | None:
        """The limits that a target has in all sections, if it has."""
        return self.limits.get(canonical(target)) if self.same else None

    def save(self) -> None:
        """Keep colours and roles for the next session; where that is not possible they hold for this one."""
        content = {"colours": self.colours, "roles": {key: role.value for key, role in self.roles.items()}}
        try:
            write_json(_file(), content)
        except MitoxaiError:
            return


def kept_display() -> Display:
    """A display with the colours and roles of the last session."""
    display = Display()
    try:
        content: Any = read_json(_file())
        display.colours = {str(key): str(colour) for key, colour in content["colours"].items()}
        display.roles = {str(key): Role(role) for key, role in content["roles"].items()}
    except (MitoxaiError, LookupError, AttributeError, TypeError, ValueError):  # none, or not ours
        return Display()
    return display


def _file() -> Path:
    return settings_folder() / "channels.json"
