"""The Train tab: a cohort becomes a model, or a run is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_mitoxai.cohort import TABLE, read_cohort
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.more_fields import CheckListField
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.runner import Outcome
from napari_mitoxai.napari.runs import RunSummary, load_run, summary_html
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.train import TrainParameters, TrainResult
from napari_mitoxai.tasks.train import run as train

if TYPE_CHECKING:
    from napari_mitoxai.napari.loss_plot import LossPlot


class TrainPanel(TaskPanel):
    """The form of training, the live curve, and the verdict on the subjects held out."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "train_panel")
        self.form = Form(TrainParameters, choices={"hold_out": {}}, browse={"out": "save"})
        self._cohort_says = wrapped(name="cohort_says")
        self._plot: LossPlot | None = None
        self._plot_place = QWidget()
        QVBoxLayout(self._plot_place).setContentsMargins(0, 0, 0, 0)
        self._plot_place.hide()
        self._result = wrapped(name="run_summary")
        self._train = self.starter("Train", "train", self._start, ready=self._ready)
        self.add(self.form)
        self.add(self._cohort_says)
        self.add(self._train, self.starter("Load run…", "load_run", self._choose_run))
        self.add(self._plot_place)
        self.add(self._result)
        self._column.addStretch(1)
        self.form.field("cohort").changed.connect(self._on_cohort_path)
        state.cohort_changed.connect(self._on_cohort)
        state.run_changed.connect(self._show_run)
        self._on_cohort_path()
        if state.cohort is not None:
            self._on_cohort(state.cohort)
        self._show_run(state.run)

    # --- the cohort --------------------

    def _on_cohort(self, path: Path | None) -> None:
        if path is not None:
            self.form.set_values({"cohort": path})
            self._on_cohort_path()  # its content may have changed under the same name
            self.form.set_values(self._state.suggestions)

    def _on_cohort_path(self) -> None:
        """Say at once what the table holds, or what is wrong with it."""
        text = self.form.field("cohort").value()
        hold_out = self.form.field("hold_out")
        assert isinstance(hold_out, CheckListField)
        self._usable = False
        if not text:
            self._cohort_says.setText(
                "Choose a CSV table with the columns path, subject and group; File › Open Sample has a simulated one."
            )
        elif Path(text).is_dir() and not (Path(text) / TABLE).is_file():  # walking it could take long
            self._cohort_says.setText(
                "This is a folder: list it under Cohort, and use it for training there."
            )
        else:
            try:
                cohort = read_cohort(Path(text))
            except MitoxaiError as error:
                self._cohort_says.setText(str(error))
            else:
                self._usable = True
                counts = [f"{list(cohort.groups.values()).count(name)} {name}" for name in cohort.classes]
                self._cohort_says.setText(
                    f"{len(cohort.members)} sections of {len(cohort.subjects)} subjects: {', '.join(counts)}."
                )
                hold_out.set_choices(
                    {subject: (f"{subject} ({group})", "") for subject, group in cohort.groups.items()}
                )
                self.form.set_values({"out": suggest(cohort.path, "run")})
        hold_out.setEnabled(self._usable)
        if not self._usable:
            hold_out.set_choices({})
        self.refresh_starters()

    def _ready(self) -> bool:
        return self._usable

    # --- training --------------------

    def _start(self) -> None:
        parameters = self.form.parameters()

        def work(progress: ProgressCallback, cancel: CancelToken) -> tuple[TrainResult, RunSummary]:
            load_libraries(progress)
            result = train(parameters, progress, cancel)
            # the run stands, even if training was cancelled: it is shown in any case
            return result, load_run(result.run, progress, CancelToken())

        if self._state.runner.run("Training", work, on_done=self._on_trained, on_end=self._on_end):
            if self._plot is not None:
                self._plot.clear_points()
            self._result.setText("")
            self._state.runner.progressed.connect(self._on_progress)

    def _show_plot(self) -> "LossPlot":
        if self._plot is None:
            from napari_mitoxai.napari.loss_plot import (
                LossPlot,
            )  # matplotlib is imported when the first curve is drawn

            self._plot = LossPlot()
            layout = self._plot_place.layout()
            if layout is not None:
                layout.addWidget(self._plot)
            viewer = self._state.viewer
            self._plot.set_theme(viewer.theme)
            viewer.events.theme.connect(self._on_theme)
        if self._plot_place.isHidden():
            self._plot_place.show()
            self.reveal(self._plot_place)
        return self._plot

    def _on_theme(self, event: Any = None) -> None:
        if self._plot is not None and self._state.viewer is not None:
            self._plot.set_theme(self._state.viewer.theme)

    def _on_progress(self, progress: Progress) -> None:
        if progress.values:
            self._show_plot().add(progress.values)

    def _on_trained(self, done: tuple[TrainResult, RunSummary]) -> None:
        self._state.set_run(done[1])
        self.reveal(self._result)
        self.form.set_values({"out": suggest(done[0].run, "run")})

    def _on_end(self, outcome: Outcome) -> None:
        self._state.runner.progressed.disconnect(self._on_progress)

    # --- a finished run --------------------

    def _choose_run(self) -> None:
        start = (
            self._state.run.path.parent
            if self._state.run
            else self._state.cohort.parent
            if self._state.cohort
            else Path.home()
        )
        chosen = QFileDialog.getExistingDirectory(self, "Choose the folder of a run", str(start))
        if chosen:
            self.load(Path(chosen))

    def load(self, path: Path) -> None:
        """Load a run in the background and use it."""
        self._state.runner.run(
            "Loading the model",
            lambda progress, cancel: load_run(path, progress, cancel),
            on_done=self._state.set_run,
            quiet=True,
        )

    def _show_run(self, run: RunSummary | None) -> None:
        self._result.setVisible(run is not None)
        if run is None:
            return
        self._result.setText(summary_html(run))
        if run.history and not self._state.runner.busy:
            plot = self._show_plot()
            plot.clear_points()
            for row in run.history:
                plot.add(row)
