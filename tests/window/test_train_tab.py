"""The Train tab around a training: protocols, what goes in, going on, the check, the sweep, the call of a section."""

import json

import numpy as np
import pytest
from qtpy.QtWidgets import QWidget
from superqt import QCollapsible

from napari_mitoxai.explain import open_maps
from napari_mitoxai.napari import sweep_box, train_panel
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.runs import verdict_html
from napari_mitoxai.napari.state import state_of
from napari_mitoxai.napari.train_panel import TrainPanel
from napari_mitoxai.tasks.protocols import PROTOCOLS
from napari_mitoxai.tasks.train import begun_with

_SMALL = {"patch_size": 128, "input_size": 32, "epochs": 1, "batch_size": 16, "overlap": 0.0, "device": "cpu"}


@pytest.fixture
def state(viewer):
    return state_of(viewer)


@pytest.fixture
def ready(workspace, state, cohort, tmp_path):
    """The Train tab with a cohort and small parameters."""
    workspace.show_tab("Train")
    state.set_cohort(cohort, **_SMALL, out=tmp_path / "run")
    return workspace.findChild(TrainPanel)


@pytest.fixture
def press(child, state, qtbot, notifications):
    """Press a button and wait until what it starts is done, without a complaint."""

    def pressed(name):
        assert child(name).isEnabled()
        child(name).click()
        qtbot.waitUntil(lambda: not state.runner.busy, timeout=300_000)
        assert [text for severity, text in notifications if severity == "error"] == []

    return pressed


def test_a_protocol_fills_the_form_and_says_what_was_changed(ready, child):
    for name in ("S1", "S2", "S3", "subject", "small"):
        protocol = PROTOCOLS[name]
        ready.protocol.set_value(name)
        values = ready.form.values()
        for field, value in protocol.values.items():
            assert values[field] == value if field != "augmentation" else set(values[field]) == set(value)
        assert "Changed since" not in child("protocol_says").text()
        optimistic = protocol.values.get("split") == "patch-random"
        assert ("Optimistic" in child("protocol_says").text()) == optimistic
        # subjects are held out by name only where they are not tested in another way
        assert child("hold_out").isEnabled() == (name == "small")
    ready.form.set_values({"epochs": 7, "batch_size": 3})
    assert "Changed since: Epochs, Batch size." in child("protocol_says").text()
    ready.protocol.set_value("S3")
    parameters = ready.parameters()
    assert parameters.protocol == "S3"
    assert parameters.momentum == PROTOCOLS["S3"].values["momentum"]  # to the last digit
    ready.protocol.set_value("small")
    assert ready.form.field("epochs").value() == 20


def test_what_goes_in_is_chosen_in_the_form(ready, child, tmp_path):
    ready.form.set_values({"channels": ["SDHA", "NDUFB8"], "where": ["subject!=P02"], "mask": tmp_path})
    parameters = ready.parameters()
    assert parameters.channels == ["SDHA", "NDUFB8"]
    assert parameters.mask == tmp_path
    assert "3 sections of 3 subjects: 2 control, 1 patient." in child("cohort_says").text()
    ready.form.set_values({"where": ["genotype=none"]})
    assert "genotype" in child("cohort_says").text()


def test_the_tab_is_no_wider_than_its_dock(ready, viewer, qtbot):
    for part in ready.findChildren(QCollapsible):
        part.expand(animate=False)
    qtbot.wait(100)
    assert ready.minimumSizeHint().width() <= ready.parent().width()


def test_weights_are_asked_for_and_nothing_starts_without(ready, child, state, monkeypatch):
    ready.protocol.set_value("S2")
    asked, answers = [], ["", "random"]

    def ask(parent, name):
        asked.append(name)
        return answers.pop(0)

    monkeypatch.setattr(train_panel, "ask_for_weights", ask)
    monkeypatch.setattr(state.runner, "run", lambda *args, **keywords: asked.append("started"))
    child("train").click()
    assert asked == ["S2"]
    child("train").click()
    assert asked == ["S2", "S2", "started"]
    assert ready.form.field("weights").value() == "random"


def test_a_preview_counts_patches_and_shows_augmented_ones(ready, press, child):
    ready.form.set_values({"hold_out": ["P02"]})
    press("preview")
    text = child("class_balance").text()
    assert "2 subjects, 8 patches" in text  # the controls: 256 px in patches of 128 px
    assert "No control was held out" in text
    canvas = child("augmentation_preview")
    pictures = [axes.images[0].get_array() for axes in canvas.figure.axes]
    assert len(pictures) == 8
    assert len({np.asarray(picture).tobytes() for picture in pictures}) == 8
    assert not child("preview_view").isHidden()


def test_a_cancelled_training_goes_on_in_its_folder_with_the_same_curve(
    ready, press, child, state, qtbot, tmp_path
):
    ready.form.set_values({"epochs": 5, "hold_out": ["P02"]})

    def stop(progress):
        if progress.values and progress.values["epoch"] == 2:
            state.runner.cancel()

    state.runner.progressed.connect(stop)
    press("train")
    state.runner.progressed.disconnect(stop)
    done = len(ready.findChild(QWidget, "loss_plot").points["train_loss"])
    assert 2 <= done < 5
    assert child("train_panel/out").text() == str(tmp_path / "run")
    assert child("train").text() == "Go on"
    assert "goes on from its last epoch" in child("begun_says").text()
    assert f"cancelled after {done} of 5 epochs" in child("run_summary").text()
    # other settings would not go on; those it was begun with are a click away
    ready.form.set_values({"epochs": 6})
    assert child("train").text() == "Train"
    assert "with other settings" in child("begun_says").text()
    child("take_up").click()
    assert ready.form.field("epochs").value() == 5
    before = list(ready.findChild(QWidget, "loss_plot").points["train_loss"])
    press("train")
    points = ready.findChild(QWidget, "loss_plot").points
    assert points["train_loss"][:done] == before
    assert [epoch for epoch, _ in points["train_accuracy"]] == [1, 2, 3, 4, 5]
    assert begun_with(tmp_path / "run") is None
    assert "P02" in child("run_summary").text()
    assert child("train").text() == "Train"


