"""What is asked about a section, and what follows from it before anything is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.description import Method, MethodParameters
from napari_mitoxai.explain.registry import resolve

Output = Literal["logit", "probability"]
Pooling = Literal["none", "sum", "sum_abs", "max_abs", "norm"]
Approach = Literal["patches", "seamless"]

PREDICTED, TRUE = "predicted", "true"

# by pooling: what the one plane is called, whether it has a sign, and how it is made of (C, Y, X)
_POOLED: dict[str, tuple[str, bool]] = {
    "sum": ("sum of channels", True),
    "sum_abs": ("sum of magnitudes", False),
    "max_abs": ("largest magnitude", False),
    "norm": ("root of the sum of squares", False),
}


@dataclass(frozen=True)
class Wanted:
    """A map that is asked for.

    Attributes
    ----------
    label : str
        Its name in the store: ``lrp_epsilon`` or ``lrp_epsilon@seed-exact``.
    method : Method
    parameters : MethodParameters
    """

    label: str
    method: Method
    parameters: MethodParameters


@dataclass(frozen=True)
class Request:
    """What is asked of a classifier about a section.

    Attributes
    ----------
    methods : sequence of str, or mapping
        ``method`` or ``method@preset``; a mapping gives parameters to each.
    target : str, optional
        The class to explain; ``predicted``: the one that the model calls the section; ``true``: the section's group;
        by default the last class, ``patient``.
    against : str, optional
        Another class: the difference of the two scores is explained.
    output : {"logit", "probability"}
        Which score of the class.
    pooling : {"none", "sum", "sum_abs", "max_abs", "norm"}
        How channels become one map, once the patches are blended; by default they do not.
    approach : {"patches", "seamless"}
        Patch by patch, as the classifier was trained, or densely, see `napari_mitoxai.explain.seamless`.
    overlap : float
        Share of a patch's side that its neighbour covers too, 0 to below 1.
    """

    methods: Sequence[str] | Mapping[str, Mapping[str, Any]]
    target: str | None = None
    against: str | None = None
    output: Output = "logit"
    pooling: Pooling = "none"
    approach: Approach = "patches"
    overlap: float = 0.5

    def wanted(self) -> list[Wanted]:
        """The maps asked for, each once.

        Raises
        ------
        MitoxaiError
            If there are none, or a method, preset or parameter does not exist.
        """
        if not self.methods:
            raise MitoxaiError("No method was chosen: name at least one, as grad_cam.")
        given = self.methods if isinstance(self.methods, Mapping) else {label: {} for label in self.methods}
        return [Wanted(label, *resolve(label, **values)) for label, values in given.items()]

    def planes(self, wanted: Wanted, targets: Sequence[str]) -> list[str]:
        """What the planes of a map are: channels of the model's panel, or one for all."""
        if not wanted.method.is_per_channel(wanted.parameters):
            return ["all channels"]
        return list(targets) if self.pooling == "none" else [_POOLED[self.pooling][0]]

    def signed(self, wanted: Wanted) -> bool:
        """Whether a map speaks for and against the class."""
        pooled = wanted.method.is_per_channel(wanted.parameters) and self.pooling != "none"
        return wanted.method.is_signed(wanted.parameters) and (not pooled or _POOLED[self.pooling][1])


def pool(values: NDArray[np.float32], pooling: Pooling) -> NDArray[np.float32]:
    """Make one plane (1, Y, X) of channels (C, Y, X), unless there is only one or they are to be kept."""
    if pooling == "none" or len(values) == 1:
        return values
    if pooling == "sum":
        pooled = values.sum(0, keepdims=True)
    elif pooling == "sum_abs":
        pooled = np.abs(values).sum(0, keepdims=True)
    elif pooling == "max_abs":
        pooled = np.abs(values).max(0, keepdims=True)
    else:
        pooled = np.sqrt(np.square(values).sum(0, keepdims=True))
    return np.asarray(pooled, dtype=np.float32)


def class_index(classes: Sequence[str], name: str | None) -> int:
    """The output of a class; the last one by default.

    Raises
    ------
    MitoxaiError
        If there is no such class.
    """
    if name is None:
        return len(classes) - 1
    if name not in classes:
        raise MitoxaiError(f"The model has no class {name!r}: choose {' or '.join(classes)}.")
    return classes.index(name)


@dataclass(frozen=True)
class Score:
    """Which number of the network is explained.

    Attributes
    ----------
    target : int
        A class.
    against : int or None
        Another one, whose score is subtracted.
    output : {"logit", "probability"}
    """

    target: int
    against: int | None = None
    output: Output = "logit"

    def describe(self, classes: Sequence[str]) -> str:
        """For people and for names of layers: ``patient``, ``patient - control``, ``patient (probability)``."""
        said = classes[self.target]
        if self.against is not None:
            said += f" - {classes[self.against]}"
        return said if self.output == "logit" else f"{said} (probability)"
