"""The files that a figure is made of: each read once, and known by what it holds."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.digests import digest_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.imc import Section

Value = TypeVar("Value")

_MOST_KEPT = 64
_MOST_PIXELS = 4000  # along a side: more than any panel shows


class Inputs:
    """Reads files for figures, and keeps what was read for as long as the files do not change.

    Attributes
    ----------
    used : set of Path
        What was read since the last `forget_used`: sections (without the part after ``#``), label images, tables and stores.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self.used: set[Path] = set()

    def forget_used(self) -> None:
        """Begin a new figure."""
        self.used = set()

    def section(self, address: Path) -> "Section":
        """Open a section; lazy."""
        from napari_mitoxai.imc import read_section, split_address

        return self._once(split_address(address)[0], ("section", address), lambda: read_section(address))

    def planes(self, section: "Section", channels: list[int]) -> "list[NDArray[Any]]":
        """Whole channels, averaged to no more than 4000 pixels a side; see `factor_of`."""
        missing = [channel for channel in channels if self._plane_key(section, channel) not in self._kept]
        if missing:
            for channel, plane in zip(
                missing, section.read_reduced(missing, factor=factor_of(section.shape[1:])), strict=True
            ):
                self._keep(self._plane_key(section, channel), plane)
        found = [self._kept[self._plane_key(section, channel)] for channel in channels]
        self._shorten()
        return found

    def labels(self, path: Path) -> "NDArray[Any]":
        """A label image."""
        from napari_mitoxai.imc import read_labels

        return self._once(path, ("labels", path), lambda: read_labels(path))

    def outlines(self, path: Path, pixel_um: float) -> "list[NDArray[Any]]":
        """The outlines of a label image, in um, by ascending label."""
        from napari_mitoxai.figures import outlines

        return self._once(path, ("outlines", path, pixel_um), lambda: outlines(self.labels(path), pixel_um))

    def store(self, path: Path) -> "MapStore":
        """A finished store of maps.

        Raises
        ------
        MitoxaiError
            If it is none, or not finished.
        """
        from napari_mitoxai.explain import open_maps

        store = self._once(path, ("store", path), lambda: open_maps(path))
        if "verdict" not in store.info:
            raise MitoxaiError(f"{path} is not finished: run the same `mitoxai explain` again, it goes on.")
        return store

    def map_of(self, store: "MapStore", method: str, channel: str = "") -> "NDArray[Any]":
        """A method's map (Y, X): the sum of its channels, or one of them."""
        import numpy as np

        def read() -> "NDArray[Any]":
            values = store.read(method)
            if not channel:
                return np.asarray(values.sum(0))
            names = store.channels(method)
            if channel not in names:
                raise MitoxaiError(
                    f"The map by {method} has no channel {channel} (it has {', '.join(names)}): choose one of these."
                )
            return np.asarray(values[names.index(channel)])

        return self._once(store.path, ("map", store.path, method, channel), read)

    def scores(self, store: "MapStore") -> "pd.DataFrame":
        """The trust scores of a store's maps."""
        from napari_mitoxai.trust.recorded import read_scores

        return self._once(store.path, ("scores", store.path), lambda: read_scores(store.path))

    def failures(self, store: "MapStore") -> set[str]:
        """The methods of a store that failed the sanity check."""
        from napari_mitoxai.trust.recorded import sanity_failures

        return self._once(store.path, ("failures", store.path), lambda: sanity_failures(store.path))

    def table(self, path: Path) -> "pd.DataFrame":
        """A table, CSV or Parquet."""
        from napari_mitoxai.fibres.table_reading import read_table

        return self._once(path, ("table", path), lambda: read_table(path))

    def digests(self) -> dict[Path, str]:
        """What was used, and what it holds: see `digest`."""
        return {path: digest(path) for path in sorted(self.used)}

    def _plane_key(self, section: "Section", channel: int) -> tuple[Any, ...]:
        return ("plane", section.address, _state(section.path), channel)

    def _once(self, path: Path, key: tuple[Any, ...], read: Callable[[], Value]) -> Value:
        self.used.add(path.resolve())
        whole = (*key, _state(path))
        if whole not in self._kept:
            self._keep(whole, read())
        self._kept.move_to_end(whole)
        value: Value = self._kept[whole]
        self._shorten()
        return value

    def _keep(self, key: tuple[Any, ...], value: Any) -> None:
        self._kept[key] = value

    def _shorten(self) -> None:
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)


def factor_of(shape: tuple[int, ...]) -> int:
    """How many pixels are averaged into one, along each axis, of an image (Y, X)."""
    return max(1, max(shape) // _MOST_PIXELS)


def digest(path: Path) -> str:
    """What a file or folder holds, as a hexadecimal text: SHA-256; of maps, the fingerprint of what they were made from, and of their scores.

    Raises
    ------
    MitoxaiError
        If it is not there, or a store of maps is damaged.
    """
    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.explain.store import is_map_store
    from napari_mitoxai.trust.recorded import SCORES_FILE

    if not path.exists():
        raise MitoxaiError(f"{path} is not there: put it back, or make a new figure.")
    if not is_map_store(path):
        return digest_of(path)
    scores = path / SCORES_FILE
    known = f" scored {digest_of(scores)}" if scores.is_file() else ""
    return f"{open_maps(path).info['fingerprint']}{known}"


def _state(path: Path) -> tuple[tuple[int, int], ...]:
    """Changes when a file does; of a store, when its attributes or its scores do."""
    from napari_mitoxai.trust.recorded import SCORES_FILE

    found = []
    for each in (path, path / "zarr.json", path / SCORES_FILE):
        try:
            status = each.stat()
        except OSError:
            continue
        found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)
