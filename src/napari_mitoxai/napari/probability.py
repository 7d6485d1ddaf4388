"""The probability map of a called section as layers."""

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from napari_mitoxai.napari.layers import LayerFacts, LayerTuple, map_layer

if TYPE_CHECKING:
    from napari_mitoxai.explain.store import MapStore

PROBABILITY = "probability"
_OPACITY = 0.5  # the tissue is to be seen where the model is sure, too


def is_probability(store: "MapStore") -> bool:
    """Whether a store holds what `mitoxai predict` writes."""
    return list(store.methods) == [PROBABILITY]


def probability_layers(store: "MapStore") -> list[LayerTuple]:
    """The probability of the last class, on a scale that is transparent where the model is undecided.

    With more than two classes there is a layer for each, of which that of the last class is visible.

    Parameters
    ----------
    store : MapStore
        As `napari_mitoxai.explain.open_maps` gives it.
    """
    section, classes = store.info["section"], store.channels(PROBABILITY)
    shown = [len(classes) - 1] if len(classes) == 2 else range(len(classes))
    layers = []
    for index in shown:
        # where no patch lies there is no probability: nothing is shown, rather than a sure no
        levels = [da.where(level.sum(0) > 0, level[index], np.nan) for level in store.levels(PROBABILITY)]
        facts = LayerFacts(
            "map", section["name"], section["path"], PROBABILITY, classes[index], str(store.path)
        )
        layer = map_layer(
            levels if len(levels) > 1 else levels[0],
            facts,
            signed=True,
            limit=1.0,
            scale_um=store.grid.scale_um,
            translate_um=(store.grid.translate_um,) * 2,
            provenance=store.info,
        )
        layer[1]["contrast_limits"] = (0.0, 1.0)  # blue: surely not; orange: surely
        layer[1]["opacity"] = _OPACITY
        layer[1]["visible"] = index == len(classes) - 1
        layers.append(layer)
    return layers
