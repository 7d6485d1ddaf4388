"""Call a section with a trained model: a probability at every place, and a call with its uncertainty."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_input, written_beside
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.tasks.fields import BatchSize, Device, Overlap, TrainedRun
from napari_mitoxai.tasks.inside import SectionMask, as_seen, refuse_without_fibres
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

_ENDING = ".ome.zarr"
_MAP = "probability"
_MIN_TISSUE = 0.25  # as in training


class PredictParameters(TaskParameters):
    """What predicting needs to know."""

    run: TrainedRun
    section: Path = Field(
        title="Section", description="The section: a file or a folder.", json_schema_extra={"argument": True}
    )
    out: Path = Field(
        title="Probability map",
        description=f"The store to write, ending in {_ENDING}; it opens as an overlay.",
    )
    mask: SectionMask = None
    overlap: Overlap = 0.5
    batch_size: BatchSize = 16
    device: Device = "auto"
    overwrite: bool = Field(
        default=False, title="Replace an existing map", description="Whether an existing store may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class PredictResult:
    """A called section.

    Attributes
    ----------
    section, maps : Path
        What was called, and the store with the probability of each class.
    call : str
        The class.
    probability : dict
        Mean over patches, by class.
    last_class : str
        Whose probability the interval is of.
    interval : (float, float)
        See `SectionCall`.
    agreement : float
        Share of the patches that are called the same.
    patches : int
        How many there are.
    use_of_subject : str
        ``train``, ``validation``, ``test`` or ``new``.
    notes : list of str
        What a reader should know.
    """

    section: Path
    maps: Path
    call: str
    probability: dict[str, float]
    last_class: str
    interval: tuple[float, float]
    agreement: float
    patches: int
    use_of_subject: str
    notes: list[str]


def run(
    parameters: PredictParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> PredictResult:
    """Call every patch of a section, blend the probabilities into a map, and call the section by their mean.

    Raises
    ------
    MitoxaiError
        If the run cannot be opened, the section does not fit it, or the map exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    cancel = cancel or CancelToken()
    if not parameters.out.name.endswith(_ENDING):
        raise MitoxaiError(
            f"{parameters.out.name} does not end in {_ENDING}: name the map for example PROBABILITY{_ENDING}."
        )
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_input(parameters.out, parameters.section, parameters.run)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.cohort import patch_corners, read_patches, tissue_mask
    from napari_mitoxai.imc import read_section
    from napari_mitoxai.models import load_checkpoint, pick_device
    from napari_mitoxai.training.evaluation import probabilities_of
    from napari_mitoxai.training.section_call import call_section

    checkpoint, section = load_checkpoint(parameters.run), read_section(parameters.section)
    refuse_without_fibres(checkpoint, parameters.run, parameters.mask)
    planes = checkpoint.channels_in(section)
    checkpoint.geometry.check(section.shape, section.name)
    corners = patch_corners(
        section.shape, checkpoint.geometry, tissue_mask(section, cancel), overlap=parameters.overlap, min_tissue=_MIN_TISSUE
    )  # fmt: skip
    if not corners:
        raise MitoxaiError(f"{section.name} has no patch with tissue in it: check its channels.")
    # tissue is found as in training: with what lies between the fibres
    section = as_seen(section, parameters.mask)
    patches = read_patches(section, planes, corners, checkpoint.geometry)
    probabilities = probabilities_of(
        checkpoint.model(), patches, len(corners), checkpoint.scaling,
        batch_size=parameters.batch_size, device=pick_device(parameters.device), progress=progress, cancel=cancel,
    )  # fmt: skip
    called = call_section(probabilities, corners, checkpoint.geometry.patch_size, checkpoint.classes)
    subject = section.subject or section.name
    use = checkpoint.use_of(subject)
    notes = list(section.notes)
    if use in ("train", "validation"):
        notes.append(f"The model has seen this subject ({use}); its call is no evidence for new subjects.")
    if checkpoint.provenance.get("parameters", {}).get("crops") == "fibres":
        notes.append("The model was trained on single fibres, and is asked about whole patches here.")
    if checkpoint.metrics.get("optimistic"):
        notes.append("The model's own test figures are optimistic: it was tested on patches of subjects it was trained on.")  # fmt: skip
    with written_beside(parameters.out, overwrite=parameters.overwrite) as partial:
        _write(partial, section, checkpoint, subject, use, corners, probabilities, asdict(called), parameters)
    return PredictResult(
        parameters.section, parameters.out, called.call, called.probability, checkpoint.classes[-1],
        called.interval, called.agreement, called.patches, use, notes,
    )  # fmt: skip


def _write(
    path: Path,
    section: Any,
    checkpoint: Any,
    subject: str,
    use: str,
    corners: list[tuple[int, int]],
    probabilities: Any,
    called: dict[str, Any],
    parameters: PredictParameters,
) -> None:
    """The map of each class's probability as a store of maps, which the window shows as it shows explanations."""
    import numpy as np

    from napari_mitoxai.explain.blending import Blender
    from napari_mitoxai.explain.store import BLOCK, MapGrid, create_store

    reduction, side = checkpoint.geometry.reduction, checkpoint.geometry.patch_size
    shape = (section.shape[1] // reduction, section.shape[2] // reduction)
    info: dict[str, Any] = {
        "section": {
            "name": section.name, "path": str(section.address), "subject": subject, "shape": list(section.shape),
            "notes": list(section.notes),
        },
        "checkpoint": {
            "architecture": checkpoint.architecture, "weights_sha256": checkpoint.weights_sha256, "classes": checkpoint.classes,
            "panel": checkpoint.panel.targets, "patch_size": side, "input_size": checkpoint.geometry.input_size,
        },
        "use_of_subject": use,
        "target": checkpoint.classes[-1],
        "area": None,
        "call": called,
        "provenance": {
            "software": software(), "started": now(), "parameters": parameters.model_dump(mode="json"),
        },
    }  # fmt: skip
    text = f"{checkpoint.weights_sha256} {section.address} {parameters.overlap} {parameters.mask}"
    info["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()
    entry = {
        "channels": checkpoint.classes, "signed": False, "title": "Probability", "method": _MAP, "parameters": {},
    }  # fmt: skip
    store = create_store(path, MapGrid(shape, reduction, section.pixel_size_um), {_MAP: entry}, info)
    places = [(y // reduction, x // reduction) for y, x in corners]
    blender = Blender(shape, places, side // reduction, BLOCK)
    for place, row in zip(places, probabilities, strict=True):
        flat = np.broadcast_to(row[:, None, None], (len(row), side // reduction, side // reduction))
        for block, maps in blender.add(place, {_MAP: flat}):
            store.write_block(_MAP, block, maps[_MAP])
            store.mark_finished(block)
    store.note_patches({corner: row.tolist() for corner, row in zip(corners, probabilities, strict=True)})
    store.complete({"call": called["call"], "probability": {k: round(v, 4) for k, v in called["probability"].items()}, "patches": called["patches"]})  # fmt: skip
