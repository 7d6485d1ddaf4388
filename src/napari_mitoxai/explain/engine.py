"""Explaining a whole section, or a part of one: patches on tissue, blended and written block by block."""

import hashlib
import json
import math
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_mitoxai import __version__
from napari_mitoxai.cohort import PatchGeometry, all_corners, first_on_tissue, tissue_mask, with_tissue
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, remove, replace
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.explain.area import Area
from napari_mitoxai.explain.blending import Block
from napari_mitoxai.explain.description import Unsuitable
from napari_mitoxai.explain.filling import Corner, Maps, Work, ask, fill, nearest_to, prepared
from napari_mitoxai.explain.plan import PREDICTED, TRUE, Request, Score, class_index
from napari_mitoxai.explain.seamless_filling import fill_seamlessly, notes_on, seamless_network, windows
from napari_mitoxai.explain.seamless_network import SeamlessNetwork
from napari_mitoxai.explain.store import MapGrid, MapStore, create_store, is_map_store, open_maps, slices_of
from napari_mitoxai.explain.watcher import View, Watcher
from napari_mitoxai.imc import Section
from napari_mitoxai.models import Checkpoint

_LARGE = 2**24  # pixels of a section whose tissue takes longer to find than a sample of it to read
_LARGE_PIECE = 2**21  # pixels that are stored in one piece
_MIN_TISSUE = 0.05  # explain every patch that shows some tissue; training asks for more


