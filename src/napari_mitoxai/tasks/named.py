"""Tasks by their names: that of the module in which a task is."""

import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel

from napari_mitoxai import tasks
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.tasks.parameters import TaskParameters

# what a task writes has one of these names in every parameter model; every other path is read
WRITTEN = ("out", "figure", "plot", "curves")


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes
    ----------
    name : str
        As a recorded analysis calls it: that of the command, with ``_`` for ``-``.
    model : type
        Its parameter model.
    run : callable
        Gets the parameters, ``progress`` and ``cancel``.
    """

    name: str
    model: type[TaskParameters]
    run: Callable[..., Any]


def task_named(name: str) -> Task:
    """Look a task up; only its module is imported.

    Raises
    ------
    MitoxaiError
        If there is none of that name; it says which there are.
    """
    known = name.replace("-", "_")
    found = _task(known) if known in _modules() else None
    if found is None:
        there = ", ".join(each for each in _modules() if _task(each) is not None)
        raise MitoxaiError(f"There is no task {name!r}: choose of {there}.")
    return found


def name_of(parameters: TaskParameters) -> str:
    """The name of the task that these parameters are for."""
    return type(parameters).__module__.rpartition(".")[2]


def paths_in(parameters: TaskParameters, *, written: bool) -> dict[str, list[Path]]:
    """The paths that a task writes, or reads, by the name of the field."""
    found = {}
    for name in type(parameters).model_fields:
        value = getattr(parameters, name)
        paths: list[Path] = []
        with_paths(value, paths.append)
        if paths and (name in WRITTEN) == written:
            found[name] = paths
    return found


def with_paths(value: Any, change: Callable[[Path], Any]) -> Any:
    """A value of a parameter with other paths, however deep they lie in lists, mappings and models."""
    if isinstance(value, Path):
        return change(value)
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return value.model_copy(update={name: with_paths(getattr(value, name), change) for name in fields})
    if isinstance(value, (list, tuple)):
        return type(value)(with_paths(each, change) for each in value)
    if isinstance(value, dict):
        return {key: with_paths(each, change) for key, each in value.items()}
    return value


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(tasks.__path__))


def _task(name: str) -> Task | None:
    module = import_module(f"{tasks.__name__}.{name}")
    run = getattr(module, "run", None)
    if not inspect.isfunction(run) or run.__module__ != module.__name__:
        return None
    model = get_type_hints(run).get("parameters")
    if (
        not (isinstance(model, type) and issubclass(model, TaskParameters))
        or model.__module__ != module.__name__
    ):
        return None  # a part of another task
    return Task(name, model, run)