def test_the_leakage_check_says_its_time_before_it_starts(ready, press, child):
    ready.findChild(QWidget, "leakage_box").form.set_values(
        {"permutations": 1, "epochs": 1, "input_size": 32}
    )
    press("leakage")
    assert "It takes 5 trainings, about" in child("leakage_says").text()
    assert child("leakage").text() == "Start the check"
    press("leakage")
    text = child("leakage_says").text()
    assert "patch-random" in text
    assert "Optimistic" in text
    assert "Always naming the largest group: 50 %" in text
    assert child("leakage").text() == "Leakage check…"


def test_a_sweep_shows_its_table_and_plot(ready, press, child, tmp_path, monkeypatch):
    box = ready.findChild(sweep_box.SweepBox)
    ready.form.set_values({"folds": "2"})
    box.form.set_values(
        {"channel_sets": ["SDHA+NDUFB8", "VDAC1"], "seeds": [0, 1], "out": tmp_path / "sweep"}
    )
    press("sweep")
    table = child("sweep_table")
    shown = [[table.item(row, column).text() for column in range(6)] for row in range(table.rowCount())]
    assert {row[0] for row in shown} == {"SDHA+NDUFB8", "VDAC1"}
    assert all(" to " in row[3] and "(0.167)" in row[4] and "(SD " in row[5] for row in shown)
    assert "optimistic" in table.horizontalHeaderItem(5).text()
    assert not child("sweep_plot").pixmap().isNull()
    kept = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["parameters"]
    assert (kept["patch_size"], kept["seeds"], kept["folds"]) == (128, [0, 1], "2")


def test_a_called_section_gets_an_overlay_and_its_uncertainty(
    ready, press, child, viewer, state, run_folder, section_path, qtbot, tmp_path
):
    assert child("call_box").isHidden()
    viewer.open(str(section_path), plugin="napari-mitoxai")
    ready.load(run_folder)
    qtbot.waitUntil(lambda: state.run is not None, timeout=60_000)
    ready.findChild(QWidget, "call_box").form.set_values({"out": tmp_path / "p.ome.zarr"})
    press("predict")
    (layer,) = [layer for layer in viewer.layers if facts_of(layer).what == "probability"]
    assert layer.name == "P01 / probability / patient"
    assert tuple(layer.contrast_limits) == (0, 1)
    values = np.asarray(layer.data)
    assert 0 < np.nanmin(values) <= np.nanmax(values) <= 1
    probability = open_maps(tmp_path / "p.ome.zarr").read("probability")
    np.testing.assert_array_equal(np.isnan(values), probability.sum(0) == 0)  # no patch, no probability
    np.testing.assert_array_equal(values[~np.isnan(values)], probability[1][~np.isnan(values)])
    text = child("section_call").text()
    assert "P01 is called" in text
    assert "too small a section to tell" in text  # a single square of two patches a side
    assert "has seen this subject (train)" in text
    # opened from the disk it looks the same
    viewer.layers.remove(layer)
    viewer.open(str(tmp_path / "p.ome.zarr"), plugin="napari-mitoxai")
    (again,) = [layer for layer in viewer.layers if facts_of(layer).what == "probability"]
    np.testing.assert_array_equal(np.asarray(again.data), values)
    assert tuple(again.contrast_limits) == (0, 1)


def test_an_optimistic_figure_is_marked_where_it_stands():
    figures = {"confusion_matrix": {"classes": ["control", "patient"], "counts": [[3, 1], [0, 4]]}}
    call = {"subject": "P<1", "group": "patient", "call": "control", "probability": 0.25, "patches": 3}
    metrics = {
        "subject_accuracy": 0.5, "confidence_interval": [0.1, 0.9], "patch_accuracy": 0.875, "subject_calls": [call],
        "patch_scores": figures, "subject_scores": figures, "notes": ["Read <me>."],
    }  # fmt: skip
    random = verdict_html({**metrics, "optimistic": True}, ["control", "patient"])
    assert "Optimistic" in random
    assert "called right: 88 %, optimistic" in random
    assert "Held-out subjects" not in random
    assert "patches of ↓" in random
    told = {"p": 0.1, "smallest_p": 0.1}
    left_out = verdict_html({**metrics, "optimistic": False, "permutation": told}, ["control", "patient"])
    assert "Optimistic" not in left_out
    assert "<b>50 %</b> (95 % interval 10 to 90 %)" in left_out
    assert "p = 0.1; the smallest that this cohort can give is 0.1" in left_out
    assert "subjects of ↓" in left_out
    assert "<td>P&lt;1</td><td>patient</td><td>✗&nbsp;control</td><td>0.25</td><td>3</td>" in left_out
    assert "Read &lt;me&gt;." in left_out
