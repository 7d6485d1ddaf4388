"""Explain what a trained classifier sees in a section, or in several."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing
from napari_mitoxai.explain.planted_truth import best_known
from napari_mitoxai.tasks.areas import area_of, rows_and_columns
from napari_mitoxai.tasks.fields import Device, Overlap
from napari_mitoxai.tasks.inside import SectionMask, as_seen, refuse_without_fibres
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    from napari_mitoxai.explain import Area, MapStore, Request, Watcher

MAPS = ".ome.zarr"


class ExplainParameters(TaskParameters):
    """What explaining needs to know."""

    run: Path = Field(
        title="Run", description="The folder that training wrote.", json_schema_extra={"argument": True}
    )
    sections: list[Path] = Field(
        min_length=1,
        title="Sections",
        description="The section to explain, a file or a folder; or several.",
        json_schema_extra={"argument": True},
    )
    methods: list[str] = Field(
        min_length=1,
        title="Methods",
        description="Explanation methods, as grad_cam, or with the settings of a preset, as lrp_epsilon@seed-exact. "
        f"{best_known()}",
        json_schema_extra={"option": "--method"},
    )
    settings: list[str] = Field(
        default=[], title="Settings", description="Parameters of methods, as lrp_epsilon.epsilon=0.01.",
        json_schema_extra={"option": "--set", **ADVANCED},
    )  # fmt: skip
    out: Path = Field(
        title="Maps",
        description="The store to write, ending in .ome.zarr; for several sections a folder that gets one for each.",
    )
    target: str | None = Field(
        default=None,
        title="Class",
        description="The class to explain; predicted: the one that the model calls the section; true: the section's group. "
        "The last one (patient) by default.",
    )
    against: str | None = Field(
        default=None,
        title="Against",
        description="Another class: what tells the class from it, the difference of their scores, is explained.",
        json_schema_extra=ADVANCED,
    )
    output: Literal["logit", "probability"] = Field(
        default="logit",
        title="Score",
        description="What of the class is explained: its logit, or its probability, which hardly reacts where the model is sure.",
        json_schema_extra=ADVANCED,
    )
    pooling: Literal["none", "sum", "sum_abs", "max_abs", "norm"] = Field(
        default="none",
        title="Pooling",
        description="How the channels of a map become one: not, by their sum, the sum or the largest of their magnitudes, or the root "
        "of the sum of squares.",
        json_schema_extra=ADVANCED,
    )
    approach: Literal["patches", "seamless"] = Field(
        default="patches",
        title="Approach",
        description="Patch by patch, as the model was trained; or seamless, the section in one piece, faster and without edges of "
        "patches, but another map: only for gradients and Grad-CAM, and models that end in an average.",
        json_schema_extra=ADVANCED,
    )
    region: str | None = Field(
        default=None, title="Region", description="Rows and columns to explain, in pixels, as 100:612,0:512; all by default.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    shapes: Path | None = Field(
        default=None, title="Shapes", description="Shapes to explain, as napari saves them (CSV), in pixels.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    fibres: Path | None = Field(
        default=None, title="Fibres", description="Fibre labels: only fibres are explained.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    fibre_ids: list[int] = Field(
        default=[], title="Fibre numbers", description="Only these fibres.",
        json_schema_extra={"option": "--fibre", **ADVANCED},
    )  # fmt: skip
    mask: SectionMask = None
    overlap: Overlap = 0.5
    batch_size: int = Field(
        default=8,
        ge=1,
        le=1024,
        title="Batch size",
        description="Patches computed at once; on a CPU fewer where they are large.",
        json_schema_extra=ADVANCED,
    )
    device: Device = "auto"
    scheduler: str | None = Field(
        default=None,
        title="Scheduler",
        description="Address of a dask.distributed scheduler, as tcp://host:8786: sections, methods and tiles are shared among its "
        "workers, which must see the same files.",
        json_schema_extra={"hidden": True},
    )
    overwrite: bool = Field(
        default=False, title="Replace existing maps", description="Whether an existing store may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip

    def request(self) -> "Request":
        """What is asked about every section.

        Raises
        ------
        MitoxaiError
            If a method or a setting does not exist.
        """
        from napari_mitoxai.explain import Request

        methods = with_settings(self.methods, self.settings)
        request = Request(
            methods, self.target, self.against, self.output, self.pooling, self.approach, self.overlap
        )
        request.wanted()  # says at once what is wrong with it
        if self.region is not None:
            rows_and_columns(self.region)
        return request

    def maps_of(self, section: Path) -> Path:
        """Where the maps of a section go."""
        if len(self.sections) == 1:
            return self.out
        from napari_mitoxai.imc.reading import stem

        return self.out / f"{stem(section)}_maps{MAPS}"


def with_settings(methods: Sequence[str], settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The parameters of each method by its label, given settings as ``method.parameter=value``.

    Raises
    ------
    MitoxaiError
        If a setting is of another form, or for a method that is not among them.
    """
    chosen: dict[str, dict[str, Any]] = {label: {} for label in methods}
    for setting in settings:
        label, name, value = _setting(setting)
        if label not in chosen:
            raise MitoxaiError(
                f"{setting} is for a method that was not chosen: add --method {label}, or set one of {', '.join(chosen)}."
            )
        chosen[label][name] = value
    return chosen


