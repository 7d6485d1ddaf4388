"""Combine maps of one section by several checkpoints into one, each scaled as stated: one picture a channel."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_foreign, refuse_input, written_beside
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.explain.combining import Source

_MAPS = ".ome.zarr"
_USES = ("train", "validation", "test", "new")  # a subject that any of the models was trained on is no test


class AggregateParameters(TaskParameters):
    """What combining maps needs to know."""

    maps: list[Path] = Field(
        min_length=2, title="Maps",
        description="Stores of one section that `mitoxai explain` wrote, one a checkpoint: of networks that read one channel each, or of folds and seeds.",
        json_schema_extra={"argument": True},
    )  # fmt: skip
    out: Path = Field(title="Combined", description="The store to write, ending in .ome.zarr.")
    scaled_by: Literal["max", "positive", "rms", "none"] = Field(
        default="positive", title="Scaled by",
        description="What every map is divided by, one number for all its channels: its largest magnitude (max), its positive relevance "
        "an explained pixel (positive), the root mean square of its values (rms), or nothing (none).",
    )  # fmt: skip
    methods: list[str] = Field(
        default=[], title="Methods", description="Only these; by default all that every store has.",
        json_schema_extra={"option": "--method"},
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace existing maps", description="Whether an existing store may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class AggregateResult:
    """Combined maps.

    Attributes
    ----------
    maps : Path
        The store.
    section : str
        Of which section.
    checkpoints : int
        By how many.
    methods : list of str
        Combined.
    channels : list of str
        The planes, but for methods that do not tell channels apart.
    notes : list of str
        What a reader of the maps should know.
    """

    maps: Path
    section: str
    checkpoints: int
    methods: list[str]
    channels: list[str]
    notes: list[str]


def run(
    parameters: AggregateParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> AggregateResult:
    """Combine the maps method by method, block by block, and write them as one store.

    Raises
    ------
    MitoxaiError
        If the stores are not finished, not of one section, grid and target, have no method in common, or a file exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.explain.combining import combined_channels, scale_of, source_of
    from napari_mitoxai.tasks.fibre_relevance import explained_pixels

    cancel, out = cancel or CancelToken(), parameters.out
    if not out.name.endswith(_MAPS):
        raise MitoxaiError(f"{out.name} does not end in {_MAPS}: name the maps for example COMBINED{_MAPS}.")
    refuse_existing(out, overwrite=parameters.overwrite)
    refuse_foreign(out, "zarr.json", "a store of maps")
    refuse_input(out, *parameters.maps)
    stores = [open_maps(path) for path in parameters.maps]
    _check_alike(stores)
    methods, notes = _methods(stores, parameters.methods)
    corners = set.intersection(*(set(store.patch_probabilities()) for store in stores))
    explained = np.logical_and.reduce([explained_pixels(store) for store in stores])
    if not corners or not explained.any():
        raise MitoxaiError(
            "The maps have no patch in common that was explained: explain the same part of the section with every checkpoint."
        )
    if any(len(store.patch_probabilities()) > len(corners) for store in stores):
        notes.append(
            f"The maps have {len(corners)} patches in common, others were explained by some checkpoints only: elsewhere the combined maps are empty."
        )
        explained &= _under(stores[0], corners)
    sources: dict[str, list[Source]] = {}
    for number, method in enumerate(methods):
        own = [source_of(store, method) for store in stores]
        combined_channels(own)  # says what does not go together
        sources[method] = []
        for place, source in enumerate(own):
            progress(
                Progress("Scaling maps", number * len(own) + place, len(methods) * len(own), source.store.path.name)
            )  # fmt: skip
            scale = scale_of(source, parameters.scaled_by, explained, cancel)
            sources[method].append(replace(source, scale=scale))
    with written_beside(out, overwrite=parameters.overwrite) as partial:
        _write(partial, parameters, stores, sources, explained, corners, progress, cancel)
    channels = dict.fromkeys(name for own in sources.values() for name in combined_channels(own))
    return AggregateResult(
        out, stores[0].info["section"]["name"], len(stores), methods,
        [name for name in channels if name != "all channels"], notes,
    )  # fmt: skip


def _check_alike(stores: "Sequence[MapStore]") -> None:
    first = stores[0]
    if len({store.path.resolve() for store in stores}) < len(stores):
        raise MitoxaiError("A store is given twice: give each checkpoint's once.")
    for store in stores:
        if "verdict" not in store.info:
            raise MitoxaiError(
                f"{store.path} is not finished: run the same `mitoxai explain` again, it goes on."
            )
        if store.info["section"]["name"] != first.info["section"]["name"]:
            raise MitoxaiError(
                f"{store.path.name} is of {store.info['section']['name']} and {first.path.name} of {first.info['section']['name']}: "
                "combine maps of one section."
            )
        if store.grid != first.grid:
            raise MitoxaiError(
                f"{store.path.name} has another grid than {first.path.name}: combine maps of checkpoints with one patch and input size."
            )
        if store.explained != first.explained or store.info["checkpoint"]["classes"] != first.info["checkpoint"]["classes"]:  # fmt: skip
            raise MitoxaiError(
                f"{store.path.name} explains {store.explained} and {first.path.name} {first.explained}: combine maps of one class."
            )
        if store.info.get("area") != first.info.get("area"):
            raise MitoxaiError(
                f"{store.path.name} and {first.path.name} are of different parts of the section: explain the same part."
            )
        if store.info["checkpoint"]["patch_size"] != first.info["checkpoint"]["patch_size"]:
            raise MitoxaiError(
                f"{store.path.name} was made with another patch size than {first.path.name}: combine like with like."
            )


