"""The several images of one file, and choosing one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.limits import one_line


@dataclass(frozen=True)
class Acquisition:
    """One of several images in a file.

    Attributes
    ----------
    id : str
        What `read_section` is asked for.
    description : str
        What the operator or the file calls it.
    shape : tuple of int or None
        (C, Y, X), where it is known.
    problem : str
        Why it cannot be opened; empty where it can.
    """

    id: str
    description: str = ""
    shape: tuple[int, int, int] | None = None
    problem: str = ""


def choose(path: Path, acquisitions: Sequence[Acquisition], wanted: str | None) -> Acquisition:
    """The acquisition asked for by id or description, or the first that can be opened.

    Raises
    ------
    MitoxaiError
        If there is none such, its description is not unique, or it cannot be opened.
    """
    if wanted is None:
        opened = next((each for each in acquisitions if not each.problem), None)
        if opened is None:
            reasons = "; ".join(f"{each.id}: {each.problem}" for each in acquisitions) or "it lists none"
            raise MitoxaiError(f"{path.name} has no acquisition that can be opened ({one_line(reasons)}).")
        return opened
    fitting = [each for each in acquisitions if each.id == wanted] or [
        each for each in acquisitions if each.description == wanted
    ]
    if len(fitting) != 1:
        listed = ", ".join(
            f"{each.id} ({each.description})" if each.description else each.id for each in acquisitions
        )
        raise MitoxaiError(f"{path.name} has no single acquisition {wanted!r}: choose one of {listed}.")
    if fitting[0].problem:
        raise MitoxaiError(
            f"Acquisition {wanted} of {path.name} cannot be opened ({fitting[0].problem}): choose another one."
        )
    return fitting[0]


def refuse_choice(path: Path, wanted: str | None) -> None:
    """Raise if an acquisition is asked for by name where there is but one.

    Raises
    ------
    MitoxaiError
        If `wanted` is not None.
    """
    if wanted is not None:
        raise MitoxaiError(
            f"{path.name} holds one section only, and no acquisition {wanted!r}: leave the acquisition out."
        )
