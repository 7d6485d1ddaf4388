"""What the checks of methods say, as tables."""

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_mitoxai.trust.checks import SCORES

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.trust.judging import Outcome

_DIFFERENCES = {
    "random": ("from_random", "from_random_low", "from_random_high"),
    "edge_detector": ("from_edges", "from_edges_low", "from_edges_high"),
}


def failures(judged: "dict[str, dict[str, Outcome]]") -> dict[str, bool]:
    """Of the methods that were compared with untrained networks, whether they fail; those with a map to compare."""
    from napari_mitoxai.trust.randomisation import fails

    return {
        label: fails(outcomes["randomisation"].scores["randomisation_rank"])
        for label, outcomes in judged.items()
        if "randomisation" in outcomes
        and np.isfinite(outcomes["randomisation"].scores["randomisation_rank"]).any()
    }


def score_rows(judged: "dict[str, dict[str, Outcome]]", failures: dict[str, bool]) -> list[dict[str, Any]]:
    """A row a method and score: the mean over patches with its interval, and the differences from the baselines on the same patches."""
    from napari_mitoxai.trust import mean_and_interval

    rows = []
    known = {
        (label, name): values
        for label, outcomes in judged.items()
        for outcome in outcomes.values()
        for name, values in outcome.scores.items()
    }
    for label, outcomes in judged.items():
        for outcome in outcomes.values():
            for name, values in outcome.scores.items():
                mean, low, high = mean_and_interval(values.tolist())
                row: dict[str, Any] = {
                    "method": label, "score": name, "value": mean, "low": low, "high": high,
                    "patches": int(np.isfinite(values).sum()), "seeds": outcome.seeds, "better": SCORES[name].better,
                }  # fmt: skip
                for baseline, columns in _DIFFERENCES.items():
                    if label != baseline and (baseline, name) in known:
                        paired = mean_and_interval((values - known[baseline, name]).tolist())
                        row.update(zip(columns, paired, strict=True))
                rows.append({**row, "fails_sanity": failures.get(label)})
    return rows


def score_table(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    """The table of these rows, its columns always the same."""
    import pandas as pd

    columns = [
        "method", "score", "value", "low", "high", "patches", "seeds", "better",
        *(column for columns in _DIFFERENCES.values() for column in columns), "fails_sanity",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def curve_rows(judged: "dict[str, dict[str, Outcome]]") -> "pd.DataFrame":
    """A row a method, curve and point: the mean over patches with its interval."""
    import pandas as pd

    from napari_mitoxai.trust import mean_and_interval

    rows = []
    for label, outcomes in judged.items():
        for curve in (curve for outcome in outcomes.values() for curve in outcome.curves):
            for x, values in zip(curve.x, curve.y.T, strict=True):
                mean, low, high = mean_and_interval(values.tolist())
                rows.append((label, curve.name, float(x), mean, low, high, int(np.isfinite(values).sum())))
    return pd.DataFrame(rows, columns=["method", "curve", "share", "value", "low", "high", "patches"])
