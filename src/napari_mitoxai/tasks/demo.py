"""Walk the whole path on simulated tissue, and prove it: the truth is known there."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from napari_mitoxai.common import CancelToken, ProgressCallback, no_progress
from napari_mitoxai.common.commands import as_typed
from napari_mitoxai.common.files import refuse_existing, write_json
from napari_mitoxai.simulate.signals import SIGNALS
from napari_mitoxai.tasks import explain, figure, segment, train
from napari_mitoxai.tasks.parameters import TaskParameters

_METHODS = ["grad_cam", "guided_backprop", "lrp_epsilon"]
_PROVEN = "lrp_epsilon"
_PATCH, _INPUT = 256, 128  # smaller patches than for real sections, as the sections are smaller
_BATCH = 8  # few patches: smaller steps, and more of them


class DemoParameters(TaskParameters):
    """What the demonstration needs to know."""

    out: Path = Field(
        title="Folder", description="Folder to make for the cohort, the run, the maps and the figure."
    )
    signal: Literal[tuple(SIGNALS)] = Field(  # type: ignore[valid-type]
        default="complex_i_loss", title="Signal", description="What the simulated patients carry."
    )
    subjects_per_group: int = Field(
        default=8,
        ge=5,
        le=50,
        title="Subjects a group",
        description="Simulated controls, and patients; two of each are held out.",
    )
    size: int = Field(
        default=640, ge=_PATCH, le=8192, title="Size (px)", description="Side of a simulated section."
    )
    epochs: int = Field(
        default=12, ge=1, le=1000, title="Epochs", description="How often training goes over all patches."
    )
    seed: int = Field(default=0, ge=0, title="Seed", description="Draws another cohort and another network.")
    device: str = Field(default="auto", title="Device", description="auto, cpu, cuda or mps.")
    overwrite: bool = Field(
        default=False,
        title="Replace",
        description="Whether an earlier demonstration in the folder may be replaced.",
    )


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made and found.

    Attributes
    ----------
    files : dict of Path
        ``cohort``, ``run``, ``maps``, ``fibres``, ``figure``, ``pdf``, ``sidecar``.
    subject_calls : list of dict
        The verdict on each held-out subject.
    relevance_in_truth : float
        Share of LRP's positive relevance that falls into the planted truth of the explained section.
    area_of_truth : float
        The truth's share of that section's area.
    fibres : int
        How many were segmented.
    lines : list of str
        All of this for a person, with what to type next.
    """

    files: dict[str, Path]
    subject_calls: list[dict[str, Any]]
    relevance_in_truth: float
    area_of_truth: float
    fibres: int
    lines: list[str]


