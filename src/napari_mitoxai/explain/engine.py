"""Explaining a whole section: overlapping patches on tissue, blended and written block by block."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_mitoxai import __version__
from napari_mitoxai.cohort import patch_corners, read_patches, tissue_mask
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, remove, replace
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.explain.attribution import attribute_many
from napari_mitoxai.explain.blending import Blender
from napari_mitoxai.explain.registry import method
from napari_mitoxai.explain.store import BLOCK, MapGrid, MapStore, create_store, is_map_store, open_maps
from napari_mitoxai.imc import Section
from napari_mitoxai.models import CancellingMode, Checkpoint

_MIN_TISSUE = 0.05  # explain every patch that shows some tissue; training asks for more

StoreCallback = Callable[[MapStore], None]
BlockCallback = Callable[[tuple[slice, slice]], None]


def explain_section(
    section: Section,
    checkpoint: Checkpoint,
    methods: Sequence[str],
    out: Path,
    *,
    target: str | None = None,
    overlap: float = 0.5,
    batch_size: int = 8,
    device: torch.device | None = None,
    subject: str | None = None,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
    on_store: StoreCallback | None = None,
    on_block: BlockCallback | None = None,
) -> MapStore:
    """Explain what a classifier sees in a section.

    Patches that show tissue are explained in batches, all methods of a batch together, and blended with a smooth window.
    Finished blocks are written to a hidden store beside `out`, which takes its name when it is whole; after a
    cancel or a crash the same call goes on where it stopped.

    Parameters
    ----------
    section : Section
        Has the channels of the model's panel, in any order.
    checkpoint : Checkpoint
        The classifier.
    methods : sequence of str
        Of `napari_mitoxai.explain.available`.
    out : Path
        Ends in ``.ome.zarr``.
    target : str, optional
        The class to explain; by default the last one, ``patient``.
    overlap : float
        Share of a patch's side that its neighbour covers too.
    batch_size : int
        Patches computed at once.
    device : torch.device, optional
        The CPU by default.
    subject : str, optional
        Whose section it is, to say whether the model was trained on it; by default the section's own subject or name.
    overwrite : bool
        Whether `out` may be replaced.
    progress, cancel
        Reported after every batch; checked between layers.
    on_store : callable, optional
        Gets the store as soon as it stands, to show it while it fills.
    on_block : callable, optional
        Gets the rows and columns, in map pixels, of every block as soon as it is stored.

    Returns
    -------
    MapStore
        The whole store, at `out`.

    Raises
    ------
    MitoxaiError
        If a method or class is not known, a channel is missing, there is no tissue, `out` exists, or a map is not finite.
    Cancelled
        If it was cancelled; what is finished is kept and used by the next call.
    """
    cancel = cancel or CancelToken()
    refuse_existing(out, overwrite=overwrite)
    if out.exists() and not is_map_store(out):  # --overwrite must not cost a user's own data
        raise MitoxaiError(f"{out} is not a store of maps and is not replaced: choose another name.")
    if not methods:
        raise MitoxaiError("No method was chosen: name at least one, as grad_cam.")
    methods = list(dict.fromkeys(methods))
    entries = {name: method(name) for name in methods}
    planes = checkpoint.channels_in(section)
    geometry = checkpoint.geometry
    geometry.check(section.shape, section.name)
    class_index = _class_index(checkpoint, target)
    progress(Progress("Finding tissue", 0, 1, section.name))
    corners = patch_corners(
        section.shape, geometry, tissue_mask(section), overlap=overlap, min_tissue=_MIN_TISSUE
    )
    if not corners:
        raise MitoxaiError(
            f"{section.name} has no tissue that can be told from the empty slide: check its channels."
        )
    cancel.check()
    grid = MapGrid(
        (section.shape[1] // geometry.reduction, section.shape[2] // geometry.reduction),
        geometry.reduction,
        section.pixel_size_um,
    )
    info = _info(section, checkpoint, class_index, overlap, subject)
    channels = {
        name: checkpoint.panel.targets if entry.per_channel else ["all channels"]
        for name, entry in entries.items()
    }
    described = {
        name: {
            "channels": channels[name],
            "signed": entry.signed,
            "title": entry.title,
            "parameters": entry.defaults(),
        }
        for name, entry in entries.items()
    }
    store = _open_partial(out, grid, described, info, section)
    if on_store is not None:
        on_store(store)
    _fill(
        store,
        section,
        checkpoint,
        methods,
        corners,
        planes,
        class_index,
        batch_size,
        device,
        progress,
        cancel,
        on_block,
    )
    progress(Progress("Finishing the maps", 0, 1, out.name))
    try:
        store.complete(_verdict(store, checkpoint))
        replace(store.path, out)
    except OSError as error:
        raise _not_written(out, error) from error
    return open_maps(out)


def _not_written(out: Path, error: OSError) -> MitoxaiError:
    return MitoxaiError(
        f"{out} cannot be written ({error.strerror or error}): free the disk or choose another place; "
        "the same command then goes on."
    )


def _class_index(checkpoint: Checkpoint, target: str | None) -> int:
    if target is None:
        return len(checkpoint.classes) - 1
    if target not in checkpoint.classes:
        raise MitoxaiError(f"The model has no class {target!r}: choose {' or '.join(checkpoint.classes)}.")
    return checkpoint.classes.index(target)


def _info(
    section: Section, checkpoint: Checkpoint, class_index: int, overlap: float, subject: str | None
) -> dict[str, Any]:
    subject = subject or section.subject or section.name
    return {
        "section": {
            "name": section.name,
            "path": str(section.path),
            "subject": subject,
            "shape": list(section.shape),
            "notes": list(section.notes),
        },
        "checkpoint": {
            "architecture": checkpoint.architecture,
            "weights_sha256": checkpoint.weights_sha256,
            "classes": checkpoint.classes,
            "panel": checkpoint.panel.targets,
            "patch_size": checkpoint.geometry.patch_size,
            "input_size": checkpoint.geometry.input_size,
        },
        "use_of_subject": checkpoint.use_of(subject),
        "target": checkpoint.classes[class_index],
        "overlap": overlap,
        "provenance": {"software": software(), "started": now()},
    }


def _open_partial(
    out: Path, grid: MapGrid, methods: dict[str, dict[str, Any]], info: dict[str, Any], section: Section
) -> MapStore:
    """The hidden store beside `out`: the one of an earlier, unfinished call if it asked for just the same, or a new one."""
    modified = section.path.stat().st_mtime_ns if section.path.exists() else 0
    asked = {
        "version": __version__,
        "methods": methods,
        "modified": modified,
        **{key: value for key, value in info.items() if key != "provenance"},
    }
    fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    path = out.with_name(f".{out.name.removesuffix('.ome.zarr')}.partial.ome.zarr")
    if is_map_store(path):
        store = open_maps(path, writable=True)
        if store.info.get("fingerprint") == fingerprint and "verdict" not in store.info:
            return store
    try:
        remove(path)
        return create_store(path, grid, methods, {**info, "fingerprint": fingerprint})
    except OSError as error:
        raise _not_written(out, error) from error


def _fill(
    store: MapStore,
    section: Section,
    checkpoint: Checkpoint,
    methods: Sequence[str],
    corners: Sequence[tuple[int, int]],
    planes: Sequence[int],
    class_index: int,
    batch_size: int,
    device: torch.device | None,
    progress: ProgressCallback,
    cancel: CancelToken,
    on_block: BlockCallback | None,
) -> None:
    geometry, reduction = checkpoint.geometry, checkpoint.geometry.reduction
    side = geometry.patch_size // reduction
    in_map = {corner: (corner[0] // reduction, corner[1] // reduction) for corner in corners}
    blender = Blender(store.grid.shape, in_map.values(), side, BLOCK)
    finished = store.finished_blocks()
    needed = [
        corner
        for corner in corners
        if any(block not in finished for block in blender.blocks_of(in_map[corner]))
    ]
    blender = Blender(store.grid.shape, [in_map[corner] for corner in needed], side, BLOCK)
    known = store.patch_probabilities()
    model = checkpoint.model().to(device or torch.device("cpu"), memory_format=torch.channels_last)  # type: ignore[call-overload]
    done = len(corners) - len(needed)
    with CancellingMode(cancel):
        for batch, inputs in _scaled_batches(section, checkpoint, planes, needed, batch_size):
            cancel.check()
            tensor = torch.from_numpy(inputs).to(
                device or torch.device("cpu"), memory_format=torch.channels_last
            )
            attributions = attribute_many(model, tensor, list(methods), target=class_index)
            probabilities = attributions.logits.softmax(1).cpu().numpy()
            maps = {name: _on_grid(values, side) for name, values in attributions.maps.items()}
            for name, values in maps.items():
                if not np.isfinite(values).all():
                    raise MitoxaiError(
                        f"{name} gave values that are not numbers on {section.name}: leave this method out for this model."
                    )
            for index, corner in enumerate(batch):
                if corner not in known:
                    store.note_patch(corner, probabilities[index].tolist())
                for block, blended in blender.add(
                    in_map[corner], {name: values[index] for name, values in maps.items()}
                ):
                    if block in finished:
                        continue
                    _write(store, block, blended)
                    if on_block is not None:
                        on_block(_slices(block, store.grid.shape))
            done += len(batch)
            progress(Progress("Explaining", done, len(corners), f"{done} of {len(corners)} patches"))


def _write(store: MapStore, block: tuple[int, int], blended: dict[str, NDArray[np.float32]]) -> None:
    try:
        for name, values in blended.items():
            store.write_block(name, block, values)
        store.mark_finished(block)
    except OSError as error:
        raise _not_written(store.path, error) from error


def _slices(block: tuple[int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    y, x = (
        slice(index * BLOCK, min((index + 1) * BLOCK, length))
        for index, length in zip(block, shape, strict=True)
    )
    return y, x


def _scaled_batches(
    section: Section,
    checkpoint: Checkpoint,
    planes: Sequence[int],
    corners: Sequence[tuple[int, int]],
    batch_size: int,
) -> Iterator[tuple[Sequence[tuple[int, int]], NDArray[np.float32]]]:
    """Batches of corners with their scaled patches; the next batch is read while this one is computed."""

    def load(batch: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        return checkpoint.scaling(np.stack(list(read_patches(section, planes, batch, checkpoint.geometry))))

    batches = [corners[start : start + batch_size] for start in range(0, len(corners), batch_size)]
    with ThreadPoolExecutor(1, thread_name_prefix="read-patches") as reader:
        following = reader.submit(load, batches[0]) if batches else None
        for index, batch in enumerate(batches):
            assert following is not None
            inputs = following.result()
            following = reader.submit(load, batches[index + 1]) if index + 1 < len(batches) else None
            yield batch, inputs


def _on_grid(values: Tensor, side: int) -> NDArray[np.float32]:
    """Maps (N, C, h, w) of the network's input as maps (N, C, side, side) of the section's map grid."""
    if values.shape[-1] != side:
        values = F.interpolate(values, size=(side, side), mode="bilinear", align_corners=False)
    return np.asarray(values.float().cpu().numpy())


def _verdict(store: MapStore, checkpoint: Checkpoint) -> dict[str, Any]:
    probabilities = np.array(list(store.patch_probabilities().values()))
    mean = probabilities.mean(0)
    return {
        "call": checkpoint.classes[int(mean.argmax())],
        "probability": {
            name: round(float(value), 4) for name, value in zip(checkpoint.classes, mean, strict=True)
        },
        "patches": len(probabilities),
    }
