"""Ask in several ways which channels matter to a trained model, and how far the ways agree."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import (
    refuse_existing,
    refuse_foreign,
    refuse_input,
    write_json,
    written_beside,
)
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.tasks.fields import BatchSize, Device
from napari_mitoxai.tasks.inside import SectionMask
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    import pandas as pd

TABLE_FILE, CORRELATIONS_FILE, PLOT_FILE, CONFIG_FILE = (
    "channels.csv",
    "correlations.csv",
    "channels.png",
    "config.json",
)


class ChannelsParameters(TaskParameters):
    """What comparing the ways needs to know."""

    run: Path = Field(
        title="Run", description="Folder of a trained run; of one with folds, each model is asked about the subjects it never saw.",
        json_schema_extra={"argument": True},
    )  # fmt: skip
    data: Path = Field(
        title="Section or cohort", description="A section, or a cohort: its table, or a folder with its sections.",
        json_schema_extra={"argument": True},
    )  # fmt: skip
    out: Path = Field(title="Folder", description="Folder to make for the tables and the plot.")
    maps: list[Path] = Field(
        default=[], title="Maps", description="Stores of explanation maps by this model: the relevance of each channel is summed.",
    )  # fmt: skip
    sweep: Path | None = Field(
        default=None, title="Sweep", description="Folder of a sweep with --channels each: the accuracy of networks that see one channel only.",
    )  # fmt: skip
    repeats: int = Field(
        default=1, ge=1, le=100, title="Repeats", description="How often a channel is permuted; the losses are means.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    most_patches: int = Field(
        default=32, ge=1, le=100_000, title="Patches a subject", description="Patches of each subject that are looked at, evenly taken.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    mask: SectionMask = None
    batch_size: BatchSize = 16
    device: Device = "auto"
    seed: int = Field(
        default=0,
        ge=0,
        title="Seed",
        description="Of the permutations.",
        json_schema_extra=ADVANCED,
    )
    overwrite: bool = Field(
        default=False, title="Replace an existing folder", description="Whether an earlier result may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class ChannelsResult:
    """Ranked channels.

    Attributes
    ----------
    table, correlations, plot : Path
        CSV with a row a way and channel; CSV with a row a pair of ways; PNG of both.
    channels : list of str
        By their mean rank over the ways, the most important first.
    pairs : list of dict
        ``way_a``, ``way_b``, ``correlation``: highest first, those without a number left out.
    chance : float
        The magnitude of a rank correlation that one order in twenty reaches by chance, with this many channels.
    notes : list of str
        What a reader should know.
    """

    table: Path
    correlations: Path
    plot: Path
    channels: list[str]
    pairs: list[dict[str, Any]]
    chance: float
    notes: list[str]


def run(
    parameters: ChannelsParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> ChannelsResult:
    """Rank the channels by each way there is, and correlate the ranks.

    Raises
    ------
    MitoxaiError
        If the run, the sections, the maps or the sweep do not go together, or the folder exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    cancel = cancel or CancelToken()
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_foreign(parameters.out, TABLE_FILE, "a comparison of channels")
    refuse_input(parameters.out, parameters.run, parameters.data, parameters.sweep, *parameters.maps)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.fibres.tables import write_table
    from napari_mitoxai.figures.channel_ways_plot import channel_ways_figure
    from napari_mitoxai.figures.saving import save_figure
    from napari_mitoxai.tasks.channel_ways import by_chance, correlate, ways_of

    table, notes = ways_of(parameters, progress, cancel)
    correlations = correlate(table)
    out = parameters.out
    with written_beside(out, overwrite=parameters.overwrite) as made:
        made.mkdir()
        write_table(made / TABLE_FILE, table)
        write_table(made / CORRELATIONS_FILE, _pairs(correlations, table["channel"].nunique()))
        title = f"{parameters.run.name}, {parameters.data.name}"
        save_figure(channel_ways_figure(table, correlations, title=title), made / PLOT_FILE)
        write_json(
            made / CONFIG_FILE,
            {
                "task": "channels", "parameters": parameters.model_dump(mode="json"), "notes": notes,
                "software": software(), "finished": now(),
            },
        )  # fmt: skip
    order = table.groupby("channel", sort=False)["rank"].mean().sort_values(kind="stable")
    pairs = _pairs(correlations, len(order)).dropna(subset="correlation")
    told = pairs.sort_values("correlation", ascending=False, kind="stable")[["way_a", "way_b", "correlation"]]
    return ChannelsResult(
        out / TABLE_FILE,
        out / CORRELATIONS_FILE,
        out / PLOT_FILE,
        [str(name) for name in order.index],
        [{str(key): value for key, value in row.items()} for row in told.to_dict("records")],
        by_chance(len(order)),
        notes,
    )


def _pairs(correlations: "pd.DataFrame", channels: int) -> "pd.DataFrame":
    """A row a pair of ways."""
    from itertools import combinations

    import pandas as pd

    ways = list(correlations.index)
    rows = [
        {"way_a": a, "way_b": b, "correlation": correlations.loc[a, b], "channels": channels}
        for a, b in combinations(ways, 2)
    ]
    return pd.DataFrame(rows, columns=["way_a", "way_b", "correlation", "channels"])
