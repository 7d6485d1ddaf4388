"""The channels of a blend, ranked, as a table and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_mitoxai.common.files import written_beside
from napari_mitoxai.figures.mixing_plot import draw_mixing
from napari_mitoxai.tasks.sweep_table import write_table

MIXING_TABLE, MIXING_PLOT = "mixing.csv", "mixing.png"


def write_mixing(folder: Path, channels: Sequence[dict[str, Any]]) -> None:
    """Write ``mixing.csv`` and ``mixing.png`` into a run.

    Parameters
    ----------
    folder : Path
        The run.
    channels : sequence of dict
        As metrics.json holds them: of one model, or with mean and spread over folds.
    """
    rows = []
    for rank, channel in enumerate(channels, start=1):
        blend = channel.get("blend", [])
        rows.append(
            {"rank": rank}
            | {key: value for key, value in channel.items() if key != "blend"}
            | {f"blend_{image}": weight for image, weight in enumerate(blend, start=1)}
        )
    write_table(folder / MIXING_TABLE, rows)
    with written_beside(folder / MIXING_PLOT, overwrite=True) as partial:
        draw_mixing(channels, partial)
