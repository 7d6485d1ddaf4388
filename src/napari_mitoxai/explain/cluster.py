"""Sections, methods and tiles shared among the workers of a dask.distributed cluster.

Every worker opens the section and the run by their paths, so all machines must see the same files under the same names. A
task computes some blocks of one section, with the same code as on one machine, and writes them itself: a block is a chunk of
the store, so that no two tasks write to the same file. What is finished is noted by the caller alone; a task whose worker died
is given to another one and writes the same blocks again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from napari_mitoxai.cohort import inside_fibres
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import remove
from napari_mitoxai.explain.area import Area
from napari_mitoxai.explain.blending import Block
from napari_mitoxai.explain.description import Unsuitable
from napari_mitoxai.explain.engine import (
    finish,
    not_written,
    open_partial,
    refuse_taken,
    with_predicted,
    work_for,
)
from napari_mitoxai.explain.filling import Corner, Maps, Work, ask, fill, prepared
from napari_mitoxai.explain.plan import PREDICTED, Request, Score, Wanted
from napari_mitoxai.explain.store import MapStore
from napari_mitoxai.explain.watcher import View
from napari_mitoxai.imc import Section, read_section
from napari_mitoxai.models import Checkpoint, load_checkpoint, pick_device

if TYPE_CHECKING:
    from distributed import Client, Future

_TILE = 4  # blocks along the side of a tile: 512 map pixels
_PATCHES = 64  # asked about in one task, where nothing is explained
_RETRIES = 2  # of a task that raised, as when a shared disk failed for a moment; a dead worker is not counted
_LOOK_S = 0.2
_CONNECT_S = 10

# --- on the workers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Share:
    """What a worker needs to know of a section's work; small enough to be sent."""

    section: Path
    mask: Path | None
    run: Path
    device: str
    batch_size: int
    corners: list[Corner]
    shape: tuple[int, int]
    wanted: list[Wanted]
    score: Score
    pooling: Any
    area: Area | None

    def work(self) -> Work:
        return Work(
            _section(self.section, self.mask), _checkpoint(self.run), self.corners, self.shape, self.wanted, self.score, self.pooling,
            self.area,
        )  # fmt: skip


