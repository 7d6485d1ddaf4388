"""The npe2 reader: a dropped file or folder opens as named channels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari
from napari.utils.notifications import show_error, show_info

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import can_read
from napari_mitoxai.napari.display import Display
from napari_mitoxai.napari.layers import channel_layers, store_layers
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.probability import is_probability, probability_layers
from napari_mitoxai.napari.state import state_of

ReaderFunction = Callable[[str | Sequence[str]], list[tuple[Any, ...]]]


def get_reader(path: str | Sequence[str]) -> ReaderFunction | None:
    """Say whether this plugin opens `path`.

    Parameters
    ----------
    path : str or list of str
        A file or folder, or several.

    Returns
    -------
    callable or None
        What opens it; None leaves it to other plugins.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return (
        read if paths and all(_is_map_store(Path(each)) or can_read(Path(each)) for each in paths) else None
    )


def read(path: str | Sequence[str]) -> list[tuple[Any, ...]]:
    """Open sections as layers.

    A file that cannot be read gives a notification with one sentence, and napari's mark of an empty file instead of an
    exception, which napari would show as a traceback.
    """
    layers: list[tuple[Any, ...]] = []
    for each in [path] if isinstance(path, str) else path:
        try:
            layers.extend(_layers(Path(each)))
        except MitoxaiError as error:
            show_error(str(error))
    return layers or [(None,)]


def _layers(path: Path) -> list[tuple[Any, ...]]:
    if _is_map_store(path):
        from napari_mitoxai.explain.store import open_maps

        store = open_maps(path)
        return [*(probability_layers(store) if is_probability(store) else store_layers(store))]
    viewer = napari.current_viewer()
    state = state_of(viewer) if viewer is not None else None
    display = state.display if state is not None else Display()
    section = open_section(path, display)
    layers = channel_layers(section, display=display)
    if state is not None and not state.docks and len(layers) < len(section.panel):
        show_info(
            f"{len(layers)} of {len(section.panel)} channels of {section.name} are shown; the others are in Plugins › MitoXAI › Section."
        )
    return [*layers]


def _is_map_store(path: Path) -> bool:
    """Whether `path` is a store of maps; its name is looked at first, so that other files do not import zarr."""
    if not path.name.endswith(".ome.zarr"):
        return False
    from napari_mitoxai.explain.store import is_map_store

    return is_map_store(path)
