"""Where the relevance of a section's maps falls, in one figure: compartments, proteins, fibres, OXPHOS status."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_mitoxai.fibres.answers import PROTEIN, STATUS, Answer
from napari_mitoxai.fibres.concentration import lorenz
from napari_mitoxai.fibres.relevance import ROWS, RegionSums

# Okabe and Ito: apart for every reader
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
_WIDTH_IN = 7.1  # 180 mm, two columns
_MOST_PROTEINS = 10
_FEWEST_ROWS = 4  # a single bar would fill the panel


def relevance_figure(
    sums: Sequence[RegionSums], answers: Sequence[Answer], counted: NDArray[np.bool_], *, title: str = ""
) -> Figure:
    """Draw the answers.

    Parameters
    ----------
    sums : sequence of RegionSums
        A map each.
    answers : sequence of Answer
        About them.
    counted : ndarray of bool (fibres,)
        The fibres that count in the answers.
    title : str
        The section.

    Returns
    -------
    Figure
        Four panels, lettered: enrichment of compartments, shares of proteins, Lorenz curves of fibres, and the relevance of deficient
        fibres beside that of the others; without OXPHOS calls three.
    """
    panels = _panels(sums, answers, counted)
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(_WIDTH_IN, 0.5 + 2.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    colours = colours_of(sums)
    for number, (draw, of_what) in enumerate(panels):
        axes = figure.add_subplot(rows, 2, number + 1)
        draw(axes, of_what, colours)
        axes.set_title("abcd"[number], loc="left", fontweight="bold", fontsize=9)
    handles = [axes.plot([], [], color=colour, linewidth=4)[0] for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=4, frameon=False, fontsize=7)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def colours_of(sums: Sequence[RegionSums]) -> dict[str, str]:
    """The colour of each method, the same in all panels."""
    return {each.method: COLOURS[index % len(COLOURS)] for index, each in enumerate(sums)}


def draw_below_each_other(
    figure: Figure,
    sums: Sequence[RegionSums],
    answers: Sequence[Answer],
    counted: NDArray[np.bool_],
    colours: dict[str, str],
) -> None:
    """Draw the same panels into a narrow figure, such as that of a dock; without letters and legend.

    Parameters
    ----------
    figure : Figure
        Is emptied first.
    sums, answers, counted
        As for `relevance_figure`.
    colours : dict of str
        By method.
    """
    figure.clear()
    panels = _panels(sums, answers, counted)
    for number, (draw, of_what) in enumerate(panels):
        draw(figure.add_subplot(len(panels), 1, number + 1), of_what, colours)


def _panels(
    sums: Sequence[RegionSums], answers: Sequence[Answer], counted: NDArray[np.bool_]
) -> list[tuple[Callable[..., None], Sequence[Any]]]:
    status = [answer for answer in answers if answer.question == STATUS and "ratio" in answer.values]
    proteins = [answer for answer in answers if answer.question == PROTEIN and answer.values]
    panels: list[tuple[Callable[..., None], Sequence[Any]]] = [(_compartments, sums)]
    panels += [(_proteins, proteins)] if proteins else []
    panels += [(partial(_lorenz, counted=counted), sums)]
    panels += [(_status, status)] if status else []
    return [(_tidy(draw), of_what) for draw, of_what in panels]


def _tidy(draw: Callable[..., None]) -> Callable[..., None]:
    def tidily(axes: Any, of_what: Sequence[Any], colours: dict[str, str]) -> None:
        draw(axes, of_what, colours)
        axes.tick_params(labelsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

    return tidily


def _compartments(axes: Any, sums: Sequence[RegionSums], colours: dict[str, str]) -> None:
    height = 0.8 / len(sums)
    for index, each in enumerate(sums):
        enriched = each.compartments().enrichment[:, -1]
        axes.barh(
            np.arange(len(ROWS)) + index * height, enriched - 1, height, left=1, color=colours[each.method]
        )
    axes.axvline(1, color="0.4", linewidth=0.8)
    axes.set_yticks(np.arange(len(ROWS)) + 0.4 - height / 2, [part.title for part in ROWS])
    axes.invert_yaxis()
    axes.set_xlabel("positive relevance over an even map's", fontsize=8)


def _proteins(axes: Any, answers: Sequence[Answer], colours: dict[str, str]) -> None:
    shares = [{name: v for name, v in answer.values.items() if name != "most"} for answer in answers]
    names = sorted(set().union(*shares), key=lambda name: -max(share.get(name, 0) for share in shares))
    names = names[:_MOST_PROTEINS]
    height = 0.8 / len(answers)
    for index, (answer, share) in enumerate(zip(answers, shares, strict=True)):
        axes.barh(
            np.arange(len(names)) + index * height,
            [100 * share.get(name, 0) for name in names],
            height,
            color=colours[answer.method],
        )
    axes.set_yticks(np.arange(len(names)) + 0.4 - height / 2, names)
    axes.invert_yaxis()
    axes.set_xlabel("% of the positive relevance in fibres", fontsize=8)


def _lorenz(
    axes: Any, sums: Sequence[RegionSums], colours: dict[str, str], *, counted: NDArray[np.bool_]
) -> None:
    for each in sums:
        fibres = each.fibres()
        seen = (fibres.explained > 0) & counted
        share, relevance = lorenz(fibres.positive[seen, -1])
        axes.plot(100 * share, 100 * relevance, color=colours[each.method], linewidth=1.5)
    share, area = lorenz(fibres.explained[seen])
    axes.plot(100 * share, 100 * area, color="0.5", linewidth=1.2, linestyle=":", label="fibre area")
    axes.axhline(50, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xlabel("% of the fibres, most relevant first", fontsize=8)
    axes.set_ylabel("% of their positive relevance", fontsize=8)
    axes.legend(fontsize=7, frameon=False, loc="lower right")


def _status(axes: Any, answers: Sequence[Answer], colours: dict[str, str]) -> None:
    names = list(dict.fromkeys(answer.values["group"] for answer in answers))
    methods = list(dict.fromkeys(answer.method for answer in answers))
    height = 0.8 / len(methods)
    for answer in answers:
        place = names.index(answer.values["group"]) + methods.index(answer.method) * height
        ratio = answer.values["ratio"]
        axes.barh(place, ratio - 1, height, left=1, color=colours[answer.method])
        judged = answer.values["p"] if np.isnan(answer.values["q"]) else answer.values["q"]
        if judged < 0.05 and ratio > 1:
            axes.text(ratio, place, " *", va="center", fontsize=8)
    axes.axvline(1, color="0.4", linewidth=0.8)
    axes.set_yticks(
        np.arange(len(names)) + 0.4 - height / 2,
        [name.removeprefix("deficient in ").removesuffix(" protein") for name in names],
    )
    axes.set_ylim(
        max(len(names), _FEWEST_ROWS), -0.4
    )  # a row reaches from a little above its place to below it
    axes.set_xlabel("deficient over other fibres (* q < 0.05)", fontsize=8)
    axes.set_ylabel("deficient in", fontsize=8)


def group_figure(panels: Sequence[tuple[str, str, Mapping[str, NDArray[np.float64]]]]) -> Figure:
    """Draw groups side by side, a dot a subject and a line at the median.

    Parameters
    ----------
    panels : sequence of (title, what the test said, values by group)
    """
    rows = max(-(-len(panels) // 3), 1)
    figure = Figure(figsize=(_WIDTH_IN, 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, told, values) in enumerate(panels):
        axes = figure.add_subplot(rows, 3, number + 1)
        for place, (group, of_subject) in enumerate(values.items()):
            known = of_subject[np.isfinite(of_subject)]
            spread = 0.12 * np.linspace(-1, 1, len(known)) if len(known) > 1 else np.zeros(len(known))
            axes.plot(
                place + spread, known, "o", color=COLOURS[place % len(COLOURS)], markersize=4, label=group
            )
            if len(known):
                axes.hlines(np.median(known), place - 0.25, place + 0.25, color="0.2", linewidth=1)
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.set_xticks(range(len(values)), list(values))
        axes.set_title(title, fontsize=7)
        axes.set_xlabel(told, fontsize=7)
        axes.tick_params(labelsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure
