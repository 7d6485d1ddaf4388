"""Repeat a recorded analysis: the tasks that a file lists, one after the other, with the same results."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_mitoxai.common import (
    Cancelled,
    CancelToken,
    MitoxaiError,
    Progress,
    ProgressCallback,
    no_progress,
)
from napari_mitoxai.common.digests import digest_of
from napari_mitoxai.common.files import read_json, write_json
from napari_mitoxai.tasks.named import WRITTEN, Task, paths_in, task_named, with_paths
from napari_mitoxai.tasks.parameters import TaskParameters, validated
from napari_mitoxai.tasks.recording import FORMAT, done_step, inputs_of, is_in

_LARGEST = 2**22  # bytes; a file of a thousand steps is smaller
_FIELDS = {"format", "recorded", "software", "inputs", "steps", "notes"}


class AnalysisParameters(TaskParameters):
    """What repeating an analysis needs to know."""

    file: Path = Field(
        title="Analysis",
        description="The file that the window saved, or one that was written by hand.",
        json_schema_extra={"argument": True},
    )
    out_root: Path | None = Field(
        default=None,
        title="Write to",
        description="Folder that everything is written to, with the same names and folders in it, in place of where the file says.",
    )
    dry_run: bool = Field(
        default=False, title="Only list", description="Check the file and list its steps; nothing is done."
    )


@dataclass(frozen=True)
class StepReport:
    """A step of an analysis.

    Attributes
    ----------
    task : str
        Its name.
    reads, writes : list of Path
        What its parameters name.
    state : str
        ``done``, ``done before``, or ``to do`` where steps are only listed.
    seconds : float
        How long it took.
    """

    task: str
    reads: list[Path]
    writes: list[Path]
    state: str
    seconds: float = 0.0


@dataclass(frozen=True)
class AnalysisResult:
    """A repeated analysis.

    Attributes
    ----------
    file : Path
        It.
    steps : list of StepReport
        In order.
    problems : list of str
        What steps left out, such as a method without meaning for the network.
    """

    file: Path
    steps: list[StepReport]
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Step:
    number: int
    task: Task
    parameters: TaskParameters

    @property
    def name(self) -> str:
        return f"Step {self.number} ({self.task.name})"

    @property
    def outputs(self) -> list[Path]:
        return [path for paths in paths_in(self.parameters, written=True).values() for path in paths]

    @property
    def inputs(self) -> list[Path]:
        return [path for paths in paths_in(self.parameters, written=False).values() for path in paths]


def run(
    parameters: AnalysisParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> AnalysisResult:
    """Do the steps of a file that are not done yet.

    What is done is kept in ``<file>.done.json`` beside the file, or in the folder that everything is written to: the same call goes on
    after a failure or a cancel. Everything is checked before the first step.

    Raises
    ------
    MitoxaiError
        If the file does not hold together, an input is missing or has changed, an output exists, or a step fails: which, and why.
    Cancelled
        If it was cancelled; the steps that are done are kept.
    """
    cancel = cancel or CancelToken()
    content = _read(parameters.file)
    folder = parameters.file.absolute().parent
    steps = [_step(number, entry, folder) for number, entry in enumerate(content["steps"], 1)]
    moved = _Moved(steps, parameters.out_root.absolute() if parameters.out_root else None)
    planned = [_Step(step.number, step.task, moved.outputs_of(step.parameters)) for step in steps]
    _refuse_missing(steps)
    _check_inputs(content["inputs"], folder, progress, cancel)
    place = (moved.root or folder) / f"{parameters.file.stem}.done.json"
    journal = _Journal(place, planned, cancel)
    _refuse_existing(planned, journal)
    before = journal.done()
    if parameters.dry_run:
        return AnalysisResult(
            parameters.file,
            [
                StepReport(
                    step.task.name, step.inputs, step.outputs, "done before" if index < before else "to do"
                )
                for index, step in enumerate(planned)
            ],
        )
    reports: list[StepReport] = []
    problems: list[str] = []
    for index, step in enumerate(planned):
        if index < before:
            reports.append(StepReport(step.task.name, step.inputs, step.outputs, "done before"))
            continue
        made = [path for entry in journal.entries[:index] for path in map(Path, entry["written"])]
        whole = _Step(step.number, step.task, moved.inputs_of(step.parameters, made))
        progress(Progress("Looking at the inputs", 0, 0, whole.name))
        journal.begin(index, inputs_of([whole.parameters], [()], made))
        started = time.monotonic()
        result = _do(whole, len(planned), progress, cancel)
        # what is read of earlier steps may have got something added, as scores are to maps
        added = [path for path in whole.inputs if path in made]
        journal.finish(index, (*done_step(whole.parameters, result).written, *added))
        problems += [f"{step.name}: {problem}" for problem in getattr(result, "problems", [])]
        reports.append(
            StepReport(step.task.name, whole.inputs, whole.outputs, "done", time.monotonic() - started)
        )
    return AnalysisResult(parameters.file, reports, problems)


def _do(step: _Step, total: int, progress: ProgressCallback, cancel: CancelToken) -> Any:
    def told(report: Progress) -> None:
        stage = f"{step.number}/{total} {step.task.name}: {report.stage}"
        progress(Progress(stage, report.done, report.total, report.detail, report.values))

    try:
        result = step.task.run(step.parameters, progress=told, cancel=cancel)
    except MitoxaiError as error:
        raise MitoxaiError(_failed(step, str(error))) from error
    if getattr(result, "cancelled", False):  # what it has until there is kept, and it goes on from there
        raise Cancelled
    return result


def _failed(step: _Step, reason: str) -> str:
    kept = {1: "Nothing was done before it", 2: "Step 1 is kept"}.get(
        step.number, f"Steps 1 to {step.number - 1} are kept"
    )
    return f"{step.name} failed: {reason.rstrip('.')}. {kept}; the same command goes on from here."


# --- the file --------------------


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of steps, looked at as far as it can be without knowing the tasks."""
    import yaml

    try:
        if path.stat().st_size > _LARGEST:
            raise MitoxaiError(f"{path.name} is too large for a list of steps: it is another kind of file.")
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MitoxaiError(f"{path} is not there: check the path.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise MitoxaiError(f"{path} is not readable YAML ({reason}): correct it.") from error
    steps = content.get("steps") if isinstance(content, dict) else None
    if not isinstance(steps, list) or not steps:
        raise MitoxaiError(
            f"{path.name} lists no steps: it needs `steps:`, and under it each `task:` with its `parameters:`."
        )
    if unknown := sorted(map(str, content.keys() - _FIELDS)):
        raise MitoxaiError(f"{path.name} has {unknown[0]!r}, which means nothing: it knows {', '.join(sorted(_FIELDS))}.")  # fmt: skip
    if content.get("format", FORMAT) != FORMAT:
        raise MitoxaiError(f"{path.name} was written by a newer version of napari-mitoxai: update it.")
    if not isinstance(content.setdefault("inputs", {}), dict):
        raise MitoxaiError(f"The inputs of {path.name} are no list of `path: digest`: leave them out.")
    return dict(content)


def _step(number: int, entry: Any, folder: Path) -> _Step:
    if not isinstance(entry, dict) or not isinstance(entry.get("task"), str) or entry.keys() - {"task", "parameters"}:  # fmt: skip
        raise MitoxaiError(
            f"Step {number} is not of the form `task: NAME` and `parameters: ...`: correct it."
        )
    values = entry.get("parameters") or {}
    if not isinstance(values, dict):
        raise MitoxaiError(
            f"The parameters of step {number} are not of the form `name: value`: correct them."
        )
    try:
        task = task_named(entry["task"])
        if unknown := sorted(map(str, values.keys() - task.model.model_fields.keys())):
            there = ", ".join(task.model.model_fields)
            raise MitoxaiError(f"there is no parameter {unknown[0]!r}: it knows {there}.")
        if task.model is AnalysisParameters:
            raise MitoxaiError("an analysis cannot be a step of one")
        parameters = validated(task.model, values)
    except MitoxaiError as error:
        raise MitoxaiError(f"Step {number} ({entry['task']}): {error}") from error
    return _Step(number, task, _changed(parameters, lambda path: folder / path.expanduser()))


def _changed(
    parameters: TaskParameters, change: Callable[[Path], Path], *, written: bool | None = None
) -> TaskParameters:
    """Parameters with other paths: all, or only what is written, or only what is read."""
    return parameters.model_copy(
        update={
            name: with_paths(getattr(parameters, name), lambda path: Path(os.path.normpath(change(path))))
            for name in type(parameters).model_fields
            if written is None or (name in WRITTEN) == written
        }
    )


class _Moved:
    """Where things are when everything is written to another folder.

    What lies nearest above all outputs becomes that folder; inputs that a step made are read from there.
    """

    def __init__(self, steps: list[_Step], root: Path | None) -> None:
        self.root = root
        folders = [path.parent for step in steps for path in step.outputs]
        try:
            self._base = Path(os.path.commonpath(folders)) if root and folders else None
        except ValueError as error:
            raise MitoxaiError(
                "The outputs lie on several drives, so they cannot be moved to one folder: leave --out-root out."
            ) from error

    def _there(self, path: Path) -> Path:
        if self.root is None or self._base is None or not path.is_relative_to(self._base):
            return path
        return self.root / path.relative_to(self._base)

    def outputs_of(self, parameters: TaskParameters) -> TaskParameters:
        """With what is written in the other folder."""
        return _changed(parameters, self._there, written=True)

    def inputs_of(self, parameters: TaskParameters, made: list[Path]) -> TaskParameters:
        """With what is read from the other folder, where a step made it there."""
        return _changed(
            parameters,
            lambda path: self._there(path) if is_in(self._there(path), made) else path,
            written=False,
        )


# --- what there is --------------------


def _refuse_missing(steps: list[_Step]) -> None:
    """Raise for an input that is not there, and that no earlier step can make: in its outputs, or beside them."""
    made: list[Path] = []
    for step in steps:
        for path in _files(step):
            if not path.exists() and not is_in(path, [*made, *(each.parent for each in made)]):
                raise MitoxaiError(
                    f"{step.name} reads {path}, which is not there and which no earlier step makes: check the path."
                )
        made += step.outputs


def _files(step: _Step) -> list[Path]:
    from napari_mitoxai.imc import split_address

    return [split_address(path)[0] for path in step.inputs]


def _check_inputs(
    recorded: dict[str, Any], folder: Path, progress: ProgressCallback, cancel: CancelToken
) -> None:
    """Raise for a recorded input that is gone, or that is not what it was."""
    for number, (name, expected) in enumerate(recorded.items()):
        path = Path(os.path.normpath(folder / str(name)))
        progress(Progress("Looking at the inputs", number, len(recorded), path.name))
        if not path.exists():
            raise MitoxaiError(f"{path} is not there, which the analysis used: put it back.")
        if digest_of(path, cancel) != str(expected):
            raise MitoxaiError(
                f"{path} is not what the analysis used: put the old one back, or delete its line under `inputs` to use this one."
            )


def _refuse_existing(steps: list[_Step], journal: "_Journal") -> None:
    """Raise, before anything is done, for an output that is there and was not made by the same steps."""
    made: set[Path] = set()
    for index, step in enumerate(steps):
        for path in step.outputs:
            there = path.exists() and path not in made and not getattr(step.parameters, "overwrite", False)
            if there and index >= journal.done() and not journal.begun(index):
                raise MitoxaiError(
                    f"{step.name} would write {path}, which exists already and was not made by this analysis as it is now: "
                    "remove it, or write elsewhere with --out-root."
                )
        made |= set(step.outputs)


class _Journal:
    """What is done of an analysis, so that the same call goes on where it stopped."""

    def __init__(self, path: Path, steps: list[_Step], cancel: CancelToken) -> None:
        self._path, self._cancel = path, cancel
        self._marks = [[step.task.name, step.parameters.model_dump(mode="json")] for step in steps]
        self.entries: list[dict[str, Any]] = self._kept()
        self._done = self._looked_at()

    def done(self) -> int:
        """How many of the first steps are done, with what they read and made as it was."""
        return self._done

    def begun(self, index: int) -> bool:
        """Whether a step was begun with the same parameters: what is there of it is its own."""
        return index < len(self.entries) and not self.entries[index]["done"]

    def begin(self, index: int, inputs: Iterable[Path]) -> None:
        """Take down that a step starts, and what it reads that no step made."""
        read = {str(path): digest_of(path, self._cancel) for path in inputs if path.exists()}
        self._put(index, {"step": self._marks[index], "done": False, "read": read, "written": {}})

    def finish(self, index: int, written: Iterable[Path]) -> None:
        """Take down what a step has made."""
        digests = {str(path): digest_of(path, self._cancel) for path in written if path.exists()}
        self._put(index, {**self.entries[index], "done": True, "written": digests})

    def _put(self, index: int, entry: dict[str, Any]) -> None:
        self.entries = [*self.entries[:index], entry]
        write_json(self._path, {"format": FORMAT, "steps": self.entries})

    def _kept(self) -> list[dict[str, Any]]:
        """The entries that are of the same steps."""
        if not self._path.is_file():
            return []
        content = read_json(self._path)
        entries = content.get("steps") if isinstance(content, dict) else None
        kept = []
        for entry, mark in zip(entries if isinstance(entries, list) else [], self._marks, strict=False):
            whole = isinstance(entry, dict) and {"step", "done", "read", "written"} <= entry.keys()
            if not whole or entry["step"] != mark:
                break
            kept.append(entry)
            if not entry["done"]:
                break
        return kept

    def _looked_at(self) -> int:
        """The done steps of which all is as it was; what a later one replaced is not asked for."""
        last: dict[str, str] = {}
        for entry in self.entries:
            last |= entry["written"]
        for index, entry in enumerate(self.entries):
            expected = {**entry["read"], **{path: last[path] for path in entry["written"]}}
            if not entry["done"] or not all(map(self._is, expected.keys(), expected.values())):
                return index
        return len(self.entries)

    def _is(self, path: str, digest: str) -> bool:
        return Path(path).exists() and digest_of(Path(path), self._cancel) == digest
