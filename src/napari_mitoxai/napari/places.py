"""Where results go if the user does not say: beside what they were made from, under a name that is free."""

import os
from pathlib import Path

import platformdirs


def suggest(beside: Path, name: str, ending: str = "") -> Path:
    """The first free path ``name``, ``name_2``, ... in the folder of `beside`.

    Parameters
    ----------
    beside : Path
        A file or folder that exists; where its folder cannot be written, the home folder is taken.
    name, ending : str
        Of the result: ``"C01_maps"`` and ``".ome.zarr"``.
    """
    folder = beside.parent
    if not os.access(folder, os.W_OK):
        folder = Path.home()
    path, number = folder / f"{name}{ending}", 2
    while path.exists():
        path, number = folder / f"{name}_{number}{ending}", number + 1
    return path


def cache_folder() -> Path:
    """Where what can be made again is kept, samples and pyramids: ``MITOXAI_CACHE``, or a folder of the user's cache."""
    given = os.environ.get("MITOXAI_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("napari-mitoxai", appauthor=False))


def settings_folder() -> Path:
    """Where the user's choices are kept: ``MITOXAI_SETTINGS``, or a folder of the user's settings."""
    given = os.environ.get("MITOXAI_SETTINGS")
    return Path(given) if given else Path(platformdirs.user_config_dir("napari-mitoxai", appauthor=False))