def explain_section(
    section: Section,
    checkpoint: Checkpoint,
    request: Request,
    out: Path,
    *,
    area: Area | None = None,
    batch_size: int = 8,
    device: torch.device | None = None,
    subject: str | None = None,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
    watcher: Watcher | None = None,
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
    request : Request
        The methods, the class, and how maps are made of them.
    out : Path
        Ends in ``.ome.zarr``.
    area : Area, optional
        The part of the section to explain; there the maps are those of the whole section, and 0 elsewhere.
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
    watcher : Watcher, optional
        Sees the maps fill, and says what to compute first.

    Returns
    -------
    MapStore
        The whole store, at `out`.

    Raises
    ------
    MitoxaiError
        If a method or class is not known, a channel is missing, there is no tissue, `out` exists, a map is not finite, or none
        of the methods has a meaning for this network.
    Cancelled
        If it was cancelled; what is finished is kept and used by the next call.
    """
    cancel = cancel or CancelToken()
    refuse_taken(out, overwrite=overwrite)
    model = prepared(checkpoint, device)
    seamless = seamless_network(model, checkpoint, request) if request.approach == "seamless" else None
    progress(Progress("Finding tissue", 0, 1, section.name))
    early: MapStore | None = None
    if watcher is not None and seamless is None and request.target != PREDICTED:
        early = _glimpse(section, checkpoint, request, area, model, out, subject, watcher, cancel)
    try:
        work = work_for(section, checkpoint, request, area, cancel, seamless=seamless)
    except MitoxaiError:
        if early is not None:
            remove(early.path)
        raise
    store = early or open_partial(out, work, request, subject)
    writing = Writing(store, work, watcher or Watcher())
    try:
        if request.target == PREDICTED:
            known = store.patch_probabilities()
            unknown = [corner for corner in work.corners if corner not in known and work.is_whole(corner)]
            ask(work, model, unknown, writing, batch_size=batch_size, progress=progress, cancel=cancel)
            work = with_predicted(work, store)
        if early is None:
            writing.start(work)
        blocks = work.blocks() - store.finished_blocks()
        if seamless is not None:
            store.note(notes=notes_on(seamless, work))
            fill_seamlessly(work, seamless, blocks, writing, progress=progress, cancel=cancel)
        else:
            fill(
                work,
                model,
                blocks,
                writing,
                batch_size=batch_size,
                previews=watcher is not None,
                progress=progress,
                cancel=cancel,
            )
        return finish(store, work, out, progress, cancel)
    except Unsuitable:
        remove(store.path)  # there is nothing in it, and never will be
        raise
    except OSError as error:
        raise not_written(out, error) from error


def _glimpse(
    section: Section,
    checkpoint: Checkpoint,
    request: Request,
    area: Area | None,
    model: torch.nn.Module,
    out: Path,
    subject: str | None,
    watcher: Watcher,
    cancel: CancelToken,
) -> MapStore | None:
    """Show a watcher one patch of what is on the screen, before all the tissue is found; None if it cannot be told so soon.

    Finding tissue reads all of a section, which takes seconds where it is large.
    """
    view, geometry = watcher.view(), checkpoint.geometry
    pixels, piece = math.prod(section.shape[1:]), math.prod(sizes[0] for sizes in section.data.chunks[1:])
    if view is None or pixels < _LARGE or piece > _LARGE_PIECE:  # else all tissue is found as soon
        return None
    geometry.check(section.shape, section.name)
    corners = [
        corner
        for corner in nearest_to(
            view, all_corners(section.shape, geometry, overlap=request.overlap), geometry.patch_size
        )
        if area is None or area.touches(corner, geometry.patch_size)
    ]
    corner = first_on_tissue(section, corners, geometry.patch_size, cancel)
    if corner is None:
        return None
    work = work_for(section, checkpoint, request, area, cancel, corners=[corner])
    store = open_partial(out, work, request, subject)
    watcher.on_store(store)
    if not store.finished_blocks():
        try:
            fill(work, model, work.blocks(), _Glimpse(work, watcher), batch_size=1, cancel=cancel)
        except Unsuitable:
            remove(store.path)
            raise
    return store


class _Glimpse:
    """Shows what is computed and keeps nothing; a `napari_mitoxai.explain.filling.Listener`."""

    def __init__(self, work: Work, watcher: Watcher) -> None:
        self._work, self._watcher = work, watcher

    def on_patches(self, probabilities: dict[Corner, list[float]]) -> None:
        """It will be asked again."""

    def on_refused(self, refused: dict[str, str]) -> None:
        """It will be refused again."""

    def on_block(self, block: Block, maps: Maps) -> None:
        """Show a block that most patches of are still missing from."""
        self._watcher.on_block(slices_of(block, self._work.shape), maps, finished=False)

    def on_unfinished(self, block: Block, maps: Maps) -> None:
        """Show a block."""
        self._watcher.on_block(slices_of(block, self._work.shape), maps, finished=False)

    def view(self) -> View | None:
        """There is but one patch."""
        return None


def refuse_taken(out: Path, *, overwrite: bool) -> None:
    """Raise if maps may not be written to `out`."""
    refuse_existing(out, overwrite=overwrite)
    if out.exists() and not is_map_store(out):  # --overwrite must not cost a user's own data
        raise MitoxaiError(f"{out} is not a store of maps and is not replaced: choose another name.")


def not_written(out: Path, error: OSError) -> MitoxaiError:
    """What to say when the disk does not take the maps."""
    return MitoxaiError(
        f"{out} cannot be written ({error.strerror or error}): free the disk or choose another place; "
        "the same command then goes on."
    )


def work_for(
    section: Section,
    checkpoint: Checkpoint,
    request: Request,
    area: Area | None,
    cancel: CancelToken,
    corners: list[Corner] | None = None,
    seamless: SeamlessNetwork | None = None,
) -> Work:
    """What a request means for a section: where its patches are, unless that is known, and what is computed for them."""
    wanted = request.wanted()
    checkpoint.channels_in(section)
    geometry = checkpoint.geometry
    geometry.check(section.shape, section.name)
    score = _score(request, checkpoint, section)
    height, width = (length // geometry.reduction for length in section.shape[1:])
    if corners is None:
        if seamless is None:
            corners = all_corners(section.shape, geometry, overlap=request.overlap)
        else:
            corners = windows(seamless, (height, width), geometry.reduction, request.overlap)
        corners = _on_tissue(section, geometry, corners, area, cancel)
    return Work(section, checkpoint, corners, (height, width), wanted, score, request.pooling, area)


def _on_tissue(
    section: Section,
    geometry: PatchGeometry,
    corners: list[Corner],
    area: Area | None,
    cancel: CancelToken,
) -> list[Corner]:
    """Those of the patches that show tissue and, if only an area is asked for, touch it."""
    side = geometry.patch_size
    corners = with_tissue(corners, side, tissue_mask(section, cancel), _MIN_TISSUE)
    if not corners:
        raise MitoxaiError(
            f"{section.name} has no tissue that can be told from the empty slide: check its channels."
        )
    if area is not None:
        corners = [corner for corner in corners if area.touches(corner, side)]
        if not corners:
            raise MitoxaiError(f"There is no tissue in this part of {section.name}: choose another part.")
    return corners


def _score(request: Request, checkpoint: Checkpoint, section: Section) -> Score:
    classes, target = checkpoint.classes, request.target
    if target == TRUE and TRUE not in classes:
        if section.group not in classes:
            known = f"it is of {section.group}" if section.group else "its folder does not tell"
            raise MitoxaiError(
                f"The true class of {section.name} is not known ({known}): name it, as --target {classes[-1]}."
            )
        target = section.group
    elif target == PREDICTED and PREDICTED not in classes:
        target = None  # known once the model was asked
    index = class_index(classes, target)
    against = None if request.against is None else class_index(classes, request.against)
    if against == index and request.target != PREDICTED:
        raise MitoxaiError(f"{classes[index]} cannot be compared with itself: choose another class.")
    return Score(index, against, request.output)


def with_predicted(work: Work, store: MapStore) -> Work:
    """The same work with the class that the model calls the section as its target."""
    classes = work.checkpoint.classes
    score = changed(work.score, target=classes.index(verdict_of(store, classes)["call"]))
    if score.against == score.target:
        raise MitoxaiError(
            f"The model calls {work.section.name} {classes[score.target]}, which cannot be compared with itself: "
            "name another class to compare with."
        )
    store.note(target=score.describe(classes), target_class=classes[score.target])
    return changed(work, score=score)


def open_partial(out: Path, work: Work, request: Request, subject: str | None) -> MapStore:
    """The hidden store beside `out`: the one of an earlier, unfinished call if it asked for just the same, or a new one."""
    section, checkpoint = work.section, work.checkpoint
    subject = subject or section.subject or section.name
    grid = MapGrid(work.shape, checkpoint.geometry.reduction, section.pixel_size_um)
    methods = {
        wanted.label: {
            "channels": request.planes(wanted, checkpoint.panel.targets),
            "signed": request.signed(wanted),
            "title": wanted.method.title,
            "method": wanted.method.name,
            "parameters": wanted.parameters.model_dump(),
        }
        for wanted in work.wanted
    }
    info: dict[str, Any] = {
        "section": {
            "name": section.name,
            "path": str(section.address),
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
        "target": PREDICTED if request.target == PREDICTED else work.score.describe(checkpoint.classes),
        "target_class": None if request.target == PREDICTED else checkpoint.classes[work.score.target],
        "pooling": request.pooling,
        "approach": request.approach,
        "overlap": request.overlap,
        "area": None if work.area is None else work.area.describe(),
    }
    modified = section.path.stat().st_mtime_ns if section.path.exists() else 0
    asked = {"version": __version__, "methods": methods, "modified": modified, **info}
    fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    path = out.with_name(f".{out.name.removesuffix('.ome.zarr')}.partial.ome.zarr")
    if is_map_store(path):
        store = open_maps(path, writable=True)
        if store.info.get("fingerprint") == fingerprint and "verdict" not in store.info:
            return store
    info["provenance"] = {"software": software(), "started": now()}
    try:
        remove(path)
        return create_store(path, grid, methods, {**info, "fingerprint": fingerprint})
    except OSError as error:
        raise not_written(out, error) from error


class Writing:
    """Writes what is computed into a store, and shows it to a watcher; a `napari_mitoxai.explain.filling.Listener`."""

    def __init__(self, store: MapStore, work: Work, watcher: Watcher) -> None:
        self._store, self._work, self._watcher = store, work, watcher
        self._known = set(store.patch_probabilities())

    def start(self, work: Work) -> None:
        """The class is known: show the store."""
        self._work = work
        self._watcher.on_store(self._store)

    def on_patches(self, probabilities: dict[Corner, list[float]]) -> None:
        """Keep what the model said of patches."""
        news = {corner: row for corner, row in probabilities.items() if corner not in self._known}
        self._known |= news.keys()
        self._store.note_patches(news)

    def on_refused(self, refused: dict[str, str]) -> None:
        """Take out the maps that the network cannot have."""
        for label, reason in refused.items():
            self._store.leave_out(label, reason)

    def on_block(self, block: Block, maps: Maps) -> None:
        """Write a block."""
        kept = {label: values for label, values in maps.items() if label in self._store.methods}
        for label, values in kept.items():
            self._store.write_block(label, block, values)
        self._store.mark_finished(block)
        self._watcher.on_block(slices_of(block, self._work.shape), kept, finished=True)

    def on_unfinished(self, block: Block, maps: Maps) -> None:
        """Show a block."""
        self._watcher.on_block(slices_of(block, self._work.shape), maps, finished=False)

    def view(self) -> View | None:
        """What the watcher looks at."""
        return self._watcher.view()


def finish(
    store: MapStore, work: Work, out: Path, progress: ProgressCallback, cancel: CancelToken
) -> MapStore:
    """Complete a filled store and give it its name."""
    progress(Progress("Finishing the maps", 0, 1, out.name))
    store.complete(verdict_of(store, work.checkpoint.classes), progress, cancel)
    replace(store.path, out)
    return open_maps(out)


def verdict_of(store: MapStore, classes: list[str]) -> dict[str, Any]:
    """What the model calls the section: the mean of its patches' probabilities."""
    probabilities = np.array(list(store.patch_probabilities().values()))
    mean = probabilities.mean(0)
    return {
        "call": classes[int(mean.argmax())],
        "probability": {name: round(float(value), 4) for name, value in zip(classes, mean, strict=True)},
        "patches": len(probabilities),
    }
