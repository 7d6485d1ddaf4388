"""From the scores of patches to a ranking of methods: patches are averaged within a network, networks give the interval."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from scipy import stats

from napari_mitoxai.trust.planted import SCORES

RANKED_BY = "mass"
COLUMNS = [
    "signal", "method", "score", "value", "low", "high", "chance", "seeds", "patches", "empty", "better", "place", "methods",
    "above_chance", "above_edges",
]  # fmt: skip
_EDGES = "edge_detector"
_DIGITS = 4


def t_interval(values: Collection[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval by Student's t (1908) over independent values; the interval is nan for fewer than two."""
    known = np.asarray([value for value in values if np.isfinite(value)], float)
    if not known.size:
        return (float("nan"),) * 3
    mean = float(known.mean())
    if known.size == 1:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, known.size - 1) * known.std(ddof=1) / np.sqrt(known.size))
    return mean, mean - half, mean + half


def over_seeds(patches: pd.DataFrame, baselines: Collection[str] = ()) -> pd.DataFrame:
    """Put the scores of patches together.

    Parameters
    ----------
    patches : pandas.DataFrame
        A row a patch and method: ``signal, seed, method``, the scores in `SCORES`, the same with ``chance_`` before them, ``empty``.
    baselines : collection of str
        Methods that get no place.

    Returns
    -------
    pandas.DataFrame
        A row a signal, method and score, in the order of `COLUMNS`: ``value`` is the mean over seeds of the means over patches,
        ``low`` and ``high`` its 95 % t interval over seeds, kept within 0 to 1; ``chance`` likewise without interval; ``place`` the
        place among the methods that are no baselines, 1 for the highest value; ``above_chance`` and ``above_edges`` whether the 95 %
        interval of the difference, paired by seed, from chance and from the edge detector lies above 0: empty with one seed.
    """
    columns = [*SCORES, *(f"chance_{name}" for name in SCORES)]
    by_seed = patches.groupby(["signal", "seed", "method"], sort=False)[columns].mean()
    counted = {
        key: (len(own), int(own["empty"].sum()))
        for key, own in patches.groupby(["signal", "method"], sort=False)
    }
    rows = []
    for (signal, method), own in by_seed.groupby(["signal", "method"], sort=False):
        own = own.droplevel(["signal", "method"])
        edges = _of_method(by_seed, signal, _EDGES)
        for score in SCORES:
            values = own[score].dropna()
            if values.empty:
                continue
            mean, low, high = t_interval(values)
            rows.append(
                {
                    "signal": signal,
                    "method": method,
                    "score": score,
                    "value": mean,
                    "low": max(low, 0.0) if np.isfinite(low) else low,
                    "high": min(high, 1.0) if np.isfinite(high) else high,
                    "chance": own[f"chance_{score}"].mean(),
                    "seeds": len(values),
                    "patches": counted[signal, method][0],
                    "empty": counted[signal, method][1],
                    "better": "higher",
                    "above_chance": _above(values - own[f"chance_{score}"]),
                    "above_edges": None
                    if edges is None or method == _EDGES
                    else _above(values - edges[score]),
                }
            )
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.round({"value": _DIGITS})  # methods that are the same but for rounding share a place
    placed = ~table["method"].isin(list(baselines))
    groups = table[placed].groupby(["signal", "score"], sort=False)
    table["place"] = groups["value"].rank(ascending=False, method="min").astype("Int64")
    table["methods"] = groups["value"].transform("size").astype("Int64")
    return table


def _of_method(by_seed: pd.DataFrame, signal: object, method: str) -> pd.DataFrame | None:
    index = by_seed.index
    chosen = (index.get_level_values("signal") == signal) & (index.get_level_values("method") == method)
    return by_seed[chosen].droplevel(["signal", "method"]) if chosen.any() else None


def _above(differences: "pd.Series[float]") -> bool | None:
    """Whether the interval of a difference lies above 0; None where there is none."""
    _, low, _ = t_interval(differences.to_numpy())
    return None if np.isnan(low) else bool(low > 0)


def overall(patches: pd.DataFrame, baselines: Collection[str] = ()) -> pd.DataFrame:
    """The ranking over all signals.

    Parameters
    ----------
    patches : pandas.DataFrame
        As for `over_seeds`.
    baselines : collection of str
        Methods that get no place.

    Returns
    -------
    pandas.DataFrame
        A row a method, the best first, the baselines last: ``method, place, mean_place, times_chance, low, high, networks``. By the mean
        of its places in relevance mass over the signals, of methods scored on every signal. ``times_chance`` is the mean over
        all networks, of whatever signal, of the mass over that of chance, ``low`` and ``high`` its 95 % t interval: 1 is chance.
    """
    table = over_seeds(patches, baselines)
    mass = table[(table["score"] == RANKED_BY) & table["place"].notna()]
    by_method = mass.groupby("method", sort=False)["place"].agg(["mean", "size"])
    mean_place = by_method.loc[by_method["size"] == mass["signal"].nunique(), "mean"].astype(float)
    columns = [RANKED_BY, f"chance_{RANKED_BY}"]
    networks = patches.groupby(["method", "signal", "seed"], sort=False)[columns].mean()
    times = networks[columns[0]] / networks[columns[1]]
    rows = []
    for method in [*mean_place.sort_values(kind="stable").index, *baselines]:
        own = times[times.index.get_level_values("method") == method]
        if not own.empty:
            value, low, high = t_interval(own.to_numpy())
            rows.append((method, mean_place.get(method), value, np.maximum(low, 0.0), high, len(own)))
    ranking = pd.DataFrame(rows, columns=["method", "mean_place", "times_chance", "low", "high", "networks"])
    ranking.insert(1, "place", ranking["mean_place"].rank(method="min").astype("Int64"))
    return ranking
