"""Explain what a trained classifier sees in a section."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing
from napari_mitoxai.tasks.parameters import TaskParameters

if TYPE_CHECKING:
    from napari_mitoxai.explain import BlockCallback, StoreCallback


class ExplainParameters(TaskParameters):
    """What explaining needs to know."""

    run: Path = Field(
        title="Run", description="The folder that training wrote.", json_schema_extra={"argument": True}
    )
    section: Path = Field(
        title="Section",
        description="The section to explain: a file or a folder.",
        json_schema_extra={"argument": True},
    )
    methods: list[str] = Field(
        min_length=1,
        title="Methods",
        description="Explanation methods; all of them come from the same patches.",
        json_schema_extra={"option": "--method"},
    )
    out: Path = Field(title="Maps", description="The store to write, ending in .ome.zarr.")
    target: str | None = Field(
        default=None, title="Class", description="The class to explain; the last one (patient) by default."
    )
    overlap: float = Field(
        default=0.5, ge=0, le=0.9, title="Overlap", description="Share of a patch's side that its neighbour covers too.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip
    batch_size: int = Field(
        default=8,
        ge=1,
        le=1024,
        title="Batch size",
        description="Patches computed at once.",
        json_schema_extra={"advanced": True},
    )
    device: str = Field(
        default="auto",
        title="Device",
        description="auto, cpu, cuda or mps.",
        json_schema_extra={"advanced": True},
    )
    overwrite: bool = Field(
        default=False, title="Replace existing maps", description="Whether an existing store may be replaced.",
        json_schema_extra={"advanced": True},
    )  # fmt: skip


@dataclass(frozen=True)
class ExplainResult:
    """A finished explanation.

    Attributes
    ----------
    section, maps : Path
        What was explained, and the store.
    target : str
        The class that was explained.
    verdict : dict
        ``call``, ``probability`` by class, ``patches``.
    use_of_subject : str
        ``train``, ``validation``, ``test`` or ``new``: what the model did with this subject before.
    notes : tuple of str
        What a reader of the maps should know about how the section was read.
    """

    section: Path
    maps: Path
    target: str
    verdict: dict[str, Any]
    use_of_subject: str
    notes: tuple[str, ...]


def run(
    parameters: ExplainParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
    *,
    on_store: "StoreCallback | None" = None,
    on_block: "BlockCallback | None" = None,
) -> ExplainResult:
    """Explain a section; `on_store` and `on_block` let a viewer show the maps while they fill.

    Raises
    ------
    MitoxaiError
        If the run cannot be opened, the section does not fit it, or the maps exist.
    Cancelled
        If it was cancelled; the same call goes on where it stopped.
    """
    if not parameters.out.name.endswith(".ome.zarr"):
        raise MitoxaiError(
            f"{parameters.out.name} does not end in .ome.zarr: name the maps for example MAPS.ome.zarr."
        )
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.explain import explain_section
    from napari_mitoxai.imc import read_section
    from napari_mitoxai.models import load_checkpoint, pick_device

    device = pick_device(parameters.device)
    store = explain_section(
        read_section(parameters.section),
        load_checkpoint(parameters.run),
        parameters.methods,
        parameters.out,
        target=parameters.target,
        overlap=parameters.overlap,
        batch_size=parameters.batch_size,
        device=device,
        overwrite=parameters.overwrite,
        progress=progress,
        cancel=cancel,
        on_store=on_store,
        on_block=on_block,
    )
    info = store.info
    return ExplainResult(
        parameters.section,
        store.path,
        info["target"],
        info["verdict"],
        info["use_of_subject"],
        tuple(info["section"]["notes"]),
    )
