"""Trust scores kept with the maps that they judge: a file in the store, which moves and goes with it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

Better = Literal["higher", "lower"]
COLUMNS = ["method", "score", "value", "low", "high", "patches", "seeds", "better"]
FAILS = "fails the sanity check"
"""What is said, wherever it is shown, of a map that hardly changes when the network's weights are drawn anew."""

ARROWS = {"higher": "↑", "lower": "↓"}
"""Which way is better, where there is no room to say it."""

BASELINES = ("random", "edge_detector")
"""Methods that know nothing of the class: judged beside the others, also where a store has no maps of them."""

SCORES_FILE = "trust.json"


@dataclass(frozen=True)
class RecordedScore:
    """One score of one method.

    Attributes
    ----------
    score : str
        Its name: ``deletion``.
    value, low, high : float
        The mean over patches and its 95 % interval; nan where it is not defined.
    patches, seeds : int
        How many it rests on; seeds is 0 for a score without any chance in it.
    better : {"higher", "lower"}
    """

    score: str
    value: float
    low: float
    high: float
    patches: int
    seeds: int
    better: Better


def in_numbers(score: Mapping[Any, Any], digits: int = 3) -> str:
    """The value of a score for people, with its 95 % interval where there is one.

    Parameters
    ----------
    score : mapping
        The fields of a `RecordedScore`.
    digits : int
        That count: a small probability is not 0.
    """
    value, low, high = (float(score[name]) for name in ("value", "low", "high"))
    if not isfinite(value):
        return "no number"
    interval = f" ({low:.{digits}g} to {high:.{digits}g})" if isfinite(low) else ""
    return f"{value:.{digits}g}{interval}"


def rests_on(score: Mapping[Any, Any]) -> str:
    """How many patches a score is of, and how often chance was drawn in each."""
    patches, seeds = int(score["patches"]), int(score["seeds"])
    drawn = f", {seeds} draw{'' if seeds == 1 else 's'} in each" if seeds else ""
    return f"{patches} patch{'' if patches == 1 else 'es'}{drawn}"


def record_scores(
    maps: Path, method: str, scores: Iterable[RecordedScore], *, fails_sanity: bool | None = None
) -> None:
    """Keep scores of a method with its map; those of the same name are replaced, others stay.

    The file is replaced as a whole, so that a crash leaves the old one; arrays and metadata of the store are not touched.

    Parameters
    ----------
    maps : Path
        A store that `mitoxai explain` wrote.
    method : str
        As the store names it, with its preset; or one of the `BASELINES`, which it need not have.
    scores : iterable of RecordedScore
    fails_sanity : bool, optional
        Whether the map survives random weights; None leaves what is known.

    Raises
    ------
    MitoxaiError
        If the store is not there, has no such method, or cannot be written to.
    """
    from napari_mitoxai.explain import open_maps

    store = open_maps(maps)
    if method not in BASELINES:
        store.channels(method)  # says what is missing
    kept = _read(maps)
    entry = kept.get(method, {"scores": [], "fails_sanity": None})
    rows = {row["score"]: row for row in entry["scores"]}
    for score in scores:
        row = asdict(score)
        # JSON has no nan
        rows[score.score] = {
            key: value if not isinstance(value, float) or isfinite(value) else None
            for key, value in row.items()
        }
    known = entry["fails_sanity"] if fails_sanity is None else fails_sanity
    kept[method] = {"scores": list(rows.values()), "fails_sanity": known}
    write_json(maps / SCORES_FILE, {"methods": kept})


def read_scores(maps: Path) -> "pd.DataFrame":
    """The scores kept with the maps of a section.

    Parameters
    ----------
    maps : Path
        The store.

    Returns
    -------
    DataFrame
        A row a method and score, of the `BASELINES` too: ``method, score, value, low, high, patches, seeds, better``; without rows where none were made.

    Raises
    ------
    MitoxaiError
        If the file with them is damaged.
    """
    import pandas as pd

    rows = [{"method": method, **row} for method, entry in _read(maps).items() for row in entry["scores"]]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"value": float, "low": float, "high": float, "patches": int, "seeds": int})


def sanity_failures(maps: Path) -> set[str]:
    """The methods of a store whose maps hardly change when the network's weights are drawn anew: they fail the sanity check.

    Raises
    ------
    MitoxaiError
        If the file with the scores is damaged.
    """
    return {method for method, entry in _read(maps).items() if entry["fails_sanity"]}


def _read(maps: Path) -> dict[str, Any]:
    path = Path(maps) / SCORES_FILE
    if not path.exists():
        return {}
    content = read_json(path)
    methods = content.get("methods") if isinstance(content, dict) else None
    if not isinstance(methods, dict) or not all(
        isinstance(entry, dict) and {"scores", "fails_sanity"} <= entry.keys() for entry in methods.values()
    ):
        raise MitoxaiError(f"{path} holds no trust scores: remove it, and judge the maps again.")
    return methods
