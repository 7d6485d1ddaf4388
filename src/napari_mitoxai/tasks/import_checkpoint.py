"""Turn a foreign state dict into a run."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_foreign, write_json, written_beside
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.models.registry import available
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters
from napari_mitoxai.tasks.training_parameters import Mixing

if TYPE_CHECKING:
    from torch import Tensor

    from napari_mitoxai.cohort import Scaling
    from napari_mitoxai.imc import Panel

_SHOWN = 8


class ImportParameters(TaskParameters):
    """What importing needs to know."""

    file: Path = Field(
        title="File",
        description="A .pt or .pth file with a state dict.",
        json_schema_extra={"argument": True},
    )
    out: Path = Field(title="Run folder", description="Folder to make for the run.")
    architecture: Literal[tuple(available())] = Field(  # type: ignore[valid-type]
        title="Architecture", description="The network that the weights are of.", json_schema_extra={"option": "--arch"}
    )  # fmt: skip
    i_trust_this_file: bool = Field(
        default=False, title="I trust this file",
        description="A .pt file is a pickle, which can run any code when it is opened: say that you know where it comes from.",
    )  # fmt: skip
    cohort: Path | None = Field(
        default=None, title="Cohort",
        description="The cohort it was trained on: gives the channels, the classes and the scaling of counts.",
    )  # fmt: skip
    channels: list[str] = Field(
        default=[], title="Channels", description="Targets of its input, in order; the cohort's by default."
    )
    classes: list[str] = Field(
        default=[],
        title="Classes",
        description="Names of its outputs, in order; the cohort's groups by default.",
    )
    head: Literal["linear", "dense"] = Field(
        default="linear", title="Head", description="linear is the architecture's own, dense the papers' six dense layers.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    mixing: Mixing = 0
    patch_size: int = Field(default=512, ge=16, le=4096, title="Patch size (px)", description="Side of what it sees at once.")  # fmt: skip
    input_size: int = Field(
        default=128, ge=16, le=2048, title="Input size (px)", description="Side of its input."
    )
    overwrite: bool = Field(
        default=False, title="Replace a run", description="Whether an existing run folder may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class ImportResult:
    """An imported run.

    Attributes
    ----------
    run : Path
        Its folder.
    notes : list of str
        What is not known of it.
    """

    run: Path
    notes: list[str]


def run(
    parameters: ImportParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> ImportResult:
    """Turn a foreign state dict into a run of ours, after the user said that the file is trusted.

    The file is opened in a process of its own, tensors only; names and shapes are compared with the architecture.

    Raises
    ------
    MitoxaiError
        If the file is not trusted, cannot be read, or does not fit: what does not is listed by name.
    """
    if not parameters.i_trust_this_file:
        raise MitoxaiError(
            f"{parameters.file.name} is a pickle, which can run any code when it is opened: "
            "pass --i-trust-this-file if you know where it comes from."
        )
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_foreign(parameters.out, "checkpoint.json", "a run")
    if parameters.cohort is None and not (parameters.channels and parameters.classes):
        raise MitoxaiError(
            "A state dict does not say what its input and output are: give --cohort, or --channels and --classes."
        )
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.cohort import PatchGeometry
    from napari_mitoxai.models import Checkpoint, save_checkpoint
    from napari_mitoxai.models.foreign import read_foreign

    panel, classes, scaling, notes = _inputs_of(parameters, progress, cancel or CancelToken())
    progress(Progress("Reading the weights", 0, 1, parameters.file.name))
    with tempfile.TemporaryDirectory() as folder:
        state = read_foreign(parameters.file.expanduser(), Path(folder))
    _check(parameters, state, len(panel), len(classes))
    notes.append(
        "Imported: it is not known what it was trained on, so no section can be said to be new to it."
    )
    metrics = {
        "split": {"protocol": "unknown", "train": [], "validation": [], "test": []},
        "optimistic": None,
        "patch_accuracy": None,
        "subject_accuracy": None,
        "confidence_interval": None,
        "subject_calls": [],
        "notes": notes,
    }
    configuration = parameters.model_dump(mode="json")
    checkpoint = Checkpoint(
        architecture=parameters.architecture,
        classes=classes,
        panel=panel,
        scaling=scaling,
        geometry=PatchGeometry(parameters.patch_size, parameters.input_size),
        split={"train": [], "validation": [], "test": []},
        metrics=metrics,
        provenance={
            "parameters": configuration,
            "imported_from": parameters.file.name,
            "software": software(),
            "finished": now(),
        },
        state=state,
        head=parameters.head,
        mixing=parameters.mixing,
    )
    with written_beside(parameters.out, overwrite=parameters.overwrite) as made:
        save_checkpoint(checkpoint, made)
        write_json(made / "metrics.json", metrics)
        write_json(made / "config.json", {"task": "import-checkpoint", "parameters": configuration})
    return ImportResult(parameters.out, notes)


def _inputs_of(
    parameters: ImportParameters, progress: ProgressCallback, cancel: CancelToken
) -> "tuple[Panel, list[str], Scaling, list[str]]":
    """Channels, classes, scaling, and what is guessed in them."""
    from napari_mitoxai.cohort import PatchGeometry, Scaling, fit_scaling, read_cohort
    from napari_mitoxai.imc import Panel, parse_channel
    from napari_mitoxai.training import gather_patches

    if parameters.cohort is None:
        panel = Panel(tuple(parse_channel(name) for name in parameters.channels))
        plain = Scaling((0.0,) * len(panel), (1.0,) * len(panel))
        return panel, parameters.classes, plain, [
            "No cohort was given: it reads the arcsinh of counts, neither centred nor scaled."
        ]  # fmt: skip
    cohort = read_cohort(parameters.cohort)
    patches = gather_patches(
        cohort, PatchGeometry(parameters.patch_size, parameters.input_size),
        channels=parameters.channels, progress=progress, cancel=cancel,
    )  # fmt: skip
    scaling = fit_scaling(patches.of([subject]).counts for subject in cohort.subjects)
    note = f"The scaling was fitted on {cohort.path.name}: it is that of the training only if this is its cohort."
    return patches.panel, parameters.classes or cohort.classes, scaling, [note]


def _check(parameters: ImportParameters, state: "dict[str, Tensor]", channels: int, classes: int) -> None:
    """Compare names and shapes with the architecture, and name all that does not fit."""
    import torch

    from napari_mitoxai.models import create

    with torch.device("meta"):
        expected = create(
            parameters.architecture, channels, classes, head=parameters.head, mixing=parameters.mixing
        ).state_dict()
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    shaped = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    told = [
        f"{what}: {', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shaped), ("not finite", broken))
        if names
    ]  # fmt: skip
    if told:
        raise MitoxaiError(
            f"{parameters.file.name} does not fit {parameters.architecture} with {channels} channels and {classes} classes "
            f"({'; '.join(told)}): choose the --arch, --channels, --classes, --head and --mixing it was trained with."
        )
