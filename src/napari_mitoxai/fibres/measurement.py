"""The fibre table: one row a fibre, with its size, its shape and what every channel holds in it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.fibres.contours import contours
from napari_mitoxai.fibres.intensities import intensities
from napari_mitoxai.fibres.numbering import Fibres, numbered
from napari_mitoxai.fibres.shapes import shapes
from napari_mitoxai.imc import Role, Section

PERCENTS = (5.0, 25.0, 75.0, 95.0)
_EMPTY = 0.2  # of what a fibre of the section usually holds; tissue is told from the slide by the same share


def measure(
    section: Section,
    labels: NDArray[np.integer],
    *,
    percents: Sequence[float] = PERCENTS,
    outline: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> pd.DataFrame:
    """Measure the fibres of a section.

    Parameters
    ----------
    section : Section
        Is read a band of rows and a channel at a time.
    labels : ndarray of int
        (Y, X) as the section; 0 is outside, ids need not be consecutive.
    percents : sequence of float
        Percentiles of every channel, 0 to 100.
    outline : bool
        Whether the channels are measured on the line of pixels just outside each fibre, where mitocyto measures.
    progress, cancel : callable, CancelToken
        Told, and looked at, between the steps.

    Returns
    -------
    pandas.DataFrame
        A row a fibre, by id: ``section, fibre, area_um2, x_um, y_um``, the mean of every channel (``NDUFB8_mean``),
        ``perimeter_um, feret_max_um, feret_min_um, aspect_ratio`` (of the Feret diameters), ``circularity``
        (4 π area / perimeter²), ``convexity`` (area / area of the convex hull), ``euler_number`` (pieces minus holes),
        ``on_border``, ``near_empty`` (the channels but the membrane's hold, on average, less than a fifth of the section's median
        fibre), ``outline_on_membrane`` and ``outline_on_mass`` (see `outline_quality`; nan without such a channel), median, standard deviation and percentiles of every channel (``NDUFB8_p5``), and ``measured_on``
        (``inside`` or ``outline``). The centre of the first pixel is at (0, 0) µm.

    Raises
    ------
    MitoxaiError
        If the labels are of another shape, a percentile is not one, or the section is damaged.
    Cancelled
        If `cancel` was used.
    """
    if any(not 0 <= percent <= 100 for percent in percents):
        raise MitoxaiError(
            f"Percentiles go from 0 to 100 (given: {', '.join(f'{each:g}' for each in percents)})."
        )
    fibres = fibres_of(section, labels)
    progress(Progress("Shapes", 0, 1))
    columns = _shape_columns(fibres, section.pixel_size_um, cancel)
    values = intensities(
        fibres,
        lambda channel, rows: section.read([channel], y=rows)[0],
        len(section.panel),
        percents=percents,
        outline=outline,
        chunks=section.data.chunks[1],
        progress=progress,
        cancel=cancel,
    )
    first = ("area_um2", "x_um", "y_um")
    table = {"section": section.name, "fibre": fibres.ids} | {name: columns.pop(name) for name in first}
    statistics = ["median", "sd", *(f"p{percent:g}" for percent in percents)]
    table |= {f"{target}_mean": values["mean"][:, c] for c, target in enumerate(section.panel.targets)}
    table |= columns
    table["near_empty"] = _near_empty(section, values["mean"])
    table |= outline_quality(section, fibres, cancel=cancel)
    for channel, target in enumerate(section.panel.targets):
        table |= {f"{target}_{name}": values[name][:, channel] for name in statistics}
    table["measured_on"] = "outline" if outline else "inside"
    return pd.DataFrame(table, index=pd.RangeIndex(len(fibres)))


def measure_like_mitocyto(
    section: Section,
    labels: NDArray[np.integer],
    *,
    outline: bool = True,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> pd.DataFrame:
    """Measure the fibres of a section in mitocyto's quantities.

    Parameters
    ----------
    section : Section
        As for `measure`.
    labels : ndarray of int
        (Y, X); the inside of each fibre, without the membrane's pixels around it.
    outline : bool
        Whether on the line around each fibre, as mitocyto since 0.0.20, or inside, as before.
    progress, cancel : callable, CancelToken
        As for `measure`.

    Returns
    -------
    pandas.DataFrame
        mitocyto's ``results.csv``: ``Value, ID, Channel, Folder 1, Filename``. For each channel the mean of the counts
        + 1, its ``LOG_`` (exp of the mean log) and ``MED_`` (median); then Area, AspectRatio, Perimeter, Circularity,
        xCoord and yCoord of the contour, in pixels. Its ``Mean`` and ``Edges``, which describe pictures that it
        displays, are not there.

    Raises
    ------
    MitoxaiError
        As for `measure`.
    Cancelled
        If `cancel` was used.
    """
    fibres = fibres_of(section, labels)
    values = intensities(
        fibres,
        lambda channel, rows: section.read([channel], y=rows)[0],
        len(section.panel),
        outline=outline,
        chunks=section.data.chunks[1],
        progress=progress,
        cancel=cancel,
    )
    quantities: dict[str, NDArray[np.generic]] = {}
    for channel, target in enumerate(section.panel.targets):
        quantities[target] = values["mean"][:, channel] + 1
        quantities[f"LOG_{target}"] = np.exp(values["log_mean"][:, channel])
        quantities[f"MED_{target}"] = values["median"][:, channel] + 1
    line = contours(fibres)
    quantities |= {
        "Area": line.area,
        "AspectRatio": line.width / line.height,
        "Perimeter": line.perimeter,
        "Circularity": 4 * np.pi * line.area / line.perimeter**2,
        # rounding must not make 99.99 of what is 100
        "xCoord": np.floor(line.x + 1e-9),
        "yCoord": np.floor(line.y + 1e-9),
    }
    wide = pd.DataFrame({"ID": fibres.ids} | quantities)
    long = wide.melt("ID", var_name="Channel", value_name="Value").sort_values("ID", kind="stable")
    long = long.assign(**{"Folder 1": section.path.parent.name, "Filename": section.name})
    return long[["Value", "ID", "Channel", "Folder 1", "Filename"]].reset_index(drop=True)


def fibres_of(section: Section, labels: NDArray[np.integer]) -> Fibres:
    """Number the fibres of a section.

    Raises
    ------
    MitoxaiError
        If the labels are of another shape than the section, or no labels.
    """
    fibres = numbered(labels)
    if fibres.index.shape != section.shape[1:]:
        y, x = fibres.index.shape
        raise MitoxaiError(
            f"The labels have {y} x {x} pixels and {section.name} has {section.shape[1]} x {section.shape[2]}: give the labels of this section."
        )
    return fibres


def outline_quality(
    section: Section, fibres: Fibres, *, cancel: CancelToken | None = None
) -> dict[str, NDArray[np.float64]]:
    """Tell without a reference how well outlines fit, after the measures of NCL-SM (Khan et al. 2023).

    Parameters
    ----------
    section : Section
        With channels of the roles membrane and mitochondrial mass; the first of each is looked at.
    fibres : Fibres
        Of the section.
    cancel : CancelToken, optional
        Looked at for each band of rows.

    Returns
    -------
    dict of str to ndarray
        ``outline_on_membrane``: the share of the line of pixels around a fibre that is above the membrane channel's 85th
        percentile, high where the outline follows the membrane. ``outline_on_mass``: the share of the line, where it is in
        no other fibre, above the 75th percentile of the mass, high where a part of the fibre was missed. Each (N,); nan
        without such a channel.
    """
    looked_at = [
        (name, role, section.panel.with_role(role)[0], percent)
        for name, role, percent in (
            ("outline_on_membrane", Role.MEMBRANE, 85),
            ("outline_on_mass", Role.MITOCHONDRIAL_MASS, 75),
        )
        if section.panel.with_role(role)
    ]
    limits = [section.percentiles(plane, [percent])[0] for _, _, plane, percent in looked_at]

    def above(place: int, rows: slice) -> NDArray[np.floating]:
        _, role, plane, _ = looked_at[place]
        counts = section.read([plane], y=rows)[0]
        bright: NDArray[np.floating] = np.where(counts > limits[place], np.float32(1), np.float32(0))
        if role is Role.MITOCHONDRIAL_MASS:
            bright[fibres.index[rows] > 0] = np.nan
        return bright

    found = intensities(
        fibres, above, len(looked_at), outline=True, chunks=section.data.chunks[1], cancel=cancel
    )["mean"]
    shares = {name: np.full(len(fibres), np.nan) for name in ("outline_on_membrane", "outline_on_mass")}
    return shares | {name: found[:, place] for place, (name, *_) in enumerate(looked_at)}


def _near_empty(section: Section, means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which fibres hold next to nothing beside their membrane: no proportion of proteins can be told there."""
    others = [
        index for index in range(len(section.panel)) if index not in section.panel.with_role(Role.MEMBRANE)
    ]
    shares = np.full((len(means), len(others)), np.nan)
    for place, index in enumerate(others):
        known = means[np.isfinite(means[:, index]), index]
        if known.size and np.median(known) > 0:
            shares[:, place] = means[:, index] / np.median(known)
    told = np.isfinite(shares).sum(1)
    return np.asarray((told > 0) & (np.where(np.isfinite(shares), shares, 0).sum(1) < _EMPTY * told))


def _shape_columns(
    fibres: Fibres, pixel_size_um: float, cancel: CancelToken | None
) -> dict[str, NDArray[np.generic]]:
    found = shapes(fibres, cancel)
    return {
        "area_um2": found.area * pixel_size_um**2,
        "x_um": found.x * pixel_size_um,
        "y_um": found.y * pixel_size_um,
        "perimeter_um": found.perimeter * pixel_size_um,
        "feret_max_um": found.feret_max * pixel_size_um,
        "feret_min_um": found.feret_min * pixel_size_um,
        "aspect_ratio": found.feret_max / found.feret_min,
        "circularity": 4 * np.pi * found.area / found.perimeter**2,
        "convexity": found.area / found.hull_area,
        "euler_number": found.euler,
        "on_border": found.border,
    }
