"""What was done, as a file that `mitoxai run` repeats: each task with its parameters, and the digests of what it read."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.digests import digest_of
from napari_mitoxai.common.files import written_beside
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.tasks.named import name_of, paths_in, with_paths
from napari_mitoxai.tasks.parameters import TaskParameters

FORMAT = 1
_HEAD = "# What was done, in order: `mitoxai run FILE --out-root FOLDER` does it again there. Relative paths start at this file's folder.\n"
_DEEPEST = 4  # in a result
_BAND = 512  # rows at once


@dataclass(frozen=True)
class DoneStep:
    """A task that ended well.

    Attributes
    ----------
    parameters : TaskParameters
        As it ran, with absolute paths.
    written : tuple of Path
        What it made.
    stamps : dict
        By file, when it was changed last and how large it was when the task ended.
    labels : str
        Digest of the fibre labels that it was given in memory; empty where it read them.
    """

    parameters: TaskParameters
    written: tuple[Path, ...]
    stamps: dict[Path, tuple[int, int]] = field(default_factory=dict)
    labels: str = ""


def done_step(parameters: TaskParameters, result: Any, labels: str = "") -> DoneStep:
    """Take down a task that has just ended.

    Parameters
    ----------
    parameters : TaskParameters
        As it ran.
    result : object
        What it gave: a dataclass, or such with other things.
    labels : str
        See `DoneStep`.
    """
    kept = with_paths(parameters, lambda path: path.expanduser().absolute())
    read = {path for paths in paths_in(kept, written=False).values() for path in paths}
    outputs = [path for paths in paths_in(kept, written=True).values() for path in paths]
    made = [path.absolute() for path in _paths_of(result)]
    written = tuple(dict.fromkeys(path for path in [*outputs, *made] if path not in read and path.exists()))
    return DoneStep(kept, written, {path: _stamp(path) for path in written if path.is_file()}, labels)


def write_recording(
    path: Path,
    steps: Iterable[DoneStep],
    *,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> list[str]:
    """Write steps as a file that `mitoxai run` repeats.

    A step whose result a later one replaced before anybody read it is left out, and one whose result was changed by hand since; that
    result is then an input.

    Parameters
    ----------
    path : Path
        Ending in .yaml or .yml.
    steps : iterable of DoneStep
        In order.
    overwrite : bool
        Whether a file of this name may be replaced.
    progress, cancel
        Reported and checked while inputs are read for their digests.

    Returns
    -------
    list of str
        What will not come out the same, and why.

    Raises
    ------
    MitoxaiError
        If there is nothing to write, an input is gone, or the file exists or cannot be written.
    """
    import yaml

    if path.suffix.lower() not in (".yaml", ".yml"):
        raise MitoxaiError(f"{path.name} does not end in .yaml: name the file for example ANALYSIS.yaml.")
    notes: list[str] = []
    kept = _unreplaced(_untouched(list(steps), notes))
    if not kept:
        raise MitoxaiError("Nothing was done yet that could be repeated: run a task first.")
    folder = path.absolute().parent
    notes += _unsaved(kept)
    read = list(inputs_of([step.parameters for step in kept], [step.written for step in kept]))
    digests = {}
    for number, each in enumerate(read):
        progress(Progress("Reading what was used", number, len(read), each.name))
        if not each.exists():
            raise MitoxaiError(
                f"{each} was used and is not there any more: put it back, and save what was done again."
            )
        digests[portable(each, folder)] = digest_of(each, cancel)
    entries: list[dict[str, Any]] = []
    before: list[Path] = []
    for step in kept:
        replaces = any(target in before for target in _outputs(step.parameters))
        entries.append(_entry(step.parameters, folder, replaces=replaces))
        before += step.written
    content: dict[str, Any] = {
        "format": FORMAT,
        "recorded": now(),
        "software": software(),
        "inputs": digests,
        "steps": entries,
    }
    if notes:
        content = {"notes": notes, **content}
    text = _HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    with written_beside(path, overwrite=overwrite) as partial:
        partial.write_text(text, encoding="utf-8")
    return notes


def inputs_of(
    steps: Sequence[TaskParameters], written: Sequence[tuple[Path, ...]], before: Iterable[Path] = ()
) -> Iterator[Path]:
    """The files that steps read and that no earlier one wrote, each once; of a cohort's table also the sections that it lists.

    Parameters
    ----------
    steps : sequence of TaskParameters
        In order.
    written : sequence of tuple of Path
        What each of them wrote.
    before : iterable of Path
        What was written before them.
    """
    made = set(before)
    told: set[Path] = set()
    for parameters, outputs in zip(steps, written, strict=True):
        for name, paths in paths_in(parameters, written=False).items():
            for address in (each for given in paths for each in (given, *_listed(name, given))):
                path = _file_of(address)
                if path not in told and not is_in(path, made):
                    told.add(path)
                    yield path
        made |= set(outputs)


def is_in(path: Path, made: Iterable[Path]) -> bool:
    """Whether a path is one of those made, or lies in it."""
    return any(each == path or each in path.parents for each in made)


def portable(path: Path, folder: Path) -> str:
    """A path as text: relative to a folder, unless they have nothing but the root in common."""
    try:
        common = Path(os.path.commonpath([path, folder]))
    except ValueError:  # on another drive
        return str(path)
    return (
        path.as_posix() if common == Path(common.anchor) else Path(os.path.relpath(path, folder)).as_posix()
    )


def _entry(parameters: TaskParameters, folder: Path, *, replaces: bool) -> dict[str, Any]:
    """A step as the file has it; what is replaced is said only where it is a step's own."""
    told = with_paths(parameters.model_dump(exclude={"overwrite"}), lambda path: portable(path, folder))
    values: dict[str, Any] = to_jsonable_python(told)
    if replaces:
        values["overwrite"] = True
    return {"task": name_of(parameters), "parameters": values}


