"""Progress reports and cooperative cancelling, without a word about who listens."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event


class Cancelled(Exception):  # noqa: N818 - not an error: the user asked for it
    """Raised where a cancel token is checked after the user pressed Cancel."""


class CancelToken:
    """A flag that one thread raises and the working thread looks at between its steps."""

    def __init__(self) -> None:
        self._event = Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether cancelling was asked for."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if cancelling was asked for."""
        if self._event.is_set():
            raise Cancelled


@dataclass(frozen=True)
class Progress:
    """How far a task is.

    Attributes
    ----------
    stage : str
        What is being done, for a person: ``"Training"``.
    done, total : float
        Units of work finished and to do in this stage; ``total`` is 0 where it is not known.
    detail : str
        What to show beside the bar: ``"epoch 3 of 10, loss 0.41"``.
    values : dict
        Numbers for a live plot, by name: ``{"epoch": 3, "train_loss": 0.41}``.
    """

    stage: str
    done: float
    total: float
    detail: str = ""
    values: dict[str, float] | None = None


ProgressCallback = Callable[[Progress], None]


def no_progress(progress: Progress) -> None:
    """Ignore progress: the default callback."""