def _setting(text: str) -> tuple[str, str, Any]:
    """Method, parameter and value of ``method.parameter=value``."""
    path, equals, value = text.partition("=")
    label, dot, name = path.strip().rpartition(".")
    if not (equals and dot and label and name):
        raise MitoxaiError(
            f"The setting {text!r} is not of the form method.parameter=value: write it as lrp_epsilon.epsilon=0.01."
        )
    try:
        return label, name, json.loads(value)
    except json.JSONDecodeError:  # a word
        return label, name, {"True": True, "False": False, "None": None}.get(value.strip(), value.strip())


@dataclass(frozen=True)
class ExplainResult:
    """A finished explanation.

    Attributes
    ----------
    section, maps : Path
        What was explained, and the store.
    target : str
        What was explained: a class, or the difference of two.
    verdict : dict
        ``call``, ``probability`` by class, ``patches``.
    use_of_subject : str
        ``train``, ``validation``, ``test`` or ``new``: what the model did with this subject before.
    notes : tuple of str
        What a reader of the maps should know about how the section was read and explained.
    left_out : dict
        Methods that have no meaning for this network, and why.
    whole : bool
        Whether the whole section was explained.
    """

    section: Path
    maps: Path
    target: str
    verdict: dict[str, Any]
    use_of_subject: str
    notes: tuple[str, ...]
    left_out: dict[str, str]
    whole: bool


@dataclass(frozen=True)
class ExplainResults:
    """What came of each section.

    Attributes
    ----------
    sections : list of ExplainResult
    failed : dict
        By path, why a section could not be explained.
    """

    sections: list[ExplainResult]
    failed: dict[str, str]

    @property
    def problems(self) -> list[str]:
        """One sentence for everything that was asked for and is missing."""
        return [
            *(f"{path} was not explained: {reason}" for path, reason in self.failed.items()),
            *(
                f"{label} was left out for {result.section.name}: {reason}"
                for result in self.sections
                for label, reason in result.left_out.items()
            ),
        ]


