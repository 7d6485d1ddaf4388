"""Which part of a section is meant: a region in pixels, shapes saved by napari, or fibres."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import written_beside

if TYPE_CHECKING:
    from napari_mitoxai.explain import Area
    from napari_mitoxai.imc import Section

_ELLIPSE_CORNERS = 128


def area_of(
    section: "Section",
    region: str | None = None,
    shapes: Path | None = None,
    fibres: Path | None = None,
    fibre_ids: list[int] | None = None,
) -> "Area | None":
    """The part of a section that is asked for; None for all of it.

    Parameters
    ----------
    section : Section
    region : str, optional
        ``rows,columns`` in pixels, as ``100:612,0:512``.
    shapes : Path, optional
        Shapes as napari saves them (CSV), in pixels.
    fibres : Path, optional
        Fibre labels.
    fibre_ids : list of int, optional
        The chosen ones; all by default.

    Raises
    ------
    MitoxaiError
        If more than one of them is given, one cannot be read, or nothing of it lies on the section.
    """
    given = [name for name, value in (("region", region), ("shapes", shapes), ("fibres", fibres)) if value]
    if len(given) > 1:
        raise MitoxaiError(f"A part of the section is given by {' and by '.join(given)}: give one of them.")
    if fibre_ids and not fibres:
        raise MitoxaiError("Fibres are chosen by number and their labels are missing: give --fibres too.")
    from napari_mitoxai import explain
    from napari_mitoxai.imc import read_labels

    if region:
        rows, columns = rows_and_columns(region)
        return explain.rectangle(rows, columns, section.shape)
    if shapes:
        return explain.polygons(read_shapes(shapes), section.shape)
    if fibres:
        return explain.fibres(read_labels(fibres), fibre_ids or [], section.shape)
    return None


def rows_and_columns(region: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """First and last row, first and last column, of ``100:612,0:512``.

    Raises
    ------
    MitoxaiError
        If it is not of this form.
    """
    try:
        rows, columns = (tuple(float(end) for end in part.split(":")) for part in region.split(","))
        (top, bottom), (left, right) = rows, columns
    except ValueError as error:
        raise MitoxaiError(
            f"The region {region!r} is not of the form rows,columns in pixels: write it as 100:612,0:512."
        ) from error
    return (top, bottom), (left, right)


def read_shapes(path: Path) -> list[NDArray[np.float64]]:
    """The outlines (N, 2), as (y, x) in pixels, of the shapes in a file that napari saved.

    Raises
    ------
    MitoxaiError
        If it is no such file, or a shape has no inside.
    """
    import pandas as pd

    try:
        table: Any = pd.read_csv(path)
        shapes = [
            (str(rows["shape-type"].iloc[0]), rows[["axis-0", "axis-1"]].to_numpy(float))
            for _, rows in table.groupby("index")
        ]
    except (OSError, ValueError, KeyError) as error:
        raise MitoxaiError(
            f"{path} cannot be read as shapes ({error}): save a shapes layer of napari as CSV."
        ) from error
    return [outline(kind, corners) for kind, corners in shapes]


def write_shapes(path: Path, outlines: Sequence[NDArray[np.float64]]) -> None:
    """Write polygons (N, 2), as (y, x) in pixels, as napari saves shapes; a file of this name is replaced."""
    import pandas as pd

    rows = [
        (index, "polygon", corner, float(y), float(x))
        for index, polygon in enumerate(outlines)
        for corner, (y, x) in enumerate(polygon)
    ]
    table = pd.DataFrame(rows, columns=["index", "shape-type", "vertex-index", "axis-0", "axis-1"])
    with written_beside(path, overwrite=True) as partial:
        table.to_csv(partial, index=False)


def outline(kind: str, corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners (N, 2) of a polygon with the form of a napari shape.

    Raises
    ------
    MitoxaiError
        If the shape has no inside, as a line.
    """
    if kind in ("line", "path"):
        raise MitoxaiError("A line has no inside: draw a rectangle, an ellipse or a polygon.")
    if kind != "ellipse":
        return corners
    # napari keeps the corners of the box around it, which may be turned
    centre, one, other = corners.mean(0), (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    turn = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(turn) * one + np.sin(turn) * other)
