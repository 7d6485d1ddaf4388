"""The one task runner: work in a background thread, progress and cancel in the window, every failure told."""

import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.napari.libraries import keep_llvms_apart
from napari_mitoxai.tasks import TaskParameters
from napari_mitoxai.tasks.recording import DoneStep, done_step, labels_digest

Work = Callable[[ProgressCallback, CancelToken], Any]

# The window looks this often at what the thread reports; the thread itself never touches Qt.
_TICK_MS = 50
_CLOSING_S = 5.0
_LOG = logging.getLogger("napari_mitoxai")


class State(Enum):
    """What the runner is doing."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with a value, cancelled, or with a sentence of what went wrong."""

    value: Any = None
    cancelled: bool = False
    error: str = ""
    details: str = ""
    step: DoneStep | None = None


@dataclass
class _Task:
    title: str
    work: Work
    on_done: Callable[[Any], None] | None
    on_end: Callable[[Outcome], None] | None
    quiet: bool
    cancel: CancelToken
    step: TaskParameters | None = None
    labels: Any = None


class _Mailbox:
    """What the thread leaves for the window: the latest progress, all values of curves, and the outcome."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Progress | None = None
        self._with_values: list[Progress] = []
        self.outcome: Outcome | None = None

    def put(self, progress: Progress) -> None:
        with self._lock:
            self._latest = progress
            if progress.values:
                self._with_values.append(progress)

    def take(self) -> list[Progress]:
        """Everything a plot needs, then the newest; all in between is left out."""
        with self._lock:
            news, latest = self._with_values, self._latest
            self._with_values, self._latest = [], None
        return news if latest is None or (news and news[-1] is latest) else [*news, latest]


class TaskRunner(QObject):
    """Runs one task at a time, for all docks of a viewer."""

    state_changed = Signal(object)  # State
    progressed = Signal(object)  # Progress, at most twenty times a second beside the points of curves
    ticked = Signal()  # while a task runs: a good moment to refresh what it fills
    failed = Signal(str, str)  # the sentence, the details
    step_done = Signal(object)  # DoneStep: a task that can be repeated

    def __init__(self) -> None:
        super().__init__()
        self.state = State.IDLE
        self.title = ""
        self._task: _Task | None = None
        self._thread: threading.Thread | None = None
        self._mailbox = _Mailbox()
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self._look)

    @property
    def busy(self) -> bool:
        """Whether a task runs or is being cancelled."""
        return self.state is not State.IDLE

    def run(
        self,
        title: str,
        work: Work,
        *,
        on_done: Callable[[Any], None] | None = None,
        on_end: Callable[[Outcome], None] | None = None,
        quiet: bool = False,
        step: TaskParameters | None = None,
        labels: Any = None,
    ) -> bool:
        """Start `work` in a thread.

        Parameters
        ----------
        title : str
            What is done, for a person: ``"Training"``.
        work : callable
            Gets a progress callback and a cancel token; runs outside the window's thread.
        on_done : callable, optional
            Gets its value, in the window's thread, if it ended well.
        on_end : callable, optional
            Gets its outcome, in the window's thread, however it ended.
        quiet : bool
            Whether a cancel goes without a notification.
        step : TaskParameters, optional
            What `work` does, to be repeated without a window.
        labels : array, optional
            The fibres that it is given in memory.

        Returns
        -------
        bool
            False if another task is running; the user has been told.
        """
        if self.busy:
            show_info(f"{self.title} is still running: wait until it is done, or cancel it first.")
            return False
        self.title = title
        self._task = _Task(title, work, on_done, on_end, quiet, CancelToken(), step, labels)
        self._mailbox = _Mailbox()
        self._thread = threading.Thread(
            target=_work, args=(self._task, self._mailbox), name=f"mitoxai-{title.lower()}", daemon=True
        )
        self._set_state(State.RUNNING)
        self._thread.start()
        self._timer.start()
        return True

    def cancel(self) -> None:
        """Ask the running task to stop; acknowledged at once, done when the task next looks."""
        if self._task is not None and self.state is State.RUNNING:
            self._task.cancel.cancel()
            self._set_state(State.CANCELLING)

    def shut_down(self) -> None:
        """Cancel and wait a moment: the window is closing, and nobody is left to tell."""
        self._timer.stop()
        if self._task is not None:
            self._task.cancel.cancel()
            self._task = None
        if self._thread is not None:
            self._thread.join(_CLOSING_S)
            self._thread = None
        self.state = State.IDLE

    def _set_state(self, state: State) -> None:
        self.state = state
        self.state_changed.emit(state)

    def _look(self) -> None:
        outcome = (
            self._mailbox.outcome
        )  # before the progress, so that nothing reported before the end is lost
        for progress in self._mailbox.take():
            self.progressed.emit(progress)
        self.ticked.emit()
        if outcome is not None:
            self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        task, self._task = self._task, None
        self._timer.stop()
        self._thread = None
        self._set_state(State.IDLE)
        if task is None:
            return
        try:
            self._tell(task, outcome)
        finally:
            if task.on_end is not None:
                task.on_end(outcome)

    def _tell(self, task: _Task, outcome: Outcome) -> None:
        if outcome.error:
            self.failed.emit(outcome.error, outcome.details)
            show_error(outcome.error)
        elif outcome.cancelled:
            if not task.quiet:
                show_info(f"{task.title} was cancelled.")
        else:
            if outcome.step is not None:
                self.step_done.emit(outcome.step)
            if task.on_done is not None:
                task.on_done(outcome.value)


def _work(task: _Task, mailbox: _Mailbox) -> None:
    """Run the task; whatever happens becomes an outcome."""
    try:
        keep_llvms_apart()  # whatever the task is, it may be the first to import torch
        value = task.work(mailbox.put, task.cancel)
        outcome = Outcome(value, step=_step(task, value))
    except Cancelled:
        outcome = Outcome(cancelled=True)
    except MitoxaiError as error:
        outcome = Outcome(error=str(error))
    except Exception as error:  # noqa: BLE001 - a thread has nobody above it: the user must hear of everything
        details = traceback.format_exc()
        _LOG.error("%s failed\n%s", task.title, details)
        outcome = Outcome(error=_sentence(task.title, error), details=details)
    mailbox.outcome = outcome


def _step(task: _Task, value: Any) -> DoneStep | None:
    """What was done, if it can be repeated; a training that was stopped cannot."""
    result = value[0] if isinstance(value, tuple) and value else value
    if task.step is None or getattr(result, "cancelled", False):
        return None
    return done_step(task.step, value, "" if task.labels is None else labels_digest(task.labels))


def _sentence(title: str, error: Exception) -> str:
    if "out of memory" in str(error).lower() or isinstance(error, MemoryError):
        return f"{title} ran out of memory: choose a smaller batch size under More, or another device."
    first = next(iter(str(error).strip().splitlines()), "")[:200]
    return f"{title} failed ({type(error).__name__}{': ' + first if first else ''}); the details can be copied from the bar above the tabs."
