"""Judge explanation methods where the truth is known: networks trained on simulated cohorts whose class signal was planted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import read_json, refuse_existing, write_json, written_beside
from napari_mitoxai.explain import available, resolve
from napari_mitoxai.simulate.signals import SIGNALS
from napari_mitoxai.tasks.fields import Device
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters
from napari_mitoxai.trust.recorded import BASELINES

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.tasks.planted_run import PlantedModel

COHORT = Path("cohort") / "cohort.csv"
OVERLAP = 0.5  # of patches, in training and when they are called
LEAST_TRUTH = 0.01  # share of a patch that shows the signal
CONFIG_FILE = "planted.json"
_MAY_GROW = {"out", "signals", "methods", "seeds", "epochs", "quick", "device"}
_QUICK = {"seeds": 1, "epochs": 3, "signals": ["complex_i_loss", "tissue_gaps"]}  # those that are learnt soon


class PlantedParameters(TaskParameters):
    """What judging methods by a planted truth needs to know."""

    out: Path = Field(
        title="Folder",
        description="Folder for the networks, the table and the plot; what was stopped goes on there.",
    )
    quick: bool = Field(
        default=False, title="Quick",
        description="One network for each of the two signals that are learnt soon: a first look in minutes, without intervals.",
    )  # fmt: skip
    signals: list[Literal[tuple(SIGNALS)]] = Field(  # type: ignore[valid-type]
        default=["complex_i_loss", "membrane_rim", "perinuclear_spots", "tissue_gaps"],
        min_length=1, title="Signals", description="What the simulated patients carry.",
    )  # fmt: skip
    methods: list[str] = Field(
        default=[], title="Methods",
        description="Explanation methods, as grad_cam or lrp_epsilon@seed-exact; all by default, the baselines always.",
    )  # fmt: skip
    seeds: int = Field(
        default=3, ge=1, le=100, title="Seeds", description="Cohorts, and networks, a signal; the intervals are over these."
    )  # fmt: skip
    patches: int = Field(
        default=3, ge=1, le=200, title="Patches",
        description="Patches explained for each network: held-out ones that it calls right with confidence.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    confidence: float = Field(
        default=0.9, ge=0.5, lt=1, title="Confidence", description="Probability from which a call is one with confidence.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    learnt: float = Field(
        default=0.75, ge=0.5, le=1, title="Learnt",
        description="Share of the held-out patches, mean of both groups, that a network must call right to be asked anything.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    subjects_per_group: int = Field(
        default=24, ge=5, le=99, title="Subjects a group",
        description="Simulated controls, and patients, of a cohort; two of each are held out.", json_schema_extra=ADVANCED,
    )  # fmt: skip
    size: int = Field(
        default=256, ge=256, le=4096, title="Size (px)", description="Side of a simulated section; patches have 128 px.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    epochs: int = Field(
        default=12, ge=1, le=1000, title="Epochs",
        description="How often training goes over all patches; with more, networks that learnt nothing are trained anew.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    device: Device = "auto"

    @model_validator(mode="before")
    @classmethod
    def _filled_for_a_quick_look(cls, given: Any) -> Any:
        return {**_QUICK, **given} if isinstance(given, Mapping) and given.get("quick") else given

    @field_validator("methods")
    @classmethod
    def _known(cls, labels: list[str]) -> list[str]:
        for label in labels:
            try:
                resolve(label)
            except MitoxaiError as error:
                raise ValueError(str(error)) from error
        return labels

    def all_methods(self) -> list[str]:
        """The methods to run: those asked for, and the baselines."""
        return list(dict.fromkeys([*(self.methods or available()), *BASELINES]))


@dataclass(frozen=True)
class PlantedResult:
    """Methods judged by a planted truth.

    Attributes
    ----------
    table : Path
        A row a signal, method and score.
    patches : Path
        A row a patch and method.
    plot : Path
        The ranking.
    models : list of dict
        What became of each network.
    ranking : list of dict
        Over all signals, the best method first; also in ``ranking.csv``.
    notes : list of str
        What a reader should know.
    """

    table: Path
    patches: Path
    plot: Path
    models: list[dict[str, Any]]
    ranking: list[dict[str, Any]]
    notes: list[str]


def run(
    parameters: PlantedParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> PlantedResult:
    """Train networks on simulated cohorts, explain what they get right by every method, and score the maps against the planted truth.

    Each network is a folder in ``models/``; what an earlier call finished is not made again, and signals, seeds and methods may be
    added. The tables are written anew after each network. Seeds come one after the other, so that a run which is stopped has all signals of the first ones.

    Raises
    ------
    MitoxaiError
        If the folder holds something else, or no network learnt its signal.
    Cancelled
        If it was cancelled; the same call goes on.
    """
    cancel = cancel or CancelToken()
    _refuse_other(parameters)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.tasks.planted_run import one_model
    from napari_mitoxai.tasks.training_run import prefixed

    write_json(
        parameters.out / CONFIG_FILE, {"task": "planted", "parameters": parameters.model_dump(mode="json")}
    )
    wanted = [(signal, seed) for seed in range(parameters.seeds) for signal in parameters.signals]
    models: list[PlantedModel] = []
    frames: list[pd.DataFrame] = []
    result = None
    for number, (signal, seed) in enumerate(wanted, start=1):
        told = prefixed(progress, f"{number}/{len(wanted)} {signal}, seed {seed}: ")
        folder = parameters.out / "models" / f"{signal}_seed{seed}"
        model, scores = one_model(parameters, signal, seed, folder, told, cancel)
        models.append(model)
        frames.append(scores)
        if any(not frame.empty for frame in frames):
            result = _written(parameters, models, frames)  # a run that is stopped has its tables too
    if result is None:
        raise MitoxaiError(f"There is nothing to score: {' '.join(_notes(models))} Give more --epochs.")
    return result


def _refuse_other(parameters: PlantedParameters) -> None:
    """Raise if the folder holds something else, or networks that were made in another way."""
    config = parameters.out / CONFIG_FILE
    if not config.exists():
        if parameters.out.exists() and any(parameters.out.iterdir()):
            raise MitoxaiError(f"{parameters.out} holds other files: choose another folder.")
        refuse_existing(config)
        return
    kept, now = read_json(config)["parameters"], parameters.model_dump(mode="json")
    fields = PlantedParameters.model_fields
    other = [key for key in now if key not in _MAY_GROW and kept.get(key, fields[key].default) != now[key]]
    if other:
        titles = ", ".join(fields[key].title or key for key in other)
        raise MitoxaiError(
            f"{parameters.out} was made with other settings ({titles}): choose another folder. "
            "Signals, seeds and methods may be added."
        )


def _written(
    parameters: PlantedParameters, models: "list[PlantedModel]", frames: "list[pd.DataFrame]"
) -> PlantedResult:
    """Put the networks together that are finished: tables, plot, provenance."""
    import pandas as pd

    from napari_mitoxai.common.provenance import now, software
    from napari_mitoxai.figures.planted_plot import planted_figure
    from napari_mitoxai.trust.planted_table import over_seeds, overall

    notes = _notes(models)
    patches = pd.concat([frame for frame in frames if not frame.empty], ignore_index=True)
    patches = patches[patches["method"].isin(parameters.all_methods())]
    table = over_seeds(patches, BASELINES)
    out = parameters.out
    ranking = overall(patches, BASELINES)
    for name, frame in (("patches.csv", patches), ("planted.csv", table), ("ranking.csv", ranking)):
        with written_beside(out / name, overwrite=True) as partial:
            frame.to_csv(partial, index=False, float_format="%.4f")
    with written_beside(out / "planted.png", overwrite=True) as partial:
        planted_figure(table, BASELINES).savefig(partial, format="png", dpi=150)
    write_json(
        out / CONFIG_FILE,
        {
            "task": "planted",
            "parameters": parameters.model_dump(mode="json"),
            "models": [asdict(model) for model in models],
            "notes": notes,
            "software": software(),
            "finished": now(),
        },
    )
    return PlantedResult(
        out / "planted.csv",
        out / "patches.csv",
        out / "planted.png",
        [asdict(model) for model in models],
        [{str(key): value for key, value in row.items()} for row in ranking.to_dict("records")],
        notes,
    )


def _notes(models: "list[PlantedModel]") -> list[str]:
    """What a reader should know of the networks."""
    notes = []
    for model in models:
        name = f"{model.signal}, seed {model.seed}"
        if not model.learnt:
            notes.append(
                f"{name}: the network did not learn the signal ({model.accuracy:.0%} of the held-out patches called right) and is not scored."
            )
        elif not model.explained:
            notes.append(f"{name}: the network calls no held-out patch with confidence and is not scored.")
        notes += [f"{name}: without {label}: {reason}" for label, reason in model.refused.items()]
    return notes
