"""What the relevance in fibres says, in sentences with their numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.fibres.concentration import carrying, gini
from napari_mitoxai.fibres.relevance import ROWS, RegionSums
from napari_mitoxai.fibres.spatial_null import NullResult, adjusted
from napari_mitoxai.fibres.status_groups import ANY, Divided

STATUS, PLACE, PROTEIN, SPREAD = "status", "place", "protein", "spread"
QUESTIONS = {
    STATUS: "Do deficient fibres carry the evidence?",
    PLACE: "Membrane, core or gaps?",
    PROTEIN: "Which protein?",
    SPREAD: "One fibre in ten, or all of them?",
}
_SURE = 0.05
_NAMED = 3  # channels


@dataclass(frozen=True)
class Answer:
    """An answer about one map.

    Attributes
    ----------
    question : str
        A key of `QUESTIONS`.
    method : str
    sentence : str
        For a person.
    values : dict
        The numbers in it, and those behind it.
    """

    question: str
    method: str
    sentence: str
    values: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is not a number is None."""
        content = asdict(self)
        content["values"] = {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in self.values.items()
        }
        return content


def answers(
    sums: Sequence[RegionSums],
    nulls: Sequence[NullResult | None],
    groups: Mapping[str, Divided] | None = None,
    analysable: NDArray[np.bool_] | None = None,
) -> list[Answer]:
    """Answer the questions for every map of a section.

    Parameters
    ----------
    sums : sequence of RegionSums
        A map each; what is said is of the sum of its channels, but for the protein.
    nulls : sequence of NullResult or None
        Of the same maps.
    groups : mapping of Divided, optional
        Fibres by OXPHOS status, as ``deficient in NDUFB8``.
    analysable : ndarray of bool (fibres,), optional
        Which fibres count where fibres are asked for; all by default. Compartments are those of the whole section.

    Returns
    -------
    list of Answer
        A map's after the other's; p values of deficient fibres are adjusted over maps and proteins.
    """
    groups = groups or {}
    raw = np.array(
        [[np.nan if null is None else null.groups[name][-1] for name in groups] for null in nulls]
    ).reshape(len(nulls), len(groups))
    q = adjusted(raw)
    found = []
    for row, (each, null) in enumerate(zip(sums, nulls, strict=True)):
        if not len(each.regions.ids) or not each.section_positive[-1] > 0:
            why = "there are no fibres" if not len(each.regions.ids) else "the map has no positive relevance"
            found.append(Answer(PLACE, each.method, f"Nothing can be said: {why}.", {}))
            continue
        counted = np.ones(len(each.regions.ids), bool) if analysable is None else analysable
        found += [
            _of_status(each, name, divided, counted, float(raw[row, column]), float(q[row, column]))
            for column, (name, divided) in enumerate(groups.items())
        ]
        found += [_of_place(each, null), _of_protein(each, counted), _of_spread(each, counted)]
    return found


def in_brief(found: Sequence[Answer]) -> list[Answer]:
    """Without those of single proteins' status where there is one of all: protein by protein it would be a page."""
    if not any(answer.values.get("group") == ANY for answer in found):
        return list(found)
    return [answer for answer in found if answer.values.get("group", ANY) == ANY]


def _of_status(
    each: RegionSums, name: str, divided: Divided, counted: NDArray[np.bool_], p: float, q: float
) -> Answer:
    fibres, chosen, others = each.fibres(), divided.chosen, divided.others
    number, count = int(chosen.sum()), int((chosen | others).sum())
    area, positive = fibres.explained, fibres.positive[:, -1]
    called_area, called_positive = (values[chosen | others].sum() for values in (area, positive))
    if not called_positive > 0 or not 0 < area[chosen].sum() < called_area:
        if count == 0:
            why = "no fibre was called"
        elif not called_positive > 0:
            why = "no fibre that was called has positive relevance"
        elif number == 0:
            why = f"no fibre is {name}"
        else:
            why = f"all fibres that were explained are {name}, or none"
        values: dict[str, Any] = {"group": name, "fibres": number}
        return Answer(STATUS, each.method, f"There is nothing to compare: {why}.", values)
    share, area_share = positive[chosen].sum() / called_positive, area[chosen].sum() / called_area
    of_map = positive[chosen].sum() / each.section_positive[-1]
    rest = positive[others].sum() / area[others].sum()
    ratio = positive[chosen].sum() / area[chosen].sum() / rest if rest > 0 else np.inf
    judged = p if np.isnan(q) else q
    carries = (
        "Yes"
        if judged < _SURE and ratio > 1
        else "Rather less than the others"
        if ratio <= 1
        else "Not clearly"
    )
    left_out = [
        f"{lost:,} {why}"
        for lost, why in (
            (int((counted & ~chosen & ~others).sum()), "not called"),
            (int((~counted).sum()), "not analysable"),
        )
        if lost
    ]
    sentence = (
        f"{carries}: {number:,} of {count:,} fibres are {name}; on {area_share:.1%} of these fibres' area they have {share:.1%} of "
        f"their positive relevance ({of_map:.1%} of the whole map's), {ratio:.2f} times as much a µm² as the others{_p(p, q)}."
        + (f" Left out: {' and '.join(left_out)}." if left_out else "")
    )
    values = {
        "group": name, "fibres": number, "of": count, "area share": float(area_share), "relevance share": float(share),
        "share of the map": float(of_map), "ratio": float(ratio), "p": p, "q": q,
    }  # fmt: skip
    return Answer(STATUS, each.method, sentence, values)