def run(
    parameters: ExplainParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> ExplainResults:
    """Explain sections, one after the other or on a cluster; one that fails does not stop the others.

    Raises
    ------
    MitoxaiError
        If the run cannot be opened, a method does not exist, or none of the sections could be explained.
    Cancelled
        If it was cancelled; the same call goes on where it stopped.
    """
    if len(parameters.sections) == 1 and parameters.scheduler is None:
        return ExplainResults([explain_one(parameters, progress=progress, cancel=cancel)], {})
    _check_outputs(parameters)
    if parameters.scheduler is not None:
        from napari_mitoxai.explain.cluster import explain_on_cluster
        from napari_mitoxai.models import load_checkpoint

        refuse_without_fibres(load_checkpoint(parameters.run), parameters.run, parameters.mask)
        jobs = {path: parameters.maps_of(path) for path in parameters.sections}
        stores, failed = explain_on_cluster(
            parameters.scheduler, parameters.run, parameters.request(), jobs,
            lambda section: _area(parameters, section), mask=parameters.mask, batch_size=parameters.batch_size, device=parameters.device,
            overwrite=parameters.overwrite, progress=progress, cancel=cancel,
        )  # fmt: skip
        results = [_result(path, store) for path, store in stores.items()]
    else:
        results, failed = [], {}
        for number, path in enumerate(parameters.sections, 1):
            told = _numbered(progress, f"{number}/{len(parameters.sections)} ")
            try:
                results.append(explain_one(parameters, path, progress=told, cancel=cancel))
            except MitoxaiError as error:
                failed[path] = str(error)
    if not results:
        raise MitoxaiError("; ".join(failed.values()))
    return ExplainResults(results, {str(path): reason for path, reason in failed.items()})


def _numbered(progress: ProgressCallback, number: str) -> ProgressCallback:
    return lambda report: progress(
        Progress(number + report.stage, report.done, report.total, report.detail, report.values)
    )


def _check_outputs(parameters: ExplainParameters) -> None:
    if len(parameters.sections) == 1:
        _check_name(parameters.out)
        return
    if parameters.out.name.endswith(MAPS):
        raise MitoxaiError(
            f"{parameters.out.name} is one store and there are several sections: name a folder."
        )
    by_maps: dict[Path, Path] = {}
    for path in parameters.sections:
        maps = parameters.maps_of(path)
        if maps in by_maps:
            raise MitoxaiError(
                f"{by_maps[maps]} and {path} have the same name, and their maps too: explain them into folders of their own."
            )
        by_maps[maps] = path


def _check_name(out: Path) -> None:
    if not out.name.endswith(MAPS):
        raise MitoxaiError(f"{out.name} does not end in {MAPS}: name the maps for example MAPS{MAPS}.")


def _area(parameters: ExplainParameters, section: Any) -> "Area | None":
    return area_of(
        section, parameters.region, parameters.shapes, parameters.fibres, list(parameters.fibre_ids)
    )


def explain_one(
    parameters: ExplainParameters,
    section: Path | None = None,
    *,
    area: "Area | None" = None,
    watcher: "Watcher | None" = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> ExplainResult:
    """Explain one section.

    Parameters
    ----------
    parameters : ExplainParameters
    section : Path, optional
        Which one of them; the first by default.
    area : Area, optional
        The part to explain, in place of the one that the parameters name.
    watcher : Watcher, optional
        Sees the maps while they fill.
    progress, cancel

    Raises
    ------
    MitoxaiError
        If the run cannot be opened, the section does not fit it, or the maps exist.
    Cancelled
        If it was cancelled; the same call goes on where it stopped.
    """
    path = section or parameters.sections[0]
    out = parameters.maps_of(path)
    _check_name(out)
    request = parameters.request()
    refuse_existing(out, overwrite=parameters.overwrite)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.explain import explain_section
    from napari_mitoxai.imc import read_section
    from napari_mitoxai.models import load_checkpoint, pick_device

    device = pick_device(parameters.device)
    checkpoint = load_checkpoint(parameters.run)
    refuse_without_fibres(checkpoint, parameters.run, parameters.mask)
    opened = as_seen(read_section(path), parameters.mask)
    store = explain_section(
        opened,
        checkpoint,
        request,
        out,
        area=area or _area(parameters, opened),
        batch_size=parameters.batch_size,
        device=device,
        overwrite=parameters.overwrite,
        progress=progress,
        cancel=cancel,
        watcher=watcher,
    )
    return _result(path, store)


def _result(path: Path, store: "MapStore") -> ExplainResult:
    info = store.info
    return ExplainResult(
        path,
        store.path,
        info["target"],
        info["verdict"],
        info["use_of_subject"],
        (*info["section"]["notes"], *info.get("notes", [])),
        store.left_out,
        info["area"] is None,
    )
