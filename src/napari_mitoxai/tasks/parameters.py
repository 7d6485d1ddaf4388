"""Parameter models: one a task; they make the form, the command line, the run's config and the provenance."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from napari_mitoxai.common import MitoxaiError

Model = TypeVar("Model", bound=BaseModel)
# folds a field away in forms, and lists it under More options in the help
ADVANCED: JsonDict = {"advanced": True}


class TaskParameters(BaseModel):
    """Base of the parameter models.

    Every field has a title (its label), a description (its tooltip and help) and its bounds. In
    ``json_schema_extra``, ``argument`` makes it a positional argument of the command line, ``option`` renames its
    option, ``advanced`` folds it away in forms, ``hidden`` keeps it out of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReadingParameters(TaskParameters):
    """What a task asks that opens a section as it lies on the disk."""

    acquisition: str | None = Field(
        default=None,
        title="Acquisition",
        description="Which image of a file with several, by its id or description; the first by default.",
    )
    panel: Path | None = Field(
        default=None,
        title="Panel",
        description="A table with the columns channel and name; it goes before the names in the file.",
    )


def validated(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Make a parameter model from values that a person gave.

    Raises
    ------
    MitoxaiError
        If a value does not fit: the first one, by its title.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        field = model.model_fields.get(name)
        title = (field.title if field and field.title else name) or "The parameters"
        raise MitoxaiError(f"{title}: {first['msg'].lower()} (given: {first['input']!r}).") from error


def extra(model: type[TaskParameters], field: str) -> dict[str, Any]:
    """The ``json_schema_extra`` of a field."""
    found = model.model_fields[field].json_schema_extra
    return dict(found) if isinstance(found, dict) else {}
