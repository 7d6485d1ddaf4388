"""The explanation methods by name, without importing torch: ours, and those of other installed packages."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.catalogue import METHODS
from napari_mitoxai.explain.description import Method, MethodParameters

ENTRY_POINTS = "napari_mitoxai.explainers"
"""The group of entry points in which another package names its `Method`."""


@cache
def _known() -> tuple[MappingProxyType[str, Method], tuple[str, ...]]:
    """The methods by name, and what is wrong with those of other packages that cannot be used."""
    methods = {entry.name: entry for entry in METHODS}
    faults = []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        found = _load(point, methods)
        if isinstance(found, Method):
            methods[found.name] = found
        else:
            faults.append(found)
    return MappingProxyType(methods), tuple(faults)


def _load(point: EntryPoint, taken: dict[str, Method]) -> Method | str:
    """The method of an entry point, or why it cannot be used."""
    package = point.dist.name if point.dist is not None else point.value
    try:
        found = point.load()
    except Exception as error:  # noqa: BLE001 - another package may fail in any way, and must not take ours with it
        return f"The explanation method {point.name!r} of {package} cannot be loaded ({error}): update that package."
    if not isinstance(found, Method):
        return f"The explanation method {point.name!r} of {package} is no napari_mitoxai.explain.Method: ask its authors."
    if not found.name.isidentifier():
        return f"The explanation method of {package} is named {found.name!r}, which is no plain name: ask its authors."
    if found.name in taken:
        return f"The explanation method {found.name!r} of {package} has the name of another one: uninstall one of them."
    return found


def available() -> list[str]:
    """The names that `method` knows: ours, then those of other packages."""
    return list(_known()[0])


def faults() -> tuple[str, ...]:
    """One sentence for each method of another package that cannot be used."""
    return _known()[1]


def method(name: str) -> Method:
    """Look an explanation method up.

    Raises
    ------
    MitoxaiError
        If the name is not known.
    """
    methods = _known()[0]
    if name not in methods:
        raise MitoxaiError(f"There is no explanation method {name!r}: choose from {', '.join(methods)}.")
    return methods[name]


def resolve(label: str, **values: Any) -> tuple[Method, MethodParameters]:
    """What a label asks for.

    Parameters
    ----------
    label : str
        ``method``, or ``method@preset``.
    **values
        Parameters that go before those of the preset.

    Raises
    ------
    MitoxaiError
        If there is no such method, preset or parameter.
    """
    name, _, preset = label.partition("@")
    entry = method(name)
    if preset and preset not in entry.presets:
        way_out = (
            f"choose from {', '.join(f'{name}@{known}' for known in entry.presets)}"
            if entry.presets
            else "it has none"
        )
        raise MitoxaiError(f"{name} has no preset {preset!r}: {way_out}.")
    return entry, entry.configure(**{**(entry.presets[preset] if preset else {}), **values})
