"""Specifications of figures on the disk: YAML files that people write, and the sidecars that figures leave."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import written_beside
from napari_mitoxai.figures.spec import FigureSpec, Panel
from napari_mitoxai.tasks.figure_inputs import Inputs, digest
from napari_mitoxai.tasks.parameters import validated

SPEC_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class SpecFile:
    """A specification that was read.

    Attributes
    ----------
    path : Path
        Where it was.
    spec : FigureSpec
        With absolute paths.
    inputs : dict of str
        Digests by path, of a sidecar; empty of a file that a person wrote.
    """

    path: Path
    spec: FigureSpec
    inputs: dict[Path, str] = field(default_factory=dict)


def read_spec(path: Path) -> SpecFile:
    """Read a specification or a sidecar; paths in it are relative to its folder.

    Raises
    ------
    MitoxaiError
        If it is not there, or none.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except FileNotFoundError as error:
        raise MitoxaiError(f"{path} is not there: check the path.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise MitoxaiError(f"{path.name} cannot be read as YAML or JSON ({told}): correct it.") from error
    folder = path.resolve().parent
    inputs: dict[Path, str] = {}
    is_sidecar = isinstance(content, dict) and {"spec", "inputs", "files"} <= content.keys()
    if is_sidecar:
        listed = content["inputs"]
        if not isinstance(content["spec"], dict) or not isinstance(listed, dict):
            raise MitoxaiError(f"{path.name} is damaged: make the figure anew.")
        inputs = {(folder / name).resolve(): str(expected) for name, expected in listed.items()}
        content = content["spec"]
    if not isinstance(content, dict) or "rows" not in content:
        raise MitoxaiError(
            f"{path.name} is neither the specification nor the sidecar of a figure: it needs rows, each with a section."
        )
    spec = validated(FigureSpec, content)
    return SpecFile(path, _with_paths(spec, lambda each: _absolute(each, folder)), inputs)


def unchanged(file: SpecFile) -> None:
    """Raise if what a sidecar names is not what it was.

    Raises
    ------
    MitoxaiError
        If an input is gone, or holds something else.
    """
    for path, expected in file.inputs.items():
        if not path.exists() or digest(path) != expected:
            raise MitoxaiError(
                f"{path} is not there or changed since {file.path.name} was written: put the old one back, or make a new figure."
            )


def write_spec(spec: FigureSpec, path: Path, *, overwrite: bool = False) -> None:
    """Write a specification as YAML, with paths relative to its folder; what is as by default is left out.

    Raises
    ------
    MitoxaiError
        If the file exists or cannot be written.
    """
    import yaml

    content = portable(spec, path.resolve().parent)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    with written_beside(path, overwrite=overwrite) as partial:
        partial.write_text(text, encoding="utf-8")


def portable(spec: FigureSpec, folder: Path, *, whole: bool = False) -> dict[str, Any]:
    """A specification as plain values, with paths relative to a folder, so that it can be moved as a whole.

    Parameters
    ----------
    spec : FigureSpec
    folder : Path
        Where the file will be.
    whole : bool
        With what is as by default too, which another version may have otherwise.
    """
    relative = _with_paths(spec, lambda each: Path(_relative(each, folder)))
    return relative.model_dump(mode="json", exclude_defaults=not whole)


def made_from(spec: FigureSpec, inputs: Inputs, folder: Path) -> dict[str, Any]:
    """What a sidecar in `folder` says of a figure that was just drawn."""
    stores = [inputs.store(path) for row in spec.rows for path in row.maps]
    return {
        "spec": portable(spec, folder, whole=True),
        "inputs": {_relative(path, folder): value for path, value in inputs.digests().items()},
        "maps": [store.info for store in stores],
    }


def _relative(path: Path, folder: Path) -> str:
    absolute = path.expanduser().resolve()
    try:
        return Path(os.path.relpath(absolute, folder)).as_posix()
    except ValueError:  # another drive
        return str(absolute)


def _absolute(path: Path, folder: Path) -> Path:
    return (folder / path.expanduser()).resolve()


def _with_paths(spec: FigureSpec, change: Callable[[Path], Path]) -> FigureSpec:
    """A specification with every path changed."""

    def of_panel(panel: Panel) -> Panel:
        return panel if panel.table is None else panel.model_copy(update={"table": change(panel.table)})

    rows = [
        row.model_copy(
            update={
                "section": change(row.section),
                "maps": [change(path) for path in row.maps],
                "fibres": change(row.fibres) if row.fibres is not None else None,
                "table": change(row.table) if row.table is not None else None,
            }
        )
        for row in spec.rows
    ]
    panels, below = [of_panel(panel) for panel in spec.panels], [of_panel(panel) for panel in spec.below]
    return spec.model_copy(update={"rows": rows, "panels": panels, "below": below})