def _untouched(steps: list[DoneStep], notes: list[str]) -> list[DoneStep]:
    """Without those whose file somebody else wrote afterwards: it is an input now."""
    last = {path: index for index, step in enumerate(steps) for path in step.written}
    kept = []
    for index, step in enumerate(steps):
        changed = [
            path
            for path, stamp in step.stamps.items()
            if last[path] == index and path.is_file() and _stamp(path) != stamp
        ]
        if changed:
            notes.append(
                f"{changed[0].name} was changed after {name_of(step.parameters)} had written it: it is taken as it is now."
            )
        else:
            kept.append(step)
    return kept


def _unreplaced(steps: list[DoneStep]) -> list[DoneStep]:
    """Without those whose output a later step wrote again before anybody read it."""
    kept: list[DoneStep] = []
    for index, step in enumerate(steps):
        outputs = _outputs(step.parameters)
        for later in steps[index + 1 :]:
            read = [path for paths in paths_in(later.parameters, written=False).values() for path in paths]
            if any(is_in(_file_of(path), step.written) for path in read):
                kept.append(step)
                break
            if outputs and set(outputs) <= set(_outputs(later.parameters)):
                break
        else:
            kept.append(step)
    return kept


def _unsaved(steps: list[DoneStep]) -> list[str]:
    """Steps whose fibres, as they were in the window, are in no file."""
    from napari_mitoxai.imc import read_labels

    notes = []
    for number, step in enumerate(steps, 1):
        fibres = getattr(step.parameters, "fibres", None)
        if not step.labels or not isinstance(fibres, Path):
            continue
        try:
            same = labels_digest(read_labels(fibres)) == step.labels
        except MitoxaiError:
            same = False
        if not same:
            notes.append(
                f"Step {number} ({name_of(step.parameters)}) used fibres as they were in the window, which differ from {fibres.name}: "
                "save the labels and do this step again, or it will not come out the same."
            )
    return notes


def labels_digest(labels: Any) -> str:
    """A number for a label image, whatever its type."""
    import hashlib

    import numpy as np

    digest = hashlib.sha256(str(labels.shape).encode())
    for start in range(0, len(labels), _BAND):
        digest.update(np.ascontiguousarray(labels[start : start + _BAND], dtype=np.int64).data)
    return digest.hexdigest()


def _outputs(parameters: TaskParameters) -> list[Path]:
    return [path for paths in paths_in(parameters, written=True).values() for path in paths]


def _listed(name: str, path: Path) -> list[Path]:
    """The sections that a cohort's table lists."""
    if name not in ("cohort", "sections", "data") or path.suffix.lower() != ".csv" or not path.is_file():
        return []
    from napari_mitoxai.cohort import read_members

    return [member.path for member in read_members(path, lenient=True)[1] if member.include]


def _file_of(address: Path) -> Path:
    from napari_mitoxai.imc import split_address

    return split_address(address)[0]


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size


def _paths_of(result: Any, depth: int = 0) -> Iterator[Path]:
    """Every path in a result, and in the results in it."""
    if isinstance(result, Path):
        yield result
    elif depth < _DEEPEST and is_dataclass(result):
        for each in fields(result):
            yield from _paths_of(getattr(result, each.name), depth + 1)
    elif depth < _DEEPEST and isinstance(result, (tuple, list)):
        for item in result:
            yield from _paths_of(item, depth + 1)
    elif depth < _DEEPEST and isinstance(result, dict):
        for item in result.values():
            yield from _paths_of(item, depth + 1)