@dataclass
class _Told:
    """What a task tells; a `napari_mitoxai.explain.filling.Listener` that writes blocks to a store, if there is one."""

    store: MapStore | None = None
    probabilities: dict[Corner, list[float]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def on_patches(self, probabilities: dict[Corner, list[float]]) -> None:
        self.probabilities.update(probabilities)

    def on_refused(self, refused: dict[str, str]) -> None:
        self.refused.update(refused)

    def on_block(self, block: Block, maps: Maps) -> None:
        assert self.store is not None
        for label, values in maps.items():
            if self.store.has(label):  # another tile may have found that the network cannot have it
                self.store.write_block(label, block, values)

    def on_unfinished(self, block: Block, maps: Maps) -> None:
        """Nobody looks on."""

    def view(self) -> View | None:
        return None


@lru_cache(maxsize=8)
def _section(path: Path, mask: Path | None) -> Section:
    section = read_section(path)
    return section if mask is None else inside_fibres(section, mask)


@lru_cache(maxsize=2)
def _checkpoint(run: Path) -> Checkpoint:
    return load_checkpoint(run)


@lru_cache(maxsize=2)
def _model(run: Path, device: str) -> nn.Module:
    return prepared(_checkpoint(run), pick_device(device))


def _find_patches(
    section: Path, mask: Path | None, run: Path, request: Request, area: Area | None
) -> list[Corner] | MitoxaiError:
    """Where the patches of a section are. What a person can put right comes back, as trying again would not help."""
    try:
        return work_for(_section(section, mask), _checkpoint(run), request, area, CancelToken()).corners
    except MitoxaiError as error:
        return error


def _ask_patches(share: _Share) -> _Told | MitoxaiError:
    told = _Told()
    try:
        model = _model(share.run, share.device)
        ask(share.work(), model, share.corners, told, batch_size=share.batch_size)
    except MitoxaiError as error:
        return error
    return told


def _explain_blocks(share: _Share, blocks: list[Block], store: Path) -> _Told | MitoxaiError:
    told = _Told(MapStore(store, "r+"))
    try:
        fill(share.work(), _model(share.run, share.device), blocks, told, batch_size=share.batch_size)
    except Unsuitable as error:
        told.refused = {wanted.label: str(error) for wanted in share.wanted}
    except MitoxaiError as error:
        return error
    told.store = None  # stays there
    return told


# --- on the machine that asks ------------------------------------------------------------------------------------


@dataclass
class _Job:
    """One section on its way."""

    path: Path
    out: Path
    area: Area | None
    work: Work | None = None
    store: MapStore | None = None
    waiting: dict[tuple[int, int], int] = field(default_factory=dict)  # by tile, how many groups are not done
    blocks: dict[tuple[int, int], list[Block]] = field(default_factory=dict)


class _Campaign:
    """All sections on their way through a cluster."""

    def __init__(
        self,
        client: "Client",
        run: Path,
        request: Request,
        *,
        mask: Path | None,
        batch_size: int,
        device: str,
        progress: ProgressCallback,
        cancel: CancelToken,
    ) -> None:
        self._client, self._run, self._request = client, run.resolve(), request
        self._mask = None if mask is None else mask.expanduser().resolve()
        self._batch_size, self._device = batch_size, device
        self._progress, self._cancel = progress, cancel
        self._checkpoint = load_checkpoint(run)
        self._pending: dict[Future[Any], tuple[_Job, Callable[[_Job, Any], None]]] = {}
        self._tasks = self._done = 0
        self.stores: dict[Path, MapStore] = {}
        self.failed: dict[Path, str] = {}

    def run(self, jobs: Iterable[_Job]) -> None:
        from distributed import wait

        for job in jobs:
            self._submit(
                job, self._on_corners, _find_patches, job.path, self._mask, self._run, self._request, job.area
            )
        try:
            while self._pending:
                self._cancel.check()
                try:
                    done = wait(list(self._pending), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    continue
                for future in done:
                    self._take(future)
        finally:
            self._client.cancel(list(self._pending))

    def _submit(self, job: _Job, then: Callable[[_Job, Any], None], function: Any, *arguments: Any) -> None:
        future = self._client.submit(function, *arguments, retries=_RETRIES, pure=False)
        self._pending[future] = (job, then)
        self._tasks += 1

    def _take(self, future: "Future[Any]") -> None:
        found = self._pending.pop(future, None)
        if found is None:  # of a section that failed meanwhile
            return
        job, then = found
        self._done += 1
        try:
            result = future.result()
            if isinstance(result, MitoxaiError):
                raise result
            then(job, result)
        except MitoxaiError as error:
            self._give_up(job, str(error))
        except OSError as error:
            self._give_up(job, str(not_written(job.out, error)))
        except Exception as error:  # noqa: BLE001 - a task may fail in any way, and must not take other sections with it
            self._give_up(job, f"a worker failed ({type(error).__name__}: {error}); see its log.")
        self._progress(
            Progress("Explaining", self._done, self._tasks, f"{self._done} of {self._tasks} tasks")
        )

    def _give_up(self, job: _Job, reason: str) -> None:
        self.failed[job.path] = reason
        theirs = [future for future, (other, _) in self._pending.items() if other is job]
        self._client.cancel(theirs)
        for future in theirs:
            del self._pending[future]
            self._done += 1

    def _on_corners(self, job: _Job, corners: list[Corner]) -> None:
        section = _section(job.path, self._mask)
        job.work = work_for(section, self._checkpoint, self._request, job.area, self._cancel, corners)
        job.store = open_partial(job.out, job.work, self._request, None)
        if self._request.target == PREDICTED:
            known = job.store.patch_probabilities()
            unknown = [corner for corner in corners if corner not in known]
            job.waiting = {(0, 0): -(-len(unknown) // _PATCHES)}
            for start in range(0, len(unknown), _PATCHES):
                share = self._share(job, unknown[start : start + _PATCHES], job.work.wanted)
                self._submit(job, self._on_asked, _ask_patches, share)
            if unknown:
                return
            job.work = with_predicted(job.work, job.store)
        self._explain(job)

    def _on_asked(self, job: _Job, told: _Told) -> None:
        assert job.store is not None
        assert job.work is not None
        job.store.note_patches(told.probabilities)
        job.waiting[0, 0] -= 1
        if job.waiting[0, 0] == 0:
            job.work = with_predicted(job.work, job.store)
            self._explain(job)

    def _explain(self, job: _Job) -> None:
        assert job.store is not None
        assert job.work is not None
        work = job.work
        tiles: dict[tuple[int, int], list[Block]] = {}
        for row, column in sorted(work.blocks() - job.store.finished_blocks()):
            tiles.setdefault((row // _TILE, column // _TILE), []).append((row, column))
        groups = list(_groups([w for w in work.wanted if w.label not in job.store.left_out]))
        job.blocks, job.waiting = tiles, dict.fromkeys(tiles, len(groups))
        for tile, blocks in tiles.items():
            corners = work.corners_of(blocks)
            for group in groups:
                share = self._share(job, corners, group)

                def then(job: _Job, told: _Told, tile: tuple[int, int] = tile) -> None:
                    self._on_tile(job, tile, told)

                self._submit(job, then, _explain_blocks, share, blocks, job.store.path.resolve())
        if not tiles:
            self._finish(job)

    def _on_tile(self, job: _Job, tile: tuple[int, int], told: _Told) -> None:
        assert job.store is not None
        known = job.store.patch_probabilities()
        job.store.note_patches(
            {corner: row for corner, row in told.probabilities.items() if corner not in known}
        )
        for label, reason in told.refused.items():
            if label in job.store.methods:
                job.store.leave_out(label, reason)
        if not job.store.methods:
            reasons = job.store.left_out
            remove(job.store.path)
            raise Unsuitable("; ".join(reasons.values()))
        job.waiting[tile] -= 1
        if job.waiting[tile] == 0:
            job.store.mark_finished(*job.blocks[tile])
            del job.waiting[tile]
        if not job.waiting:
            self._finish(job)

    def _finish(self, job: _Job) -> None:
        assert job.store is not None
        assert job.work is not None
        self.stores[job.path] = finish(job.store, job.work, job.out, self._progress, self._cancel)

    def _share(self, job: _Job, corners: list[Corner], wanted: list[Wanted]) -> _Share:
        assert job.work is not None
        work = job.work
        return _Share(
            job.path.resolve(), self._mask, self._run, self._device, self._batch_size, corners, work.shape, wanted, work.score, work.pooling,
            work.area,
        )  # fmt: skip


def _groups(wanted: list[Wanted]) -> Iterator[list[Wanted]]:
    """Methods that are computed in one task: those of a single pass, which they share, and each family of the others."""
    groups: dict[str, list[Wanted]] = {}
    for entry in wanted:
        family = "" if entry.method.passes == "one" else entry.method.implementation.partition(":")[0]
        groups.setdefault(family, []).append(entry)
    yield from groups.values()


def explain_on_cluster(
    scheduler: str,
    run: Path,
    request: Request,
    sections: Mapping[Path, Path],
    area_of: Callable[[Section], Area | None],
    *,
    mask: Path | None = None,
    batch_size: int = 8,
    device: str = "auto",
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> tuple[dict[Path, MapStore], dict[Path, str]]:
    """Explain sections on a cluster.

    Parameters
    ----------
    scheduler : str
        Its address, as ``tcp://host:8786``.
    run : Path
        The folder that training wrote; the workers must see it under the same name, and the sections and maps too.
    request : Request
        What is asked about each section.
    sections : mapping
        By section, where its maps go.
    area_of : callable
        Gives the part of a section to explain, or None for all of it.
    mask : Path, optional
        A folder with a label image for each section: nothing outside the fibres is seen.
    batch_size : int
        Patches that a worker computes at once.
    device : str
        Of every worker; see `napari_mitoxai.models.pick_device`.
    overwrite : bool
        Whether existing maps may be replaced.
    progress, cancel
        Reported after every task; looked at several times a second.

    Returns
    -------
    stores : dict
        By section, its maps.
    failed : dict
        By section, why it has none; what is finished of them is kept and used by the next call.

    Raises
    ------
    MitoxaiError
        If the cluster does not answer, or the run cannot be opened.
    Cancelled
        If it was cancelled; what is finished is kept and used by the next call.
    """
    if request.approach == "seamless":
        raise MitoxaiError(
            "The seamless mode computes a section in one piece, on one machine: leave the scheduler out, or explain patch by patch."
        )
    try:
        from distributed import Client
    except ImportError as error:
        raise MitoxaiError(
            "A scheduler needs dask.distributed: install it with pip install 'napari-mitoxai[distributed]'."
        ) from error
    cancel = cancel or CancelToken()
    try:
        client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise MitoxaiError(
            f"No scheduler answers at {scheduler}: start one with `dask scheduler` and workers with `dask worker {scheduler}`."
        ) from error
    with client, client.as_current():
        campaign = _Campaign(
            client,
            run,
            request,
            mask=mask,
            batch_size=batch_size,
            device=device,
            progress=progress,
            cancel=cancel,
        )
        jobs = []
        for path, out in sections.items():
            try:
                refuse_taken(out, overwrite=overwrite)
                jobs.append(_Job(path, out, area_of(read_section(path))))
            except MitoxaiError as error:
                campaign.failed[path] = str(error)
        campaign.run(jobs)
    return campaign.stores, campaign.failed
