"""The leakage check on the Train tab: what a split would report where there is nothing to learn."""

from collections.abc import Callable
from html import escape

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.runs import OPTIMISTIC
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.leakage import LeakageParameters, LeakageResult, Prepared, check, prepare
from napari_mitoxai.tasks.train import TrainParameters
from napari_mitoxai.tasks.training_parameters import PatchParameters

# taken from the form of training, so that the same patches are checked
_SHARED = [name for name in (*PatchParameters.model_fields, "channels") if name != "input_size"]
_WHAT = (
    "Labels are permuted by subject, so that there is nothing to learn but who is who, and a small network is trained "
    "on them. What a split reports all the same is what it leaks. How long it takes is told first."
)


class LeakageBox(TaskPanel):
    """A button that first says how long the check takes, then starts it.

    Parameters
    ----------
    state : WindowState
        Of the window.
    training : callable
        Gives the parameters of the training whose patches are checked.
    ready : callable
        Whether there is a cohort.
    """

    def __init__(
        self, state: WindowState, training: Callable[[], TrainParameters], ready: Callable[[], bool]
    ) -> None:
        super().__init__(state, "leakage_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self._training = training
        self._prepared: tuple[LeakageParameters, Prepared] | None = None
        self.form = Form(LeakageParameters, leave_out=(*_SHARED, "out", "overwrite"))
        self._button = self.starter("Leakage check…", "leakage", self._start, ready=ready)
        self._says = wrapped(_WHAT, "leakage_says")
        self.add(self._says)
        self.add(self.form)
        self.add(self._button)
        self.form.changed.connect(self.forget)

    def forget(self) -> None:
        """What was prepared is no longer what is asked for."""
        self._prepared = None
        self._button.setText("Leakage check…")

    def _parameters(self) -> LeakageParameters:
        training = self._training()
        return self.form.parameters(**{name: getattr(training, name) for name in _SHARED})

    def _start(self) -> None:
        parameters = self._parameters()
        if self._prepared is not None and self._prepared[0] == parameters:
            self._check(*self._prepared)
            return

        def work(progress: ProgressCallback, cancel: CancelToken) -> tuple[LeakageParameters, Prepared]:
            load_libraries(progress)
            return parameters, prepare(parameters, progress, cancel)

        self._state.runner.run("Preparing the leakage check", work, on_done=self._tell_time)

    def _tell_time(self, prepared: tuple[LeakageParameters, Prepared]) -> None:
        self._prepared = prepared
        self._says.setText(f"It takes {prepared[1].estimate()}.")
        self._button.setText("Start the check")
        self.reveal(self._says)

    def _check(self, parameters: LeakageParameters, ready: Prepared) -> None:
        def work(progress: ProgressCallback, cancel: CancelToken) -> LeakageResult:
            return check(parameters, ready, progress, cancel)

        self._state.runner.run("The leakage check", work, on_done=self._show, step=parameters)

    def _show(self, result: LeakageResult) -> None:
        self.forget()
        self._says.setText(leakage_html(result))
        self.reveal(self._says)


def leakage_html(result: LeakageResult) -> str:
    """What each split reported on no signal."""
    rows = "".join(
        f"<tr><td>{split}{' ' + OPTIMISTIC if split == 'patch-random' else ''}</td>"
        f"<td>{100 * accuracy:.0f} %</td><td>{100 * result.subject_accuracy[split]:.0f} %</td></tr>"
        for split, accuracy in result.patch_accuracy.items()
    )
    return (
        "<p>With labels permuted by subject there is nothing to learn. What is reported all the same:</p>"
        '<table cellpadding="3" cellspacing="0"><tr><td><i>split</i></td><td><i>patches right</i></td>'
        f"<td><i>subjects right</i></td></tr>{rows}</table>"
        f"<p>Always naming the largest group: {100 * result.chance:.0f} % of the patches.</p>"
        f"<p>{escape(result.verdict)}</p>"
    )
