"""Train many models and compare them in one table."""

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from napari_mitoxai.common import (
    CancelToken,
    MitoxaiError,
    Progress,
    ProgressCallback,
    no_progress,
)
from napari_mitoxai.common.files import read_json, refuse_existing, write_json, written_beside
from napari_mitoxai.models.registry import architecture, available
from napari_mitoxai.tasks.train import TrainParameters, refuse_unfit_settings, train_prepared
from napari_mitoxai.tasks.training_parameters import TrainingParameters

if TYPE_CHECKING:
    from napari_mitoxai.cohort import Cohort

SPLITS = ("patch-random", "subject")
_CONFIG_FILE = "sweep.json"
_MAY_GROW = {"out", "architectures", "channel_sets", "seeds", "splits"}
_NOT_OF_A_RUN = {*_MAY_GROW, "folds"}


class SweepParameters(TrainingParameters):
    """What a sweep needs to know: the settings of every run, and what is varied."""

    out: Path = Field(
        title="Sweep folder", description="Folder for the runs and the table; a sweep that was stopped goes on there."
    )  # fmt: skip
    channel_sets: list[str] = Field(
        default=["all"], title="Channels",
        description="all, each (every channel alone), a target, or several of them joined by + (SDHA+NDUFB8+VDAC1).",
        json_schema_extra={"option": "--channels"},
    )  # fmt: skip
    architectures: list[str] = Field(
        default=["resnet18"], title="Architectures", description=f"One or more of {', '.join(available())}.",
        json_schema_extra={"option": "--arch"},
    )  # fmt: skip
    seeds: list[int] = Field(
        default=[0], title="Seeds", description="One run each; the papers took four.", json_schema_extra={"option": "--seed"}
    )  # fmt: skip
    splits: list[str] = Field(
        default=list(SPLITS), title="Splits",
        description="patch-random for the papers' figure, subject for the one that leaves subjects out; both by default.",
        json_schema_extra={"option": "--split"},
    )  # fmt: skip

    @field_validator("architectures")
    @classmethod
    def _known_architectures(cls, names: list[str]) -> list[str]:
        for name in names:
            try:
                architecture(name)
            except MitoxaiError as error:
                raise ValueError(str(error)) from error
        return names

    @field_validator("splits")
    @classmethod
    def _known_splits(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in SPLITS:
                raise ValueError(f"there is no split {name!r}: choose of {', '.join(SPLITS)}")
        return names


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep.

    Attributes
    ----------
    folder : Path
        With ``runs/``, a run a folder.
    table, runs, plot : Path
        CSV with a row a configuration, ranked; CSV with a row a run; PNG.
    rows : list of dict
        The table.
    failed : dict
        Runs that could not be trained, and why.
    mixing : Path, optional
        CSV with a row a channel of each configuration and split, where channels are mixed: mean and spread over seeds.
    purity : Path, optional
        CSV with a row a concept, layer and use of the subjects of each configuration and split, where it is trained towards concepts.
    """

    folder: Path
    table: Path
    runs: Path
    plot: Path
    rows: list[dict[str, Any]]
    failed: dict[str, str]
    mixing: Path | None = None
    purity: Path | None = None

    @property
    def problems(self) -> list[str]:
        """One sentence for every run that is missing."""
        return [f"{name} was not trained: {reason}" for name, reason in self.failed.items()]


def run(
    parameters: SweepParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> SweepResult:
    """Train every combination of channels, architectures, seeds and splits, and write the table and its plot.

    The sections are read once. Runs that an earlier call finished are not trained again, and one that was stopped goes on;
    a run that fails does not stop the others.

    Raises
    ------
    MitoxaiError
        If the cohort does not hold together, the folder holds a sweep with other settings, or every run failed.
    Cancelled
        If it was cancelled; the same call goes on.
    """
    cancel = cancel or CancelToken()
    refuse_unfit_settings(parameters)
    _refuse_other_sweep(parameters)
    from napari_mitoxai.cohort import read_cohort

    cohort = read_cohort(parameters.cohort).where(parameters.where)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.figures.sweep_plot import draw_sweep
    from napari_mitoxai.tasks.sweep_table import purity_over_seeds, ranked, shares_over_seeds, write_table
    from napari_mitoxai.tasks.training_run import gather, prefixed

    patches = gather(parameters, cohort, progress, cancel, _needed_channels(parameters))
    sets = _channel_sets(parameters, patches.panel.targets)
    wanted = list(product(sets.items(), parameters.architectures, parameters.splits, parameters.seeds))
    write_json(
        parameters.out / _CONFIG_FILE, {"task": "sweep", "parameters": parameters.model_dump(mode="json")}
    )
    rows, failed = [], {}
    for number, ((label, targets), name, split, seed) in enumerate(wanted, start=1):
        one = _run_parameters(parameters, label, targets, name, split, seed, cohort)
        told = prefixed(progress, f"Run {number}/{len(wanted)}, {one.out.name}: ")
        try:
            metrics = train_prepared(one, cohort, patches, told, cancel)
        except MitoxaiError as error:
            failed[one.out.name] = str(error)
            continue
        rows.append({"run": one.out.name, "channels": label, "architecture": name, "split": split, "seed": seed, "metrics": metrics})  # fmt: skip
    if not rows:
        raise MitoxaiError("; ".join(dict.fromkeys(failed.values())))
    table, each = ranked(rows, cohort.classes)
    out = parameters.out
    write_table(out / "table.csv", table)
    write_table(out / "runs.csv", each)
    with written_beside(out / "table.png", overwrite=True) as partial:
        draw_sweep(table, partial)
    mixing = out / "mixing.csv" if parameters.mixing else None
    if mixing is not None:
        shares = shares_over_seeds(rows)
        write_table(mixing, shares)
        _draw_shares(out, shares)
    purity = out / "purity.csv" if parameters.concepts is not None else None
    if purity is not None:
        write_table(purity, purity_over_seeds(rows))
    return SweepResult(
        out, out / "table.csv", out / "runs.csv", out / "table.png", table, failed, mixing, purity
    )


def _draw_shares(out: Path, shares: list[dict[str, Any]]) -> None:
    """A picture of each configuration's blend, where it has channels to choose from."""
    from napari_mitoxai.figures.mixing_plot import draw_mixing

    for key in dict.fromkeys((row["channels"], row["architecture"], row["split"]) for row in shares):
        own = [row for row in shares if (row["channels"], row["architecture"], row["split"]) == key]
        if len(own) > 1:
            name = f"mixing_{'_'.join(map(file_name, key))}.png"
            with written_beside(out / name, overwrite=True) as partial:
                draw_mixing(own, partial)


def _refuse_other_sweep(parameters: SweepParameters) -> None:
    config = parameters.out / _CONFIG_FILE
    if not config.exists():
        if parameters.out.exists() and any(parameters.out.iterdir()):
            raise MitoxaiError(f"{parameters.out} is not a sweep: choose another folder.")
        refuse_existing(config)
        return
    kept = read_json(config)["parameters"]
    now = parameters.model_dump(mode="json")
    fields = SweepParameters.model_fields
    # a field that is younger than the sweep had its default
    other = [
        key
        for key in now
        if key not in _MAY_GROW
        and kept.get(key, fields[key].get_default(call_default_factory=True)) != now[key]
    ]
    if other:
        titles = ", ".join(SweepParameters.model_fields[key].title or key for key in other)
        raise MitoxaiError(
            f"{parameters.out} holds a sweep with other settings ({titles}): choose another folder. "
            "Channels, architectures, seeds and splits may be added to a sweep."
        )


def _needed_channels(parameters: SweepParameters) -> list[str]:
    """What to read: everything, unless only some targets are asked for."""
    if {"all", "each"}.isdisjoint(parameters.channel_sets):
        return list(dict.fromkeys(target for entry in parameters.channel_sets for target in entry.split("+")))
    return []


def _channel_sets(parameters: SweepParameters, targets: list[str]) -> dict[str, list[str]]:
    sets: dict[str, list[str]] = {}
    for entry in parameters.channel_sets:
        if entry == "all":
            sets["all"] = []
        elif entry == "each":
            sets |= {target: [target] for target in targets}
        else:
            sets[entry] = [part.strip() for part in entry.split("+")]
    return sets


def _run_parameters(
    parameters: SweepParameters, label: str, targets: list[str], name: str, split: str, seed: int, cohort: "Cohort"
) -> TrainParameters:  # fmt: skip
    shared = parameters.model_dump(exclude=_NOT_OF_A_RUN)
    folds = "leave-one-out" if parameters.folds == "none" else parameters.folds
    return TrainParameters.model_validate(
        {
            **shared,
            "out": parameters.out / "runs" / f"{file_name(label)}_{name}_{split}_seed{seed}",
            "architecture": name,
            "channels": targets,
            "split": split,
            "folds": folds if split == "subject" else "none",
            "seed": seed,
        }
    )


def file_name(label: str) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^\w+-]+", "_", label)
