"""Timing two ways of doing the same in turn, so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """Seconds of both sides, measured in turn.

    Attributes
    ----------
    ours, rival : list of float
        Seconds of each repeat; the two with the same index were measured one after the other.
    """

    ours: list[float]
    rival: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times faster ours is, for each repeat."""
        return [theirs / mine for mine, theirs in zip(self.ours, self.rival, strict=True)]

    def row(self, work: str, rival: str) -> str:
        """A row of the table: medians, and the ratio with its range."""
        ratios = self.ratios
        return (
            f"| {work} | {rival} | {statistics.median(self.ours):.3g} | {statistics.median(self.rival):.3g} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


HEADER = "| work | rival | ours (s) | rival (s) | times faster (range) |\n|---|---|---|---|---|"


def compare(
    ours: Callable[[], Any],
    rival: Callable[[], Any],
    repeats: int = 5,
    now: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Run both once to warm up, then `repeats` times in turn; `now` is the clock."""
    ours()
    rival()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, work in zip(seconds, (ours, rival), strict=True):
            start = now()
            work()
            side.append(now() - start)
    return Comparison(*seconds)
