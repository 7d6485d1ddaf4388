"""Test whether a trained model's class depends on concepts, without training anything again (TCAV)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import (
    refuse_existing,
    refuse_foreign,
    refuse_input,
    write_json,
    written_beside,
)
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.tasks.fields import BatchSize, Device, TrainedRun
from napari_mitoxai.tasks.inside import SectionMask
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

TABLE_FILE, PLOT_FILE, CONFIG_FILE = "tcav.csv", "tcav.png", "config.json"


class TcavParameters(TaskParameters):
    """What testing concepts needs to know."""

    run: TrainedRun
    concepts: Path = Field(
        title="Concepts", description="The concept set: CSV with the columns concept, section, y_px, x_px.",
        json_schema_extra={"argument": True},
    )  # fmt: skip
    out: Path = Field(title="Folder", description="Folder to make for the table and the plot.")
    target: str = Field(
        default="",
        title="Class",
        description="The class whose dependence is tested; the model's last one by default.",
    )
    cohort: Path | None = Field(
        default=None, title="Cohort", description="The cohort with the sections of the concepts and of the class; that of the training by default.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    against: str = Field(
        default="", title="Random from", description="A concept of the set, such as all fibres, that random patches are taken from; by default any place on the tissue of the same sections.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    layers: list[str] = Field(
        default=[], title="Layers", description="Names of layers in the network; by default the last one of each size of feature map.",
        json_schema_extra={"option": "--layer", **ADVANCED},
    )  # fmt: skip
    draws: int = Field(
        default=200, ge=19, le=10_000, title="Random sets", description="Sets of random patches that are tested like the concept: the smallest p is 1 / (this + 1).",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    most_examples: int = Field(
        default=50, ge=3, le=1000, title="Examples a concept", description="Of a concept with more, so many are used, evenly taken.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    most_patches: int = Field(
        default=32, ge=1, le=100_000, title="Patches a subject", description="Patches of each subject of the class, evenly taken.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    mask: SectionMask = None
    batch_size: BatchSize = 16
    device: Device = "auto"
    seed: int = Field(
        default=0, ge=0, title="Seed", description="Of the random patches.", json_schema_extra=ADVANCED
    )
    overwrite: bool = Field(
        default=False, title="Replace an existing folder", description="Whether an earlier result may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class TcavResult:
    """Tested concepts.

    Attributes
    ----------
    table, plot : Path
        CSV with a row a concept and layer; PNG.
    target : str
        The class.
    rows : list of dict
        The table.
    sentences : list of str
        What was found of each concept, in words.
    notes : list of str
        What a reader should know.
    """

    table: Path
    plot: Path
    target: str
    rows: list[dict[str, Any]]
    sentences: list[str]
    notes: list[str]


def run(
    parameters: TcavParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> TcavResult:
    """Test every concept of a set at several layers, each against random patches of the same sections.

    Raises
    ------
    MitoxaiError
        If the run, the concepts and the cohort do not go together, a concept has fewer than three examples, or the folder exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    cancel = cancel or CancelToken()
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_foreign(parameters.out, TABLE_FILE, "a test of concepts")
    refuse_input(parameters.out, parameters.run, parameters.concepts, parameters.cohort)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.fibres.tables import write_table
    from napari_mitoxai.figures.saving import save_figure
    from napari_mitoxai.figures.tcav_plot import tcav_figure
    from napari_mitoxai.tasks.concept_tests import concept_table, in_words

    target, table, notes = concept_table(parameters, progress, cancel)
    out = parameters.out
    with written_beside(out, overwrite=parameters.overwrite) as made:
        made.mkdir()
        write_table(made / TABLE_FILE, table)
        save_figure(tcav_figure(table, target=target, title=parameters.run.name), made / PLOT_FILE)
        write_json(
            made / CONFIG_FILE,
            {
                "task": "tcav", "parameters": parameters.model_dump(mode="json"), "notes": notes, "software": software(),
                "finished": now(),
            },
        )  # fmt: skip
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    return TcavResult(out / TABLE_FILE, out / PLOT_FILE, target, rows, in_words(table, target), notes)
