"""How well each method found a planted truth, as measured once and shipped with the package; needs no torch.

The tables are those that ``mitoxai trust --simulate`` writes; ``planted_truth.json`` beside them tells how they were made.
"""

import csv
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from napari_mitoxai.simulate.signals import SIGNALS

_DATA = "data"
_TOLD = {"True": True, "False": False, "": None}


@dataclass(frozen=True)
class Found:
    """How much of one planted signal a method found.

    Attributes
    ----------
    signal : str
        Its name.
    value, low, high : float
        Share of the positive relevance in the truth, and its 95 % interval over networks.
    chance : float
        The truth's share of the area.
    place, methods : int
        Among so many methods.
    above_chance : bool or None
        Whether the interval of the difference from chance lies above 0; None with one network.
    channel_named : float or None
        In which share of the patches the channel with most relevance carries the signal; None where it cannot be told.
    """

    signal: str
    value: float
    low: float
    high: float
    chance: float
    place: int
    methods: int
    above_chance: bool | None
    channel_named: float | None

    def sentence(self) -> str:
        """For a person: ``Complex I loss: 62 % (48 to 76, chance 22 %), 3rd of 19``."""
        interval = f"{100 * self.low:.0f} to {100 * self.high:.0f}, " if self.low == self.low else ""
        said = f"{SIGNALS[self.signal].title}: {self.value:.0%} ({interval}chance {self.chance:.0%}), "
        said += f"{ordinal(self.place)} of {self.methods}"
        if self.above_chance is False:
            said += ", not told from chance"
        if self.channel_named is not None:
            said += f", the right protein named in {self.channel_named:.0%} of the patches"
        return said.replace("%", " %")


@cache
def found_by() -> dict[str, tuple[Found, ...]]:
    """By method, how much of each signal it found; baselines are not in it."""
    rows = _rows("planted_truth.csv")
    named = {
        (row["signal"], row["method"]): float(row["value"]) for row in rows if row["score"] == "channel_named"
    }
    found: dict[str, list[Found]] = {}
    for row in rows:
        if row["score"] == "mass" and row["place"]:
            each = Found(
                signal=row["signal"],
                value=_number(row["value"]),
                low=_number(row["low"]),
                high=_number(row["high"]),
                chance=_number(row["chance"]),
                place=int(row["place"]),
                methods=int(row["methods"]),
                above_chance=_TOLD[row["above_chance"]],
                channel_named=named.get((row["signal"], row["method"])),
            )
            found.setdefault(row["method"], []).append(each)
    return {method: tuple(each) for method, each in found.items()}


@dataclass(frozen=True)
class Place:
    """How a method did over all signals.

    Attributes
    ----------
    place : int
        1 for the best.
    times_chance, low, high : float
        Relevance in the truth over that of chance, and its 95 % interval over all networks; 1 is chance.
    """

    place: int
    times_chance: float
    low: float
    high: float


@cache
def ranking() -> dict[str, Place]:
    """The place of each method over all signals, the best first; baselines are not in it."""
    rows = [row for row in _rows("planted_ranking.csv") if row["place"]]
    return {
        row["method"]: Place(
            int(row["place"]), *(_number(row[name]) for name in ("times_chance", "low", "high"))
        )
        for row in rows
    }


@cache
def provenance() -> dict[str, Any]:
    """How the tables were made: parameters, networks, versions, date."""
    told: dict[str, Any] = json.loads(_text("planted_truth.json"))
    return told


def short_hint(method: str) -> str:
    """What stands beside a method in a list: ``3rd``; empty for one that was not measured."""
    own = ranking().get(method)
    return "" if own is None else ordinal(own.place)


def long_hint(method: str) -> str:
    """What stands behind it, signal by signal; empty for a method that was not measured."""
    own, found = ranking().get(method), found_by().get(method)
    if own is None or not found:
        return ""
    interval = f" ({own.low:.1f} to {own.high:.1f})" if own.low == own.low else ""
    told = "; ".join(each.sentence() for each in found)
    return (
        f"Planted truth: {ordinal(own.place)} of {len(ranking())}, {own.times_chance:.1f} times chance{interval}. Share of its positive "
        f"relevance in the truth, on simulated tissue ({made_with()}): {told}."
    )


def best_known(number: int = 3) -> str:
    """A sentence with the methods that found most of the planted truths."""
    best = ", ".join(list(ranking())[:number])
    return f"Those that found most of a planted truth: {best}; `mitoxai methods` tells more."


def made_with() -> str:
    """What the figures rest on, in a few words."""
    models = [model for model in provenance()["models"] if model["explained"]]
    patches = sum(model["explained"] for model in models)
    return f"{len(models)} networks, {patches} patches, 95 % intervals over networks"


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``4th``, ``11th``."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _number(text: str) -> float:
    return float(text or "nan")


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(name).splitlines()))


def _text(name: str) -> str:
    return (files("napari_mitoxai.explain") / _DATA / name).read_text(encoding="utf-8")
