"""Explaining the patches of a section and blending them, block by block: one machine's share of the work."""

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.cohort import PatchGeometry
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.explain.area import Area
from napari_mitoxai.explain.attribution import attribute_many
from napari_mitoxai.explain.blending import Blender, Block
from napari_mitoxai.explain.patch_reader import PatchReader
from napari_mitoxai.explain.plan import Pooling, Score, Wanted, pool
from napari_mitoxai.explain.store import BLOCK, slices_of
from napari_mitoxai.explain.watcher import View
from napari_mitoxai.imc import Section
from napari_mitoxai.models import CancellingMode, Checkpoint

_CPU_PIXELS = 2**19  # at once: more is no faster on a CPU, and a gigabyte more

Corner = tuple[int, int]
Maps = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Work:
    """What is computed: everything that decides what the maps hold.

    Attributes
    ----------
    section : Section
    checkpoint : Checkpoint
    corners : list of (y, x)
        All patches, in pixels of the section.
    shape : (Y, X)
        Of the maps.
    wanted : list of Wanted
    score : Score
    pooling : Pooling
    area : Area, optional
        What is left of the maps; all by default.
    """

    section: Section
    checkpoint: Checkpoint
    corners: list[Corner]
    shape: tuple[int, int]
    wanted: list[Wanted]
    score: Score
    pooling: Pooling = "none"
    area: Area | None = None

    @property
    def geometry(self) -> PatchGeometry:
        """Of the patches."""
        return self.checkpoint.geometry

    @property
    def side(self) -> int:
        """Of a patch, in map pixels."""
        return self.geometry.patch_size // self.geometry.reduction

    def in_map(self, corner: Corner) -> Corner:
        """Where a patch lies on the maps."""
        return corner[0] // self.geometry.reduction, corner[1] // self.geometry.reduction

    def blocks(self) -> set[Block]:
        """The blocks that hold anything."""
        blender = Blender(self.shape, (), self.side, BLOCK)
        last = tuple((length - 1) // BLOCK for length in self.shape)
        touched = {
            (min(row, last[0]), min(column, last[1]))
            for corner in self.corners
            for row, column in blender.blocks_of(self.in_map(corner))
        }
        return {block for block in touched if self.inside(block) is None or bool(np.any(self.inside(block)))}

    def is_whole(self, corner: Corner) -> bool:
        """Whether a patch lies on the section; the last windows of the seamless mode may hang over its edge."""
        side = self.geometry.patch_size
        return all(
            start + side <= length for start, length in zip(corner, self.section.shape[1:], strict=True)
        )

    def corners_of(self, blocks: Collection[Block]) -> list[Corner]:
        """The patches that touch any of these blocks."""
        wanted, touched = set(blocks), Blender(self.shape, (), self.side, BLOCK).blocks_of
        return [corner for corner in self.corners if any(b in wanted for b in touched(self.in_map(corner)))]

    def inside(self, block: Block) -> NDArray[np.bool_] | None:
        """Which pixels of a block are asked for; None for all."""
        if self.area is None:
            return None
        return self.area.on_grid(*slices_of(block, self.shape), self.geometry.reduction)


class Listener(Protocol):
    """Who gets what is computed, as it comes; called from one thread at a time."""

    def on_patches(self, probabilities: dict[Corner, list[float]]) -> None:
        """Class probabilities of patches, by their corners."""

    def on_refused(self, refused: dict[str, str]) -> None:
        """Maps that the network cannot have, by label, and why; before the first block."""

    def on_block(self, block: Block, maps: Maps) -> None:
        """A finished block, by label (C, y, x)."""

    def on_unfinished(self, block: Block, maps: Maps) -> None:
        """A block some of whose patches have come."""

    def view(self) -> View | None:
        """What is on the screen now, rows and columns in pixels of the section: its patches are computed first."""


def prepared(checkpoint: Checkpoint, device: torch.device | None) -> nn.Module:
    """The network of a checkpoint, where it will be computed."""
    model: nn.Module = checkpoint.model().to(
        device or torch.device("cpu"),
        memory_format=torch.channels_last,  # type: ignore[call-overload]
    )
    return model


def fill(
    work: Work,
    model: nn.Module,
    blocks: Collection[Block],
    listener: Listener,
    *,
    batch_size: int,
    previews: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> None:
    """Compute some blocks of the maps of a section.

    The next patches are read, and the last ones blended and handed over, while the network is busy.

    Parameters
    ----------
    work : Work
    model : torch.nn.Module
        See `prepared`.
    blocks : collection of (row, column)
        Which of ``work.blocks()``.
    listener : Listener
    batch_size : int
        Patches computed at once; on a CPU fewer where they are large.
    previews : bool
        Whether unfinished blocks are handed over too.
    progress, cancel
        Reported after every batch; checked between layers.

    Raises
    ------
    MitoxaiError
        If the section cannot be read, no map has a meaning for this network, or a map is not finite.
    Cancelled
        If it was cancelled; finished blocks have been handed over.
    """
    cancel = cancel or CancelToken()
    needed = work.corners_of(blocks)
    at = {corner: work.in_map(corner) for corner in needed}
    blender = Blender(work.shape, at.values(), work.side, BLOCK, set(blocks))
    device = next(model.parameters()).device
    if device.type == "cpu":
        batch_size = max(min(batch_size, _CPU_PIXELS // work.geometry.input_size**2), 1)
    wanted = list(work.wanted)
    clock = _Clock(len(work.corners), len(work.corners) - len(needed))

    def hand_over(batch: Sequence[Corner], maps: Maps) -> None:
        for index, corner in enumerate(batch):
            patch = {label: values[index] for label, values in maps.items()}
            for block, blended in blender.add(at[corner], patch):
                listener.on_block(block, asked_for(work, block, blended))
        if previews:
            for block in {block for corner in batch for block in blender.waiting_of(at[corner])}:
                listener.on_unfinished(block, asked_for(work, block, blender.unfinished(block)))

    with (
        CancellingMode(cancel),
        ThreadPoolExecutor(1, thread_name_prefix="blend-patches") as other_thread,
    ):
        handed_over: Future[None] | None = None
        for batch, inputs in _batches(work, needed, batch_size, listener):
            cancel.check()
            tensor = torch.from_numpy(inputs).to(device, memory_format=torch.channels_last)
            answers = attribute_many(
                model,
                tensor,
                {w.label: w.parameters.model_dump() for w in wanted},
                work.score.target,
                against=work.score.against,
                output=work.score.output,
                keep_going=True,
            )
            if answers.refused:
                listener.on_refused(answers.refused)
                wanted = [w for w in wanted if w.label not in answers.refused]
            probabilities = answers.logits.softmax(1).cpu().numpy()
            listener.on_patches(
                {corner: row.tolist() for corner, row in zip(batch, probabilities, strict=True)}
            )
            maps = {label: _on_grid(values, work.side) for label, values in answers.maps.items()}
            refuse_not_finite(maps, work.section.name)
            if handed_over is not None:
                handed_over.result()
            handed_over = other_thread.submit(hand_over, batch, maps)
            progress(clock.report(len(batch)))
        if handed_over is not None:
            handed_over.result()


def ask(
    work: Work,
    model: nn.Module,
    corners: Sequence[Corner],
    listener: Listener,
    *,
    batch_size: int,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> None:
    """Ask the model what it says of patches, without explaining anything."""
    cancel = cancel or CancelToken()
    device = next(model.parameters()).device
    clock = _Clock(len(corners), 0, "Asking the model")
    with CancellingMode(cancel), torch.inference_mode():
        for batch, inputs in _batches(work, corners, batch_size, listener):
            cancel.check()
            tensor = torch.from_numpy(inputs).to(device, memory_format=torch.channels_last)
            probabilities = model(tensor).softmax(1).cpu().numpy()
            listener.on_patches(
                {corner: row.tolist() for corner, row in zip(batch, probabilities, strict=True)}
            )
            progress(clock.report(len(batch)))


def _batches(
    work: Work, corners: Sequence[Corner], batch_size: int, listener: Listener
) -> Iterator[tuple[list[Corner], NDArray[np.float32]]]:
    """Batches of corners with their scaled patches; the next batch is read while this one is computed."""
    planes = work.checkpoint.channels_in(work.section)
    reader = PatchReader(work.section, planes, work.geometry, work.checkpoint.scaling, corners)
    queue = _Queue(corners, work.geometry.patch_size, batch_size, listener)
    with ThreadPoolExecutor(1, thread_name_prefix="read-patches") as other_thread:
        batch = queue.take()
        following = other_thread.submit(reader.read, batch) if batch else None
        while following is not None:
            inputs, this = following.result(), batch
            batch = queue.take()
            following = other_thread.submit(reader.read, batch) if batch else None
            yield this, inputs


class _Queue:
    """The patches still to compute: those on the screen first, else row by row."""

    def __init__(self, corners: Sequence[Corner], side: int, batch_size: int, listener: Listener) -> None:
        self._left = np.array(corners, dtype=np.int64).reshape(-1, 2)
        self._side, self._batch_size, self._listener = side, batch_size, listener
        self._started = False

    def take(self) -> list[Corner]:
        """The next batch; empty at the end."""
        view = self._listener.view()
        if view is None:
            first = np.arange(min(self._batch_size, len(self._left)))
        else:
            order, _ = _on_screen(view, self._left, self._side)
            first = order[: self._batch_size if self._started else 1]  # something to see, soon
        self._started = True
        batch = [(int(y), int(x)) for y, x in self._left[first]]
        self._left = np.delete(self._left, first, axis=0)
        return batch


def nearest_to(view: View, corners: Sequence[Corner], side: int) -> list[Corner]:
    """Those of some patches of this side that are on the screen, from its middle outwards."""
    order, seen = _on_screen(view, np.array(corners, dtype=np.int64).reshape(-1, 2), side)
    return [corners[index] for index in order[: int(seen.sum())]]


def _on_screen(
    view: View, corners: NDArray[np.int64], side: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The order of patches, what is on the screen first, from its middle outwards; and which are on the screen."""
    centre = np.array([(part.start + part.stop) / 2 for part in view])
    reach = np.array([(part.stop - part.start) / 2 for part in view]) + side / 2
    offset = np.abs(corners + side / 2 - centre)
    seen = (offset < reach).all(1)
    nearest = np.where(seen, offset.max(1), np.inf)
    return np.argsort(nearest, kind="stable"), seen


class _Clock:
    """Counts patches and how many there are in a second."""

    def __init__(self, total: int, done: int, stage: str = "Explaining") -> None:
        self._total, self._done, self._stage = total, done, stage
        self._here, self._started = 0, time.monotonic()

    def report(self, count: int) -> Progress:
        """After `count` more patches."""
        self._done += count
        self._here += count
        rate = self._here / max(time.monotonic() - self._started, 1e-6)
        said = f"{rate:.1f} a second" if rate >= 1 else f"{1 / rate:.1f} s each"
        return Progress(
            self._stage, self._done, self._total, f"{self._done} of {self._total} patches, {said}"
        )


def asked_for(work: Work, block: Block, maps: Maps) -> Maps:
    """A blended block as it is stored: channels pooled, nothing outside the area."""
    inside = work.inside(block)
    pooled = {label: pool(values, work.pooling) for label, values in maps.items()}
    return pooled if inside is None else {label: values * inside for label, values in pooled.items()}


def _on_grid(values: Tensor, side: int) -> NDArray[np.float32]:
    """Maps (N, C, h, w) of the network's input as maps (N, C, side, side) of the section's map grid."""
    if values.shape[-1] != side:
        values = F.interpolate(values, size=(side, side), mode="bilinear", align_corners=False)
    return np.asarray(values.float().contiguous().cpu().numpy())


def refuse_not_finite(maps: Maps, section: str) -> None:
    """Raise if a map holds values that are not numbers."""
    for label, values in maps.items():
        if not np.isfinite(values).all():
            raise MitoxaiError(
                f"{label} gave values that are not numbers on {section}: leave this method out for this model."
            )
