"""Fields that several parameter models have, described once; each model gives its own default."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from napari_mitoxai.tasks.parameters import ADVANCED

TrainedRun = Annotated[
    Path, Field(title="Run", description="Folder of a trained run.", json_schema_extra={"argument": True})
]
"""What was trained, where the task asks nothing more of it."""

Overlap = Annotated[
    float,
    Field(
        ge=0,
        le=0.9,
        title="Overlap",
        description="Share of a patch's side that its neighbour covers too.",
        json_schema_extra=ADVANCED,
    ),
]
"""How densely patches are laid over a section."""

BatchSize = Annotated[
    int,
    Field(
        ge=1, le=1024, title="Batch size", description="Patches computed at once.", json_schema_extra=ADVANCED
    ),
]
"""How many patches a network is asked about at once."""

Device = Annotated[
    str, Field(title="Device", description="auto, cpu, cuda or mps.", json_schema_extra=ADVANCED)
]
"""Where a network computes."""

ReplaceTable = Annotated[
    bool,
    Field(
        title="Replace existing table",
        description="Whether an existing file may be replaced.",
        json_schema_extra=ADVANCED,
    ),
]
"""Whether a table that is there may be written over."""
