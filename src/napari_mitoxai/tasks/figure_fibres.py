"""Fibres in the colours of a table."""

from typing import Any

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures.cells import FibreCell, LegendEntry
from napari_mitoxai.figures.spec import Limits


def coloured(title: str, name: str, column: Any, limits: Limits | None) -> FibreCell:
    """Fibres by a status, each in its colour, or by a number on one scale; grey where there is none."""
    import matplotlib
    import numpy as np
    from matplotlib.colors import to_rgb, to_rgba

    from napari_mitoxai.figures.status import STATUS_COLOURS

    nothing = to_rgba("#777777", 0.5)
    if column.dropna().isin(list(STATUS_COLOURS)).all() and column.notna().any():
        colours = [to_rgba(STATUS_COLOURS[each]) if each in STATUS_COLOURS else nothing for each in column]
        counts = column.value_counts()
        legend = [
            LegendEntry(f"{status} ({counts[status]})", to_rgb(colour), (0.0, 0.0))
            for status, colour in STATUS_COLOURS.items()
            if status in counts
        ]
        return FibreCell(title, np.array(colours).reshape(-1, 4), legend)
    try:
        values = column.to_numpy(float)
    except ValueError as error:
        raise MitoxaiError(
            f"The column {name} holds neither a status nor numbers: choose another one."
        ) from error
    known = values[np.isfinite(values)]
    low, high = limits or (tuple(np.percentile(known, [1, 99]).tolist()) if known.size else (0.0, 1.0))
    parts = np.clip((values - low) / (high - low or 1.0), 0, 1)
    colours = matplotlib.colormaps["cividis"](np.nan_to_num(parts))
    colours[~np.isfinite(values)] = nothing
    return FibreCell(title, colours, (), ("cividis", float(low), float(high)), name)
