"""What lies in folders of results: runs, sweeps, maps, figures, answers, tables, pictures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_mitoxai.common import MitoxaiError

RUN, SWEEP, MAPS, FIGURE, ANSWERS, TABLE, PICTURE = (
    "Training run", "Sweep", "Maps", "Figure", "Where relevance falls", "Table", "Picture",
)  # fmt: skip
_ORDER = (SWEEP, RUN, MAPS, FIGURE, ANSWERS, TABLE, PICTURE)
_TABLES, _PICTURES = {".csv", ".parquet"}, {".png", ".svg"}
# what a run or a sweep consists of, told in its own part
_OWN = {"history.csv", "mixing.csv", "mixing.png", "cohort.csv", "table.csv", "table.png", "runs.csv"}


@dataclass(frozen=True)
class Found:
    """A result: its kind, its file or folder, and a name relative to the folder that was given."""

    kind: str
    path: Path
    name: str


def find(paths: list[Path]) -> list[Found]:
    """The results in files and folders, by kind and then by name; what belongs to another one is left out.

    Raises
    ------
    MitoxaiError
        If a path is not there.
    """
    found: list[Found] = []
    for path in paths:
        if not path.exists():
            raise MitoxaiError(f"{path} is not there: check the path.")
        root = path if path.is_dir() else path.parent
        for kind, each in _walk(path):
            name = each.relative_to(root).as_posix() if each != root else path.resolve().name
            found.append(Found(kind, each, name))
    drawn = {
        (each.path.parent / name).resolve()
        for each in found
        if each.kind == FIGURE
        for name in json_of(each.path)["files"]
    }
    once = {each.path.resolve(): each for each in found if each.path.resolve() not in drawn}
    return sorted(once.values(), key=lambda each: (_ORDER.index(each.kind), each.name))


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    kind = _kind(path)
    if kind:
        yield kind, path
    if not path.is_dir() or kind == MAPS or path.suffix == ".zarr":
        return
    own = _OWN if kind in {RUN, SWEEP} else set()
    for inner in sorted(path.iterdir()):
        if not inner.name.startswith(".") and inner.name not in own:
            yield from _walk(inner)


def _kind(path: Path) -> str:
    from napari_mitoxai.explain.store import is_map_store

    if path.is_dir():
        if (path / "metrics.json").is_file():
            return RUN
        if (path / "sweep.json").is_file():
            return SWEEP
        return MAPS if is_map_store(path) else ""
    if path.suffix == ".json":
        content = json_of(path)
        if {"spec", "inputs", "files"} <= content.keys() and isinstance(content["files"], dict):
            return FIGURE
        return ANSWERS if {"answers", "verdict", "maps_fingerprint"} <= content.keys() else ""
    suffix = path.suffix.lower()
    return TABLE if suffix in _TABLES else PICTURE if suffix in _PICTURES else ""


def json_of(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it has none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
