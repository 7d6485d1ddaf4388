"""Looking on while maps are made; needs no torch."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_mitoxai.explain.store import MapStore

View = tuple[slice, slice]


class Watcher:
    """Who looks on while maps are made; a viewer has methods of its own. They are called from working threads."""

    def on_store(self, store: "MapStore") -> None:
        """The store stands; it may hold blocks of an earlier, unfinished call."""

    def on_block(self, region: View, maps: dict[str, NDArray[np.float32]], *, finished: bool) -> None:
        """A block (C, y, x) of each map, at these rows and columns in map pixels; if unfinished, it will come again."""

    def view(self) -> View | None:
        """What is on the screen, rows and columns in pixels of the section: its patches are computed first."""
        return None
