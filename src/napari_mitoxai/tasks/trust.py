"""Judge explanation methods on a section; with --simulate on simulated ones whose truth is known, by other options."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
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
from napari_mitoxai.tasks.explain import with_settings
from napari_mitoxai.tasks.inside import SectionMask, as_seen, refuse_without_fibres
from napari_mitoxai.tasks.parameters import TaskParameters
from napari_mitoxai.trust.checks import CHECKS, SCORES
from napari_mitoxai.trust.recorded import BASELINES, RecordedScore, record_scores

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.explain.plan import Score, Wanted
    from napari_mitoxai.imc import Section
    from napari_mitoxai.models import Checkpoint
    from napari_mitoxai.trust.judging import Judge, Outcome, Settings

_ADVANCED: dict[str, Any] = {"advanced": True}
_MIN_TISSUE = 0.5  # of a patch: what is judged is tissue
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
        json_schema_extra={"option": "--set", **_ADVANCED},
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
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    values: Literal["signed", "magnitude"] = Field(
        default="signed", title="Values",
        description="What of a map is ranked: the sum over channels, as maps are shown, or the sum of magnitudes.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    by_channel: bool = Field(
        default=False, title="Channel by channel",
        description="Remove places from one channel at a time in deletion, insertion and pixel flipping, not from all at once.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    fill: Literal["zero", "mean", "blur", "noise"] = Field(
        default="blur", title="Filled with",
        description="What deletion and insertion put in place of what is removed; pixel flipping uses all of them.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    region: int = Field(
        default=8, ge=1, le=512, title="Region",
        description="Side in pixels of the network's input of the squares that are removed; 1 for single pixels.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    steps: int = Field(
        default=10, ge=2, le=1000, title="Steps", description="Of deletion, insertion and pixel flipping.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    squares: int = Field(
        default=50, ge=2, le=10_000, title="Squares", description="How many are covered in each patch for infidelity.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    samples: int = Field(
        default=5, ge=1, le=1000, title="Samples",
        description="Slightly changed copies of each patch for max-sensitivity; each is explained anew.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    radius: float = Field(
        default=0.1, gt=0, le=100, title="Radius",
        description="By how much the scaled values of these copies change at most.", json_schema_extra=_ADVANCED,
    )  # fmt: skip
    seeds: int = Field(
        default=3, ge=1, le=100, title="Untrained networks",
        description="How many networks with random weights each map is compared with.", json_schema_extra=_ADVANCED,
    )  # fmt: skip
    stages: int = Field(
        default=1, ge=1, le=100, title="Stages",
        description="In how many stages weights become random, the last layers first (cascading); 1: all at once.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, title="Seed", description="Of all chance, the same for every method.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    mask: SectionMask = None
    batch_size: int = Field(
        default=8, ge=1, le=1024, title="Batch size", description="Patches computed at once.", json_schema_extra=_ADVANCED
    )  # fmt: skip
    device: str = Field(
        default="auto", title="Device", description="auto, cpu, cuda or mps.", json_schema_extra=_ADVANCED
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace existing tables", description="Whether existing files may be replaced.",
        json_schema_extra=_ADVANCED,
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
    store = _maps_of(parameters, checkpoint, section)
    wanted = _wanted(parameters, store)
    judge, target = _judge(parameters, checkpoint, section, store, cancel)
    folder = parameters.run if parameters.run.is_dir() else parameters.run.parent
    work = _Work(parameters, judge, checkpoint.weights_sha256, Cache(folder / "trust"))
    try:
        work.do(wanted, progress)
    except Cancelled:
        if not set(work.judged) - set(BASELINES):
            raise
    judged = work.judged
    rows = score_rows(judged, _failures(judged))
    _write(parameters, rows, judged, target)
    if store is not None:
        for label in judged:
            if label in store.methods or label in BASELINES:
                _record(store.path, label, rows, fails=_failures(judged).get(label))
    return TrustResult(
        parameters.out, parameters.curves, parameters.figure, parameters.maps, target, len(judge.patches), rows,
        [label for label, fails in _failures(judged).items() if fails], work.computed, work.known,
        [*section.notes, *work.notes, *_notes(parameters, judge, checkpoint, section)], cancel.cancelled,
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


def _maps_of(parameters: TrustParameters, checkpoint: "Checkpoint", section: "Section") -> "MapStore | None":
    """The maps to judge, once it is sure that they are of this run and section."""
    if parameters.maps is None:
        return None
    from napari_mitoxai.explain import open_maps

    store = open_maps(parameters.maps)
    name = parameters.maps.name
    if store.info["checkpoint"]["weights_sha256"] != checkpoint.weights_sha256:
        raise MitoxaiError(
            f"{name} is of another model than {parameters.run.name}: give the run that made it."
        )
    if (store.info["section"]["name"], store.info["section"]["shape"]) != (section.name, list(section.shape)):
        raise MitoxaiError(
            f"{name} is of the section {store.info['section']['name']}, not of {section.name}: give the section it explains."
        )
    if store.info.get("approach") == "seamless":
        raise MitoxaiError(
            f"{name} was made in the seamless mode, and the checks ask patch by patch, which gives other maps: "
            "explain patch by patch first."
        )
    return store


def _wanted(parameters: TrustParameters, store: "MapStore | None") -> "list[Wanted]":
    """The methods to judge, the baselines first, each once."""
    from napari_mitoxai.explain import Request

    methods = with_settings(parameters.methods, parameters.settings)
    if store is not None:
        for label, entry in store.info["methods"].items():
            if not parameters.methods or label in parameters.methods:
                methods[label] = dict(entry["parameters"])
    if not methods:
        raise MitoxaiError("No method was chosen: name at least one, as --method grad_cam, or give --maps.")
    return Request({**{name: {} for name in BASELINES}, **methods}).wanted()


def _judge(
    parameters: TrustParameters,
    checkpoint: "Checkpoint",
    section: "Section",
    store: "MapStore | None",
    cancel: CancelToken,
) -> "tuple[Judge, str]":
    from napari_mitoxai.cohort import patch_corners, read_patches, tissue_mask
    from napari_mitoxai.explain.filling import prepared
    from napari_mitoxai.models import pick_device
    from napari_mitoxai.trust.judging import Judge
    from napari_mitoxai.trust.network import Network

    planes, geometry = checkpoint.channels_in(section), checkpoint.geometry
    geometry.check(section.shape, section.name)
    tissue = tissue_mask(section, cancel)
    corners = patch_corners(section.shape, geometry, tissue, overlap=0, min_tissue=_MIN_TISSUE)
    if not corners:
        raise MitoxaiError(f"{section.name} has no patch that is half tissue: judge on another section.")
    drawn = np.random.default_rng(parameters.seed).permutation(len(corners))[: parameters.patches]
    corners = [corners[index] for index in sorted(drawn)]
    seen = as_seen(section, parameters.mask)
    patches = np.stack(
        [checkpoint.scaling(counts) for counts in read_patches(seen, planes, corners, geometry)]
    )
    model = prepared(checkpoint, pick_device(parameters.device))
    device = next(model.parameters()).device
    score = _score(parameters, checkpoint, section, store)
    network = Network(model, score, batch_size=parameters.batch_size, cancel=cancel)
    if parameters.target == "predicted" and store is None:
        called = int(network.logits(patches).mean(0).argmax())
        score = _score(
            parameters.model_copy(update={"target": checkpoint.classes[called]}), checkpoint, section, None
        )
        network = Network(model, score, batch_size=parameters.batch_size, cancel=cancel)
    judge = Judge(network, patches, lambda seed: checkpoint.untrained(seed).to(device), _settings(parameters))
    return judge, score.describe(checkpoint.classes)


def _settings(parameters: TrustParameters) -> "Settings":
    from napari_mitoxai.trust.judging import Settings

    return Settings(**{name: getattr(parameters, name) for name in Settings.__dataclass_fields__})


def _score(
    parameters: TrustParameters, checkpoint: "Checkpoint", section: "Section", store: "MapStore | None"
) -> "Score":
    """Which number of the network is explained: that of the maps, or the one that the parameters name."""
    from napari_mitoxai.explain.plan import Score, class_index

    classes = checkpoint.classes
    if store is not None:
        if parameters.target is not None and parameters.target != store.info["target_class"]:
            raise MitoxaiError(
                f"{store.path.name} explains {store.info['target']}, not {parameters.target}: leave the class out, or explain that one."
            )
        others: list[int | None] = [None, *range(len(classes))]
        outputs: tuple[Literal["logit", "probability"], ...] = ("logit", "probability")
        for target in range(len(classes)):
            for score in (Score(target, against, output) for against in others for output in outputs):
                if score.describe(classes) == store.info["target"]:
                    return score
        raise MitoxaiError(
            f"{store.path.name} explains {store.info['target']}, which is no score of this model: explain the section again."
        )
    name = parameters.target
    if name == "true" and name not in classes:
        if section.group not in classes:
            raise MitoxaiError(
                f"The true class of {section.name} is not known: name it, as --target {classes[-1]}."
            )
        name = section.group
    if name == "predicted" and name not in classes:
        name = None  # known once the model was asked
    return Score(class_index(classes, name), None, parameters.output)


class _Work:
    """The checks of all methods one after the other, those known from before at once."""

    def __init__(self, parameters: TrustParameters, judge: "Judge", weights: str, cache: Any) -> None:
        from napari_mitoxai.trust.cache import digest_of

        self._parameters, self._judge, self._cache = parameters, judge, cache
        self._common = {
            "weights": weights,
            "patches": digest_of(judge.patches),
            "score": asdict(judge.network.score),
        }
        self.judged: dict[str, dict[str, Outcome]] = {}
        self.notes: list[str] = []
        self.computed = self.known = 0

    def do(self, wanted: "list[Wanted]", progress: ProgressCallback) -> None:
        """Judge each method; one that has no meaning for this network is left out, with a note."""
        from napari_mitoxai.explain import Unsuitable

        total = len(wanted) * len(self._parameters.checks)
        for number, each in enumerate(wanted):
            outcomes: dict[str, Outcome] = {}
            try:
                for place, check in enumerate(self._parameters.checks):
                    done = number * len(self._parameters.checks) + place
                    detail = f"{each.label}: {CHECKS[check].title.lower()}"
                    progress(Progress("Judging maps", done, total, detail))
                    outcomes[check] = self._one(check, each)
            except Unsuitable as error:
                self.notes.append(f"{each.label} was left out: {error}")
                continue
            self.judged[each.label] = outcomes
        progress(Progress("Judging maps", total, total, ""))

    def _one(self, check: str, wanted: "Wanted") -> "Outcome":
        settings = asdict(self._judge.settings)
        key = {
            **self._common,
            "check": check,
            "settings": {name: settings[name] for name in CHECKS[check].settings},
            "method": wanted.method.name,
            "parameters": wanted.parameters.model_dump(mode="json"),
        }
        known: Outcome | None = self._cache.get(key)
        if known is not None:
            self.known += 1
            return known
        outcome = self._judge.judge(check, wanted)
        self._cache.put(key, outcome)
        self.computed += 1
        return outcome


def _failures(judged: "dict[str, dict[str, Outcome]]") -> dict[str, bool]:
    """Of the methods that were compared with untrained networks, whether they fail."""
    from napari_mitoxai.trust.randomisation import fails

    return {
        label: fails(outcomes["randomisation"].scores["randomisation_rank"])
        for label, outcomes in judged.items()
        if "randomisation" in outcomes
    }


def score_rows(judged: "dict[str, dict[str, Outcome]]", failures: dict[str, bool]) -> list[dict[str, Any]]:
    """A row a method and score: the mean over patches with its interval, and the difference from the random map on the same patches."""
    from napari_mitoxai.trust import mean_and_interval

    rows = []
    chance = {
        name: values
        for outcome in judged.get("random", {}).values()
        for name, values in outcome.scores.items()
    }
    for label, outcomes in judged.items():
        for outcome in outcomes.values():
            for name, values in outcome.scores.items():
                mean, low, high = mean_and_interval(values.tolist())
                row: dict[str, Any] = {
                    "method": label, "score": name, "value": mean, "low": low, "high": high,
                    "patches": int(np.isfinite(values).sum()), "seeds": outcome.seeds, "better": SCORES[name].better,
                }  # fmt: skip
                if name in chance and label != "random":
                    paired = mean_and_interval((values - chance[name]).tolist())
                    row.update(
                        zip(("from_random", "from_random_low", "from_random_high"), paired, strict=True)
                    )
                rows.append({**row, "fails_sanity": failures.get(label)})
    return rows


def _table(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    columns = [
        "method", "score", "value", "low", "high", "patches", "seeds", "better", "from_random", "from_random_low",
        "from_random_high", "fails_sanity",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _write(
    parameters: TrustParameters,
    rows: list[dict[str, Any]],
    judged: "dict[str, dict[str, Outcome]]",
    target: str,
) -> None:
    from napari_mitoxai.fibres.tables import write_table

    write_table(parameters.out, _table(rows), overwrite=parameters.overwrite)
    if parameters.curves is None and parameters.figure is None:
        return
    curves = curve_rows(judged)
    if parameters.curves is not None:
        write_table(parameters.curves, curves, overwrite=parameters.overwrite)
    if parameters.figure is not None:
        from napari_mitoxai.figures.saving import save_figure
        from napari_mitoxai.figures.trust_plot import trust_figure

        figure = trust_figure(_table(rows), curves, title=target, baselines=BASELINES)
        save_figure(figure, parameters.figure, overwrite=parameters.overwrite)


def curve_rows(judged: "dict[str, dict[str, Outcome]]") -> "pd.DataFrame":
    """A row a method, curve and point: the mean over patches with its interval."""
    import pandas as pd

    from napari_mitoxai.trust import mean_and_interval

    rows = []
    for label, outcomes in judged.items():
        for curve in (curve for outcome in outcomes.values() for curve in outcome.curves):
            for x, values in zip(curve.x, curve.y.T, strict=True):
                mean, low, high = mean_and_interval(values.tolist())
                rows.append((label, curve.name, float(x), mean, low, high, int(np.isfinite(values).sum())))
    return pd.DataFrame(rows, columns=["method", "curve", "share", "value", "low", "high", "patches"])


def _record(maps: Path, label: str, rows: list[dict[str, Any]], *, fails: bool | None) -> None:
    names = RecordedScore.__dataclass_fields__
    own = [RecordedScore(**{key: row[key] for key in names}) for row in rows if row["method"] == label]
    record_scores(maps, label, own, fails_sanity=fails)


def _notes(
    parameters: TrustParameters, judge: "Judge", checkpoint: "Checkpoint", section: "Section"
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
    use = checkpoint.use_of(section.subject or section.name)
    if use == "train":
        notes.append(
            "The model was trained on this subject: the scores say what it does there, not on new subjects."
        )
    return notes
