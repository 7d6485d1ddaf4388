"""Training from the dock: one epoch, the live curve, cancel, closing while it runs."""

import threading
import time

import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_mitoxai.napari.runner import State
from napari_mitoxai.napari.state import state_of
from napari_mitoxai.napari.train_panel import TrainPanel

_SMALL = {"patch_size": 128, "input_size": 32, "epochs": 1}


@pytest.fixture
def state(viewer):
    return state_of(viewer)


@pytest.fixture
def ready(workspace, state, cohort, tmp_path, child):
    """The Train tab with a cohort and small parameters."""
    workspace.show_tab("Train")
    state.set_cohort(cohort, **_SMALL, out=tmp_path / "run")
    assert child("train").isEnabled()
    return workspace.findChild(TrainPanel)


def test_train_one_epoch_through_the_button(ready, state, child, qtbot, tmp_path, notifications):
    ready.form.set_values({"hold_out": ["P02", "C02"]})
    gaps = seconds_between_ticks(qtbot)
    child("train").click()
    assert state.runner.state is State.RUNNING
    assert child("cancel").isVisible()
    assert not child("train").isEnabled()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=120_000)
    assert sorted(gaps)[int(0.95 * len(gaps))] < 0.3
    assert max(gaps) < 2.5  # the window stays awake, even on a machine that is busy with other tests
    assert notifications == []
    assert (tmp_path / "run" / "checkpoint.json").exists()
    assert state.run.path == tmp_path / "run"
    assert "Held out: C02, P02" in child("run_summary").text()
    assert "control / patient" in child("model_in_use").text()
    plot = ready.findChild(QWidget, "loss_plot")
    assert len(plot.points["train_loss"]) == 1
    assert child("train").isEnabled()
    # the next run does not offer to overwrite this one
    assert child("train_panel/out").text().endswith("run_2")
    load_the_run_again(ready, state, qtbot, tmp_path)


def seconds_between_ticks(qtbot):
    """How long the window's thread was away, each time; grows while the test runs."""
    gaps, last = [], [time.monotonic()]

    def tick():
        now = time.monotonic()
        gaps.append(now - last[0])
        last[0] = now

    timer = QTimer()
    timer.timeout.connect(tick)
    timer.start(20)
    qtbot._timer = timer  # lives as long as the test
    return gaps


def load_the_run_again(ready, state, qtbot, tmp_path):
    first = state.run
    state.set_run(None)
    ready.load(tmp_path / "run")
    qtbot.waitUntil(lambda: state.run is not None, timeout=30_000)
    assert state.run == first
    assert state.run.split["test"] == ["C02", "P02"]


def test_cancel_takes_effect_within_a_second_or_two(ready, state, child, qtbot, tmp_path, notifications):
    ready.form.set_values({"epochs": 1000, "patience": 1000, "input_size": 64})
    heard = []
    state.runner.progressed.connect(heard.append)
    child("train").click()
    qtbot.waitUntil(lambda: any(p.stage == "Training" for p in heard), timeout=120_000)
    start = time.monotonic()
    child("cancel").click()
    assert child("cancel").text() == "Cancelling…"
    assert not child("cancel").isEnabled()
    # before the first epoch ends nothing is kept; afterwards the run is written, which takes a little longer
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=10_000)
    assert time.monotonic() - start < 4
    assert child("train").isEnabled()
    assert child("task_label").text() == "Ready"


def test_an_existing_run_is_not_overwritten(ready, state, child, qtbot, tmp_path, notifications):
    (tmp_path / "run").mkdir()
    child("train").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    [(severity, text)] = notifications
    assert severity == "error"
    assert "run exists already" in text


def test_a_broken_cohort_says_what_is_wrong(workspace, child, tmp_path):
    table = tmp_path / "cohort.csv"
    table.write_text("path,subject,group\nmissing.tiff,P1,patient\n")
    child("train_panel/cohort").setText(str(table))
    assert "missing.tiff, which is not there" in child("cohort_says").text()
    assert not child("train").isEnabled()


def test_a_folder_without_a_run_gives_one_sentence(ready, state, qtbot, tmp_path, notifications):
    ready.load(tmp_path)
    qtbot.waitUntil(lambda: bool(notifications), timeout=60_000)
    assert "has no checkpoint.json" in notifications[0][1]
    assert state.run is None


def _forever(stopped):
    def work(progress, cancel):
        while not cancel.cancelled:
            time.sleep(0.01)
        stopped.set()
        cancel.check()

    return work


def test_closing_the_window_stops_the_task(viewer, workspace, qtbot):
    stopped = threading.Event()
    state_of(viewer).runner.run("Waiting", _forever(stopped))
    qtbot.wait(100)
    viewer.close()
    assert stopped.wait(2)


def test_closing_the_dock_stops_the_task(viewer, workspace, qtbot):
    stopped = threading.Event()
    runner = state_of(viewer).runner
    runner.run("Waiting", _forever(stopped))
    viewer.window.remove_dock_widget(workspace)
    workspace.deleteLater()
    del workspace
    qtbot.waitUntil(lambda: not runner.busy, timeout=5000)
    assert stopped.is_set()
