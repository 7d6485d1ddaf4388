"""What stands above the tabs: the section and the model in use, and the running task with progress and Cancel."""

import time
from html import escape

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QApplication,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_mitoxai.common import Progress
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.recorder import SaveButton
from napari_mitoxai.napari.runner import State
from napari_mitoxai.napari.state import WindowState

_ETA_AFTER_S = 2.0
_STEPS = 1000


class _Wrapped(QLabel):
    """Never lower than its lines: a part that unfolds has the height it asks for at another width."""

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Another width breaks other lines."""
        super().resizeEvent(event)
        self._fit()

    def setText(self, text: str | None) -> None:  # noqa: N802 - Qt's name
        """Show a text."""
        super().setText(text)
        self._fit()

    def _fit(self) -> None:
        self.setMinimumHeight(0)  # which counts in what follows
        self.setMinimumHeight(max(self.heightForWidth(self.width()), 0))


def wrapped(text: str = "", name: str = "", *, dim: bool = False) -> QLabel:
    """A label that breaks its lines instead of widening the dock, and whose text can be copied."""
    label = _Wrapped(text)
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    # changed in place: a new policy would forget that the height follows from the width
    policy = label.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
    label.setSizePolicy(policy)
    if dim:
        label.setEnabled(False)
    return label


class InUse(QFrame):
    """The section and the model in use, a line each, and whether they fit each other."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("in_use")
        self._state = state
        self._section, self._model = wrapped(name="section_in_use"), wrapped(name="model_in_use")
        self._fit = wrapped(name="panel_match")
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setVerticalSpacing(2)
        rows.addRow("Section", self._section)
        rows.addRow("Model", self._model)
        rows.addRow("", self._fit)
        state.section_changed.connect(self._refresh)
        state.run_changed.connect(self._refresh)
        self._refresh()

    def _refresh(self, _: object = None) -> None:
        section, run = self._state.section, self._state.run
        self._section.setText(
            describe(section) if section else "none: drop a file on the window, or open one under Section"
        )
        if run is None:
            self._model.setText("none: train one, or load a run under Train")
        else:
            self._model.setText(
                f"<b>{escape(run.name)}</b> · {escape(' / '.join(run.classes))} · on {run.device}"
            )
            self._model.setToolTip(str(run.path))
        self._fit.setVisible(section is not None and run is not None)
        if section is not None and run is not None:
            missing = run.missing_in(section)
            use = {"new": "new to the model", "test": "held out from training"}.get(
                run.use_of(section), f"used to {run.use_of(section)} the model"
            )
            self._fit.setText(
                f"{section.name} lacks {', '.join(missing)}"
                if missing
                else f"all {len(run.targets)} channels found · {section.name} is {use}"
            )


def describe(section: Section) -> str:
    """A section in a line: name, channels, size in millimetres."""
    channels, height, width = section.shape
    side = section.pixel_size_um / 1000
    group = f" · {section.group}" if section.group else ""
    return f"<b>{escape(section.name)}</b>{group} · {channels} channels · {width * side:.2f} × {height * side:.2f} mm"


class TaskBar(QFrame):
    """The running task: what it does, how far it is, how long it takes, and Cancel."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("task_bar")
        self._runner = runner = state.runner
        self._stage, self._stage_start = "", (0.0, 0.0)
        self._details = ""
        self._label = wrapped("Ready", "task_label", dim=True)
        self._bar = QProgressBar()
        self._bar.setObjectName("task_progress")
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(6)
        self._cancel = QPushButton("Cancel")
        self._cancel.setObjectName("cancel")
        self._cancel.clicked.connect(runner.cancel)
        self._more = QPushButton("Details")
        self._more.setObjectName("error_details")
        self._more.clicked.connect(self._show_details)
        first = QHBoxLayout()
        first.addWidget(self._label, 1)
        first.addWidget(self._more)
        first.addWidget(self._cancel)
        first.addWidget(SaveButton(state))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(first)
        layout.addWidget(self._bar)
        runner.state_changed.connect(self._on_state)
        runner.progressed.connect(self._on_progress)
        runner.failed.connect(self._on_failed)
        self._more.hide()
        self._on_state(runner.state)

    def _on_state(self, state: State) -> None:
        busy = state is not State.IDLE
        self._bar.setVisible(busy)
        self._cancel.setVisible(busy)
        self._cancel.setEnabled(state is State.RUNNING)
        self._cancel.setText("Cancelling…" if state is State.CANCELLING else "Cancel")
        self._label.setEnabled(busy)
        if state is State.RUNNING:
            self._more.hide()
            self._stage = ""
            self._bar.setRange(0, 0)
            self._label.setText(f"{self._runner.title}…")
        elif state is State.IDLE:
            self._label.setText("Ready")

    def _on_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._stage_start = progress.stage, (now, progress.done)
        text = progress.stage
        if progress.total > 0:
            self._bar.setRange(0, _STEPS)
            self._bar.setValue(round(_STEPS * progress.done / progress.total))
        else:
            self._bar.setRange(0, 0)
        if progress.detail:
            text += f": {progress.detail}"
        told = progress.detail.endswith(" left")
        left = "" if told else _left(progress, now, *self._stage_start)
        self._label.setText(f"{text} · {left}" if left else text)

    def _on_failed(self, sentence: str, details: str) -> None:
        self._details = details
        self._more.setVisible(bool(details))

    def _show_details(self) -> None:
        box = QMessageBox(
            QMessageBox.Icon.Information,
            "What went wrong",
            "This is what a developer would like to see.",
            parent=self,
        )
        box.setDetailedText(self._details)
        box.addButton(QMessageBox.StandardButton.Close)
        copy = box.addButton("Copy", QMessageBox.ButtonRole.ActionRole)
        box.exec()
        clipboard = QApplication.clipboard()
        if box.clickedButton() is copy and clipboard is not None:
            clipboard.setText(self._details)


def _left(progress: Progress, now: float, start: float, done_then: float) -> str:
    """How long the stage will still take, once that can be told."""
    done = progress.done - done_then
    if now - start < _ETA_AFTER_S or done <= 0 or progress.total <= progress.done:
        return ""
    seconds = (now - start) / done * (progress.total - progress.done)
    return f"about {seconds:.0f} s left" if seconds < 90 else f"about {seconds / 60:.0f} min left"


class Top(QWidget):
    """Both, for the head of a dock."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        policy = self.sizePolicy()
        policy.setVerticalPolicy(QSizePolicy.Policy.Maximum)
        self.setSizePolicy(policy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(InUse(state))
        layout.addWidget(TaskBar(state))
