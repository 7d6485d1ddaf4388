"""Channels and panels: which protein each plane of a section shows."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from napari_mitoxai.common import MitoxaiError


class Role(StrEnum):
    """What a channel tells about a fibre."""

    MEMBRANE = "membrane"
    MITOCHONDRIAL_MASS = "mitochondrial mass"
    COMPLEX_I = "OXPHOS complex I"
    COMPLEX_II = "OXPHOS complex II"
    COMPLEX_III = "OXPHOS complex III"
    COMPLEX_IV = "OXPHOS complex IV"
    COMPLEX_V = "OXPHOS complex V"
    OTHER = "other"


# Targets by the names that laboratories use for one protein; the first is the one shown where none was given.
_ALIASES: tuple[tuple[str, ...], ...] = (
    ("GRIM19", "NDUFA13"),
    ("COX4", "COX4+4L2", "COXIV", "COX4I1"),
    ("VDAC1", "VDAC", "Porin", "VDAC1/Porin"),
    ("UqCRC2", "UQCRC2"),
    ("OSCP", "ATP5O", "ATP5PO"),
    ("MTCO1", "COX1", "COXI", "MT-CO1"),
    ("CYB", "MTCYB", "MT-CYB", "CYTB"),
    ("ATP5A", "ATP5A1", "ATP5F1A"),
    ("ATP5B", "ATP5F1B"),
    ("TOM22", "TOMM22"),
    ("TOM20", "TOMM20"),
    ("Dystrophin", "DMD"),
    ("Laminin", "LAMA2"),
)

_ROLES: dict[str, Role] = {
    "DYSTROPHIN": Role.MEMBRANE,
    "LAMININ": Role.MEMBRANE,
    "VDAC1": Role.MITOCHONDRIAL_MASS,
    "TOM22": Role.MITOCHONDRIAL_MASS,
    "TOM20": Role.MITOCHONDRIAL_MASS,
    "NDUFB8": Role.COMPLEX_I,
    "GRIM19": Role.COMPLEX_I,
    "SDHA": Role.COMPLEX_II,
    "SDHB": Role.COMPLEX_II,
    "UQCRC2": Role.COMPLEX_III,
    "CYB": Role.COMPLEX_III,
    "COX4": Role.COMPLEX_IV,
    "MTCO1": Role.COMPLEX_IV,
    "OSCP": Role.COMPLEX_V,
    "ATP5A": Role.COMPLEX_V,
    "ATP5B": Role.COMPLEX_V,
}

# "Laminin_681((851))": the number of the tube and of the conjugation, which Zurich's panels carry
_LOT = re.compile(r"_\d+\(\(\d+\)\)$")


def _key(target: str) -> str:
    return re.sub(r"[\s_-]", "", _LOT.sub("", target.strip())).upper()


_CANONICAL = {_key(alias): _key(names[0]) for names in _ALIASES for alias in names}

# 153Eu_SDHA, 153Eu_153Eu SDHA, C01_C01_153Eu_153Eu SDHA
_MASS_FIRST = re.compile(
    r"^(?:.*_)?(?P<mass>\d{2,3})(?P<metal>[A-Z][a-z]?)(?:[_ ](?:\d{2,3}[A-Z][a-z]?[_ ])?(?P<target>.+))?$"
)
# SDHA(Eu153Di), Laminin_681((851))Sm147
_TARGET_FIRST = re.compile(r"^(?P<target>.*?)\(?(?P<metal>[A-Z][a-z]?)(?P<mass>\d{2,3})(?:Di)?\)?$")
# Laminin_681((851))Sm147(Sm147Di), 107Ag(107Ag107Di): headers of the instrument's text files; SDHA (153Eu): ours
_METAL_LAST = re.compile(
    r"^(?P<name>.+)\((?:(?:\d{2,3})?(?P<metal>[A-Z][a-z]?\d{2,3})(?:Di)?|(?P<isotope>\d{2,3}[A-Z][a-z]?))\)$"
)
# What mass cytometry labels with or sees; "CD163" is a protein and no isotope of an element "D".
_ELEMENTS = frozenset(
    re.findall(
        "[A-Z][a-z]?",
        "Ar Se Br Kr Sr Y Zr Nb Mo Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu "
        "Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi",
    )
)
_METAL = re.compile(
    r"^(?:(?P<mass_a>\d{2,3})(?P<metal_a>[A-Z][a-z]?)|(?P<metal_b>[A-Z][a-z]?)(?P<mass_b>\d{2,3}))(?:Di)?$"
)


def canonical(target: str) -> str:
    """The key by which a target is matched.

    Case, spaces, hyphens and lot numbers do not count, and aliases are joined: ``NDUFA13`` equals ``GRIM19``, and
    ``Laminin_681((851))`` is ``Laminin``.
    """
    key = _key(target)
    return _CANONICAL.get(key, key)


def default_role(target: str) -> Role:
    """What a channel with this target tells about a fibre, as far as the target is known."""
    return _ROLES.get(canonical(target), Role.OTHER)


@dataclass(frozen=True)
class Channel:
    """One plane of a section.

    Attributes
    ----------
    target : str
        The protein: ``"NDUFB8"``.
    metal : str or None
        The element it is labelled with: ``"Gd"``.
    mass : int or None
        The isotope's mass: 160.
    role : Role
        What it tells about a fibre.
    source : str
        Where the name was read: ``"panel file"``, ``"OME name"``, ``"page name"``, ``"ImageJ label"``, ``"file name"``,
        ``"column header"``, ``"acquisition"`` (of an .mcd) or ``"position"``.
    """

    target: str
    metal: str | None = None
    mass: int | None = None
    role: Role = Role.OTHER
    source: str = ""

    @property
    def label(self) -> str:
        """Target and isotope: ``"NDUFB8 (160Gd)"``."""
        return f"{self.target} ({self.mass}{self.metal})" if self.metal and self.mass else self.target


def parse_channel(name: str, metal: str | None = None, *, source: str = "") -> Channel:
    """Turn a name as files spell it into a Channel.

    Parameters
    ----------
    name : str
        ``"153Eu_SDHA"``, ``"SDHA(Eu153Di)"``, ``"153Eu_153Eu SDHA"`` or ``"SDHA"``.
    metal : str, optional
        The isotope where the file says it apart from the name: ``"153Eu"`` or ``"Eu153"``.
    source : str
        Where the name was read.

    Returns
    -------
    Channel
        With the default role of its target.
    """
    name = name.strip()
    header = _METAL_LAST.match(name)
    isotope = (header["metal"] or header["isotope"]) if header else None
    if header and _split_metal(isotope)[0] is not None:
        name, metal = header["name"].strip(), isotope
    element, mass = _split_metal(metal)
    target = name
    for pattern in (_MASS_FIRST, _TARGET_FIRST):
        match = pattern.match(name)
        if match and (pattern is _MASS_FIRST or element is None or match["metal"] == element):
            # "TOM22" must not become the target "TO" on the isotope "M22": isotopes are 75 to 238
            if not _is_isotope(match["metal"], match["mass"]):
                continue
            element, mass = match["metal"], int(match["mass"])
            target = (match["target"] or "").strip(" _(") or f"{mass}{element}"
            break
    return Channel(target, element, mass, default_role(target), source)


def _is_isotope(metal: str, mass: str) -> bool:
    return metal in _ELEMENTS and 75 <= int(mass) <= 238


def _split_metal(metal: str | None) -> tuple[str | None, int | None]:
    match = _METAL.match(metal.strip()) if metal else None
    if match is None:
        return None, None
    element, mass = match["metal_a"] or match["metal_b"], match["mass_a"] or match["mass_b"]
    return (element, int(mass)) if _is_isotope(element, mass) else (None, None)


@dataclass(frozen=True)
class Panel:
    """The ordered channels of a section."""

    channels: tuple[Channel, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(_with_unique_targets(self.channels)))

    def __len__(self) -> int:
        return len(self.channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(self.channels)

    def __getitem__(self, index: int) -> Channel:
        return self.channels[index]

    @property
    def targets(self) -> list[str]:
        """The targets in order."""
        return [channel.target for channel in self.channels]

    def index(self, target: str) -> int:
        """Position of the channel with this target, aliases and case ignored.

        Raises
        ------
        MitoxaiError
            If there is none; the message lists what there is.
        """
        return self.match([target])[0]

    def match(self, targets: Sequence[str], *, what: str = "this section") -> list[int]:
        """Positions of `targets`, matched by name and never by place; a name as spelled goes before an alias.

        Raises
        ------
        MitoxaiError
            If one is missing: all missing ones are named, and what the panel has.
        """
        backwards = list(reversed(list(enumerate(self.channels))))
        places = {canonical(channel.target): index for index, channel in backwards}
        spelled = {channel.target: index for index, channel in backwards}
        missing = [target for target in targets if target not in spelled and canonical(target) not in places]
        if missing:
            raise MitoxaiError(
                f"{what} has no channel {', '.join(missing)} (it has {', '.join(self.targets)}): "
                "use a section with the full panel, or train a model on the channels that are there."
            )
        return [spelled.get(target, places.get(canonical(target), -1)) for target in targets]

    def with_role(self, role: Role) -> list[int]:
        """Positions of the channels with this role, in order."""
        return [index for index, channel in enumerate(self.channels) if channel.role == role]


def _with_unique_targets(channels: Iterable[Channel]) -> Iterator[Channel]:
    """Number repeated targets ("DNA 1", "DNA 2"), so that a name always means one channel."""
    channels = list(channels)
    counts = Counter(channel.target for channel in channels)
    taken = {target for target, count in counts.items() if count == 1}
    for channel in channels:
        if counts[channel.target] == 1:
            yield channel
            continue
        numbered = (f"{channel.target} {number}" for number in itertools.count(1))
        target = next(name for name in numbered if name not in taken)
        taken.add(target)
        yield replace(channel, target=target)
