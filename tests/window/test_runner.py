"""The task runner: progress, cancel, and every failure told in a sentence."""

import threading
import time

import pytest

from napari_mitoxai.common import MitoxaiError, Progress
from napari_mitoxai.napari.runner import State, TaskRunner


@pytest.fixture
def runner(qapp):
    runner = TaskRunner()
    yield runner
    runner.shut_down()


@pytest.fixture
def ended(runner, qtbot):
    """Run work to its end and return its outcome."""

    def run(work, **options):
        outcomes = []
        assert runner.run("Counting", work, on_end=outcomes.append, **options)
        qtbot.waitUntil(lambda: bool(outcomes), timeout=5000)
        assert runner.state is State.IDLE
        return outcomes[0]

    return run


def test_the_value_arrives_in_the_windows_thread(ended):
    threads = []
    outcome = ended(
        lambda progress, cancel: threading.get_ident(),
        on_done=lambda value: threads.append(threading.get_ident()),
    )
    assert outcome.value != threads[0] == threading.get_ident()


def test_progress_is_throttled_but_no_point_of_a_curve_is_lost(runner, ended):
    heard = []
    runner.progressed.connect(heard.append)

    def work(progress, cancel):
        for step in range(20_000):
            progress(
                Progress("Counting", step, 20_000, values={"epoch": step} if step % 5_000 == 0 else None)
            )
        time.sleep(0.2)

    ended(work)
    assert [p.values["epoch"] for p in heard if p.values] == [0, 5_000, 10_000, 15_000]
    assert heard[-1].done == 19_999
    assert len(heard) < 100


@pytest.mark.parametrize(
    "error",
    [
        MitoxaiError("P1.csv is not there: check the path."),
        RuntimeError("CUDA out of memory"),
        KeyError("x"),
        MemoryError(),
    ],
)
def test_every_failure_is_told(ended, notifications, error):
    def work(progress, cancel):
        raise error

    outcome = ended(work)
    assert outcome.error
    assert notifications == [("error", outcome.error)]
    if isinstance(error, MitoxaiError):
        assert outcome.error == str(error)
        assert not outcome.details
    else:
        assert "Traceback" in outcome.details
    if "memory" in str(error) or isinstance(error, MemoryError):
        assert "batch size" in outcome.error


def test_cancel_is_acknowledged_at_once(runner, qtbot, notifications):
    states = []
    runner.state_changed.connect(states.append)

    def work(progress, cancel):
        while True:
            cancel.check()
            time.sleep(0.01)

    runner.run("Waiting", work)
    runner.cancel()
    assert states == [State.RUNNING, State.CANCELLING]
    qtbot.waitUntil(lambda: runner.state is State.IDLE, timeout=1000)
    assert notifications == [("info", "Waiting was cancelled.")]


def test_one_task_at_a_time(runner, qtbot, notifications):
    gate = threading.Event()
    assert runner.run("Waiting", lambda progress, cancel: gate.wait(5))
    assert not runner.run("Hurrying", lambda progress, cancel: None)
    assert "Waiting is still running" in notifications[0][1]
    gate.set()
    qtbot.waitUntil(lambda: not runner.busy, timeout=2000)


def test_shutting_down_cancels_and_waits(runner):
    stopped = threading.Event()

    def work(progress, cancel):
        while not cancel.cancelled:
            time.sleep(0.01)
        stopped.set()

    runner.run("Waiting", work)
    runner.shut_down()
    assert stopped.is_set()
    assert not runner.busy
