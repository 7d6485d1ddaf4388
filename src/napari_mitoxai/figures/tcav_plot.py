"""What a class makes of concepts at each layer, beside what it makes of random patches."""

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito: apart for every reader
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_LEVEL = 0.05


def tcav_figure(table: "pd.DataFrame", *, target: str, title: str = "") -> Figure:
    """Draw the effects of concepts by layer, and how well each concept is told from random patches.

    Parameters
    ----------
    table : pandas.DataFrame
        As `concept_table` gives it.
    target : str
        The class.
    title : str
        What it is of.

    Returns
    -------
    Figure
        Filled where q of the effect, or of the accuracy, is at most 0.05; bars are where 95 % of random sets lie.
    """
    concepts, layers = (list(dict.fromkeys(table[name])) for name in ("concept", "layer"))
    figure = Figure(figsize=(7.1, 1.5 + 0.14 * (len(concepts) + 1.5) * len(layers)), layout="constrained")
    FigureCanvasAgg(figure)
    effects, accuracies = figure.subplots(1, 2, sharey=True)
    step = 0.8 / len(concepts)
    for number, concept in enumerate(concepts):
        own = table[table["concept"] == concept].set_index("layer").loc[layers]
        colour = _COLOURS[number % len(_COLOURS)]
        places = [layer + (number - (len(concepts) - 1) / 2) * step for layer in range(len(layers))]
        effects.hlines(places, own["low"], own["high"], color="0.8", linewidth=5, zorder=1)
        for axes, column, q in ((effects, "effect", "q"), (accuracies, "accuracy", "accuracy_q")):
            sure = own[q] <= _LEVEL
            axes.scatter(
                own[column], places, s=28, zorder=2, edgecolors=colour, linewidths=1.2,
                facecolors=[colour if each else "white" for each in sure],
            )  # fmt: skip
        for place, effect, score in zip(places, own["effect"], own["score"], strict=True):
            effects.annotate(
                f"{score:.2f}", (effect, place), (6, 0), textcoords="offset points", va="center", fontsize=6
            )
    reach = 1.25 * float(table[["effect", "low", "high"]].abs().to_numpy().max())
    limits = (effects, 0.0, (-reach, reach)), (accuracies, float(table["chance"].mean()), (-0.03, 1.03))
    for axes, middle, shown in limits:
        axes.axvline(middle, color="0.6", linestyle=":", linewidth=1)
        axes.set_xlim(*shown)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    effects.set_yticks(range(len(layers)), layers, fontsize=8)
    effects.set_ylim(len(layers) - 0.5, -0.5)
    effects.set_xlabel(
        f"effect on {target}: mean cosine of derivative and concept\n(grey: random sets; number: TCAV score)",
        fontsize=8,
    )
    accuracies.set_xlabel("share told from random patches\n(dotted: random sets)", fontsize=8)
    effects.set_title(f"filled: q ≤ {_LEVEL:g}", loc="left", fontsize=8)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=_COLOURS[number % len(_COLOURS)], label=concept)
        for number, concept in enumerate(concepts)
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=min(len(concepts), 3), frameon=False, fontsize=8
    )
    if title:
        accuracies.set_title(title, loc="right", fontsize=8)
    return figure
