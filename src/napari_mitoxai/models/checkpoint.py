"""Checkpoints: safetensors for the weights, JSON for everything needed to use them again; never a pickle."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from napari_mitoxai.cohort import PatchGeometry, Scaling
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import read_json, sha256, write_json, written_beside
from napari_mitoxai.imc import Channel, Panel, Role, Section
from napari_mitoxai.models.architectures import create
from napari_mitoxai.models.whitened import Whitening
from napari_mitoxai.models.whitening import Activation

CHECKPOINT_FILE = "checkpoint.json"
_FORMAT = 1


class _Geometry(BaseModel):
    patch_size: int = Field(gt=0)
    input_size: int = Field(gt=0)


class _Scaling(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    mean: list[float]
    deviation: list[Annotated[float, Field(gt=0)]]


class _Channel(BaseModel):
    target: str
    metal: str | None = None
    mass: int | None = None
    role: Role = Role.OTHER


class _Whitening(BaseModel):
    layers: list[str] = Field(min_length=1)
    concepts: list[str] = Field(min_length=1)
    activation: Activation
    iterations: int = Field(default=0, ge=0)

    def as_given(self) -> Whitening:
        return Whitening(tuple(self.layers), tuple(self.concepts), self.activation, self.iterations)


class _Document(BaseModel):
    """What checkpoint.json holds."""

    model_config = ConfigDict(extra="forbid")

    format: int = _FORMAT
    architecture: str
    head: Literal["linear", "dense"] = "linear"
    mixing: int = Field(default=0, ge=0)
    whitening: _Whitening | None = None
    classes: list[str] = Field(min_length=2)
    panel: list[_Channel] = Field(min_length=1)
    scaling: _Scaling
    geometry: _Geometry
    split: dict[str, list[str]]
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    weights: str = Field(pattern=r"^weights-[0-9a-f]{12}\.safetensors$")
    weights_sha256: str

    def as_whitening(self) -> Whitening | None:
        return None if self.whitening is None else self.whitening.as_given()


# The weights that were read last: a window asks the same run again and again, and hashing and checking them takes longer
# than the first patch.
_last_read: dict[tuple[str, int, int, str], dict[str, Tensor]] = {}


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier and everything needed to use it on another section.

    Attributes
    ----------
    architecture : str
        Its name in the registry.
    classes : list of str
        One an output.
    panel : Panel
        The channels it was trained on, in the order of its input.
    scaling : Scaling
        Fitted on its training subjects.
    geometry : PatchGeometry
        What it sees at once.
    split : dict
        Subjects by use: ``train``, ``validation``, ``test``.
    metrics : dict
        What was measured on the held-out subjects.
    provenance : dict
        Versions, seed, dates, parameters.
    state : dict
        The weights by name.
    weights_sha256 : str
        Of the weights file: names the checkpoint in whatever is made with it. Empty before saving.
    head : str
        ``linear`` or ``dense``: what the classifier ends in, see `create`.
    mixing : int
        Images that its channels are blended to first; 0 for none.
    whitening : Whitening, optional
        Which of its layers are whitened, and the concepts that their axes stand for.
    """

    architecture: str
    classes: list[str]
    panel: Panel
    scaling: Scaling
    geometry: PatchGeometry
    split: dict[str, list[str]]
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    state: dict[str, Tensor] = field(repr=False)
    weights_sha256: str = ""
    head: Literal["linear", "dense"] = "linear"
    mixing: int = 0
    whitening: Whitening | None = None

    def model(self) -> nn.Module:
        """The network with its weights, in evaluation mode, frozen, on the CPU."""
        with torch.device("meta"):  # the random weights of a new network would be drawn for nothing
            model = self._network()
        model.load_state_dict({name: value.clone() for name, value in self.state.items()}, assign=True)
        return model.eval().requires_grad_(False)

    def _network(self) -> nn.Module:
        return create(
            self.architecture, len(self.panel), len(self.classes),
            head=self.head, mixing=self.mixing, whitening=self.whitening,
        )  # fmt: skip

    def untrained(self, seed: int) -> nn.Module:
        """The same network with random weights, in evaluation mode, frozen, on the CPU; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._network()
        return model.eval().requires_grad_(False)

    def channels_in(self, section: Section) -> list[int]:
        """The planes of a section that the model reads, matched by target.

        Raises
        ------
        MitoxaiError
            If one is missing; it is named.
        """
        return section.panel.match(self.panel.targets, what=f"{section.name}, which this model is to read,")

    def use_of(self, subject: str) -> str:
        """What a subject was used for: ``train``, ``validation``, ``test``, or ``new`` if it was not in the cohort."""
        return next((use for use, subjects in self.split.items() if subject in subjects), "new")


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint into a run's folder, so that a crash at any moment leaves the old or the new one whole.

    Parameters
    ----------
    checkpoint : Checkpoint
        To write.
    folder : Path
        The run.

    Returns
    -------
    Path
        Of ``checkpoint.json``, which names the weights beside it.

    Raises
    ------
    MitoxaiError
        If the disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save({key: value.detach().cpu().contiguous() for key, value in checkpoint.state.items()})
    unnamed = folder / "weights-new.safetensors"
    with written_beside(unnamed, overwrite=True) as partial:
        partial.write_bytes(content)
    digest = sha256(unnamed)
    weights = folder / f"weights-{digest[:12]}.safetensors"
    unnamed.replace(weights)
    document = _Document(
        architecture=checkpoint.architecture,
        head=checkpoint.head,
        mixing=checkpoint.mixing,
        whitening=None if checkpoint.whitening is None else _Whitening(**asdict(checkpoint.whitening)),
        classes=checkpoint.classes,
        panel=[_Channel(target=c.target, metal=c.metal, mass=c.mass, role=c.role) for c in checkpoint.panel],
        scaling=_Scaling(mean=list(checkpoint.scaling.mean), deviation=list(checkpoint.scaling.deviation)),
        geometry=_Geometry(
            patch_size=checkpoint.geometry.patch_size, input_size=checkpoint.geometry.input_size
        ),
        split=checkpoint.split,
        metrics=checkpoint.metrics,
        provenance=checkpoint.provenance,
        weights=weights.name,
        weights_sha256=digest,
    )
    write_json(folder / CHECKPOINT_FILE, document.model_dump(mode="json"))
    for old in folder.glob("weights-*.safetensors"):
        if old != weights:
            old.unlink()
    return folder / CHECKPOINT_FILE


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Open a run's checkpoint.

    Names and shapes of the weights are compared with the architecture before anything is loaded.

    Parameters
    ----------
    path : Path
        The run's folder, or its ``checkpoint.json``.

    Raises
    ------
    MitoxaiError
        If there is none, it is damaged, of another architecture, or of a newer format.
    """
    path = Path(path).expanduser()
    document_path = path / CHECKPOINT_FILE if path.is_dir() else path
    if not document_path.exists():
        raise MitoxaiError(f"{path} has no {CHECKPOINT_FILE}: give the folder that `mitoxai train` wrote.")
    content = read_json(document_path)
    # before anything else is looked at: a newer format may have other fields
    if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > _FORMAT:
        raise MitoxaiError(f"{document_path} was written by a newer version of napari-mitoxai: update it.")
    try:
        document = _Document.model_validate(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise MitoxaiError(
            f"{document_path} is no checkpoint ({where}: {error.errors()[0]['msg']}): give the folder of a run."
        ) from error
    if not len(document.panel) == len(document.scaling.mean) == len(document.scaling.deviation):
        raise MitoxaiError(
            f"{document_path} has another number of channels than of scalings: it is damaged, train again."
        )
    state = _read_weights(document_path.with_name(document.weights), document)
    return Checkpoint(
        document.architecture,
        document.classes,
        Panel(tuple(Channel(c.target, c.metal, c.mass, c.role, "checkpoint") for c in document.panel)),
        Scaling(tuple(document.scaling.mean), tuple(document.scaling.deviation)),
        PatchGeometry(document.geometry.patch_size, document.geometry.input_size),
        document.split,
        document.metrics,
        document.provenance,
        state,
        document.weights_sha256,
        document.head,
        document.mixing,
        document.as_whitening(),
    )


def _read_weights(path: Path, document: _Document) -> dict[str, Tensor]:
    if not path.exists():
        raise MitoxaiError(f"{path} is not there: copy the whole folder of the run, weights included.")
    file = path.stat()
    key = (str(path.resolve()), file.st_mtime_ns, file.st_size, document.model_dump_json())
    state = _last_read.get(key)
    if state is None:
        state = _checked_weights(path, document)
        _last_read.clear()
        _last_read[key] = state
    return dict(state)


def _checked_weights(path: Path, document: _Document) -> dict[str, Tensor]:
    if sha256(path) != document.weights_sha256:
        raise MitoxaiError(
            f"{path} is not the file that {CHECKPOINT_FILE} was written with: it is damaged, copy the run again."
        )
    with torch.device("meta"):
        expected = create(
            document.architecture,
            len(document.panel),
            len(document.classes),
            head=document.head,
            mixing=document.mixing,
            whitening=document.as_whitening(),
        ).state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - not a mapping
            wrong = [key for key, value in expected.items() if shapes.get(key) != tuple(value.shape)] + list(
                shapes.keys() - expected.keys()
            )
            if wrong:
                raise MitoxaiError(
                    f"The weights in {path} do not fit {document.architecture} ({wrong[0]}): the run is damaged, train again."
                )
            state = {key: file.get_tensor(key) for key in shapes}
    except (SafetensorError, OSError) as error:
        raise MitoxaiError(f"{path} cannot be read ({error}): copy the run again.") from error
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise MitoxaiError(
            f"The weights in {path} are not finite: the training went wrong, train again with a smaller learning rate."
        )
    return state
