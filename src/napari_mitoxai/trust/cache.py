"""What was computed before, kept in the run's folder: a rerun only does what is new."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai import __version__
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import read_json, write_json
from napari_mitoxai.trust.judging import Curve, Outcome


class Cache:
    """Outcomes by what they depend on: weights, patches, target, method, parameters, check and its settings, and the program.

    Parameters
    ----------
    folder : Path
        Made when first needed; where it cannot be written, nothing is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: dict[str, Any]) -> Outcome | None:
        """What was kept, or None; a damaged file counts as none."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return _outcome(read_json(path)["outcome"])
        except (MitoxaiError, KeyError, TypeError, ValueError):
            return None

    def put(self, key: dict[str, Any], outcome: Outcome) -> bool:
        """Keep an outcome; False where the folder does not take it."""
        content = {
            "scores": {name: _as_json(values) for name, values in outcome.scores.items()},
            "seeds": outcome.seeds,
            "curves": [
                {"name": curve.name, "x": _as_json(curve.x), "y": _as_json(curve.y)}
                for curve in outcome.curves
            ],
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._path(key), {"key": key, "outcome": content})
        except (OSError, MitoxaiError):
            return False
        return True

    def _path(self, key: dict[str, Any]) -> Path:
        text = json.dumps({"version": __version__, "code": _code(), **key}, sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


@cache
def _code() -> str:
    """Names the code that scores come from: between releases it changes, and the version does not."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in ("explain", "models", "trust"):
        for module in sorted((package / room).glob("*.py")):
            digest.update(module.read_bytes())
    return digest.hexdigest()


def digest_of(patches: NDArray[np.float32]) -> str:
    """Names patches by what they hold, wherever they come from."""
    content = np.ascontiguousarray(patches)
    return hashlib.sha256(str(content.shape).encode() + content.tobytes()).hexdigest()


def _outcome(content: dict[str, Any]) -> Outcome:
    return Outcome(
        {name: np.array(values, float) for name, values in content["scores"].items()},
        int(content["seeds"]),
        [
            Curve(curve["name"], np.array(curve["x"], float), np.array(curve["y"], float))
            for curve in content["curves"]
        ],
    )


def _as_json(values: NDArray[np.float64]) -> Any:
    """Lists with None for what is not finite, as JSON has no nan; numpy reads None as nan."""
    listed = values.astype(object)
    listed[~np.isfinite(values)] = None
    return listed.tolist()
