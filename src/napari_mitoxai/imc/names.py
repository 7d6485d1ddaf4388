"""Which name each plane of a file gets: the user's panel before what the file says, and that in a fixed order."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import written_beside
from napari_mitoxai.imc.limits import one_line
from napari_mitoxai.imc.panel import Channel, Panel, Role, canonical, parse_channel

PANEL_FILE = "panel file"
POSITION = "position"

_MAX_PANEL = 2**20  # bytes
# what software writes where nobody gave a name
_GENERIC = re.compile(r"^(?:channel|ch|c)?[ :_#]*\d+(?::\d+)*$", re.IGNORECASE)
_METAL_COLUMNS = ("channel", "metal tag", "metal", "isotope", "fluor")
_TARGET_COLUMNS = ("name", "target", "label", "clean_target", "protein", "marker")
_KEEP_COLUMNS = ("keep", "full")


@dataclass(frozen=True)
class Names:
    """Names of a file's planes from one place in it.

    Attributes
    ----------
    source : str
        That place: ``"OME name"``.
    names : sequence of str
        One a plane, empty where there is none.
    metals : sequence of str or None
        The isotopes, where the file says them apart from the names.
    """

    source: str
    names: Sequence[str]
    metals: Sequence[str | None] = ()


@dataclass(frozen=True)
class PanelTable:
    """A user's list of channels.

    Attributes
    ----------
    name : str
        Of its file, for messages.
    channels : tuple of Channel
        In the order of the list; those marked as left out are not in it.
    in_order : bool
        Whether the order is that of the planes: true of steinbock's ``panel.csv`` and of plain lists, not of tables that
        are kept by isotope.
    """

    name: str
    channels: tuple[Channel, ...]
    in_order: bool


def read_panel(path: Path | str) -> PanelTable:
    """Read a user's panel.

    Parameters
    ----------
    path : Path
        A CSV file with a column for the isotope (``channel``, ``metal`` or ``Metal Tag``), for the protein (``name`` or
        ``target``) or both, and optionally ``keep`` (0 leaves a row out) and ``role``; steinbock's ``panel.csv`` is one.

    Returns
    -------
    PanelTable
        At least one channel.

    Raises
    ------
    MitoxaiError
        If it is not there, no such table, or names an unknown role.
    """
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > _MAX_PANEL:
            raise MitoxaiError(
                f"{path.name} is too large to be a panel: give a table with one line a channel."
            )
        text = path.read_text(encoding="utf-8-sig")
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(row)]
    except FileNotFoundError as error:
        raise MitoxaiError(f"{path} is not there: check the path of the panel.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise MitoxaiError(
            f"{path.name} is not a readable panel ({one_line(error)}): save it as CSV with a header line."
        ) from error
    header = [cell.lower() for cell in rows[0]] if rows else []
    metal, target, keep, role = (
        next((header.index(column) for column in columns if column in header), None)
        for columns in (_METAL_COLUMNS, _TARGET_COLUMNS, _KEEP_COLUMNS, ("role",))
    )
    if metal is None and target is None:
        raise MitoxaiError(
            f"{path.name} has no column for isotopes or proteins (it has {', '.join(header) or 'nothing'}): "
            "a panel has the columns channel and name, as steinbock's panel.csv."
        )

    def cell(row: list[str], column: int | None) -> str:
        return row[column] if column is not None and column < len(row) else ""

    channels = []
    for row in rows[1:]:
        if cell(row, keep) in ("0", "0.0", "False", "false"):
            continue
        name = cell(row, target) or cell(row, metal)
        if name:
            channels.append(
                _with_role(parse_channel(name, cell(row, metal), source=PANEL_FILE), cell(row, role), path)
            )
    if not channels:
        raise MitoxaiError(f"{path.name} lists no channels: give one line a channel.")
    in_order = metal is None or "channel" in header
    return PanelTable(path.name, tuple(channels), in_order)


def _with_role(channel: Channel, role: str, path: Path) -> Channel:
    if not role:
        return channel
    found = next((known for known in Role if role.lower() in (known.value.lower(), known.name.lower())), None)
    if found is None:
        raise MitoxaiError(
            f"{path.name} gives {channel.target} the role {role!r}, which is not known: use one of {', '.join(Role)}."
        )
    return replace(channel, role=found)


def resolve(
    count: int, found: Sequence[Names], panel: PanelTable | Panel | None = None, *, what: str
) -> tuple[Panel, list[str]]:
    """Name the planes of a file.

    Parameters
    ----------
    count : int
        How many planes there are.
    found : sequence of Names
        What the file says, the most trusted first. A list of another length than `count` is not used: a name is never given
        to a plane by guessing.
    panel : PanelTable or Panel, optional
        The user's, which goes before all: matched by isotope, then by target; by place only where the file names nothing.
    what : str
        The file, for messages.

    Returns
    -------
    panel : Panel
        One channel a plane, each with the source of its name.
    notes : list of str
        What a user should know about the names.

    Raises
    ------
    MitoxaiError
        If the user's panel cannot be matched to the planes.
    """
    notes = [
        f"The file has {len(names.names)} {names.source}s for {count} channels; they are not used."
        for names in found
        if any(names.names) and len(names.names) != count
    ]
    usable = [names for names in found if len(names.names) == count]
    channels = [_best(index, usable) for index in range(count)]
    if panel is not None:
        table = PanelTable("the panel", tuple(panel), True) if isinstance(panel, Panel) else panel
        channels = _by_user(channels, table, what, notes)
    nameless = sum(channel.source == POSITION for channel in channels)
    if nameless == count:
        notes.append("The file has no channel names; channels are named by their position.")
    elif nameless:
        notes.append(f"{nameless} of {count} channels have no name; they are named by their position.")
    repeated = [name for name, times in Counter(channel.target for channel in channels).items() if times > 1]
    if repeated:
        notes.append(f"Several channels are called {', '.join(repeated)}; they are numbered.")
    return Panel(tuple(channels)), notes


def _best(index: int, usable: Sequence[Names]) -> Channel:
    given = [
        (names, names.names[index].strip(), names.metals[index] if len(names.metals) > index else None)
        for names in usable
    ]
    metal = next((isotope for _, _, isotope in given if isotope), None)
    named = [(names, name) for names, name, _ in given if name]
    telling = [(names, name) for names, name in named if not _GENERIC.match(name)] or named
    if telling:
        channel, *others = [parse_channel(name, metal, source=names.source) for names, name in telling]
        same = (
            other for other in others if other.metal and canonical(other.target) == canonical(channel.target)
        )
        isotope = next(same, None) if channel.metal is None else None
        return replace(channel, metal=isotope.metal, mass=isotope.mass) if isotope else channel
    if metal:
        return parse_channel(metal, source=next(names.source for names, _, isotope in given if isotope))
    return Channel(f"ch{index}", source=POSITION)


def _by_user(channels: list[Channel], table: PanelTable, what: str, notes: list[str]) -> list[Channel]:
    if all(channel.source == POSITION for channel in channels):
        if not table.in_order:
            raise MitoxaiError(
                f"{table.name} is a list by isotope, and {what} does not say which isotope a channel is: "
                "give a panel in the order of the channels, with the columns channel, name and keep."
            )
        if len(table.channels) != len(channels):
            raise MitoxaiError(
                f"{table.name} lists {len(table.channels)} channels and {what} has {len(channels)}: give the panel of this section."
            )
        notes.append(f"The channels have no names of their own; they follow the order of {table.name}.")
        return [replace(channel, source=PANEL_FILE) for channel in table.channels]
    by_isotope = {(row.metal, row.mass): row for row in table.channels if row.metal}
    by_target = {canonical(row.target): row for row in table.channels}
    named = []
    unmatched = []
    for channel in channels:
        row = by_isotope.get((channel.metal, channel.mass)) if channel.metal else None
        row = row or by_target.get(canonical(channel.target))
        if row is None:
            unmatched.append(channel.label)
            named.append(channel)
        else:
            metal, mass = (row.metal, row.mass) if row.metal else (channel.metal, channel.mass)
            named.append(Channel(row.target, metal, mass, row.role, PANEL_FILE))
    if len(unmatched) == len(channels):
        raise MitoxaiError(
            f"{table.name} names none of the channels of {what} ({', '.join(unmatched)}): give the panel of this section."
        )
    if unmatched:
        notes.append(f"{table.name} does not name {', '.join(unmatched)}; the file's own names are kept.")
    return named


def write_panel(path: Path, panel: Panel, *, overwrite: bool = False) -> Path:
    """Write a panel as a table that `read_panel` reads.

    Parameters
    ----------
    path : Path
        Ends in ``.csv``.
    panel : Panel
        Isotopes, targets and roles.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    MitoxaiError
        If `path` exists and may not be replaced, or cannot be written.
    """
    with (
        written_beside(path, overwrite=overwrite) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(["channel", "name", "role"])
        for channel in panel:
            table.writerow(
                [
                    f"{channel.metal}{channel.mass}" if channel.metal else "",
                    channel.target,
                    channel.role.value,
                ]
            )
    return path
