"""Guided backpropagation and Deconvnet: other rules for every ReLU on the way back."""

import math

from torch import Tensor

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.calls import ActivationMode, Call, apply_rule
from napari_mitoxai.explain.catalogue import RectifierParameters
from napari_mitoxai.explain.question import Question


class RectifierMode(ActivationMode):
    """Networks called inside this mode have the guided or the Deconvnet rule on each of their ReLU *calls*.

    Hooks on modules would miss functional ReLUs, and hooks on a ReLU's input would also catch its other consumers.

    Parameters
    ----------
    guided : bool
        Guided: only positive signals to active units. Else Deconvnet: only positive signals, to all units.

    Attributes
    ----------
    rectifiers : int
        How many ReLU calls were met.
    """

    def __init__(self, *, guided: bool) -> None:
        super().__init__()
        self._guided = guided
        self.rectifiers = 0

    def on_call(self, call: Call) -> object:
        """Replace the backward rule of a ReLU (or ReLU6)."""
        x = call.first
        top = _top_of_rectifier(call)
        if x is None or not x.requires_grad or top is None:
            return call.run()
        self.rectifiers += 1
        active: list[Tensor] = []

        def forward() -> Tensor:
            y: Tensor = call.run()
            if self._guided:
                # a mask, not the output: the output may be changed in place later
                active.append(y > 0 if top == math.inf else (y > 0) & (y < top))
            return y

        def backward(signal: Tensor) -> tuple[Tensor]:
            signal = signal.clamp(min=0)
            return (signal * active[0] if self._guided else signal,)

        return apply_rule(forward, backward, x)


def _top_of_rectifier(call: Call) -> float | None:
    """Where a call that computes max(x, 0), however it is written, saturates; None if it is another function."""
    if call.name == "relu":
        return math.inf
    if call.name == "relu6":
        return 6.0
    low: object = None
    high: object = None
    if call.name == "hardtanh":  # what torch.nn.ReLU6 calls
        low, high = call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0)
    elif call.name in {"clamp", "clip", "clamp_min"}:
        low, high = call.argument(1, "min"), call.argument(2, "max")
    elif call.name == "threshold" and call.argument(2, "value") == 0:
        low = call.argument(1, "threshold")
    if not isinstance(low, (int, float)) or low != 0:
        return None
    return math.inf if high is None else float(high) if isinstance(high, (int, float)) else None


def _ruled_gradient(
    question: Question, name: str, parameters: RectifierParameters, *, guided: bool
) -> Tensor:
    mode = RectifierMode(guided=guided)
    leaf, logits = question.ask(mode)
    if mode.rectifiers == 0:
        raise MitoxaiError(
            f"{name} only changes ReLUs and this network has none, so its map would be the plain gradient: use gradient."
        )
    if parameters.mode == "innvestigate":
        return question.back_to(leaf, logits, start=question.scores(logits).detach())
    return question.back_to(leaf, logits)


def guided_backprop(question: Question, parameters: RectifierParameters) -> Tensor:
    """Guided backpropagation of the target logits (N, C, H, W), starting at 1, or at the logit as iNNvestigate does."""
    name = "guided_backprop"
    return question.once(
        (name, parameters.mode), lambda: _ruled_gradient(question, name, parameters, guided=True)
    )


def deconvnet(question: Question, parameters: RectifierParameters) -> Tensor:
    """Deconvnet map of the target logits (N, C, H, W), starting at 1, or at the logit as iNNvestigate does."""
    return _ruled_gradient(question, "deconvnet", parameters, guided=False)
