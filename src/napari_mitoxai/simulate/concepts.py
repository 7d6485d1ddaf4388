"""A simulated cohort whose fibres carry two traits beside the class signal, and the concept set that names them."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, written_beside
from napari_mitoxai.imc import write_labels, write_section
from napari_mitoxai.simulate.acquire import SimulatedSection, section
from napari_mitoxai.simulate.channels import PANEL
from napari_mitoxai.simulate.signals import SIGNALS

LOSS = "complex I loss"  # what makes a patient
# by concept: the signal that draws it, and in which share of the fibres
TRAITS = {LOSS: ("complex_i_loss", 0.2), "rim": ("membrane_rim", 0.1), "spots": ("perinuclear_spots", 0.1)}
_SHOWN = 0.004  # of a patch, at least, changed by what it is an example of
_HIDDEN = 0.0005  # at most, by another


def concept_cohort(
    folder: Path,
    subjects_per_group: int = 4,
    size: int = 512,
    seed: int = 0,
    *,
    patch_size: int = 128,
    examples: int = 12,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Path:
    """Simulate a cohort with concepts in it, and write the concept set.

    Patients have lost complex I in a fifth of their fibres. In everybody, a tenth of the fibres has a bright rim of SDHA, and another
    tenth bright spots of COX4 and VDAC1. Examples of a concept are patches around fibres that show it, and show no other.

    Parameters
    ----------
    folder : Path
        Gets ``<subject>.ome.tiff``, ``fibres/<subject>.tiff`` (labels), ``concepts.csv`` and ``cohort.csv``, which is written last.
    subjects_per_group : int
        Controls, and patients.
    size : int
        Side of a section, 1 um a pixel.
    seed : int
        Draws the cohort.
    patch_size : int
        Of the examples.
    examples : int
        Of a concept and subject, at most.
    overwrite : bool
        Whether an existing cohort may be replaced.
    progress, cancel : callable, CancelToken
        Told after, and looked at before, each subject.

    Returns
    -------
    Path
        The table; the concept set lies beside it.

    Raises
    ------
    MitoxaiError
        If the folder holds a cohort already, or it cannot be written.
    Cancelled
        If `cancel` was used.
    """
    table = Path(folder) / "cohort.csv"
    refuse_existing(table, overwrite=overwrite)
    members = [
        (f"{letter}{number:02d}", group)
        for letter, group in (("C", "control"), ("P", "patient"))
        for number in range(1, subjects_per_group + 1)
    ]
    rows: list[list[object]] = []
    for done, (subject, group) in enumerate(members):
        if cancel is not None:
            cancel.check()
        progress(Progress("Simulating", done, len(members), subject))
        own_seed = int(np.random.SeedSequence([seed, done]).generate_state(1)[0])
        made, changed = _with_traits(group == "patient", size, own_seed)
        write_section(
            table.parent / f"{subject}.ome.tiff", made.counts, PANEL, pixel_size_um=1.0, overwrite=overwrite
        )
        write_labels(
            table.parent / "fibres" / f"{subject}.tiff", made.fibres, pixel_size_um=1.0, overwrite=overwrite
        )
        for concept, places in _examples(made.fibres, changed, patch_size, examples, own_seed).items():
            rows += [[concept, f"{subject}.ome.tiff", subject, *place] for place in places]
    progress(Progress("Simulating", len(members), len(members)))
    _write(
        table.parent / "concepts.csv",
        ["concept", "section", "subject", "y_px", "x_px", "source"],
        rows,
        overwrite,
    )
    cohort_rows: list[list[object]] = [[f"{subject}.ome.tiff", subject, group] for subject, group in members]
    _write(table, ["path", "subject", "group"], cohort_rows, overwrite)
    return table


def _with_traits(
    patient: bool, size: int, seed: int
) -> tuple[SimulatedSection, dict[str, NDArray[np.bool_]]]:
    """A section and, for each concept, the pixels that it changed.

    Signals change channels of their own, and sections of one seed differ in nothing else: traits are laid over chosen fibres.
    """
    made = section(None, size=size, seed=seed)
    changed: dict[str, NDArray[np.bool_]] = {}
    free = np.random.default_rng([seed, 3]).permutation(np.unique(made.fibres)[1:])
    for concept, (signal, share) in TRAITS.items():
        if concept == LOSS and not patient:
            continue
        with_it = section(signal, True, size=size, seed=seed)
        can = free[np.isin(free, made.fibres[with_it.truth])]
        chosen = can[: max(round(share * made.fibres.max()), 1)]
        free = free[~np.isin(free, chosen)]
        changed[concept] = with_it.truth & np.isin(made.fibres, chosen)
        for channel in PANEL.match(SIGNALS[signal].channels, what="the simulated panel"):
            made.counts[channel][changed[concept]] = with_it.counts[channel][changed[concept]]
    return made, changed


def _examples(
    fibres: NDArray[np.int32], changed: dict[str, NDArray[np.bool_]], side: int, count: int, seed: int
) -> dict[str, list[tuple[float, float, str]]]:
    """Centres (y, x) of fibres whose patch shows one concept, and the fibre, at most `count` of each."""
    numbers = np.unique(fibres)[1:]
    centres = np.array(ndimage.center_of_mass(fibres > 0, fibres, numbers))
    half = side / 2
    inside = ((centres >= half) & (centres <= fibres.shape[0] - half)).all(1)
    found: dict[str, list[tuple[float, float, str]]] = {}
    for concept in changed:
        own = inside & np.isin(numbers, fibres[changed[concept]])
        for index in np.random.default_rng([seed, 4]).permutation(np.flatnonzero(own)):
            y, x = centres[index]
            window = tuple(slice(round(at - half), round(at - half) + side) for at in (y, x))
            shares = {name: float(mask[window].mean()) for name, mask in changed.items()}
            others = sum(share for name, share in shares.items() if name != concept)
            if shares[concept] >= _SHOWN and others <= _HIDDEN and len(found.get(concept, [])) < count:
                place = (round(float(y), 1), round(float(x), 1), f"fibre {numbers[index]}")
                found.setdefault(concept, []).append(place)
    return found


def _write(path: Path, header: list[str], rows: list[list[object]], overwrite: bool) -> None:
    with (
        written_beside(path, overwrite=overwrite) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
