"""A class for each fibre: by the published rule for transverse fibres, and by hand; kept in a table beside the labels.

The rule is that of the NCL-SM data set (Khan et al. 2023, arXiv 2311.11099, ``non_transverse_myofibre_detection.py``).
Nobody has published a rule for freezing artefacts or folds: those classes are given by hand.
"""

import csv
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import written_beside
from napari_mitoxai.fibres.hulls import Corners, hulls, pixels_in_hulls
from napari_mitoxai.fibres.intensities import bands
from napari_mitoxai.fibres.numbering import Fibres, numbered
from napari_mitoxai.fibres.runs import runs_in

_AREA_UM2 = (210.0, 27000.0)
_HULL = 1.19  # area of the convex hull over the area
_LONG = 3.10  # squared length of the bounding box over the area
_ELLIPSE = 2.2  # an ellipse longer than this is not transverse
_LONG_ELLIPSE = 1.8  # if its box is also longer than this


class FibreClass(StrEnum):
    """What kind of fibre it is."""

    ANALYSABLE = "analysable"
    NOT_TRANSVERSE = "not transverse"
    FREEZING_ARTEFACT = "freezing artefact"
    FOLDED = "folded"


def classify(labels: NDArray[np.integer], *, pixel_size_um: float = 1.0) -> dict[int, FibreClass]:
    """Tell transverse, analysable fibres from others by their shape.

    Analysable is 210 < area < 27,000 um2, hull / area < 1.19 and L2 / area < 3.10 for the length L of the bounding box, not both an ellipse
    longer than 2.2 to 1 and L2 / area of 1.8 or more, and not touching the border of the image; all else is not transverse.

    Parameters
    ----------
    labels : ndarray of int
        (Y, X); 0 is outside. Ids need not be consecutive.
    pixel_size_um : float
        Side of a pixel.

    Returns
    -------
    dict of int to FibreClass
        By id, in ascending order.
    """
    fibres = numbered(labels)
    analysable = _transverse(fibres, pixel_size_um)
    return {
        fibre: FibreClass.ANALYSABLE if good else FibreClass.NOT_TRANSVERSE
        for fibre, good in zip(fibres.ids.tolist(), analysable.tolist(), strict=True)
    }


def _transverse(fibres: Fibres, pixel_size_um: float) -> NDArray[np.bool_]:
    """Which fibres the rule lets pass; the image is gone through once, a band of rows at a time."""
    number, (height, width) = len(fibres), fibres.index.shape
    if not number:
        return np.zeros(0, bool)
    moments = np.zeros((5, number))  # y, x, y^2, x^2, xy
    points: list[Corners] = []
    for rows in bands(height, width):
        runs = runs_in(np.pad(fibres.index[rows], ((0, 0), (1, 1))), rows.start)
        row, length, middle = runs.row, runs.length, runs.start + 0.5 * (runs.length - 1)
        of_runs = (row, middle, row**2, middle**2 + (length**2 - 1) / 12, row * middle)
        moments += [np.bincount(runs.owner, each * length, number) for each in of_runs]
        points.append(hulls([runs.edge_middles()]))
    area = fibres.pixels.astype(float)
    y, x, yy, xx, xy = moments / area
    spread_y, spread_x, both = yy - y**2, xx - x**2, xy - y * x
    middle, half = (spread_y + spread_x) / 2, np.hypot((spread_y - spread_x) / 2, both)
    with np.errstate(divide="ignore", invalid="ignore"):  # a line of pixels has no width
        ellipse = np.sqrt((middle + half) / np.maximum(middle - half, 0))
    ends = np.array([[(side.start, side.stop) for side in box] for box in find_objects(fibres.index)])
    long = (ends[..., 1] - ends[..., 0]).max(1) ** 2 / area
    inside = (ends[..., 0] > 0).all(1) & (ends[..., 1] < (height, width)).all(1)
    um2 = area * pixel_size_um**2
    convex = pixels_in_hulls(hulls(points), number) / area < _HULL
    plausible = (um2 > _AREA_UM2[0]) & (um2 < _AREA_UM2[1])
    drawn_out = (ellipse > _ELLIPSE) & (long >= _LONG_ELLIPSE)
    return np.asarray(inside & plausible & (long < _LONG) & ~drawn_out & convex)


def classes_path(labels: Path) -> Path:
    """Where the classes of a label image lie: ``P03_fibres_classes.csv`` beside ``P03_fibres.tiff``."""
    return labels.with_name(f"{labels.stem.removesuffix('.ome')}_classes.csv")


def write_classes(
    path: Path,
    classes: Mapping[int, FibreClass],
    by_hand: frozenset[int] | set[int] = frozenset(),
    *,
    overwrite: bool = False,
) -> None:
    """Write a table ``fibre, class, by``.

    Parameters
    ----------
    path : Path
        See `classes_path`.
    classes : mapping of int to FibreClass
        By id.
    by_hand : set of int
        The fibres whose class a person gave; the others' is by the rule.
    overwrite : bool
        Whether an existing table may be replaced.

    Raises
    ------
    MitoxaiError
        If it exists, or cannot be written.
    """
    with (
        written_beside(path, overwrite=overwrite) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(("fibre", "class", "by"))
        for fibre, kind in sorted(classes.items()):
            table.writerow((fibre, kind.value, "hand" if fibre in by_hand else "rule"))


def read_classes(path: Path) -> tuple[dict[int, FibreClass], set[int]]:
    """Read what `write_classes` wrote.

    Returns
    -------
    dict of int to FibreClass, set of int
        The classes by id, and the fibres that a person classed.

    Raises
    ------
    MitoxaiError
        If it is not there, or not such a table.
    """
    classes: dict[int, FibreClass] = {}
    by_hand: set[int] = set()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                fibre = int(row["fibre"])
                classes[fibre] = FibreClass(row["class"])
                if row["by"] == "hand":
                    by_hand.add(fibre)
    except FileNotFoundError as error:
        raise MitoxaiError(f"{path} is not there: check the path.") from error
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise MitoxaiError(
            f"{path} is no table of fibre classes ({error}): it needs the columns fibre, class and by."
        ) from error
    return classes, by_hand