def run(
    parameters: DemoParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> DemoResult:
    """Simulate a cohort, train, explain a held-out patient, segment its fibres, draw the figure and score the map.

    Raises
    ------
    MitoxaiError
        If the folder holds an earlier demonstration and may not be replaced.
    Cancelled
        If it was cancelled.
    """
    from napari_mitoxai.simulate import cohort

    out, again = parameters.out, parameters.overwrite
    files = {
        "cohort": out / "cohort" / "cohort.csv",
        "run": out / "run",
        "maps": out / "maps.ome.zarr",
        "fibres": out / "fibres.tiff",
        "figure": out / "figure.png",
        "pdf": out / "figure.pdf",
        "sidecar": out / "figure.json",
    }
    for path in files.values():
        refuse_existing(path, overwrite=again)
    cohort(
        files["cohort"].parent,
        parameters.subjects_per_group,
        parameters.signal,
        parameters.size,
        parameters.seed,
        overwrite=again,
        progress=progress,
        cancel=cancel,
    )
    count = parameters.subjects_per_group
    hold_out = [f"{letter}{number:02d}" for letter in "CP" for number in (count - 1, count)]
    trained = train.run(
        train.TrainParameters(
            cohort=files["cohort"],
            out=files["run"],
            hold_out=hold_out,
            epochs=parameters.epochs,
            patch_size=_PATCH,
            input_size=_INPUT,
            batch_size=_BATCH,
            seed=parameters.seed,
            device=parameters.device,
            overwrite=again,
        ),
        progress,
        cancel,
    )
    subject = hold_out[-1]
    section = files["cohort"].parent / f"{subject}.ome.tiff"
    explain.run(
        explain.ExplainParameters(
            run=files["run"],
            sections=[section],
            methods=_METHODS,
            out=files["maps"],
            device=parameters.device,
            overwrite=again,
        ),
        progress,
        cancel,
    )
    segmented = segment.run(
        segment.SegmentParameters(section=section, out=files["fibres"], overwrite=again), progress, cancel
    )
    figure.draw_and_save(
        figure.FigureParameters(
            section=section, maps=files["maps"], fibres=files["fibres"], out=files["figure"], overwrite=again
        ),
        [files["figure"], files["pdf"]],
        progress,
        cancel,
    )
    mass, area = _score(files["maps"], files["cohort"].parent / "truth" / f"{subject}.tiff")
    calls = trained.metrics["subject_calls"]
    write_json(
        out / "proof.json",
        {
            "subject": subject,
            "relevance_in_truth": mass,
            "area_of_truth": area,
            "subject_calls": calls,
            "seed": parameters.seed,
        },
    )
    lines = _lines(files, calls, mass, area, segmented.fibres, section, subject)
    return DemoResult(files, calls, mass, area, segmented.fibres, lines)


def _score(maps: Path, truth_file: Path) -> tuple[float, float]:
    """Share of LRP's positive relevance in the planted truth, and the truth's share of the area."""
    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.imc import read_labels
    from napari_mitoxai.trust import area_share, relevance_mass

    store = open_maps(maps)
    relevance = store.read(_PROVEN).sum(0)
    side = store.grid.reduction
    fine = np.repeat(np.repeat(relevance, side, axis=0), side, axis=1)
    truth = read_labels(truth_file)[: fine.shape[0], : fine.shape[1]] > 0
    return relevance_mass(fine, truth), area_share(truth)


def _typed(program: str) -> str:
    """How a person types a program of this environment: by its name, or by its path where it is not on the PATH."""
    beside = Path(sys.argv[0]).with_name(program)
    found = shutil.which(program)
    if beside.is_file() and (found is None or not beside.samefile(found)):
        return str(beside)
    return program


def _lines(
    files: dict[str, Path],
    calls: list[dict[str, Any]],
    mass: float,
    area: float,
    fibres: int,
    section: Path,
    subject: str,
) -> list[str]:
    verdicts = [
        f"  {call['subject']} ({call['group']}) is called {call['call']}, probability of patient {call['probability']:.2f}: "
        f"{'right' if call['call'] == call['group'] else 'WRONG'}"
        for call in calls
    ]
    mitoxai = _typed("mitoxai")
    ratio = f"{mass / area:.1f} times" if area else "no truth planted, so nothing to compare with"
    return [
        "",
        "Proof",
        "Subjects held out from training:",
        *verdicts,
        f"LRP on {subject}: {mass:.0%} of the positive relevance falls into the planted truth, which covers {area:.0%} of the area ({ratio}).",
        f"{fibres} fibres were found in {subject}.",
        "",
        "Files",
        *(f"  {name:8s} {path}" for name, path in files.items()),
        "",
        "Next",
        f"  look at the figure           {files['figure']}",
        f"  make it again, as a PDF      {as_typed(mitoxai, 'figure', files['sidecar'], '--out', 'again.pdf')}",
        f"  explain with another method  {as_typed(mitoxai, 'explain', files['run'], section, '--method', 'input_x_gradient', '--out', 'more.ome.zarr')}",
        f"  see every method             {as_typed(mitoxai, 'methods')}",
        f"  open the section in napari   {as_typed(_typed('napari'), section)}",
    ]
