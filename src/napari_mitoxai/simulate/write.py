"""A simulated cohort on the disk, as a user's own would lie there."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, written_beside
from napari_mitoxai.imc import write_labels, write_section
from napari_mitoxai.simulate.acquire import section
from napari_mitoxai.simulate.signals import get_signal


def cohort(
    folder: Path,
    subjects_per_group: int = 4,
    signal: str | None = "complex_i_loss",
    size: int | tuple[int, int] = 512,
    seed: int = 0,
    *,
    pixel_size_um: float = 1.0,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Path:
    """Simulate one section a subject and write them with their table.

    Parameters
    ----------
    folder : Path
        Gets ``<subject>.ome.tiff`` (C01.. and P01..), ``truth/<subject>.tiff`` (1 where the signal is),
        ``fibres/<subject>.tiff`` (labels) and ``cohort.csv`` with the columns path, subject, group; the table
        is written last, so that it is there only when all of it is.
    subjects_per_group : int
        Controls, and patients.
    signal : str, optional
        What the patients carry; None for a cohort in which nothing but the subject differs.
    size : int or tuple of int
        Side, or (Y, X), in pixels.
    seed : int
        Draws the cohort; no two subjects share a tissue.
    pixel_size_um : float
        Side of a pixel.
    overwrite : bool
        Whether an existing cohort may be replaced.
    progress, cancel : callable, CancelToken
        Told after, and looked at before, each subject.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    MitoxaiError
        If the signal is unknown, the folder holds a cohort already, or it cannot be written.
    Cancelled
        If `cancel` was used.
    """
    if signal is not None:
        get_signal(signal)
    if not 1 <= subjects_per_group <= 99:
        raise MitoxaiError(
            f"A cohort of {subjects_per_group} subjects a group cannot be made: choose 1 to 99."
        )
    table = Path(folder) / "cohort.csv"
    refuse_existing(table, overwrite=overwrite)
    rows: list[list[object]] = []
    for subject, group, own_seed in subjects(subjects_per_group, seed, progress, cancel):
        made = section(signal, group == "patient", size=size, seed=own_seed, pixel_size_um=pixel_size_um)
        write_section(
            table.parent / f"{subject}.ome.tiff",
            made.counts,
            made.panel,
            pixel_size_um=pixel_size_um,
            overwrite=overwrite,
        )
        for kind, labels in (("truth", made.truth.astype(np.uint16)), ("fibres", made.fibres)):
            write_labels(
                table.parent / kind / f"{subject}.tiff",
                labels,
                pixel_size_um=pixel_size_um,
                overwrite=overwrite,
            )
        rows.append([f"{subject}.ome.tiff", subject, group])
    write_rows(table, ["path", "subject", "group"], rows, overwrite=overwrite)
    return table


def subjects(
    per_group: int, seed: int, progress: ProgressCallback, cancel: CancelToken | None
) -> Iterator[tuple[str, str, int]]:
    """The name, the group and the seed of each subject, controls first; told of, and cancelled, between them."""
    members = [
        (f"{letter}{number:02d}", group)
        for letter, group in (("C", "control"), ("P", "patient"))
        for number in range(1, per_group + 1)
    ]
    for done, (subject, group) in enumerate(members):
        if cancel is not None:
            cancel.check()
        progress(Progress("Simulating", done, len(members), subject))
        yield subject, group, int(np.random.SeedSequence([seed, done]).generate_state(1)[0])
    progress(Progress("Simulating", len(members), len(members)))


def write_rows(path: Path, header: list[str], rows: list[list[object]], *, overwrite: bool) -> None:
    """Write a table of any values."""
    with (
        written_beside(path, overwrite=overwrite) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
