"""Judge explanation methods on a section: are they faithful, steady, and more than a picture of the image."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from napari_mitoxai.common import (
    Cancelled,
    CancelToken,
    MitoxaiError,
    Progress,
    ProgressCallback,
    no_progress,
)
from napari_mitoxai.common.files import refuse_existing, refuse_input
from napari_mitoxai.tasks.fields import BatchSize, Device
from napari_mitoxai.tasks.inside import SectionMask, refuse_without_fibres
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters
from napari_mitoxai.tasks.trust_tables import curve_rows, failures, score_rows, score_table
from napari_mitoxai.tasks.trust_work import Work, judge_of, maps_of, methods_of
from napari_mitoxai.trust.checks import CHECKS
from napari_mitoxai.trust.recorded import BASELINES, RecordedScore, record_scores

if TYPE_CHECKING:
    from napari_mitoxai.imc import Section
    from napari_mitoxai.models import Checkpoint
    from napari_mitoxai.trust.judging import Judge, Outcome

_LITTLE = 0.05  # probability between a patch and nothing of it, which is all that deletion can take
_FEW = 5  # patches, below which an interval by drawing among them is too narrow


class TrustParameters(TaskParameters):
    """What judging methods needs to know."""

    run: Path = Field(
        title="Run", description="The folder that training wrote.", json_schema_extra={"argument": True}
    )
    section: Path = Field(
        title="Section", description="The section whose patches are judged: a file or a folder.",
        json_schema_extra={"argument": True},
    )  # fmt: skip
    maps: Path | None = Field(
        default=None,
        title="Maps",
        description="Maps of this section by this run: their methods and class are judged, and the scores are kept with them.",
    )
    methods: list[str] = Field(
        default=[],
        title="Methods",
        description="Explanation methods; those of the maps by default. The random map and the edge detector are always judged beside "
        "them.",
        json_schema_extra={"option": "--method"},
    )
    settings: list[str] = Field(
        default=[], title="Settings", description="Parameters of methods, as lrp_epsilon.epsilon=0.01.",
        json_schema_extra={"option": "--set", **ADVANCED},
    )  # fmt: skip
    out: Path = Field(title="Table", description="The table to write, ending in .csv or .parquet.")
    curves: Path | None = Field(
        default=None, title="Curves", description="All curves as a table, ending in .csv or .parquet.",
    )  # fmt: skip
    figure: Path | None = Field(
        default=None, title="Figure", description="Scores and curves as a picture: .pdf, .svg, .png or .tiff.",
    )  # fmt: skip
    checks: list[str] = Field(
        default=list(CHECKS), min_length=1, title="Checks",
        description=f"What is checked: {', '.join(CHECKS)}.",
        json_schema_extra={"option": "--check"},
    )  # fmt: skip
    patches: int = Field(
        default=8, ge=1, le=1000, title="Patches",
        description="How many patches are judged, drawn from those that cover the tissue edge to edge.",
    )  # fmt: skip
    target: str | None = Field(
        default=None,
        title="Class",
        description="The class that is explained; predicted: the one that the model calls these patches; true: the section's group. "
        "That of the maps, or the last one (patient) by default.",
    )
    output: Literal["logit", "probability"] = Field(
        default="logit", title="Score", description="What of the class is explained; the maps know it themselves.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    values: Literal["signed", "magnitude"] = Field(
        default="signed", title="Values",
        description="What of a map is ranked: the sum over channels, as maps are shown, or the sum of magnitudes.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    by_channel: bool = Field(
        default=False, title="Channel by channel",
        description="Remove places from one channel at a time in deletion, insertion and pixel flipping, not from all at once.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    fill: Literal["zero", "mean", "blur", "noise"] = Field(
        default="blur", title="Filled with",
        description="What deletion and insertion put in place of what is removed; pixel flipping uses all of them.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    region: int = Field(
        default=8, ge=1, le=512, title="Region",
        description="Side in pixels of the network's input of the squares that are removed; 1 for single pixels.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    steps: int = Field(
        default=10, ge=2, le=1000, title="Steps", description="Of deletion, insertion and pixel flipping.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    squares: int = Field(
        default=50, ge=2, le=10_000, title="Squares", description="How many are covered in each patch for infidelity.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    samples: int = Field(
        default=5, ge=1, le=1000, title="Samples",
        description="Slightly changed copies of each patch for max-sensitivity; each is explained anew.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    radius: float = Field(
        default=0.1, gt=0, le=100, title="Radius",
        description="By how much the scaled values of these copies change at most.", json_schema_extra=ADVANCED,
    )  # fmt: skip
    seeds: int = Field(
        default=3, ge=1, le=100, title="Untrained networks",
        description="How many networks with random weights each map is compared with.", json_schema_extra=ADVANCED,
    )  # fmt: skip
    stages: int = Field(
        default=1, ge=1, le=100, title="Stages",
        description="In how many stages weights become random, the last layers first (cascading); 1: all at once.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, title="Seed", description="Of all chance, the same for every method.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    mask: SectionMask = None
    batch_size: BatchSize = 8
    device: Device = "auto"
    overwrite: bool = Field(
        default=False, title="Replace existing tables", description="Whether existing files may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class TrustResult:
    """Judged methods.

    Attributes
    ----------
    table : Path
        A row a method and score.
    curves, figure : Path or None
    maps : Path or None
        Where the scores are kept too.
    target : str
        What was explained.
    patches : int
        How many were judged.
    scores : list of dict
        The rows of the table.
    fails_sanity : list of str
        Methods whose maps survive random weights.
    computed, known : int
        Checks of methods that were computed, and that were known from before.
    notes : list of str
        What a reader should know.
    cancelled : bool
        Whether it was stopped before all methods were judged; the table has those that were.
    """

    table: Path
    curves: Path | None
    figure: Path | None
    maps: Path | None
    target: str
    patches: int
    scores: list[dict[str, Any]]
    fails_sanity: list[str]
    computed: int
    known: int
    notes: list[str]
    cancelled: bool


def run(
    parameters: TrustParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> TrustResult:
    """Judge all methods with all checks on the same patches, write the tables and keep the scores with the maps.

    Raises
    ------
    MitoxaiError
        If the run, the section or the maps cannot be opened or do not belong together, a method does not exist, or a file exists.
    Cancelled
        If it was cancelled before the first method was judged; what is known by then is not computed again.
    """
    cancel = cancel or CancelToken()
    _check_outputs(parameters)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.imc import read_section
    from napari_mitoxai.models import load_checkpoint
    from napari_mitoxai.trust.cache import Cache

    checkpoint, section = load_checkpoint(parameters.run), read_section(parameters.section)
    refuse_without_fibres(checkpoint, parameters.run, parameters.mask)
    store = maps_of(parameters, checkpoint, section)
    wanted = methods_of(parameters, store)
    judge, target = judge_of(parameters, checkpoint, section, store, cancel)
    folder = parameters.run if parameters.run.is_dir() else parameters.run.parent
    work = Work(parameters, judge, checkpoint.weights_sha256, Cache(folder / "trust"))
    cancelled = False
    try:
        work.do(wanted, progress)
    except Cancelled:
        cancelled = True
        if not set(work.judged) - set(BASELINES):
            raise
    judged = work.judged
    failed = failures(judged)
    rows = score_rows(judged, failed)
    _write(parameters, rows, judged, target)
    if store is not None:
        for label in judged:
            if label in store.methods or label in BASELINES:
                _record(store.path, label, rows, fails=failed.get(label))
    return TrustResult(
        parameters.out, parameters.curves, parameters.figure, parameters.maps, target, len(judge.patches), rows,
        [label for label, fails in failed.items() if fails], work.computed, work.known,
        [*section.notes, *work.notes, *_notes(parameters, judge, judged, checkpoint, section)], cancelled,
    )  # fmt: skip


def _check_outputs(parameters: TrustParameters) -> None:
    from napari_mitoxai.fibres.tables import refuse_ending

    if unknown := [name for name in parameters.checks if name not in CHECKS]:
        raise MitoxaiError(f"There is no check {unknown[0]!r}: choose from {', '.join(CHECKS)}.")
    for table in (parameters.out, parameters.curves):
        if table is not None:
            refuse_ending(table)
    if parameters.figure is not None:
        from napari_mitoxai.figures.saving import figure_format

        figure_format(parameters.figure)
    given = [path for path in (parameters.out, parameters.curves, parameters.figure) if path is not None]
    if len(set(given)) < len(given):
        raise MitoxaiError("The tables and the figure cannot be one file: give each a name of its own.")
    for path in given:
        refuse_existing(path, overwrite=parameters.overwrite)
        refuse_input(path, parameters.run, parameters.section, parameters.maps)


def _write(
    parameters: TrustParameters,
    rows: list[dict[str, Any]],
    judged: "dict[str, dict[str, Outcome]]",
    target: str,
) -> None:
    from napari_mitoxai.fibres.tables import write_table

    write_table(parameters.out, score_table(rows), overwrite=parameters.overwrite)
    if parameters.curves is None and parameters.figure is None:
        return
    curves = curve_rows(judged)
    if parameters.curves is not None:
        write_table(parameters.curves, curves, overwrite=parameters.overwrite)
    if parameters.figure is not None:
        from napari_mitoxai.figures.saving import save_figure
        from napari_mitoxai.figures.trust_plot import trust_figure

        figure = trust_figure(score_table(rows), curves, title=target, baselines=BASELINES)
        save_figure(figure, parameters.figure, overwrite=parameters.overwrite)


def _record(maps: Path, label: str, rows: list[dict[str, Any]], *, fails: bool | None) -> None:
    names = RecordedScore.__dataclass_fields__
    own = [RecordedScore(**{key: row[key] for key in names}) for row in rows if row["method"] == label]
    record_scores(maps, label, own, fails_sanity=fails)


def _notes(
    parameters: TrustParameters,
    judge: "Judge",
    judged: "dict[str, dict[str, Outcome]]",
    checkpoint: "Checkpoint",
    section: "Section",
) -> list[str]:
    notes, number = [], len(judge.patches)
    if number < parameters.patches:
        notes.append(f"{section.name} has only {number} patches that are half tissue.")
    if number < _FEW:
        notes.append(
            "With one patch there are no intervals."
            if number == 1
            else f"The intervals are over {number} patches only, and too narrow."
        )
    if "deletion" in parameters.checks:
        whole, nothing = next(iter(judged.values()))["deletion"].curves[0].y[:, [0, -1]].mean(0)
        if abs(whole - nothing) < _LITTLE:
            notes.append(
                f"The probability of {checkpoint.classes[judge.network.score.target]} is {whole:.3g} of these patches and {nothing:.3g} of what is put "
                f"in place of them ({parameters.fill}): deletion and insertion can hardly tell methods apart. Go by the other scores, or choose "
                "another class or filling."
            )
    use = checkpoint.use_of(section.subject or section.name)
    if use == "train":
        notes.append(
            "The model was trained on this subject: the scores say what it does there, not on new subjects."
        )
    return notes
