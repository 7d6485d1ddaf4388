"""The Train tab: a cohort becomes a model, or a run is loaded."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_mitoxai.cohort import TABLE, Cohort, read_cohort
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.imc import Panel
from napari_mitoxai.napari.call_box import CallBox
from napari_mitoxai.napari.channels_box import ChannelsBox
from napari_mitoxai.napari.folded import folded
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.leakage_box import LeakageBox
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.more_fields import CheckListField
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.protocol_chooser import ProtocolChooser
from napari_mitoxai.napari.runner import Outcome
from napari_mitoxai.napari.runs import RunSummary, load_run, summary_html
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.sweep_box import SweepBox
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.napari.weights_question import ask_for_weights
from napari_mitoxai.tasks.preview import Preview
from napari_mitoxai.tasks.preview import run as preview
from napari_mitoxai.tasks.protocols import PROTOCOLS
from napari_mitoxai.tasks.train import TrainParameters, TrainResult, begun_with
from napari_mitoxai.tasks.train import run as train
from napari_mitoxai.training.augmentation import KINDS

if TYPE_CHECKING:
    from napari_mitoxai.napari.loss_plot import LossPlot
    from napari_mitoxai.napari.preview_view import PreviewView


class TrainPanel(TaskPanel):
    """The form of training, the live curve, and the verdict on the subjects held out."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "train_panel")
        self.form = Form(
            TrainParameters,
            choices={
                "hold_out": {},
                "channels": {},
                "augmentation": {name: (name, what) for name, what in KINDS.items()},
            },
            browse={"out": "save", "mask": "folder", "start_from": "folder"},
        )
        self.protocol = ProtocolChooser(self.form)
        self._cohort: Cohort | None = None
        self._cohort_says = wrapped(name="cohort_says")
        self._plot: LossPlot | None = None
        self._plot_place = _place()
        self._stage = ""
        self._preview: PreviewView | None = None
        self._preview_place = _place()
        self._result = wrapped(name="run_summary")
        self._train = self.starter("Train", "train", self._start, ready=self._ready)
        look = self.starter("Preview", "preview", self._look, ready=self._ready)
        look.setToolTip("Count the patches of each group, and see how they are augmented")
        self.add(self.protocol)
        self.add(self.form)
        self.add(self._cohort_says)
        self._begun: TrainParameters | None = None
        self._begun_says = wrapped(name="begun_says")
        self._take_up = self.starter("Use its settings", "take_up", self._use_settings, ready=self._ready)
        self.add(self._begun_says, self._take_up)
        self.add(self._train, look, self.starter("Load run…", "load_run", self._choose_run))
        self.add(self._preview_place)
        self.add(self._plot_place)
        self.add(self._result)
        self.add(CallBox(state))
        leakage = LeakageBox(state, self.parameters, self._ready)
        sweep = SweepBox(state, self.form, self.protocol, self._ready)
        self.add(folded("Leakage check", "leakage_part", leakage))
        self.add(folded("Sweep", "sweep_part", sweep))
        self.add(folded("Which channels matter", "channels_part", ChannelsBox(state)))
        self._column.addStretch(1)
        self.form.field("cohort").changed.connect(self._on_cohort_path)
        self.form.changed.connect(self._on_form)
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
        self._cohort = None
        panel = Panel(())
        if not text:
            self._cohort_says.setText(
                "Choose a CSV table with the columns path, subject and group. From a folder of sections, the Cohort tab "
                "makes one; File › Open Sample has a simulated one."
            )
        elif Path(text).is_dir() and not (Path(text) / TABLE).is_file():  # walking it could take long
            self._cohort_says.setText(
                "This is a folder: list it under Cohort, and use it for training there."
            )
        else:
            try:
                self._cohort = read_cohort(Path(text))
                panel = open_section(self._cohort.members[0].address).panel
            except MitoxaiError as error:
                self._cohort_says.setText(str(error))
        groups = self._cohort.groups if self._cohort is not None else {}
        self._check_list("hold_out").set_choices(
            {subject: (f"{subject} ({group})", "") for subject, group in groups.items()}
        )
        self._check_list("channels").set_choices(
            {channel.target: (channel.label, str(channel.role)) for channel in panel}
        )
        if self._cohort is not None:
            self.form.set_values({"out": suggest(self._cohort.path, "run")})
        self._on_form()

    def _check_list(self, name: str) -> CheckListField:
        field = self.form.field(name)
        assert isinstance(field, CheckListField)
        return field

    def _on_form(self) -> None:
        """Say who is trained on; subjects can be held out where they are not tested in another way."""
        self.form.field("hold_out").setEnabled(self._cohort is not None and self._holds_out())
        self.form.field("hold_out").setToolTip(
            ""
            if self._holds_out()
            else "Subjects are tested by folds, or patches by a split at random: see Folds and Split under More."
        )
        if self._cohort is not None:
            try:
                part = self._cohort.where(self.form.field("where").value())
            except MitoxaiError as error:
                self._cohort_says.setText(str(error))
            else:
                counts = [f"{list(part.groups.values()).count(name)} {name}" for name in part.classes]
                self._cohort_says.setText(
                    f"{len(part.members)} sections of {len(part.subjects)} subjects: {', '.join(counts)}."
                )
        self._look_for_begun()
        self.refresh_starters()

    def _look_for_begun(self) -> None:
        """A run that was cancelled, or crashed, goes on in its folder with the settings it was begun with."""
        out = self.form.field("out").value()
        self._begun = begun_with(Path(out)) if out else None
        same = False
        if self._begun is not None:
            try:
                same = self.parameters() == self._begun
            except MitoxaiError:  # something is missing: then it is not the same
                same = False
            self._begun_says.setText(
                f"{self._begun.out.name} was begun and is not finished"
                + (": it goes on from its last epoch that was kept." if same else ", with other settings.")
            )
        self._begun_says.setVisible(self._begun is not None)
        self._take_up.setVisible(self._begun is not None and not same)
        self._train.setText("Go on" if same else "Train")

    def _use_settings(self) -> None:
        if self._begun is not None:
            self.protocol.set_value(self._begun.protocol)
            self.form.set_values(self._begun.model_dump())
            self._look_for_begun()

    def _holds_out(self) -> bool:
        return self.form.field("split").value() == "subject" and self.form.field("folds").value() == "none"

    def _ready(self) -> bool:
        return self._cohort is not None

    def parameters(self) -> TrainParameters:
        """What the form says.

        Raises
        ------
        MitoxaiError
            If a value does not fit: one sentence.
        """
        held = self.form.field("hold_out").value() if self._holds_out() else []
        return self.form.parameters(protocol=self.protocol.value(), hold_out=held)

    # --- before the start --------------------

    def _look(self) -> None:
        parameters = self.parameters()
        if PROTOCOLS[parameters.protocol].needs_weights and not parameters.weights:
            parameters = parameters.model_copy(update={"weights": "random"})  # nothing is trained yet

        def work(progress: ProgressCallback, cancel: CancelToken) -> Preview:
            load_libraries(progress)
            return preview(parameters, progress, cancel)

        self._state.runner.run("Looking at patches", work, on_done=self._show_preview)

    def _show_preview(self, found: Preview) -> None:
        if self._preview is None:
            from napari_mitoxai.napari.preview_view import PreviewView  # brings matplotlib

            self._preview = PreviewView(self._state)
            _put(self._preview_place, self._preview)
        self._preview.show_preview(found)
        self._preview_place.show()
        self.reveal(self._preview_place)

    # --- training --------------------

    def _start(self) -> None:
        parameters = self.parameters()
        if PROTOCOLS[parameters.protocol].needs_weights and not parameters.weights:
            weights = ask_for_weights(self, parameters.protocol)
            if not weights:
                return
            self.form.set_values({"weights": weights})
            parameters = self.parameters()

        def work(progress: ProgressCallback, cancel: CancelToken) -> tuple[TrainResult, RunSummary]:
            load_libraries(progress)
            result = train(parameters, progress, cancel)
            # the run stands, even if training was cancelled: it is shown in any case
            return result, load_run(result.run, progress, CancelToken())

        if self._state.runner.run(
            "Training", work, on_done=self._on_trained, on_end=self._on_end, step=parameters
        ):
            self._stage = ""
            self._result.setText("")
            self._state.runner.progressed.connect(self._on_progress)

    def _show_plot(self) -> "LossPlot":
        if self._plot is None:
            # matplotlib is imported when the first curve is drawn
            from napari_mitoxai.napari.loss_plot import LossPlot

            self._plot = LossPlot()
            _put(self._plot_place, self._plot)
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
        if not progress.values:
            return
        plot = self._show_plot()
        if progress.stage != self._stage:  # another fold, another curve
            self._stage = progress.stage
            fold, colon, _ = progress.stage.rpartition(":")
            plot.start(fold if colon else "")
        plot.add(progress.values)

    def _on_trained(self, done: tuple[TrainResult, RunSummary]) -> None:
        result, run = done
        self._state.set_run(run)
        self.reveal(self._result)
        if result.cancelled:  # it goes on in its folder
            self._look_for_begun()
        else:
            self.form.set_values({"out": suggest(result.run, "run")})

    def _on_end(self, outcome: Outcome) -> None:
        self._state.runner.progressed.disconnect(self._on_progress)
        if outcome.cancelled:
            self._result.setText("Cancelled before there was a model to keep.")
            self._result.show()
            self._look_for_begun()

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
        """Load a run in the background and use it, with the libraries that whatever is done with it needs."""

        def work(progress: ProgressCallback, cancel: CancelToken) -> RunSummary:
            load_libraries(progress)
            importlib.import_module("napari_mitoxai.explain.engine")  # what a loaded run is mostly for
            return load_run(path, progress, cancel)

        self._state.runner.run(
            "Loading the model",
            work,
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
            plot.start()
            plot.add(*run.history)


def _place() -> QWidget:
    """Room for what is made on first use."""
    place = QWidget()
    QVBoxLayout(place).setContentsMargins(0, 0, 0, 0)
    place.hide()
    return place


def _put(place: QWidget, widget: QWidget) -> None:
    layout = place.layout()
    if layout is not None:
        layout.addWidget(widget)
