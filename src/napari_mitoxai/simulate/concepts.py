"""A simulated cohort in which some fibres show concepts that have nothing to do with the class, and the concept set."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_mitoxai.common import CancelToken, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing
from napari_mitoxai.imc import write_labels, write_section
from napari_mitoxai.simulate.acquire import SimulatedSection, section
from napari_mitoxai.simulate.channels import PANEL
from napari_mitoxai.simulate.write import subjects, write_rows

_PATIENT = {"UqCRC2": 0.25}  # in all fibres: a channel that no concept changes
# what a fibre that shows it has of a channel, as a multiple of what it had
CONCEPTS = {
    "complex I loss": {"NDUFB8": 0.12, "GRIM19": 0.12},
    "COX-negative": {"COX4": 0.1, "MTCO1": 0.1},
    "ragged red": {"SDHA": 5.0, "VDAC1": 2.0, "TOM22": 2.0},
}
_SHARE = 0.1  # of the fibres that show a concept
_SHOWN = 0.2  # of a patch, at least, are fibres that show what it is an example of
_HIDDEN = 0.02  # at most, fibres that show another concept


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

    Patients have a quarter of UqCRC2 in all their fibres. In everybody, one fibre in ten has lost complex I, another one is
    COX-negative, another one is ragged red. Examples of a concept are patches around such fibres, in which no other concept shows.

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
    rows: list[list[object]] = []
    members: list[list[object]] = []
    for subject, group, own_seed in subjects(subjects_per_group, seed, progress, cancel):
        made, shown = _with_concepts(group == "patient", size, own_seed)
        write_section(
            table.parent / f"{subject}.ome.tiff", made.counts, PANEL, pixel_size_um=1.0, overwrite=overwrite
        )
        write_labels(
            table.parent / "fibres" / f"{subject}.tiff", made.fibres, pixel_size_um=1.0, overwrite=overwrite
        )
        for concept, places in _examples(made.fibres, shown, patch_size, examples, own_seed).items():
            rows += [[concept, f"{subject}.ome.tiff", subject, *place] for place in places]
        members.append([f"{subject}.ome.tiff", subject, group])
    header = ["concept", "section", "subject", "y_px", "x_px", "source"]
    write_rows(table.parent / "concepts.csv", header, rows, overwrite=overwrite)
    write_rows(table, ["path", "subject", "group"], members, overwrite=overwrite)
    return table


def _with_concepts(
    patient: bool, size: int, seed: int
) -> tuple[SimulatedSection, dict[str, NDArray[np.bool_]]]:
    """A section and, for each concept, the pixels of the fibres that show it."""
    made = section(None, size=size, seed=seed)
    rng = np.random.default_rng([seed, 3])
    if patient:
        _change(made, made.fibres > 0, _PATIENT, rng)
    free = rng.permutation(np.unique(made.fibres)[1:])
    number = max(round(_SHARE * len(free)), 1)
    shown: dict[str, NDArray[np.bool_]] = {}
    for place, (concept, factors) in enumerate(CONCEPTS.items()):
        shown[concept] = np.isin(made.fibres, free[place * number : (place + 1) * number])
        _change(made, shown[concept], factors, rng)
    return made, shown


def _change(
    made: SimulatedSection, where: NDArray[np.bool_], factors: dict[str, float], rng: np.random.Generator
) -> None:
    """Multiply expected counts in some pixels; what is counted stays Poisson."""
    for channel, factor in zip(
        PANEL.match(list(factors), what="the simulated panel"), factors.values(), strict=True
    ):
        counts = made.counts[channel]
        if factor < 1:  # each ion is kept with this chance
            counts[where] = rng.binomial(counts[where], factor)
        else:
            near = ndimage.uniform_filter(counts.astype(np.float32), 5)
            counts[where] += rng.poisson((factor - 1) * near[where]).astype(counts.dtype)


def _examples(
    fibres: NDArray[np.int32], shown: dict[str, NDArray[np.bool_]], side: int, count: int, seed: int
) -> dict[str, list[tuple[float, float, str]]]:
    """Centres (y, x) of fibres whose patch shows one concept, and the fibre, at most `count` of each."""
    numbers = np.unique(fibres)[1:]
    centres = np.array(ndimage.center_of_mass(fibres > 0, fibres, numbers))
    half = side / 2
    inside = ((centres >= half) & (centres <= fibres.shape[0] - half)).all(1)
    found: dict[str, list[tuple[float, float, str]]] = {}
    for concept in shown:
        own = inside & np.isin(numbers, fibres[shown[concept]])
        for index in np.random.default_rng([seed, 4]).permutation(np.flatnonzero(own)):
            y, x = centres[index]
            window = tuple(slice(round(at - half), round(at - half) + side) for at in (y, x))
            shares = {name: float(mask[window].mean()) for name, mask in shown.items()}
            others = sum(share for name, share in shares.items() if name != concept)
            if shares[concept] >= _SHOWN and others <= _HIDDEN and len(found.get(concept, [])) < count:
                place = (round(float(y), 1), round(float(x), 1), f"fibre {numbers[index]}")
                found.setdefault(concept, []).append(place)
    return found
