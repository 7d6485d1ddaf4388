"""Testing the saved concept set on the model in use."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.tcav import TcavParameters, TcavResult
from napari_mitoxai.tasks.tcav import run as tcav

if TYPE_CHECKING:
    from napari_mitoxai.napari.runs import RunSummary


class ConceptTestBox(TaskPanel):
    """The form of the test, a button, and what was found.

    Parameters
    ----------
    state : WindowState
    saved : callable
        Gives the file of the concept set, or says that there is none.
    """

    def __init__(self, state: WindowState, saved: Callable[[], Path]) -> None:
        super().__init__(state, "concept_test_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self._saved = saved
        self.form = Form(
            TcavParameters, leave_out=("run", "concepts"), choices={"target": {}},
            browse={"out": "save", "cohort": "open", "mask": "open"},
        )  # fmt: skip
        self._missing = wrapped("Train a model, or load a run, first: both are on the Train tab.", "no_model")
        self._found = wrapped(name="concepts_found")
        self.add(self._missing)
        self.add(self.form)
        self.add(
            self.starter("Test concepts", "test_concepts", self._start, ready=lambda: state.run is not None)
        )
        self.add(self._found)
        state.run_changed.connect(self._on_run)
        self._on_run(state.run)

    def _on_run(self, run: "RunSummary | None") -> None:
        self._missing.setVisible(run is None)
        self.form.setVisible(run is not None)
        if run is not None:
            field: Any = self.form.field("target")
            field.set_choices({name: (name, "") for name in run.classes})
            field.set_value(run.classes[-1])
            self._suggest(run)
        self.refresh_starters()

    def _suggest(self, run: "RunSummary") -> None:
        self.form.set_values({"out": suggest(run.path, f"{run.path.name}_concepts")})

    def _start(self) -> None:
        run = self._state.run
        if run is None:
            return
        parameters = self.form.parameters(run=run.path, concepts=self._saved())
        if parameters.cohort is None and self._state.cohort is not None:
            parameters = parameters.model_copy(update={"cohort": self._state.cohort})

        def work(progress: ProgressCallback, cancel: CancelToken) -> TcavResult:
            load_libraries(progress)
            return tcav(parameters, progress, cancel)

        def show(result: TcavResult) -> None:
            self._found.setText(_told(result))
            self._found.setToolTip(str(result.plot))
            self._suggest(run)
            self.reveal(self._found)

        self._state.runner.run("Testing concepts", work, on_done=show, step=parameters)


def _told(result: TcavResult) -> str:
    """What was found in sentences, then layer by layer, then what limits it."""
    heads = ("layer", "effect", "score", "q", "told apart")
    parts = []
    for sentence, concept in zip(
        result.sentences, dict.fromkeys(row["concept"] for row in result.rows), strict=True
    ):
        own = [row for row in result.rows if row["concept"] == concept]
        cells = [
            (row["layer"], f"{row['effect']:+.2f}", f"{row['score']:.2f}", f"{row['q']:.2g}", f"{100 * row['accuracy']:.0f}&nbsp;%")
            for row in own
        ]  # fmt: skip
        table = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in [heads, *cells])
        parts.append(f'<p>{escape(sentence)}</p><table cellpadding="3" cellspacing="0">{table}</table>')
    notes = "<br>".join(escape(note) for note in result.notes)
    return f"{''.join(parts)}<p>{notes}<br>Kept in {escape(result.table.parent.name)}.</p>"
