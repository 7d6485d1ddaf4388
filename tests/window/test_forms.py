"""A parameter model becomes a form, and the form gives the model back."""

from enum import Enum
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field
from qtpy.QtWidgets import QDoubleSpinBox, QLineEdit, QSpinBox, QWidget

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.tasks import TaskParameters


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Parameters(TaskParameters):
    table: Path = Field(title="Table", description="What to read.")
    rate: float = Field(default=1e-3, gt=0, le=1, title="Rate", description="How fast.")
    epochs: int = Field(default=7, ge=1, le=10, title="Epochs")
    fast: bool = Field(default=True, title="Fast")
    way: Literal["a", "b"] = Field(default="b", title="Way")
    colour: Colour = Field(default=Colour.BLUE, title="Colour")
    names: list[str] = Field(default=["x", "y"], title="Names")
    methods: list[str] = Field(default=["one"], title="Methods")
    target: str | None = Field(default=None, title="Target")
    limit: float | None = Field(default=None, ge=0, title="Limit", json_schema_extra={"advanced": True})
    secret: int = Field(default=1, title="Secret", json_schema_extra={"hidden": True})


@pytest.fixture
def form(qtbot):
    form = Form(Parameters, choices={"methods": {"one": ("One", "the first"), "two": ("Two", "the second")}})
    qtbot.addWidget(form)
    return form


def test_defaults_come_back_unchanged(form):
    assert form.parameters(table="t.csv") == Parameters(table=Path("t.csv"))


def test_values_come_back(form):
    values = {
        "table": Path("a.csv"), "rate": 2e-5, "epochs": 10, "fast": False, "way": "a", "colour": "red",
        "names": ["p", "q r"], "methods": ["two"], "target": "patient", "limit": 0.25,
    }  # fmt: skip
    form.set_values(values)
    got = form.parameters()
    assert got == Parameters(**values)
    assert got.rate == 2e-5


def test_labels_and_tooltips_come_from_the_model(form):
    assert form.field("rate").toolTip() == "<qt>How fast.</qt>"
    assert form.findChild(QWidget, "secret") is None
    assert form.findChild(QWidget, "more") is not None


def test_every_editor_has_the_name_of_its_field(form):
    for name in Parameters.model_fields.keys() - {"secret"}:
        assert form.findChild(QWidget, name) is not None, name


def test_bounds_are_those_of_the_model(form):
    epochs = form.findChild(QSpinBox, "epochs")
    assert (epochs.minimum(), epochs.maximum()) == (1, 10)
    rate = form.findChild(QDoubleSpinBox, "rate")
    assert 0 < rate.minimum() < 1e-6
    assert rate.maximum() == 1


def test_a_small_number_is_shown_as_people_write_it(form):
    rate = form.findChild(QDoubleSpinBox, "rate")
    form.set_values({"rate": 1e-5})
    assert rate.text() == "1e-05"
    rate.stepUp()
    assert form.values()["rate"] == pytest.approx(2e-5)


def test_an_absent_path_is_asked_for_by_its_title(form):
    with pytest.raises(MitoxaiError, match="Table"):
        form.parameters()


def test_optional_is_a_tick(form):
    assert form.values()["target"] is None
    form.set_values({"target": "control"})
    assert form.values()["target"] == "control"
    form.set_values({"target": None})
    assert form.values()["target"] is None


def test_changing_a_field_is_heard(form, qtbot):
    with qtbot.waitSignal(form.changed):
        form.findChild(QLineEdit, "names").setText("z")


def test_an_unknown_kind_of_field_is_a_developers_error():
    class Odd(TaskParameters):
        what: dict = Field(default={}, title="What")

    with pytest.raises(TypeError, match="dict"):
        Form(Odd)
