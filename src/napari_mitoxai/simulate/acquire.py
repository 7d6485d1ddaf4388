"""One simulated section: ion counts of ten channels, the fibres, and where the class signal is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Panel
from napari_mitoxai.simulate.channels import MEMBRANE, PANEL, TYPICAL
from napari_mitoxai.simulate.signals import get_signal
from napari_mitoxai.simulate.tissue import Tissue, make_tissue, smooth_noise

_SMALLEST = 32
_LARGEST = 20_000
_BACKGROUND = 0.03  # ions a pixel where there is no tissue


@dataclass(frozen=True)
class SimulatedSection:
    """A section made by `section`.

    Attributes
    ----------
    counts : ndarray of uint16
        (C, Y, X), ions a pixel.
    truth : ndarray of bool
        (Y, X), exactly the pixels whose expected counts the class signal changed; empty without a signal.
    fibres : ndarray of int32
        (Y, X), 1..n, 0 is outside.
    panel : Panel
        The ten channels.
    pixel_size_um : float
        Side of a pixel.
    """

    counts: NDArray[np.uint16]
    truth: NDArray[np.bool_]
    fibres: NDArray[np.int32]
    panel: Panel
    pixel_size_um: float


def section(
    signal: str | None = None,
    patient: bool = False,
    *,
    size: int | tuple[int, int] = 1024,
    seed: int = 0,
    subject_seed: int | None = None,
    pixel_size_um: float = 1.0,
    fibre_size_um: float = 50.0,
) -> SimulatedSection:
    """Simulate one section of muscle.

    Expected counts are a product of what subject, fibre, channel and place contribute; what is counted is
    Poisson. The same arguments give the same counts. A control and a patient of one seed have one tissue,
    and differ in the signal alone.

    Parameters
    ----------
    signal : str, optional
        A name in ``SIGNALS``; None plants nothing, and patients are then like controls.
    patient : bool
        Whether the signal is planted.
    size : int or tuple of int
        Side, or (Y, X), in pixels.
    seed : int
        Draws the section.
    subject_seed : int, optional
        Draws what is the subject's own (the gain of each channel, fibre size and type); as `seed` where not
        given. Give several sections one value to take them from one subject.
    pixel_size_um : float
        Side of a pixel.
    fibre_size_um : float
        Mean diameter of a fibre.

    Returns
    -------
    SimulatedSection

    Raises
    ------
    MitoxaiError
        If there is no such signal, or the size cannot hold a fibre.
    """
    planted = None if signal is None else get_signal(signal)
    shape = _checked_shape(size)
    if not (0 < pixel_size_um < np.inf and fibre_size_um >= 8 * pixel_size_um):
        raise MitoxaiError(
            f"Fibres of {fibre_size_um} um on pixels of {pixel_size_um} um cannot be drawn: "
            "choose sizes that give a fibre 8 pixels."
        )
    subject = _draw_subject(np.random.default_rng([1, seed if subject_seed is None else subject_seed]))
    rng, signal_rng, *count_rngs = np.random.default_rng([2, seed]).spawn(2 + len(PANEL))

    tissue = make_tissue(
        rng, shape, pixel_size_um=pixel_size_um, fibre_size_um=fibre_size_um * subject.fibre_size
    )
    expected = _expected(tissue, subject, rng)
    truth = np.zeros(shape, dtype=bool)
    if planted is not None and patient:
        truth = planted.plant(tissue, expected, signal_rng)
    counts = np.stack(
        [_count(expected[target], own_rng) for target, own_rng in zip(PANEL.targets, count_rngs, strict=True)]
    )
    return SimulatedSection(counts, truth, tissue.fibres, PANEL, pixel_size_um)


@dataclass(frozen=True)
class _Subject:
    """What all sections of one subject share."""

    gain: dict[str, float]
    fibre_size: float
    slow_share: float
    loss_of_membrane: float


def _draw_subject(rng: np.random.Generator) -> _Subject:
    # staining and instrument move all channels together, each antibody moves its own
    gains = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.25, len(PANEL)))
    return _Subject(
        gain=dict(zip(PANEL.targets, gains.tolist(), strict=True)),
        fibre_size=float(np.exp(rng.normal(0, 0.08))),
        slow_share=float(rng.uniform(0.35, 0.6)),
        loss_of_membrane=float(rng.uniform(0.0, 0.3)),
    )


def _expected(tissue: Tissue, subject: _Subject, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Expected counts of each target, (Y, X), without a class signal."""
    shape, number, pixel = tissue.fibres.shape, tissue.count + 1, tissue.pixel_size_um
    slow = rng.random(number) < subject.slow_share
    mass = np.where(slow, 1.45, 0.62) * np.exp(rng.normal(0, 0.22, number))
    # mitochondria fill the fibre up to its membrane, unevenly; what is outside has a few stray ions
    inside = np.clip(tissue.depth_um / 2.0, 0, 1)
    texture = np.exp(
        0.13 * smooth_noise(rng, shape, 4 / pixel) + 0.15 * smooth_noise(rng, shape, 120 / pixel)
    )
    mitochondria = inside * texture
    expected = {}
    for (target, _), typical in TYPICAL.items():
        level = typical * subject.gain[target]
        stray = level * 0.02 + _BACKGROUND
        if target == MEMBRANE:
            expected[target] = (level * _membrane(tissue, subject, rng) + stray).astype(np.float32)
        else:
            fibre = (level * mass * np.exp(rng.normal(0, 0.12, number))).astype(np.float32)
            fibre[0] = 0
            expected[target] = fibre[tissue.fibres] * mitochondria + np.float32(stray)
    return expected


def _membrane(tissue: Tissue, subject: _Subject, rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness of the membrane, about 1 on it: a line 3 um wide, uneven, with scraps of it in the gaps."""
    shape, pixel = tissue.fibres.shape, tissue.pixel_size_um
    line = np.exp(-0.5 * ((tissue.depth_um - 0.2) / 1.0) ** 2)
    along = 1 + 0.35 * smooth_noise(rng, shape, 25 / pixel) - subject.loss_of_membrane
    fibre = np.exp(rng.normal(0, 0.2, tissue.count + 1)).astype(np.float32)
    fibre[0] = 0
    gap = (tissue.owner > 0) & (tissue.depth_um < 0)
    scraps = gap * np.clip(smooth_noise(rng, shape, 6 / pixel) - 1.3, 0, 1)
    cytoplasm = 0.03 * (tissue.fibres > 0)
    brightness: NDArray[np.float32] = (
        line * np.clip(along, 0.12, 2.0) * fibre[tissue.owner] + 0.8 * scraps + cytoplasm
    )
    return brightness


def _count(expected: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Count ions, and put in the few hot pixels that every acquisition has."""
    counts = rng.poisson(expected)
    hot = rng.integers(0, counts.size, rng.poisson(2e-5 * counts.size))
    counts.ravel()[hot] += rng.integers(30, 300, len(hot))
    return np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)


def _checked_shape(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if not (_SMALLEST <= height <= _LARGEST and _SMALLEST <= width <= _LARGEST):
        raise MitoxaiError(
            f"A section of {height} x {width} px cannot be simulated: "
            f"choose sides from {_SMALLEST} to {_LARGEST} px."
        )
    return int(height), int(width)
