"""Asking a model about sections as it was trained: what it never saw outside fibres, it does not see now."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.tasks.parameters import ADVANCED

if TYPE_CHECKING:
    from napari_mitoxai.imc import Section
    from napari_mitoxai.models import Checkpoint

SectionMask = Annotated[
    Path | None,
    Field(
        title="Inside fibres",
        description="Label image of the section, or a folder with it: nothing outside the fibres is seen. Needed by a model that was "
        "trained like this.",
        json_schema_extra=ADVANCED,
    ),
]
"""The fibres of a section that a model is asked about."""


def refuse_without_fibres(checkpoint: "Checkpoint", run: Path, mask: Path | None) -> None:
    """Raise if a model was trained inside fibres, and they are not given.

    Raises
    ------
    MitoxaiError
        With the option to give them by.
    """
    if mask is None and checkpoint.provenance.get("parameters", {}).get("mask"):
        raise MitoxaiError(
            f"{run.name} was trained inside fibres: give those of the section with --mask, as `mitoxai segment` writes them."
        )


def as_seen(section: "Section", mask: Path | None) -> "Section":
    """The section, or what of it lies inside the fibres."""
    from napari_mitoxai.cohort import inside_fibres

    return section if mask is None else inside_fibres(section, mask)