def _methods(stores: "Sequence[MapStore]", wanted: list[str]) -> tuple[list[str], list[str]]:
    """What is combined, and what to say of what is not."""
    common = [name for name in stores[0].methods if all(name in store.methods for store in stores)]
    for name in wanted:
        for store in stores:
            store.channels(name)  # says which store lacks it
    if not common:
        raise MitoxaiError(
            "The stores have no method in common: explain with the same one for every checkpoint."
        )
    every = dict.fromkeys(name for store in stores for name in store.methods)
    left = [name for name in every if name not in common]
    notes = [f"Not in every store, and left out: {', '.join(left)}."] if left and not wanted else []
    return wanted or common, notes


def _under(store: "MapStore", corners: set[tuple[int, int]]) -> NDArray[np.bool_]:
    """The map pixels under patches."""
    side = store.info["checkpoint"]["patch_size"] // store.grid.reduction
    under = np.zeros(store.grid.shape, bool)
    for y, x in corners:
        top, left = y // store.grid.reduction, x // store.grid.reduction
        under[top : top + side, left : left + side] = True
    return under


def _write(
    path: Path,
    parameters: AggregateParameters,
    stores: "Sequence[MapStore]",
    sources: "dict[str, list[Source]]",
    explained: NDArray[np.bool_],
    corners: set[tuple[int, int]],
    progress: ProgressCallback,
    cancel: CancelToken,
) -> None:
    from napari_mitoxai.explain.combining import combined, combined_channels, regions
    from napari_mitoxai.explain.store import BLOCK, create_store

    first = stores[0].info
    shas = [str(store.info["checkpoint"].get("weights_sha256", "")) for store in stores]
    uses = {store.info.get("use_of_subject", "new") for store in stores}
    notes = dict.fromkeys(note for store in stores for note in store.info["section"].get("notes", []))
    panel = dict.fromkeys(name for store in stores for name in store.info["checkpoint"]["panel"])
    info: dict[str, Any] = {
        **{name: first[name] for name in ("target", "target_class", "approach", "area") if name in first},
        "section": {**first["section"], "notes": list(notes)},
        "checkpoint": {
            **first["checkpoint"],
            "architecture": " + ".join(dict.fromkeys(store.info["checkpoint"]["architecture"] for store in stores)),
            "weights_sha256": hashlib.sha256(" ".join(shas).encode()).hexdigest(),
            "panel": list(panel),
        },
        "use_of_subject": next((use for use in _USES if use in uses), "new"),
        "combined": {
            "scaled_by": parameters.scaled_by,
            "from": [
                {
                    "maps": str(store.path),
                    "checkpoint": store.info["checkpoint"],
                    "verdict": store.info["verdict"],
                    "provenance": store.info.get("provenance"),
                    "divided_by": {method: own[place].scale for method, own in sources.items()},
                }
                for place, store in enumerate(stores)
            ],
        },
        "provenance": {"software": software(), "started": now(), "parameters": parameters.model_dump(mode="json")},
    }  # fmt: skip
    text = f"{[store.info['fingerprint'] for store in stores]} {parameters.scaled_by} {sorted(sources)}"
    info["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()
    entries = {
        method: {
            **stores[0].info["methods"][method],
            "channels": combined_channels(own),
            "signed": any(source.store.signed(method) for source in own),
        }
        for method, own in sources.items()
    }
    store = create_store(path, stores[0].grid, entries, info)
    parts = [part for part in regions(store.grid.shape) if explained[part].any()]
    for done, part in enumerate(parts):
        cancel.check()
        progress(Progress("Combining maps", done, len(parts)))
        block = part[0].start // BLOCK, part[1].start // BLOCK
        for method, own in sources.items():
            store.write_block(method, block, combined(own, part, explained))
        store.mark_finished(block)
    chances = {corner: np.mean([each.patch_probabilities()[corner] for each in stores], 0) for corner in sorted(corners)}  # fmt: skip
    store.note_patches({corner: row.tolist() for corner, row in chances.items()})
    mean = np.mean(list(chances.values()), 0)
    classes = first["checkpoint"]["classes"]
    verdict = {
        "call": classes[int(mean.argmax())],
        "probability": {name: round(float(chance), 4) for name, chance in zip(classes, mean, strict=True)},
        "patches": len(corners),
    }
    store.complete(verdict, progress, cancel)
