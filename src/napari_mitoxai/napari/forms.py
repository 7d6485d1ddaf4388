"""A parameter model becomes a form: title to label, description to tooltip, bounds to bounds."""

import types
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.napari.fields import (
    BoolField,
    ChoiceField,
    Choices,
    Field,
    FloatField,
    IntegerField,
    TextField,
    WordsField,
    wrapping,
)
from napari_mitoxai.napari.folded import folded
from napari_mitoxai.napari.more_fields import CheckListField, OptionalField, PathField
from napari_mitoxai.tasks import validated

Model = TypeVar("Model", bound=BaseModel)


class Form(QWidget, Generic[Model]):
    """The form of a parameter model: that of a task, or of an explanation method.

    Parameters
    ----------
    model : type
        The parameter model.
    leave_out : collection of str
        Fields that the dock fills in itself.
    choices : mapping, optional
        For fields of text or of several words: values to choose from, each with its label and tooltip.
    browse : mapping, optional
        For paths: ``open``, ``folder`` or ``save``.
    """

    changed = Signal()

    def __init__(
        self,
        model: type[Model],
        *,
        leave_out: Collection[str] = (),
        choices: Mapping[str, Choices] | None = None,
        browse: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.setObjectName(f"form_{model.__name__}")
        self._model = model
        self._fields: dict[str, Field] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        plain, more = _rows(), _rows()
        self._plain = plain
        for name, info in model.model_fields.items():
            extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
            if name in leave_out or extra.get("hidden"):
                continue
            field = make_field(info, (choices or {}).get(name), (browse or {}).get(name, "open"))
            _add_row(more if extra.get("advanced") else plain, name, info, field)
            field.changed.connect(self.changed)
            self._fields[name] = field
        self._folded = more
        layout.addLayout(plain)
        if more.rowCount():
            layout.addWidget(_more(more))
        self.reset()

    def add_note(self, name: str, widget: QWidget) -> None:
        """Put a widget right below a field that is not folded away, over the whole width."""
        row = self._plain.getWidgetPosition(self.field(name))[0]
        self._plain.insertRow(row + 1, widget)

    def add_row(self, title: str, widget: QWidget) -> None:
        """Add a row that the model does not have, above *More*."""
        self._plain.addRow(title, widget)

    def add_folded(self, title: str, widget: QWidget) -> None:
        """Add a row that the model does not have, under *More*; without a title it takes the whole width."""
        if title:
            self._folded.addRow(title, widget)
        else:
            self._folded.addRow(widget)

    def field(self, name: str) -> Field:
        """The editor of a field."""
        return self._fields[name]

    def reset(self) -> None:
        """Set everything to its default."""
        for name, field in self._fields.items():
            info = self._model.model_fields[name]
            if not info.is_required():
                field.set_value(info.get_default(call_default_factory=True))

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Set some fields; names that the form does not have are passed over."""
        for name, value in values.items():
            if name in self._fields:
                self._fields[name].set_value(value)

    def values(self) -> dict[str, Any]:
        """What is set now, by field."""
        return {name: field.value() for name, field in self._fields.items()}

    def parameters(self, **filled: Any) -> Model:
        """The validated parameters.

        Parameters
        ----------
        **filled
            The fields that were left out of the form.

        Raises
        ------
        MitoxaiError
            If a value does not fit, or a path is missing: one sentence.
        """
        for name, field in self._fields.items():
            # an empty path would mean the current folder
            if name not in filled and field.holds_path and field.value() == "":
                info = self._model.model_fields[name]
                raise MitoxaiError(
                    f"{info.title or name} is empty: choose it first. {info.description or ''}".strip()
                )
        return validated(self._model, {**self.values(), **filled})


def make_field(info: FieldInfo, choices: Choices | None = None, browse: str = "open") -> Field:
    """The editor for a field of a parameter model.

    Parameters
    ----------
    info : pydantic.fields.FieldInfo
        With its annotation and bounds.
    choices : mapping, optional
        Values to choose from, each with its label and tooltip.
    browse : str
        For paths: ``open``, ``folder`` or ``save``.

    Raises
    ------
    TypeError
        If there is no editor for its annotation: add one here.
    """
    kind, optional = _without_none(info.annotation)
    field = _plain_field(kind, info, choices, browse)
    return OptionalField(field) if optional else field


def _plain_field(kind: Any, info: FieldInfo, choices: Choices | None, browse: str) -> Field:
    if kind is bool:
        return BoolField()
    if kind is int:
        return IntegerField(*bounds(info))
    if kind is float:
        return FloatField(*bounds(info))
    if kind is Path:
        return PathField(browse)
    if get_origin(kind) is list:
        return CheckListField(choices) if choices is not None else WordsField()
    if get_origin(kind) is Literal:
        return ChoiceField({str(value): (str(value), "") for value in get_args(kind)})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ChoiceField({str(member.value): (str(member.value), "") for member in kind})
    if kind is str:
        return ChoiceField(choices) if choices is not None else TextField()
    raise TypeError(f"no editor for {kind!r}")


def bounds(info: FieldInfo) -> tuple[float | None, float | None]:
    """Lowest and highest value that a form offers; an open bound moves to a number just inside."""
    low = high = None
    for rule in info.metadata:
        low = getattr(rule, "ge", low)
        high = getattr(rule, "le", high)
        if (above := getattr(rule, "gt", None)) is not None:
            low = above + 1 if info.annotation is int else above + 1e-9
        if (below := getattr(rule, "lt", None)) is not None:
            high = below - 1 if info.annotation is int else below - 1e-9
    return low, high


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0], len(kinds) < len(get_args(annotation))
    return annotation, False


def _rows() -> QFormLayout:
    rows = QFormLayout()
    rows.setContentsMargins(0, 0, 0, 0)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    rows.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    rows.setHorizontalSpacing(10)
    rows.setVerticalSpacing(6)
    return rows


def _add_row(rows: QFormLayout, name: str, info: FieldInfo, field: Field) -> None:
    field.name_child(name)
    field.setObjectName(f"field_{name}")
    rows.addRow(info.title or name, field)
    for widget in (field, rows.labelForField(field)):
        if widget is not None:
            widget.setToolTip(wrapping(info.description or ""))


def _more(rows: QFormLayout) -> QCollapsible:
    inner = QWidget()
    inner.setLayout(rows)
    return folded("More", "more", inner)
