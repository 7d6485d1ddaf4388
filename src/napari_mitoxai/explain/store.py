"""Explanation maps on disk: one OME-Zarr 0.5 store with a multiscale image for each method."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import remove
from napari_mitoxai.imc import halved

BLOCK = 128  # map pixels; the side of a stored chunk, written once when all its patches are blended
_COARSEST = 512  # map pixels; a level that fits in this is the last of the pyramid
_ATTRIBUTE = "mitoxai"
_FINISHED = "finished.jsonl"
_PATCHES = "patches.jsonl"


@dataclass(frozen=True)
class MapGrid:
    """How map pixels lie on a section.

    Attributes
    ----------
    shape : (Y, X)
        In map pixels.
    reduction : int
        Section pixels a map pixel, along each axis.
    pixel_size_um : float
        Of the section.
    """

    shape: tuple[int, int]
    reduction: int
    pixel_size_um: float

    @property
    def scale_um(self) -> float:
        """Side of a map pixel."""
        return self.reduction * self.pixel_size_um

    @property
    def translate_um(self) -> float:
        """Centre of the first map pixel, where the centre of the section's first pixel is 0."""
        return (self.reduction - 1) / 2 * self.pixel_size_um


def slices_of(block: tuple[int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of a block, in map pixels."""
    y, x = (
        slice(index * BLOCK, min((index + 1) * BLOCK, length))
        for index, length in zip(block, shape, strict=True)
    )
    return y, x


class MapStore:
    """The maps of one section by one checkpoint, on disk.

    Attributes
    ----------
    path : Path
        The store.
    info : dict
        The root's attributes: section, checkpoint, target, verdict, grid, methods and their parameters, provenance.
    """

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        root: Any = zarr.open_group(path, mode=mode)  # type: ignore[arg-type]
        self._root = root
        self.info: dict[str, Any] = dict(root.attrs[_ATTRIBUTE])

    @property
    def methods(self) -> list[str]:
        """The methods in it, in the order asked for."""
        return list(self.info["methods"])

    @property
    def grid(self) -> MapGrid:
        """How its pixels lie on the section."""
        grid = self.info["grid"]
        return MapGrid((grid["shape"][0], grid["shape"][1]), grid["reduction"], grid["pixel_size_um"])

    @property
    def explained(self) -> str:
        """What the maps explain and how, for names and captions: ``patient``, or ``patient - control, seamless``."""
        seamless = ", seamless" if self.info.get("approach") == "seamless" else ""
        return f"{self.info['target']}{seamless}"

    def title(self, method: str) -> str:
        """A method's name for people, with its preset: ``LRP-epsilon (seed-exact)``."""
        self._check(method)
        preset = method.partition("@")[2]
        title = str(self.info["methods"][method].get("title", method))
        return f"{title} ({preset})" if preset else title

    def levels(self, method: str) -> list[da.Array]:
        """The pyramid of a method's map, finest first: lazy (C or 1, Y, X) float32; 0 where there is no tissue.

        Raises
        ------
        MitoxaiError
            If the store has no such method.
        """
        self._check(method)
        datasets = self._root[method].attrs["ome"]["multiscales"][0]["datasets"]
        return [da.from_zarr(self._root[f"{method}/{dataset['path']}"]) for dataset in datasets]

    def read(self, method: str) -> NDArray[np.float32]:
        """A method's whole map now: (C or 1, Y, X) float32."""
        return np.asarray(self.levels(method)[0].compute(scheduler="threads"), dtype=np.float32)

    def read_region(self, method: str, region: tuple[slice, slice]) -> NDArray[np.float32]:
        """Some rows and columns of a method's map now: (C or 1, y, x) float32."""
        self._check(method)
        return np.asarray(self._root[f"{method}/0"][(slice(None), *region)], dtype=np.float32)

    def channels(self, method: str) -> list[str]:
        """What the planes of a method's map are: the targets of the model's panel, or ``["all channels"]``."""
        self._check(method)
        return list(self.info["methods"][method]["channels"])

    def signed(self, method: str) -> bool:
        """Whether a method's map speaks for and against the class."""
        self._check(method)
        return bool(self.info["methods"][method]["signed"])

    def _check(self, method: str) -> None:
        if method not in self.info["methods"]:
            raise MitoxaiError(
                f"{self.path.name} has no map by {method} (it has {', '.join(self.methods)}): explain the section with it first."
            )

    # --- writing -------------------------------------------------------------------------------------------------

    def has(self, method: str) -> bool:
        """Whether there is still room for a method's map; see `leave_out`."""
        return f"{method}/0" in self._root

    def write_block(self, method: str, block: tuple[int, int], values: NDArray[np.float32]) -> None:
        """Store one finished block (C, y, x) of a method's map."""
        array: Any = self._root[f"{method}/0"]
        y, x = block[0] * BLOCK, block[1] * BLOCK
        array[:, y : y + values.shape[1], x : x + values.shape[2]] = values

    def mark_finished(self, *blocks: tuple[int, int]) -> None:
        """Note that blocks are stored for all methods, so that a resumed run leaves them out."""
        _append(self.path / _FINISHED, blocks)

    def finished_blocks(self) -> set[tuple[int, int]]:
        """The blocks stored so far."""
        return {(row[0], row[1]) for row in _rows(self.path / _FINISHED)}

    def finished_regions(self) -> Iterator[tuple[slice, slice]]:
        """The rows and columns of the blocks stored so far."""
        shape = self.grid.shape
        for row, column in sorted(self.finished_blocks()):
            yield slices_of((row, column), shape)

    def note_patches(self, probabilities: Mapping[tuple[int, int], Sequence[float]]) -> None:
        """Note what the model said of patches, by their upper left corners."""
        _append(
            self.path / _PATCHES,
            [(*corner, *(round(p, 6) for p in row)) for corner, row in probabilities.items()],
        )

    def note(self, **facts: Any) -> None:
        """Add to `info`."""
        self.info.update(facts)
        self._root.attrs[_ATTRIBUTE] = self.info

    def leave_out(self, method: str, reason: str) -> None:
        """Take a method out that has no meaning for this network, and keep why."""
        methods = {name: entry for name, entry in self.info["methods"].items() if name != method}
        self.note(methods=methods, left_out={**self.left_out, method: reason})
        remove(self.path / method)

    @property
    def left_out(self) -> dict[str, str]:
        """Why methods that were asked for are not in it."""
        return dict(self.info.get("left_out", {}))

    def patch_probabilities(self) -> dict[tuple[int, int], list[float]]:
        """Class probabilities of each patch by its upper left corner (y, x), in section pixels."""
        return {(int(row[0]), int(row[1])): row[2:] for row in _rows(self.path / _PATCHES)}

    def complete(
        self,
        verdict: dict[str, Any],
        progress: ProgressCallback = no_progress,
        cancel: CancelToken | None = None,
    ) -> None:
        """Add the coarser levels and the verdict; the store is then whole."""
        blocks = self.finished_blocks()
        for done, method in enumerate(self.methods):
            progress(Progress("Finishing the maps", done, len(self.methods), method))
            self._add_levels(method, blocks, cancel or CancelToken())
        self.note(verdict=verdict)
        (self.path / _FINISHED).unlink(missing_ok=True)

    def _add_levels(self, method: str, blocks: set[tuple[int, int]], cancel: CancelToken) -> None:
        group: Any = self._root[method]
        datasets, finer = [_dataset(0, self.grid)], group["0"]
        while max(finer.shape[1:]) > _COARSEST:
            channels, height, width = finer.shape
            level = len(datasets)
            coarser = _array(group, str(level), channels, (height // 2, width // 2))
            blocks = {(row // 2, column // 2) for row, column in blocks}
            for row, column in sorted(blocks):
                cancel.check()
                # an odd last row or column has no coarser pixel
                y, x = (
                    slice(2 * index * BLOCK, 2 * min((index + 1) * BLOCK, length // 2))
                    for index, length in ((row, height), (column, width))
                )
                if y.stop <= y.start or x.stop <= x.start:
                    continue
                fine = np.asarray(finer[:, y, x])
                coarser[:, y.start // 2 : y.stop // 2, x.start // 2 : x.stop // 2] = halved(fine)
            datasets.append(_dataset(level, self.grid))
            finer = coarser
        _set_multiscales(group, method, datasets)


def _array(group: Any, name: str, channels: int, shape: tuple[int, int]) -> Any:
    return group.create_array(
        name,
        shape=(channels, *shape),
        chunks=(channels, BLOCK, BLOCK),  # one file a block: a section has thousands
        dtype="float32",
        fill_value=0.0,
        dimension_names=("c", "y", "x"),
        config={"write_empty_chunks": False},
        overwrite=True,
    )


def create_store(
    path: Path, grid: MapGrid, methods: dict[str, dict[str, Any]], info: dict[str, Any]
) -> MapStore:
    """Make an empty store.

    Parameters
    ----------
    path : Path
        Must not exist.
    grid : MapGrid
        Of all its maps.
    methods : dict
        By name: ``channels`` (what its planes are), ``signed``, ``parameters``.
    info : dict
        Section, checkpoint, target, provenance; kept in the root's attributes.
    """
    root = zarr.open_group(path, mode="w-", zarr_format=3)
    for method, entry in methods.items():
        group = root.create_group(method)
        _array(group, "0", len(entry["channels"]), grid.shape)
        _set_multiscales(group, method, [_dataset(0, grid)])
    root.attrs[_ATTRIBUTE] = {
        **info,
        "methods": methods,
        "grid": {"shape": list(grid.shape), "reduction": grid.reduction, "pixel_size_um": grid.pixel_size_um},
    }
    return MapStore(path, "r+")


def is_map_store(path: Path | str) -> bool:
    """Whether `path` is a folder with maps, finished or not."""
    document = Path(path) / "zarr.json"
    try:
        return document.is_file() and _ATTRIBUTE in json.loads(document.read_text(encoding="utf-8")).get(
            "attributes", {}
        )
    except (OSError, ValueError):
        return False


def open_maps(path: Path | str, *, writable: bool = False) -> MapStore:
    """Open a store of maps.

    Raises
    ------
    MitoxaiError
        If it is not there, or not a store that `mitoxai explain` wrote.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MitoxaiError(f"{path} is not there: give the maps that `mitoxai explain` wrote.")
    if not is_map_store(path):
        raise MitoxaiError(f"{path} holds no explanation maps: give a store that `mitoxai explain` wrote.")
    if writable:
        for name in (_FINISHED, _PATCHES):
            _drop_broken_line(path / name)
    return MapStore(path, "r+" if writable else "r")


def _dataset(level: int, grid: MapGrid) -> dict[str, Any]:
    scale = grid.scale_um * 2**level
    # the centre of a coarse pixel is the middle of those it is the mean of
    translate = grid.translate_um + (2**level - 1) / 2 * grid.scale_um
    return {
        "path": str(level),
        "coordinateTransformations": [
            {"type": "scale", "scale": [1.0, scale, scale]},
            {"type": "translation", "translation": [0.0, translate, translate]},
        ],
    }


def _set_multiscales(group: Any, method: str, datasets: list[dict[str, Any]]) -> None:
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"),
    ]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"name": method, "axes": axes, "datasets": datasets}],
    }


def _append(path: Path, rows: Iterable[Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def _drop_broken_line(path: Path) -> None:
    """Cut off the last line of a run that was killed while writing it, so that the next one starts on a line of its own."""
    if path.exists():
        content = path.read_bytes()
        path.write_bytes(content[: content.rfind(b"\n") + 1])


def _rows(path: Path) -> list[list[Any]]:
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # the last line of a run that was killed while writing it
            break
    return rows
