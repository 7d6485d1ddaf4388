"""What every training needs to know, of one model or of a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from napari_mitoxai.tasks.fields import Device, Overlap
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters
from napari_mitoxai.tasks.protocols import PROTOCOLS

AUGMENTATIONS = ("turns", "flips", "rotation", "zoom", "shear")


class PatchParameters(TaskParameters):
    """Which patches of which sections are looked at, and where that is computed."""

    cohort: Path = Field(
        title="Cohort",
        description="CSV table with the columns path, subject, group and, optional, section, batch, split, acquisition; or a folder with the sections, as controls/C01 and patients/P01.",
        json_schema_extra={"argument": True},
    )
    where: list[str] = Field(
        default=[], title="Only where",
        description="Use a part of the cohort: column=value or column!=value, several values as column=one|other.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    mask: Path | None = Field(
        default=None, title="Inside fibres",
        description="Folder with a label image a section, named like the section or the subject: nothing outside the fibres is seen.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    crops: Literal["grid", "fibres"] = Field(
        default="grid", title="Patches",
        description="grid lays patches over the tissue; fibres takes one around each fibre, with nothing but this fibre in it, and needs the mask.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    patch_size: int = Field(
        default=512, ge=16, le=4096, title="Patch size (px)", description="Side of what the network sees at once, in pixels of the section.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    input_size: int = Field(
        default=128, ge=16, le=2048, title="Input size (px)", description="Side of the network's input; patches are averaged down to it.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    overlap: Overlap = 0.5
    device: Device = "auto"

    @model_validator(mode="after")
    def _fibres_are_given(self) -> "PatchParameters":
        if self.crops == "fibres" and self.mask is None:
            raise ValueError("patches around fibres need the fibres: give --mask")
        return self


def _all_is_none(channels: list[str]) -> list[str]:
    if "each" in [name.lower() for name in channels]:
        raise ValueError(
            "each channel alone is a model of its own: mitoxai sweep COHORT --channels each trains and ranks them"
        )
    return [] if [name.lower() for name in channels] == ["all"] else channels


Channels = Annotated[
    list[str],
    AfterValidator(_all_is_none),
    Field(title="Channels", description="Targets to train on; all by default.", json_schema_extra=ADVANCED),
]
"""Where one list of channels is chosen."""


Mixing = Annotated[
    int,
    Field(
        ge=0, le=64, title="Channel mixing",
        description="Blend the channels to this many images before the network, with weights that tell which channels matter (DCMIX: 1); 0 for none.",
        json_schema_extra=ADVANCED,
    ),
]  # fmt: skip
"""Where a network with blended channels is made."""


class TrainingParameters(PatchParameters):
    """The fields that `train` and `sweep` share; a protocol fills those that are not given."""

    protocol: Literal[tuple(PROTOCOLS)] = Field(  # type: ignore[valid-type]
        default="small", title="Protocol",
        description="Fills what is not given: small, subject (every subject tested), or the settings of a paper.",
        json_schema_extra={"hidden": True},
    )  # fmt: skip
    epochs: int = Field(
        default=20, ge=1, le=10_000, title="Epochs", description="How often training goes over all patches."
    )
    folds: Literal["none", "leave-one-out", "2", "3", "4", "5", "10"] = Field(
        default="none", title="Folds",
        description="Test every subject on a model that never saw it: one model a subject, or a number of folds with groups evenly spread.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    batch_size: int = Field(
        default=16, ge=1, le=1024, title="Batch size", description="Patches a training step.", json_schema_extra=ADVANCED
    )  # fmt: skip
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        default="adamw",
        title="Optimiser",
        description="What changes the weights.",
        json_schema_extra=ADVANCED,
    )
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1, title="Learning rate", description="Of the optimiser, at the start.", json_schema_extra=ADVANCED
    )  # fmt: skip
    schedule: Literal["cosine", "inverse-time", "constant"] = Field(
        default="cosine", title="Schedule", description="The rate falls to zero along a cosine, as 1 / (1 + decay × step), or not at all.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    decay: float = Field(
        default=0.0, ge=0, le=1, title="Rate decay", description="A step, of the inverse-time schedule.", json_schema_extra=ADVANCED
    )  # fmt: skip
    momentum: float = Field(
        default=0.0, ge=0, lt=1, title="Momentum", description="Of sgd.", json_schema_extra=ADVANCED
    )
    weight_decay: float = Field(
        default=1e-2, ge=0, le=1, title="Weight decay", description="Of the optimiser.", json_schema_extra=ADVANCED
    )  # fmt: skip
    patience: int = Field(
        default=10, ge=1, title="Patience", description="Epochs without a better validation figure after which training stops.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    monitor: Literal["loss", "accuracy"] = Field(
        default="loss", title="Best epoch by", description="Which validation figure tells the best epoch.", json_schema_extra=ADVANCED
    )  # fmt: skip
    draw: Literal["balanced", "all"] = Field(
        default="balanced", title="Draw",
        description="balanced draws classes, and the subjects in them, equally often; all takes every patch once an epoch.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    augmentation: list[str] = Field(
        default=["turns"], title="Augmentation",
        description=f"Random changes of training patches: {', '.join(AUGMENTATIONS)}, or none.", json_schema_extra=ADVANCED,
    )  # fmt: skip
    jitter: float = Field(
        default=0.5, ge=0, le=2, title="Intensity jitter",
        description="Random gain on each channel of a training patch (standard deviation of its logarithm), against learning the staining.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    weights: str = Field(
        default="", title="Starting weights",
        description="Empty or random for random weights, imagenet to download the library's own, or a local file with them.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    adaptation: Literal["papers", "mean-scaled"] = Field(
        default="papers", title="Channel adaptation",
        description="Pretrained kernels: papers keeps the first three channels' and gives the others their mean, mean-scaled gives all the mean, scaled.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    head: Literal["linear", "dense"] = Field(
        default="linear", title="Head", description="linear is the architecture's own, dense the papers' six dense layers.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    base: Literal["trained", "frozen"] = Field(
        default="trained", title="Base",
        description="frozen trains the dense head only, on features that are computed once; with channel mixing the blend too, through the base.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    start_from: Path | None = Field(
        default=None, title="Start from a run",
        description="Folder of a run of the same architecture and channels to go on from with other settings; none of its subjects may be held out.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    concepts: Path | None = Field(
        default=None, title="Concepts",
        description="CSV table of a concept set (concept, section, subject, y_px, x_px): a layer is whitened and an axis of it turned to each concept.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    whitened_layers: list[str] = Field(
        default=[], title="Whitened layers",
        description="Batch norms that concept whitening takes the place of, as layer3.1.bn1; by default the deepest that has enough places in a batch.",
        json_schema_extra={**ADVANCED, "option": "--whitened-layer"},
    )  # fmt: skip
    concept_activation: Literal["pooled-max", "max", "mean", "positive-mean"] = Field(
        default="pooled-max", title="Concept activation",
        description="What of an axis counts: the mean of the strongest of every 3 x 3 places, the strongest, the mean, or the mean of those above 0.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    concept_every: int = Field(
        default=10, ge=1, le=10_000, title="Concept steps",
        description="Training steps from one turn of the axes to the next; the published code takes 20 to 30 in longer trainings.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    whitening_iterations: int = Field(
        default=0, ge=0, le=100, title="Whitening iterations",
        description="0 whitens exactly; else steps of the published iteration, which takes 10.", json_schema_extra=ADVANCED,
    )  # fmt: skip
    mixing: Mixing = 0
    views: int = Field(
        default=3, ge=1, le=100, title="Views",
        description="Augmented views of each training patch that a frozen base computes; the epochs choose among them. Without meaning where channels are mixed.", json_schema_extra=ADVANCED,
    )  # fmt: skip
    test_share: float = Field(
        default=0.1, ge=0, lt=0.9, title="Test share", description="Of the patches, in a patch-random split.", json_schema_extra=ADVANCED
    )  # fmt: skip
    validation_share: float = Field(
        default=0.1, ge=0, lt=0.9, title="Validation share", description="Of the patches, in a patch-random split.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", title="Precision", description="auto measures on a GPU which is faster; on the CPU it is float32.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _filled_by_protocol(cls, given: Any) -> Any:
        """What is given wins over the protocol; holding subjects out takes the place of its split and folds."""
        if not isinstance(given, Mapping) or given.get("protocol", "small") not in PROTOCOLS:
            return given
        protocol = PROTOCOLS[given.get("protocol", "small")].values
        values = {name: value for name, value in protocol.items() if name in cls.model_fields}
        if "architectures" in cls.model_fields and "architecture" in protocol:
            values["architectures"] = [protocol["architecture"]]
        if given.get("hold_out"):
            values |= {
                name: default for name, default in (("split", "subject"), ("folds", "none")) if name in values
            }
        elif given.get("split") == "patch-random":
            values.pop("folds", None)
        elif given.get("folds", "none") != "none" and "split" in values:
            values["split"] = "subject"
        return {**values, **given}

    @field_validator("augmentation")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        names = [] if names == ["none"] else names
        if "none" in names:
            raise ValueError("none stands alone: leave it out, or the other augmentations")
        for name in names:
            if name not in AUGMENTATIONS:
                raise ValueError(
                    f"there is no augmentation {name!r}: choose of {', '.join(AUGMENTATIONS)}, or none"
                )
        return names

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingParameters":
        if self.base == "frozen" and self.head != "dense":
            raise ValueError("a frozen base needs --head dense: there is nothing else to train")
        if self.base == "frozen" and self.concepts is not None:
            raise ValueError(
                "a frozen base is computed once, before its axes could be turned: give --base trained, or leave --concepts out"
            )
        if self.whitened_layers and self.concepts is None:
            raise ValueError("whitened layers need concepts to turn to: give --concepts")
        if self.start_from is not None and self.weights not in ("", "random"):
            raise ValueError(
                "a training starts from a run or from weights: leave --start-from or --weights out"
            )
        if self.test_share + self.validation_share >= 1:
            raise ValueError("the shares of test and validation leave nothing to train on: make them smaller")
        return self
