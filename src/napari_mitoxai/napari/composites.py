"""Composites at one click: which channels, in which colours, by role."""

from collections.abc import Iterator
from dataclasses import dataclass

from napari_mitoxai.imc import Panel, Role
from napari_mitoxai.napari.styles import role_colour

_COMPLEXES = {
    "CI": Role.COMPLEX_I,
    "CII": Role.COMPLEX_II,
    "CIII": Role.COMPLEX_III,
    "CIV": Role.COMPLEX_IV,
    "CV": Role.COMPLEX_V,
}
# Beside a red membrane and a green mass only blue stays told apart where colours add up: yellow would be both of them.
_THIRD = "#3c8dff"
_AT_FULL = 3  # channels: a membrane, a mass and a complex
_PURE_RED, _PURE_GREEN = "#ff0000", "#00ff00"


@dataclass(frozen=True)
class Composite:
    """Channels to show together.

    Attributes
    ----------
    name : str
        Short, for a button.
    about : str
        What it shows, for its tooltip.
    colours : dict
        ``#rrggbb`` by the channel's position in the panel; no other channel is shown.
    """

    name: str
    about: str
    colours: dict[int, str]

    @property
    def opacity(self) -> float:
        """Of each channel. Where many that lie at the same place add up, so much that all of them at full are just white."""
        if len(self.colours) <= _AT_FULL:
            return 1.0
        parts = [
            [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
            for colour in self.colours.values()
        ]
        return 1 / max(max(sum(part) for part in zip(*parts, strict=True)), 1.0)


def composites(panel: Panel) -> list[Composite]:
    """The composites that a panel has the channels for.

    Parameters
    ----------
    panel : Panel
        Its roles say what is what; of several channels with a role the first is taken.
    """
    return list(_composites(panel))


def _composites(panel: Panel) -> Iterator[Composite]:
    first = {role: panel.with_role(role)[0] for role in Role if panel.with_role(role)}
    ground = [first[role] for role in (Role.MEMBRANE, Role.MITOCHONDRIAL_MASS) if role in first]
    colours = {index: role_colour(panel[index]) for index in ground}
    words = {Role.MEMBRANE: "red", Role.MITOCHONDRIAL_MASS: "green"}
    said = [f"{panel[index].target} {words[panel[index].role]}" for index in ground]
    there = {name: first[role] for name, role in _COMPLEXES.items() if role in first}
    for name, index in there.items():
        yield Composite(
            name, ", ".join([*said, f"{panel[index].target} blue"]) + ".", {**colours, index: _THIRD}
        )
    if len(there) > 1:
        targets = ", ".join(panel[index].target for index in there.values())
        hues = {index: role_colour(panel[index]) for index in there.values()}
        yield Composite("OXPHOS", f"One channel of each complex, each in its own colour: {targets}.", hues)
    if len(ground) == 2:
        yield Composite(
            "Papers",
            f"As in the papers: {panel[ground[0]].target} in the red, {panel[ground[1]].target} in the green channel; blue is left for a map.",
            dict(zip(ground, (_PURE_RED, _PURE_GREEN), strict=True)),
        )
