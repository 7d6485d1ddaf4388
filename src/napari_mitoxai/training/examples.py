"""Batches for the training loop: drawn, augmented and scaled while the network computes."""

import queue
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_mitoxai.cohort import Scaling
from napari_mitoxai.training.augmentation import augmented
from napari_mitoxai.training.data import PatchSet

_AHEAD = 2  # batches that wait for the network


class Examples(Protocol):
    """What a loop is fed with."""

    subjects: NDArray[np.str_]
    labels: NDArray[np.int64]

    def inputs(self, indices: NDArray[np.intp], epoch: int, first: int) -> Tensor:
        """The network's input for some examples, which are those from the `first` one of an epoch on."""

    def __len__(self) -> int: ...


class ScaledPatches:
    """Scaled patches, augmented where asked for.

    Parameters
    ----------
    patches : PatchSet
        In counts.
    scaling : Scaling
        Of the training subjects.
    augmentation : collection of str
        As in `augmented`.
    jitter : float
        As in `augmented`.
    seed : int
        Of the augmentation.
    """

    def __init__(
        self,
        patches: PatchSet,
        scaling: Scaling,
        *,
        augmentation: Collection[str] = (),
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._patches, self._scaling = patches, scaling
        self._augmentation, self._jitter, self._seed = augmentation, jitter, seed
        self.subjects, self.labels = patches.subjects, patches.labels

    def __len__(self) -> int:
        return len(self._patches)

    def inputs(self, indices: NDArray[np.intp], epoch: int, first: int) -> Tensor:
        """Scaled patches (N, C, H, W); what is random depends on the seed, the epoch and the place in it only."""
        chosen = []
        for place, index in enumerate(indices, start=first):
            counts = self._patches.counts[index]
            if self._augmentation or self._jitter > 0:
                rng = np.random.default_rng([self._seed, epoch, place])
                counts = augmented(counts, self._augmentation, self._jitter, rng)
            chosen.append(self._scaling(counts))
        return torch.from_numpy(np.stack(chosen)).contiguous(memory_format=torch.channels_last)


def draw_order(examples: Examples, epoch: int, *, balance: bool, seed: int) -> NDArray[np.intp]:
    """The examples of an epoch.

    Parameters
    ----------
    examples : Examples
        To draw from.
    epoch : int
        From 0.
    balance : bool
        Draw classes equally often, and within a class its subjects, however many patches each has; else take all once.
    seed : int
        With the epoch it makes the draw.

    Returns
    -------
    ndarray of int
        (N,), where N is the number of examples.
    """
    rng = np.random.default_rng([seed, epoch])
    if not balance:
        return rng.permutation(len(examples))
    weights = np.zeros(len(examples))
    for label in np.unique(examples.labels):
        of_class = examples.labels == label
        subjects = np.unique(examples.subjects[of_class])
        for subject in subjects:
            own = of_class & (examples.subjects == subject)
            weights[own] = 1 / (len(subjects) * own.sum())
    return rng.choice(len(examples), len(examples), p=weights / weights.sum())


class Batches:
    """The batches of one epoch, made in a thread of their own.

    A thread, not processes: numpy lets go of the interpreter's lock while it works, and a process started from a
    window would copy or reload all of it.

    Parameters
    ----------
    examples : Examples
        To take from.
    order : ndarray of int
        Which, in this order.
    batch_size : int
        Examples a batch. A last batch of one example is left out unless it is the only one: batch normalisation cannot
        train on it.
    epoch : int
        Of the augmentation.
    keep_all : bool
        Whether a last batch of one is kept: where nothing is trained.
    """

    def __init__(
        self,
        examples: Examples,
        order: NDArray[np.intp],
        batch_size: int,
        epoch: int = 0,
        *,
        keep_all: bool = False,
    ) -> None:
        self._examples, self._epoch = examples, epoch
        self._starts = list(range(0, len(order), batch_size))
        self._order, self._size = order, batch_size
        if len(self._starts) > 1 and len(order) % batch_size == 1 and not keep_all:
            self._starts.pop()

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        waiting: queue.Queue[Any] = queue.Queue(_AHEAD)
        stop = threading.Event()

        def put(item: Any) -> None:
            while not stop.is_set():
                with suppress(queue.Full):
                    waiting.put(item, timeout=0.1)
                    return

        def work() -> None:
            try:
                for start in self._starts:
                    if stop.is_set():
                        return
                    put(self._batch(start))
                put(None)
            except Exception as error:  # noqa: BLE001 - raised again where the batch is asked for
                put(error)

        threading.Thread(target=work, name="batches", daemon=True).start()
        try:
            while (item := waiting.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            stop.set()

    def _batch(self, start: int) -> tuple[Tensor, Tensor]:
        indices = self._order[start : start + self._size]
        inputs = self._examples.inputs(indices, self._epoch, start)
        return inputs, torch.from_numpy(self._examples.labels[indices])