def _of_place(each: RegionSums, null: NullResult | None) -> Answer:
    parts = each.compartments()
    enriched, share = parts.enrichment[:, -1], parts.share[:, -1]
    every = np.full((len(ROWS), 1), np.nan) if null is None else null.compartments
    p, q = every[:, -1], adjusted(every)[:, -1]  # over compartments and channels, as in the table
    known = [int(row) for row in np.argsort(-np.nan_to_num(enriched, nan=-1)) if np.isfinite(enriched[row])]
    first, *rest = known
    sentence = (
        f"Most of all the {ROWS[first].title}: {share[first]:.1%} of the positive relevance, {enriched[first]:.2f} times what an even map "
        f"would put there{_p(float(p[first]), float(q[first]))}; then {', '.join(f'{ROWS[row].title} {enriched[row]:.2f}' for row in rest)}."
    )
    values: dict[str, Any] = {"most": ROWS[first].title}
    for row, part in enumerate(ROWS):
        values |= {
            f"{part.title} share": float(share[row]),
            f"{part.title} enrichment": float(enriched[row]),
            f"{part.title} p": float(p[row]),
            f"{part.title} q": float(q[row]),
        }
    return Answer(PLACE, each.method, sentence, values)


def _of_protein(each: RegionSums, counted: NDArray[np.bool_]) -> Answer:
    channels = each.planes[:-1]
    if not channels:
        return Answer(
            PROTEIN, each.method, "This map does not tell channels apart: choose a method that does, or explain without pooling.", {}
        )  # fmt: skip
    positive = each.fibres().positive[counted, :-1].sum(0)
    if not positive.sum() > 0:
        return Answer(PROTEIN, each.method, "No channel has positive relevance in fibres.", {})
    share = positive / positive.sum()
    order = np.argsort(-share, kind="stable")
    named = ", ".join(f"{channels[index]} {share[index]:.0%}" for index in order[:_NAMED])
    sentence = f"{channels[order[0]]} first; of the positive relevance in fibres: {named} (an even share is {1 / len(channels):.0%})."
    values = {"most": channels[order[0]], **{channels[index]: float(share[index]) for index in order}}
    return Answer(PROTEIN, each.method, sentence, values)


def _of_spread(each: RegionSums, counted: NDArray[np.bool_]) -> Answer:
    fibres = each.fibres()
    seen = (fibres.explained > 0) & counted
    positive, area = fibres.positive[seen, -1], fibres.explained[seen]
    half, even, uneven = carrying(positive), carrying(area), gini(positive)
    if np.isnan(half):
        return Answer(SPREAD, each.method, "No fibre has positive relevance.", {})
    of_map = positive.sum() / each.section_positive[-1]
    few = "Less than 1%" if half < 0.005 else f"{half:.0%}"
    sentence = (
        f"{few} of the fibres carry half of the positive relevance in fibres, which is {of_map:.1%} of the whole map's ({even:.0%} would if "
        f"it went by their area; Gini {uneven:.2f} against {gini(area):.2f})."
    )
    return Answer(
        SPREAD, each.method, sentence, {"half": half, "half by area": even, "gini": uneven, "gini by area": gini(area)}
    )  # fmt: skip


def _p(p: float, q: float = np.nan) -> str:
    """A p value in brackets, if there is one."""
    if np.isnan(p):
        return ""
    return f" (p = {p:.3g})" if np.isnan(q) or q == p else f" (p = {p:.3g}, adjusted {q:.3g})"
