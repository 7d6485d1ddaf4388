"""What was done in the window, in order, and the button that saves it as a file to repeat it by."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.runner import State, TaskRunner
from napari_mitoxai.tasks.named import name_of
from napari_mitoxai.tasks.recording import DoneStep, write_recording

if TYPE_CHECKING:
    from napari_mitoxai.napari.state import WindowState

_NAME = "analysis.yaml"
_LISTED = 12  # steps in the tooltip


class Recorder(QObject):
    """The tasks that ended well, as the runner tells of them."""

    changed = Signal()

    def __init__(self, runner: TaskRunner) -> None:
        super().__init__()
        self.steps: list[DoneStep] = []
        runner.step_done.connect(self._add)

    def last(self, task: str) -> DoneStep | None:
        """The last step of a task; None if there was none."""
        return next((step for step in reversed(self.steps) if name_of(step.parameters) == task), None)

    def _add(self, step: DoneStep) -> None:
        self.steps.append(step)
        self.changed.emit()


class SaveButton(QPushButton):
    """Saves what was done; there as soon as something was, and no task runs."""

    def __init__(self, state: "WindowState") -> None:
        super().__init__("Save what was done…")
        self.setObjectName("save_what_was_done")
        self._state = state
        self.clicked.connect(self._choose)
        state.recorder.changed.connect(self._refresh)
        state.runner.state_changed.connect(self._refresh)
        self._refresh()

    def _refresh(self, _: Any = None) -> None:
        steps = self._state.recorder.steps
        self.setVisible(bool(steps) and self._state.runner.state is State.IDLE)
        names = [name_of(step.parameters) for step in steps]
        listed = [*(["…"] if len(names) > _LISTED else []), *names[-_LISTED:]]
        self.setToolTip(
            wrapping(f"As a file that `mitoxai run` repeats without a window: {escape(', '.join(listed))}.")
        )

    def _choose(self) -> None:
        last = self._state.recorder.steps[-1]
        start = (last.written[0] if last.written else Path.home() / _NAME).with_name(_NAME)
        chosen = QFileDialog.getSaveFileName(self, "Save what was done", str(start), "YAML (*.yaml *.yml)")[0]
        if chosen:
            self.save(Path(chosen))

    def save(self, path: Path) -> None:
        """Write the file in the background; a dialog has asked before a file is replaced."""
        path = path if path.suffix.lower() in (".yaml", ".yml") else path.with_name(path.name + ".yaml")
        steps = list(self._state.recorder.steps)

        def work(progress: ProgressCallback, cancel: CancelToken) -> list[str]:
            return write_recording(path, steps, overwrite=True, progress=progress, cancel=cancel)

        def told(notes: list[str]) -> None:
            if notes:
                show_warning(f"{path.name} is saved. {' '.join(notes)}")
            else:
                show_info(
                    f"{path.name} is saved: `mitoxai run {path} --out-root FOLDER` does it again there."
                )

        self._state.runner.run("Saving what was done", work, on_done=told)
