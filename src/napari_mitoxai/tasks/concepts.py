"""Read out a network whose axes were turned to concepts: purity, correlation, galleries, importance, paths, overlays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import (
    read_json,
    refuse_existing,
    refuse_foreign,
    refuse_input,
    write_json,
    written_beside,
)
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.tasks.fields import Device, Overlap
from napari_mitoxai.tasks.inside import SectionMask, refuse_without_fibres
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

SIDECAR = "concepts.json"


class ConceptsParameters(TaskParameters):
    """What reading concepts out needs to know."""

    run: Path = Field(
        title="Run",
        description="Folder of a run that was trained with --concepts.",
        json_schema_extra={"argument": True},
    )
    out: Path = Field(title="Folder", description="Folder to make for the tables, pictures and overlays.")
    cohort: Path | None = Field(
        default=None, title="Cohort", description="Whose patches are looked at; by default the cohort that the run was trained on.",
    )  # fmt: skip
    sections: list[Path] = Field(
        default=[], title="Overlays of", description="Sections to write an overlay of: the activation of every concept at every place.",
        json_schema_extra={"option": "--section"},
    )  # fmt: skip
    mask: SectionMask = None
    top: int = Field(
        default=50, ge=1, le=500, title="Gallery", description="Most activated patches of each concept.", json_schema_extra=ADVANCED
    )  # fmt: skip
    patches: int = Field(
        default=1000, ge=2, le=100_000, title="Patches", description="Of all sections together, at most.", json_schema_extra=ADVANCED
    )  # fmt: skip
    overlap: Overlap = 0.5
    batch_size: int = Field(
        default=16, ge=2, le=1024, title="Batch size", description="Patches computed at once.", json_schema_extra=ADVANCED
    )  # fmt: skip
    device: Device = "auto"
    seed: int = Field(
        default=0, ge=0, title="Seed", description="Of what is drawn: patches, and whose concepts are switched.", json_schema_extra=ADVANCED
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace the folder", description="Whether an earlier folder may be replaced.", json_schema_extra=ADVANCED
    )  # fmt: skip


@dataclass(frozen=True)
class ConceptsResult:
    """What was read out.

    Attributes
    ----------
    folder : Path
        With ``purity.csv``, ``correlation.csv``, ``gallery.csv``, ``importance.csv``, ``paths.csv``, their pictures, and ``overlays/``.
    concepts, layers : list of str
        Of the run.
    purity, importance : list of dict
        Their rows.
    notes : list of str
        What a reader should know.
    overlays : list of Path
        Stores that open over their section.
    """

    folder: Path
    concepts: list[str]
    layers: list[str]
    purity: list[dict[str, Any]]
    importance: list[dict[str, Any]]
    notes: list[str]
    overlays: list[Path]


def run(
    parameters: ConceptsParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> ConceptsResult:
    """Read a run's concepts out, and write tables, pictures and overlays into a folder.

    Raises
    ------
    MitoxaiError
        If the run has no concepts, its cohort is not there, or the folder exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    cancel = cancel or CancelToken()
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_foreign(parameters.out, SIDECAR, "a folder of concepts")
    refuse_input(parameters.out, parameters.run, parameters.cohort, *parameters.sections)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.models import load_checkpoint
    from napari_mitoxai.tasks.concept_readouts import read_out

    checkpoint = load_checkpoint(parameters.run)
    if checkpoint.whitening is None:
        raise MitoxaiError(
            f"{parameters.run} has no concepts: train with --concepts CONCEPTS.csv, or ask an ordinary run with `mitoxai tcav`."
        )
    refuse_without_fibres(checkpoint, parameters.run, parameters.mask)
    started = now()
    with written_beside(parameters.out, overwrite=parameters.overwrite) as partial:
        partial.mkdir(parents=True)
        found = read_out(parameters, cohort_of(parameters), checkpoint, partial, progress, cancel)
        write_json(
            partial / SIDECAR,
            {
                "parameters": parameters.model_dump(mode="json"), "weights_sha256": checkpoint.weights_sha256,
                "concepts": list(checkpoint.whitening.concepts), "layers": list(checkpoint.whitening.layers),
                "notes": found.notes, "software": software(), "started": started, "finished": now(),
            },
        )  # fmt: skip
    return ConceptsResult(
        parameters.out, list(checkpoint.whitening.concepts), list(checkpoint.whitening.layers), found.purity,
        found.importance, found.notes, [parameters.out / path.relative_to(partial) for path in found.overlays],
    )  # fmt: skip


def cohort_of(parameters: ConceptsParameters) -> Path:
    """The cohort that was given, or that the run was trained on.

    Raises
    ------
    MitoxaiError
        If neither is there.
    """
    if parameters.cohort is not None:
        return parameters.cohort
    kept = read_json(parameters.run / "config.json").get("parameters", {}).get("cohort")
    if kept and Path(kept).exists():
        return Path(kept)
    raise MitoxaiError(
        f"The cohort that {parameters.run} was trained on is not where it was ({kept}): give it with --cohort."
    )
