"""Train a classifier on a cohort."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from napari_mitoxai.common import (
    Cancelled,
    CancelToken,
    MitoxaiError,
    Progress,
    ProgressCallback,
    no_progress,
)
from napari_mitoxai.common.files import (
    read_json,
    refuse_existing,
    refuse_foreign,
    remove,
    replace,
    write_json,
)
from napari_mitoxai.models.registry import available
from napari_mitoxai.tasks.parameters import ADVANCED
from napari_mitoxai.tasks.protocols import PROTOCOLS
from napari_mitoxai.tasks.training_parameters import Channels, TrainingParameters

if TYPE_CHECKING:
    from napari_mitoxai.cohort import Cohort
    from napari_mitoxai.training import PatchSet

METRICS_FILE, CONFIG_FILE = "metrics.json", "config.json"
BEGUN_FILE = "begun.json"
_NOT_COMPARED = {"out", "overwrite"}  # they do not change what comes out


class TrainParameters(TrainingParameters):
    """What training needs to know."""

    out: Path = Field(
        title="Run folder",
        description="Folder to make for the run: checkpoint, metrics, curve, configuration.",
    )
    architecture: Literal[tuple(available())] = Field(  # type: ignore[valid-type]
        default="resnet18",
        title="Architecture",
        description="The network to train.",
        json_schema_extra={"option": "--arch"},
    )
    hold_out: list[str] = Field(
        default=[],
        title="Hold out",
        description="Subjects to test on; nothing of them is trained on. They take the place of the table's split column.",
    )
    split: Literal["subject", "patch-random"] = Field(
        default="subject", title="Split",
        description="subject never has a person's patches on both sides; patch-random does, as the papers, and its figures are optimistic.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    channels: Channels = Field(default_factory=list)
    seed: int = Field(
        default=0,
        ge=0,
        title="Seed",
        description="Makes a run repeatable.",
        json_schema_extra=ADVANCED,
    )
    overwrite: bool = Field(
        default=False, title="Replace a run", description="Whether an existing run folder may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_way_to_test(self) -> "TrainParameters":
        if self.split == "patch-random" and self.hold_out:
            raise ValueError(
                "a patch-random split holds out patches, not subjects: leave --hold-out or --split out"
            )
        if self.split == "patch-random" and self.folds != "none":
            raise ValueError("folds are of subjects: leave --folds or --split patch-random out")
        if self.hold_out and self.folds != "none":
            raise ValueError("folds hold every subject out in turn: leave --folds or --hold-out out")
        return self


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes
    ----------
    run : Path
        Its folder.
    metrics : dict
        What metrics.json holds.
    cancelled : bool
        Whether the user stopped it; the run then holds the best epoch until there.
    """

    run: Path
    metrics: dict[str, Any]
    cancelled: bool


