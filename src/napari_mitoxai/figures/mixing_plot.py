"""The share of each channel in a blend as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito: apart for every reader
_WEIGHT, _SCALED = "#e69f00", "#0072b2"


def draw_mixing(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the shares of the channels, one line a channel, the largest on top.

    Parameters
    ----------
    rows : sequence of dict
        As `channel_shares` gives them, or `shares_over`: these with their spread.
    path : Path
        PNG to write.
    """
    figure = Figure(figsize=(6.5, 1.4 + 0.3 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    models = rows[0].get("models", 1)
    spread = f" (mean ± SD of {models} models)" if models > 1 else ""
    places = range(len(rows))
    for key, shift, marker, colour, label in (
        ("weight", -0.12, "o", _WEIGHT, "weight"),
        ("weight_x_sd", 0.12, "s", _SCALED, "weight × SD of the channel"),
    ):
        axes.errorbar(
            [row[key] for row in rows], [place + shift for place in places],
            xerr=[row.get(f"{key}_sd") or 0 for row in rows],
            fmt=marker, color=colour, capsize=3, markersize=5, label=label + spread,
        )  # fmt: skip
    axes.axvline(1 / len(rows), color="0.6", linestyle=":", linewidth=1, label="all channels alike")
    axes.set_yticks(places, [row["channel"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("share of the blend")
    figure.legend(loc="outside upper center", frameon=False, fontsize=8, ncols=1 if spread else 3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, format="png", dpi=150)
