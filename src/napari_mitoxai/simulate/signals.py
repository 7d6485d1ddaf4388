"""Class signals that a simulated patient carries, each with the exact place it was planted.

A new signal is one function that changes the expected counts in place and returns where, with ``@_register``
above it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.simulate.channels import PANEL
from napari_mitoxai.simulate.tissue import Tissue, smooth_noise

Counts = NDArray[np.float32]
Mask = NDArray[np.bool_]
Plant = Callable[[Tissue, dict[str, Counts], np.random.Generator], Mask]


@dataclass(frozen=True)
class Signal:
    """What makes a simulated patient a patient.

    Attributes
    ----------
    title : str
        For a menu.
    description : str
        One sentence for a person: what differs, and where.
    channels : tuple of str
        The targets it changes; all others are left alone.
    plant : callable
        ``plant(tissue, expected, rng)`` changes the expected counts (target name -> (Y, X)) in place and
        returns the changed pixels (Y, X).
    """

    title: str
    description: str
    channels: tuple[str, ...]
    plant: Plant


SIGNALS: dict[str, Signal] = {}


def get_signal(name: str) -> Signal:
    """The signal of this name.

    Raises
    ------
    MitoxaiError
        If there is none; the message lists those there are.
    """
    if name not in SIGNALS:
        raise MitoxaiError(
            f"There is no simulated signal {name!r}: choose one of {', '.join(SIGNALS)}, or none."
        )
    return SIGNALS[name]


def _register(name: str, title: str, description: str, channels: tuple[str, ...]) -> Callable[[Plant], Plant]:
    def keep(plant: Plant) -> Plant:
        SIGNALS[name] = Signal(title, description, channels, plant)
        return plant

    return keep


def _chosen_fibres(tissue: Tissue, share: float, rng: np.random.Generator) -> Mask:
    """Draw about `share` of the fibres, at least one where there is one; (count + 1,), entry 0 is false."""
    chosen = np.zeros(tissue.count + 1, dtype=bool)
    number = max(round(share * tissue.count), min(1, tissue.count))
    chosen[1 + rng.permutation(tissue.count)[:number]] = True
    return chosen


@_register(
    "complex_i_loss",
    "Complex I loss",
    "NDUFB8 and GRIM19 fall to about an eighth in a third of the patient's fibres; no other protein changes.",
    ("NDUFB8", "GRIM19"),
)
def _complex_i_loss(tissue: Tissue, expected: dict[str, Counts], rng: np.random.Generator) -> Mask:
    share = rng.uniform(0.30, 0.40)
    truth: Mask = _chosen_fibres(tissue, share, rng)[tissue.fibres]
    kept = np.exp(rng.normal(np.log(0.12), 0.3, tissue.count + 1)).astype(np.float32)
    for target in ("NDUFB8", "GRIM19"):
        expected[target][truth] *= kept[tissue.fibres[truth]]
    return truth


@_register(
    "membrane_rim",
    "Sub-membrane rim",
    "SDHA is raised about threefold in a rim of 6 um below the membrane of 40 % of the patient's fibres.",
    ("SDHA",),
)
def _membrane_rim(tissue: Tissue, expected: dict[str, Counts], rng: np.random.Generator) -> Mask:
    chosen = _chosen_fibres(tissue, 0.40, rng)
    truth: Mask = chosen[tissue.fibres] & (tissue.depth_um > 1) & (tissue.depth_um <= 7)
    raised = np.exp(rng.normal(np.log(3.0), 0.15, tissue.count + 1)).astype(np.float32)
    expected["SDHA"][truth] *= raised[tissue.fibres[truth]]
    return truth


@_register(
    "perinuclear_spots",
    "Spots at the fibres' edge",
    "COX4 and VDAC1 rise fourfold in one or two spots of 10 um near the edge of half the patient's fibres.",
    ("COX4", "VDAC1"),
)
def _perinuclear_spots(tissue: Tissue, expected: dict[str, Counts], rng: np.random.Generator) -> Mask:
    chosen = _chosen_fibres(tissue, 0.5, rng)
    near_edge = np.flatnonzero(chosen[tissue.fibres] & (tissue.depth_um > 4) & (tissue.depth_um < 8))
    truth: Mask = np.zeros(tissue.fibres.shape, dtype=bool)
    order = rng.permutation(near_edge)
    owners = tissue.fibres.ravel()[order]
    _, first = np.unique(owners, return_index=True)  # a random place in each fibre
    _, last = np.unique(owners[::-1], return_index=True)
    centres = np.concatenate([order[first], order[len(order) - 1 - last][rng.random(len(last)) < 0.5]])
    reach = int(np.ceil(6.0 / tissue.pixel_size_um))
    for centre in centres:
        y, x = np.unravel_index(centre, truth.shape)
        radius = rng.uniform(4.0, 6.0) / tissue.pixel_size_um
        rows, columns = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
        dy, dx = np.ogrid[rows.start - y : reach + 1, columns.start - x : reach + 1]
        window = tissue.fibres[rows, columns]
        disc = (dy**2 + dx**2 <= radius**2)[: window.shape[0], : window.shape[1]]
        truth[rows, columns] |= disc & (window == tissue.fibres[y, x])
    for target in ("COX4", "VDAC1"):
        expected[target][truth] *= 4.0
    return truth


@_register(
    "gap_haze",
    "Haze in the gaps",
    "A faint haze of OSCP lies in the gaps between the patient's fibres: a signal that is in no fibre.",
    ("OSCP",),
)
def _gap_haze(tissue: Tissue, expected: dict[str, Counts], rng: np.random.Generator) -> Mask:
    del rng  # the haze fills every gap
    truth: Mask = (tissue.owner > 0) & (tissue.depth_um < -1) & (tissue.depth_um > -12)
    expected["OSCP"][truth] += 1.5
    return truth


@_register(
    "tissue_gaps",
    "Gaps in the tissue",
    "Cracks of about 8 um run through the patient's fibres and leave nothing to count: an artefact of cutting, not a disease.",
    tuple(PANEL.targets),
)
def _tissue_gaps(tissue: Tissue, expected: dict[str, Counts], rng: np.random.Generator) -> Mask:
    # level lines of a smooth field are curves; dividing by its slope makes them of even width
    field = smooth_noise(rng, tissue.fibres.shape, 40 / tissue.pixel_size_um)
    slope = np.hypot(*np.gradient(field, tissue.pixel_size_um))
    truth: Mask = (np.abs(field) < 4.0 * slope) & (tissue.fibres > 0)
    for plane in expected.values():
        plane[truth] *= 0.03
    return truth