def run(
    parameters: TrainParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> TrainResult:
    """Train, call the subjects or patches that were held out, and write the run.

    The run is written beside its place and moved there when it is whole. It holds ``checkpoint.json`` and the weights,
    ``metrics.json``, ``history.csv``, ``config.json`` and a copy of the cohort table; where channels are mixed, their
    shares in ``mixing.csv`` and ``mixing.png``; with folds also a run a fold, in
    ``folds/``, and its model is trained on all subjects. After a crash or a cancel the same call goes on from the last
    epoch that was kept.

    Raises
    ------
    MitoxaiError
        If the cohort does not hold together, or the run exists.
    Cancelled
        If it was cancelled before there was a model to keep.
    """
    cancel = cancel or CancelToken()
    _refuse(parameters)
    from napari_mitoxai.cohort import TABLE, keep_table, read_cohort

    cohort = read_cohort(parameters.cohort).where(parameters.where)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.tasks.training_run import gather, refuse_unfit, train_folds, train_run

    work = _work_folder(parameters)
    try:
        refuse_unfit(parameters, cohort)
        patches = gather(parameters, cohort, progress, cancel)
        _begin(work, parameters, patches.digest())
        if parameters.folds == "none":
            metrics, cancelled = train_run(parameters, cohort, patches, work, progress, cancel)
        else:
            metrics, cancelled = train_folds(parameters, cohort, patches, work, progress, cancel)
        keep_table(cohort, work / TABLE)
        if not cancelled:
            (work / BEGUN_FILE).unlink()
        replace(work, parameters.out)
    except (Cancelled, MitoxaiError):
        _drop_empty(work)
        raise
    except OSError as error:
        raise MitoxaiError(
            f"{parameters.out} could not be written ({error.strerror or error}): free the disk; the same command then goes on."
        ) from error
    return TrainResult(parameters.out, metrics, cancelled)


def train_prepared(
    parameters: TrainParameters,
    cohort: "Cohort",
    patches: "PatchSet",
    progress: ProgressCallback,
    cancel: CancelToken,
) -> dict[str, Any]:
    """A run of a sweep: patches are read already, and with folds there is no model of all subjects.

    Returns
    -------
    dict
        What metrics.json holds: of this call, or of an earlier one that finished the same run.

    Raises
    ------
    MitoxaiError
        If the sections have changed since the run was begun or finished.
    """
    from napari_mitoxai.tasks.training_run import train_folds, train_run

    if parameters.channels:
        patches = patches.with_channels(parameters.channels)
    done = parameters.out / METRICS_FILE
    if done.exists() and not (parameters.out / BEGUN_FILE).exists():
        if read_json(parameters.out / CONFIG_FILE).get("data") != patches.digest():
            raise MitoxaiError(
                f"The sections of {parameters.cohort.name} have changed since {parameters.out} was trained: "
                "delete this run, or choose another --out."
            )
        return dict(read_json(done))
    work = _work_folder(parameters)
    _begin(work, parameters, patches.digest())
    if parameters.folds == "none":
        metrics, cancelled = train_run(parameters, cohort, patches, work, progress, cancel)
    else:
        metrics, cancelled = train_folds(
            parameters, cohort, patches, work, progress, cancel, final_model=False
        )
    if cancelled:
        raise Cancelled
    (work / BEGUN_FILE).unlink()
    replace(work, parameters.out)
    return metrics


def _refuse(parameters: TrainParameters) -> None:
    if not _goes_on(parameters):
        refuse_existing(parameters.out, overwrite=parameters.overwrite)
        refuse_foreign(parameters.out, "checkpoint.json", "a run")
    refuse_unfit_settings(parameters)


def refuse_unfit_settings(parameters: TrainingParameters) -> None:
    """Raise for settings that cannot be trained with, before anything is read.

    Raises
    ------
    MitoxaiError
        If the input is larger than the patch, or a protocol's starting weights were not asked for.
    """
    if parameters.input_size > parameters.patch_size:
        raise MitoxaiError(
            f"The input size of {parameters.input_size} px is larger than the patch of {parameters.patch_size} px: make it smaller."
        )
    if PROTOCOLS[parameters.protocol].needs_weights and not parameters.weights:
        raise MitoxaiError(
            f"Protocol {parameters.protocol} starts from ImageNet weights, which are not downloaded unasked: "
            "give --weights imagenet, --weights FILE, or --weights random."
        )


def begun_with(out: Path) -> TrainParameters | None:
    """The parameters of a run that was begun there and is not finished, which the same parameters go on with; or None."""
    for folder in (_hidden(out), out):
        if (folder / BEGUN_FILE).is_file():
            try:
                given = {**read_json(folder / BEGUN_FILE)["parameters"], "out": out}
                return TrainParameters.model_validate(given)
            except (
                MitoxaiError,
                KeyError,
                TypeError,
                ValueError,
            ):  # of another version: nothing to go on with
                return None
    return None


def _hidden(out: Path) -> Path:
    """Where an unfinished run is kept: beside its place."""
    return out.with_name(f".{out.name}.unfinished")


def _compared(parameters: TrainParameters) -> dict[str, Any]:
    return parameters.model_dump(mode="json", exclude=_NOT_COMPARED)


def _begun_alike(begun: Path, parameters: TrainParameters) -> bool:
    """Whether a run was begun with these parameters; a field that is younger than the run had its default."""
    kept, now = read_json(begun).get("parameters"), _compared(parameters)
    if not isinstance(kept, dict):
        return False
    fields = TrainParameters.model_fields
    younger = {name: fields[name].get_default(call_default_factory=True) for name in now.keys() - kept.keys()}
    return kept | younger == now


def _goes_on(parameters: TrainParameters) -> bool:
    """Whether the run was cancelled, and these are the parameters that it was begun with."""
    begun = parameters.out / BEGUN_FILE
    return not parameters.overwrite and begun.is_file() and _begun_alike(begun, parameters)


def _work_folder(parameters: TrainParameters) -> Path:
    """Where the run is made; a copy of it, if it was cancelled, or what a crash left of it."""
    work = _hidden(parameters.out)
    if not work.exists():
        if _goes_on(parameters):
            shutil.copytree(parameters.out, work)
        return work
    begun = work / BEGUN_FILE
    same = begun.is_file() and _begun_alike(begun, parameters)
    if not same and begun.is_file() and not parameters.overwrite:
        raise MitoxaiError(
            f"{parameters.out} was begun with other parameters and is not finished: repeat the command it was begun with, "
            "choose another --out, or pass --overwrite to start anew."
        )
    if not same:
        remove(work)
    return work


def _begin(work: Path, parameters: TrainParameters, fingerprint: str) -> None:
    begun = work / BEGUN_FILE
    if begun.is_file() and read_json(begun).get("data") != fingerprint:
        if not parameters.overwrite:
            raise MitoxaiError(
                f"The sections of {parameters.cohort.name} have changed since {parameters.out} was begun: "
                "choose another --out, or pass --overwrite to start anew."
            )
        remove(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(begun, {"parameters": _compared(parameters), "data": fingerprint})


def _drop_empty(work: Path) -> None:
    """Leave nothing behind of a run in which no epoch was finished."""
    from napari_mitoxai.training.state import has_state

    if work.exists() and not has_state(work) and not any(work.glob("folds/*/*")):
        remove(work)
