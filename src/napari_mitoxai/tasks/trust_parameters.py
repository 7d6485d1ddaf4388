"""The parameters of judging methods on a section."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from napari_mitoxai.tasks.inside import SectionMask
from napari_mitoxai.tasks.parameters import TaskParameters
from napari_mitoxai.trust.checks import CHECKS

_ADVANCED: dict[str, Any] = {"advanced": True}


class TrustParameters(TaskParameters):
    """What judging methods needs to know."""

    run: Path = Field(
        title="Run", description="The folder that training wrote.", json_schema_extra={"argument": True}
    )
    section: Path = Field(
        title="Section", description="The section whose patches are judged: a file or a folder.",
        json_schema_extra={"argument": True},
    )  # fmt: skip
    maps: Path | None = Field(
        default=None,
        title="Maps",
        description="Maps of this section by this run: their methods and class are judged, and the scores are kept with them.",
    )
    methods: list[str] = Field(
        default=[],
        title="Methods",
        description="Explanation methods; those of the maps by default. The random map and the edge detector are always judged beside "
        "them.",
        json_schema_extra={"option": "--method"},
    )
    settings: list[str] = Field(
        default=[], title="Settings", description="Parameters of methods, as lrp_epsilon.epsilon=0.01.",
        json_schema_extra={"option": "--set", **_ADVANCED},
    )  # fmt: skip
    out: Path = Field(title="Table", description="The table to write, ending in .csv or .parquet.")
    curves: Path | None = Field(
        default=None, title="Curves", description="All curves as a table, ending in .csv or .parquet.",
    )  # fmt: skip
    figure: Path | None = Field(
        default=None, title="Figure", description="Scores and curves as a picture: .pdf, .svg, .png or .tiff.",
    )  # fmt: skip
    checks: list[str] = Field(
        default=list(CHECKS), min_length=1, title="Checks",
        description=f"What is checked: {', '.join(CHECKS)}.",
        json_schema_extra={"option": "--check"},
    )  # fmt: skip
    patches: int = Field(
        default=8, ge=1, le=1000, title="Patches",
        description="How many patches are judged, drawn from those that cover the tissue edge to edge.",
    )  # fmt: skip
    target: str | None = Field(
        default=None,
        title="Class",
        description="The class that is explained; predicted: the one that the model calls these patches; true: the section's group. "
        "That of the maps, or the last one (patient) by default.",
    )
    output: Literal["logit", "probability"] = Field(
        default="logit", title="Score", description="What of the class is explained; the maps know it themselves.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    values: Literal["signed", "magnitude"] = Field(
        default="signed", title="Values",
        description="What of a map is ranked: the sum over channels, as maps are shown, or the sum of magnitudes.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    by_channel: bool = Field(
        default=False, title="Channel by channel",
        description="Remove places from one channel at a time in deletion, insertion and pixel flipping, not from all at once.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    fill: Literal["zero", "mean", "blur", "noise"] = Field(
        default="blur", title="Filled with",
        description="What deletion and insertion put in place of what is removed; pixel flipping uses all of them.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    region: int = Field(
        default=8, ge=1, le=512, title="Region",
        description="Side in pixels of the network's input of the squares that are removed; 1 for single pixels.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    steps: int = Field(
        default=10, ge=2, le=1000, title="Steps", description="Of deletion, insertion and pixel flipping.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    squares: int = Field(
        default=50, ge=2, le=10_000, title="Squares", description="How many are covered in each patch for infidelity.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    samples: int = Field(
        default=5, ge=1, le=1000, title="Samples",
        description="Slightly changed copies of each patch for max-sensitivity; each is explained anew.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    radius: float = Field(
        default=0.1, gt=0, le=100, title="Radius",
        description="By how much the scaled values of these copies change at most.", json_schema_extra=_ADVANCED,
    )  # fmt: skip
    seeds: int = Field(
        default=3, ge=1, le=100, title="Untrained networks",
        description="How many networks with random weights each map is compared with.", json_schema_extra=_ADVANCED,
    )  # fmt: skip
    stages: int = Field(
        default=1, ge=1, le=100, title="Stages",
        description="In how many stages weights become random, the last layers first (cascading); 1: all at once.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, title="Seed", description="Of all chance, the same for every method.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
    mask: SectionMask = None
    batch_size: int = Field(
        default=8, ge=1, le=1024, title="Batch size", description="Patches computed at once.", json_schema_extra=_ADVANCED
    )  # fmt: skip
    device: str = Field(
        default="auto", title="Device", description="auto, cpu, cuda or mps.", json_schema_extra=_ADVANCED
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace existing tables", description="Whether existing files may be replaced.",
        json_schema_extra=_ADVANCED,
    )  # fmt: skip
