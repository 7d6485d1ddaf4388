"""The explanation methods by name, without importing torch."""

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.catalogue import METHODS
from napari_mitoxai.explain.description import Method

_BY_NAME = {entry.name: entry for entry in METHODS}


def available() -> list[str]:
    """The names that `method` knows."""
    return list(_BY_NAME)


def method(name: str) -> Method:
    """Look an explanation method up.

    Raises
    ------
    MitoxaiError
        If the name is not known.
    """
    if name not in _BY_NAME:
        raise MitoxaiError(f"There is no explanation method {name!r}: choose from {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]
