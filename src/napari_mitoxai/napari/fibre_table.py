"""The fibre table in a labels layer: its features, so that napari's table and hover show them, and its colours."""

from collections.abc import Collection
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from napari.utils.colormaps import Colormap, direct_colormap, ensure_colormap

from napari_mitoxai.figures.status import CLASS_COLOURS, STATUS_COLOURS
from napari_mitoxai.napari.layers import METADATA_KEY
from napari_mitoxai.napari.styles import FIBRE_OUTLINE

OUTLINES = "outlines"
COLOURED_BY = "coloured_by"  # in a layer's metadata
_CHOSEN = "selected"  # likewise
SELECTED = "#f0e442"
_NOTHING = (0.0, 0.0, 0.0, 0.0)
_Z_LIMIT = 6.0
_STEPS = 100  # of a colour scale
_STATUS, _Z = "_status", "_z"
_CLASS = "class"
_SWATCHES = 12  # of a colour scale in a legend


def put_table(layer: Any, table: pd.DataFrame) -> None:
    """Put a row a fibre into a labels layer's features; columns that are there already are replaced, others stay.

    Parameters
    ----------
    layer : napari.layers.Labels
        Its features get the column ``index`` with the label, by which napari finds a row.
    table : pandas.DataFrame
        With the column ``fibre``.
    """
    fresh = table.drop(columns=["section", "labels"], errors="ignore").rename(columns={"fibre": "index"})
    fresh["index"] = fresh["index"].astype(int)
    old = layer.features
    if "index" in old and len(old):
        kept = old.drop(columns=[name for name in fresh if name != "index" and name in old])
        if kept.shape[1] > 1:
            fresh = fresh.merge(kept, on="index", how="left")
    layer.features = fresh


def note_selected(layer: Any, fibres: Collection[int]) -> None:
    """Keep with a labels layer which fibres are selected, for whoever works on them."""
    layer.metadata.setdefault(METADATA_KEY, {})[_CHOSEN] = sorted(int(fibre) for fibre in fibres)


def selected_in(layer: Any) -> list[int]:
    """The fibres of a labels layer that were selected last, on whichever tab."""
    return list(layer.metadata.get(METADATA_KEY, {}).get(_CHOSEN, []))


def columns_to_colour(layer: Any) -> list[str]:
    """The features that fibres can be coloured by: calls first, then z, their class, then all other numbers."""
    features = layer.features
    names = [name for name in features if name != "index"]
    status = [name for name in names if name.endswith(_STATUS)]
    z = [name for name in names if name.endswith(_Z)]
    numbers = [
        name
        for name in names
        if name not in z and name not in status and pd.api.types.is_numeric_dtype(features[name])
    ]
    return [*status, *z, *(name for name in names if name == _CLASS), *numbers]


def drop_columns(layer: Any, names: Collection[str]) -> None:
    """Take columns out of a layer's features, where they are."""
    features = layer.features
    layer.features = features.drop(columns=[name for name in names if name in features and name != "index"])


def coloured_by(layer: Any) -> str:
    """What the fibres of a layer are coloured by now, whichever tab chose it."""
    return str(layer.metadata.get(METADATA_KEY, {}).get(COLOURED_BY, OUTLINES))


def legend(layer: Any) -> str:
    """What the colours of a layer's fibres mean, as HTML; nothing for outlines."""
    by = coloured_by(layer)
    if by == OUTLINES or by not in layer.features:
        return ""
    values = layer.features[by]
    named = _named_colours(by)
    if named is not None:
        there = [name for name in named if (values.fillna("not called") == name).any()]
        return "&nbsp; ".join(f"<span style='color:{named[name]}'>■</span>&nbsp;{name}" for name in there)
    numbers = values.to_numpy(float)
    if not np.isfinite(numbers).any():
        return ""
    low, high, scale = _limits(numbers, by)
    steps = np.array(scale.map(np.linspace(0, 1, _SWATCHES)))
    cells = "".join(
        f"<span style='color:rgb({r},{g},{b})'>█</span>"
        for r, g, b in (255 * steps[:, :3]).astype(int).tolist()
    )
    return f"{escape(by)}: {low:.3g} {cells} {high:.3g}"


def colour_fibres(layer: Any, by: str, selected: Collection[int] = ()) -> None:
    """Colour the fibres of a labels layer.

    Parameters
    ----------
    layer : napari.layers.Labels
        With features as `put_table` leaves them.
    by : str
        A feature, or `OUTLINES`.
    selected : collection of int
        Fibres that stand out.
    """
    layer.metadata.setdefault(METADATA_KEY, {})[COLOURED_BY] = by
    note_selected(layer, selected)
    colours: dict[int | None, Any] = {0: _NOTHING}
    if by == OUTLINES or by not in layer.features:
        colours[None] = FIBRE_OUTLINE
    else:
        colours[None] = _NOTHING
        features = layer.features
        colours |= dict(zip(features["index"].tolist(), _colours(features[by], by), strict=True))
    filled = by != OUTLINES and by in layer.features
    if selected and not filled:
        colours[None] = _NOTHING  # filled, or what is selected could hardly be seen; the others as they were
        colours |= dict.fromkeys(_labels(layer), (1.0, 1.0, 1.0, 0.18))
    colours |= dict.fromkeys(selected, SELECTED)
    layer.colormap = direct_colormap(colours)
    layer.contour = 0 if filled or selected else 1


def _labels(layer: Any) -> list[int]:
    features = layer.features
    return (
        features["index"].tolist() if "index" in features else np.unique(np.asarray(layer.data)).tolist()[1:]
    )


def _colours(values: "pd.Series[Any]", name: str) -> list[Any]:
    named = _named_colours(name)
    if named is not None:
        return [named.get(str(value), STATUS_COLOURS["not called"]) for value in values]
    numbers = values.to_numpy(float)
    if not np.isfinite(numbers).any():
        return [_NOTHING] * len(numbers)
    low, high, scale = _limits(numbers, name)
    place = (numbers - low) / (high - low if high > low else 1.0)
    # napari draws nothing with more than a few hundred different colours
    steps = np.round(_STEPS * np.clip(np.nan_to_num(place), 0, 1)) / _STEPS
    rgba = np.array(scale.map(steps))
    rgba[~np.isfinite(numbers)] = _NOTHING
    return list(rgba)


def _named_colours(column: str) -> dict[str, str] | None:
    """The colours of a column of words."""
    if column.endswith(_STATUS):
        return STATUS_COLOURS
    return CLASS_COLOURS if column == _CLASS else None


def _limits(numbers: "np.ndarray[Any, np.dtype[np.float64]]", column: str) -> tuple[float, float, Colormap]:
    """Where the colour scale of a column of numbers begins and ends."""
    if column.endswith(_Z):
        return -_Z_LIMIT, _Z_LIMIT, _z_scale()
    low, high = np.percentile(numbers[np.isfinite(numbers)], [2, 98])
    return float(low), float(high), ensure_colormap("viridis")


def _z_scale() -> Colormap:
    """From the colour of deficient fibres over light grey to that of over-expression."""
    low, high = STATUS_COLOURS["deficient"], STATUS_COLOURS["over-expressed"]
    return Colormap([low, "#e8e8e8", high], name="mitoxai z")
