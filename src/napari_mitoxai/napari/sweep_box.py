"""The sweep on the Train tab: every combination of channels, architectures, seeds and splits, ranked."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.models.registry import available
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.picture import Picture
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.protocol_chooser import ProtocolChooser
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.napari.weights_question import ask_for_weights
from napari_mitoxai.tasks.protocols import PROTOCOLS
from napari_mitoxai.tasks.sweep import SPLITS, SweepParameters, SweepResult
from napari_mitoxai.tasks.sweep import run as sweep
from napari_mitoxai.tasks.train import TrainParameters
from napari_mitoxai.tasks.training_parameters import TrainingParameters

_SPLITS = {"patch-random": "as the papers split: optimistic", "subject": "every subject left out in turn"}
_ROWS_SHOWN = 8


class SweepBox(TaskPanel):
    """What is varied; everything else is as in the form of training.

    Parameters
    ----------
    state : WindowState
        Of the window.
    training : Form
        Whose settings all runs share.
    protocol : ProtocolChooser
        Their protocol.
    ready : callable
        Whether there is a cohort.
    """

    def __init__(
        self,
        state: WindowState,
        training: Form[TrainParameters],
        protocol: ProtocolChooser,
        ready: Callable[[], bool],
    ) -> None:
        super().__init__(state, "sweep_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self._training, self._protocol = training, protocol
        self.form = Form(
            SweepParameters,
            leave_out=tuple(TrainingParameters.model_fields),
            choices={
                "architectures": {name: (name, "") for name in available()},
                "splits": {name: (name, _SPLITS[name]) for name in SPLITS},
            },
            browse={"out": "save"},
        )
        self._says = wrapped(
            "Trains every combination with the settings above, and ranks them. A sweep that was stopped goes on in its folder.",
            "sweep_says",
        )
        self.results = SweepResults()
        self.results.hide()
        self.add(self.form)
        self.add(self.starter("Sweep", "sweep", self._start, ready=ready))
        self.add(self._says)
        self.add(self.results)
        protocol.changed.connect(self._on_protocol)
        training.field("cohort").changed.connect(self._on_cohort)
        self._on_cohort()

    def _on_cohort(self) -> None:
        text = self._training.field("cohort").value()
        if text:
            self.form.set_values({"out": suggest(Path(text), "sweep")})

    def _on_protocol(self) -> None:
        self.form.set_values({"architectures": [self._training.field("architecture").value()]})

    def parameters(self) -> SweepParameters:
        """What the two forms say.

        Raises
        ------
        MitoxaiError
            If a value does not fit: one sentence.
        """
        shared = {
            name: value
            for name, value in self._training.values().items()
            if name in TrainingParameters.model_fields
        }
        return self.form.parameters(**shared, protocol=self._protocol.value())

    def _start(self) -> None:
        parameters = self.parameters()
        if PROTOCOLS[parameters.protocol].needs_weights and not parameters.weights:
            weights = ask_for_weights(self, parameters.protocol)
            if not weights:
                return
            self._training.set_values({"weights": weights})
            parameters = self.parameters()

        def work(progress: ProgressCallback, cancel: CancelToken) -> SweepResult:
            load_libraries(progress)
            return sweep(parameters, progress, cancel)

        self._state.runner.run("Sweeping", work, on_done=self._show, step=parameters)

    def _show(self, result: SweepResult) -> None:
        lines = [f"{len(result.rows)} configurations, in {result.folder.name}.", *result.problems]
        self._says.setText("\n".join(lines))
        self._says.setToolTip(str(result.folder))
        self.results.show_rows(result.rows, result.plot)
        self.results.show()
        self.reveal(self.results)


class SweepResults(QWidget):
    """The table of a sweep, ranked, and its plot."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("sweep_results")
        self.table = QTableWidget()
        self.table.setObjectName("sweep_table")
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setWordWrap(True)
        self._plot = Picture("sweep_plot")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self._plot)

    def show_rows(self, rows: Sequence[dict[str, Any]], plot: Path) -> None:
        """Show a sweep's table and the picture of it."""
        heads = ["channels", "network", "subjects\nleft out", "95 % interval", "p (smallest)", "patches at random,\noptimistic"]  # fmt: skip
        self.table.setColumnCount(len(heads))
        self.table.setHorizontalHeaderLabels(heads)
        self.table.setRowCount(len(rows))
        for place, row in enumerate(rows):
            self.table.setVerticalHeaderItem(place, QTableWidgetItem(str(row["rank"])))
            for column, text in enumerate(_cells(row)):
                item = QTableWidgetItem(text)
                item.setToolTip(row.get("subject_calls", ""))
                self.table.setItem(place, column, item)
        self.table.resizeColumnsToContents()
        self.table.resizeRowsToContents()
        row_height = self.table.rowHeight(0) if rows else 0
        header = self.table.horizontalHeader()
        above = header.sizeHint().height() if header is not None else 0
        self.table.setFixedHeight(above + row_height * min(len(rows), _ROWS_SHOWN) + 24)
        self._plot.show_file(plot)


def _cells(row: dict[str, Any]) -> list[str]:
    def percent(key: str) -> str:
        return "" if row.get(key) is None else f"{100 * row[key]:.0f} %"

    interval = p = ""
    if row.get("subject_interval_low") is not None:
        interval = f"{percent('subject_interval_low')} to {percent('subject_interval_high')}"
        p = f"{row['permutation_p']:.3g} ({row['smallest_p']:.3g})"
    random, spread = percent("patch_random_accuracy_mean"), row.get("patch_random_accuracy_sd")
    if random and spread is not None:
        random += f" (SD {100 * spread:.1f} %)"
    return [row["channels"], row["architecture"], percent("subject_accuracy"), interval, p, random]
