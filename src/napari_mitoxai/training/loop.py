"""The training loop, on Lightning."""

import copy
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from napari_mitoxai.common import (
    Cancelled,
    CancelToken,
    MitoxaiError,
    Progress,
    ProgressCallback,
    no_progress,
)
from napari_mitoxai.models import CancellingMode
from napari_mitoxai.training.concepts import Alignment
from napari_mitoxai.training.examples import Batches, Examples, draw_order
from napari_mitoxai.training.optimisers import (
    faster_precision,
    in_their_order,
    make_optimizer,
    make_schedule,
)
from napari_mitoxai.training.recipe import Recipe
from napari_mitoxai.training.state import StateFolder, TrainingState, copied, finite

KEPT = "trained before"  # of an epoch that a resumed training does not repeat
_REPORTS_EVERY = 0.1  # seconds; reading a loss makes a GPU wait


@dataclass
class Fit:
    """What training gave.

    Attributes
    ----------
    state : dict
        The weights: of the best epoch by the validation figure, or of the last one where there is no validation.
    history : list of dict
        A row an epoch: ``epoch``, ``train_loss``, ``train_accuracy`` and, with validation, ``validation_loss``,
        ``validation_accuracy``.
    best_epoch : int
        The epoch of `state`, from 1.
    cancelled : bool
        Whether the user stopped it; `state` is then that of the epochs finished until then.
    notes : list of str
        What did not go as asked for.
    batch_size : int
        Patches a step, in the end.
    precision : str
        ``float32`` or ``bfloat16``.
    """

    state: dict[str, Tensor] = field(default_factory=dict, repr=False)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    cancelled: bool = False
    notes: list[str] = field(default_factory=list)
    batch_size: int = 0
    precision: str = "float32"


class _Sums:
    """Loss and accuracy of the epoch so far, kept where they are computed: nothing waits for them."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._loss: Any = 0.0
        self._right: Any = 0.0
        self._count = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._loss = self._loss + loss.detach().float() * len(labels)
        self._right = self._right + (logits.detach().argmax(1) == labels).sum()
        self._count += len(labels)

    def means(self, name: str) -> dict[str, float]:
        """Of what was added since the last call; empty if nothing was."""
        loss, right, count = self._loss, self._right, self._count
        self._reset()
        if not count:
            return {}
        return {f"{name}_loss": float(loss) / count, f"{name}_accuracy": float(right) / count}


class _Classifier(lightning.LightningModule):
    """Cross-entropy on logits; every tensor operation looks at the cancel token."""

    def __init__(
        self,
        network: nn.Module,
        training: Examples,
        validation: Examples | None,
        recipe: Recipe,
        state: TrainingState,
        cancel: CancelToken,
        alignment: Alignment | None,
    ) -> None:
        super().__init__()
        self.network, self._alignment = network, alignment
        self._training, self._validation = training, validation
        self._recipe, self._first = recipe, state.epoch
        self._optimizer_state = state.optimizer
        self._cancelling = CancellingMode(cancel)
        self.sums = {"train": _Sums(), "validation": _Sums()}

    def train_dataloader(self) -> Batches:
        """Made anew for every epoch, as each has its own draw."""
        epoch = self._first + self.trainer.current_epoch
        order = draw_order(self._training, epoch, balance=self._recipe.balance, seed=self._recipe.seed)
        return Batches(self._training, order, self._recipe.batch_size, epoch)

    def val_dataloader(self) -> Batches | list[Any]:
        if self._validation is None:
            return []
        order = np.arange(len(self._validation))
        return Batches(self._validation, order, self._recipe.batch_size, keep_all=True)

    def on_train_epoch_start(self) -> None:
        # dropout's random numbers, too, depend on seed and epoch only
        seed = np.random.SeedSequence([self._recipe.seed, self._first + self.trainer.current_epoch])
        torch.manual_seed(int(seed.generate_state(1)[0]))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self._step(batch, "train")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._alignment is not None:
            epoch = self._first + self.trainer.current_epoch
            with self._cancelling:
                self._alignment.after_step(
                    self.network, epoch * int(self.trainer.num_training_batches) + batch_idx + 1
                )

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self._step(batch, "validation")

    def _step(self, batch: tuple[Tensor, Tensor], name: str) -> Tensor:
        inputs, labels = batch
        with self._cancelling:
            logits = self.network(inputs)
            loss = F.cross_entropy(logits, labels)
        self.sums[name].add(loss, logits, labels)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.network, self._recipe)
        if self._optimizer_state:
            optimizer.load_state_dict(self._optimizer_state)
            in_their_order(optimizer)
        steps = len(self.train_dataloader())
        schedule = make_schedule(optimizer, self._recipe, steps * self._recipe.epochs, steps * self._first)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Follow(Callback):
    """Keeps the history, the best weights and the state, reports progress, stops when validation no longer improves."""

    def __init__(
        self,
        state: TrainingState,
        recipe: Recipe,
        examples: int,
        device: torch.device,
        folder: StateFolder | None,
        progress: ProgressCallback,
        cancel: CancelToken,
    ) -> None:
        self.state, self.notes = state, list[str]()
        self._recipe, self._examples, self._folder = recipe, examples, folder
        self._device = device.type
        self._first = state.epoch
        self._progress, self._cancel = progress, cancel
        self._started = time.monotonic()
        self._told = 0.0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._cancel.check()
        now = time.monotonic()
        if now - self._told < _REPORTS_EVERY:
            return
        self._told = now
        done = self.state.epoch + (batch_idx + 1) / int(trainer.num_training_batches)
        detail = f"epoch {self.state.epoch + 1} of {self._recipe.epochs}, loss {float(outputs['loss']):.3f}"
        self._progress(Progress("Training", done, self._recipe.epochs, f"{detail}, {self._speed(done)}"))

    def _speed(self, done: float) -> str:
        """Throughput, and what is left at most: training may stop earlier."""
        seconds = (time.monotonic() - self._started) / max(done - self._first, 1e-9)
        return (
            f"{self._examples / max(seconds, 1e-9):.0f} patches/s on {self._device}, "
            f"up to {duration(seconds * (self._recipe.epochs - done))} left"
        )

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, _Classifier)
        values = module.sums["train"].means("train") | module.sums["validation"].means("validation")
        network = module.network.state_dict()
        if not np.isfinite(list(values.values())).all() or not finite(network):
            self._give_up(trainer)
            return
        state = self.state
        state.epoch += 1
        row = {"epoch": float(state.epoch), **values}
        state.history.append(row)
        state.network = copied(network)
        score = self._score(values)
        if score < state.best_score:
            state.best_score, state.best_epoch, state.best = score, state.epoch, state.network
        trainer.should_stop = finished(state, self._recipe)
        if self._folder is not None:
            # a copy: after a cancel the state of the last whole epoch is wanted
            state.optimizer = copy.deepcopy(trainer.optimizers[0].state_dict())
            self._folder.save(state)
        detail = ", ".join(
            f"{key.replace('_', ' ')} {values[key]:.3f}" for key in sorted(values) if key.endswith("loss")
        )
        self._progress(
            Progress(
                "Training",
                state.epoch,
                self._recipe.epochs,
                f"epoch {state.epoch} of {self._recipe.epochs}, {detail}, {self._speed(state.epoch)}",
                row,
            )
        )

    def _score(self, values: dict[str, float]) -> float:
        """Lower is better; without validation the last epoch is the one to keep."""
        if f"validation_{self._recipe.monitor}" not in values:
            return -float(self.state.epoch)
        value = values[f"validation_{self._recipe.monitor}"]
        return value if self._recipe.monitor == "loss" else -value

    def _give_up(self, trainer: lightning.Trainer) -> None:
        sentence = "The loss is no longer a number"
        if not self.state.best:
            raise MitoxaiError(f"{sentence}: train again with a smaller --learning-rate.")
        self.notes.append(
            f"{sentence} after epoch {self.state.epoch}: the run keeps epoch {self.state.best_epoch}; "
            "train again with a smaller --learning-rate."
        )
        trainer.should_stop = True


def duration(seconds: float) -> str:
    """Seconds for a person: ``40 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def finished(state: TrainingState, recipe: Recipe) -> bool:
    """Whether there is nothing left to train."""
    validated = bool(state.history) and f"validation_{recipe.monitor}" in state.history[-1]
    stopped = validated and state.epoch - state.best_epoch >= recipe.patience
    return state.epoch >= recipe.epochs or stopped


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Gradients of what is learnt by heart fall below 1e-38, where a CPU computes ten times slower: take them for 0."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning greets, advises and counts parameters; here progress is reported by the task."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def fit(
    network: nn.Module,
    training: Examples,
    validation: Examples | None,
    recipe: Recipe,
    *,
    device: torch.device | None = None,
    folder: StateFolder | None = None,
    alignment: Alignment | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Fit:
    """Train a network with cross-entropy.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    training : Examples
        To learn from.
    validation : Examples, optional
        Of other subjects. Without them it trains for all epochs and keeps the last.
    recipe : Recipe
        How to train.
    device : torch.device, optional
        The CPU by default.
    folder : StateFolder, optional
        Gets the state after each epoch, as far as that takes little time; what is in it already is gone on from, and
        the weights are then the same as without the interruption, on the CPU to the bit.
    alignment : Alignment, optional
        Turns the axes of whitened layers between the steps.
    progress, cancel
        Reported ten times a second, with the curve's values after every epoch, and those of the epochs that it goes on
        from; checked between layers.

    Returns
    -------
    Fit
        If it was cancelled, of the epochs finished until then. Where the memory of a GPU was too small, the batch was
        halved, which `notes` says.

    Raises
    ------
    MitoxaiError
        If the loss is no longer a number in the first epoch, the device's memory does not hold two patches, or the state
        cannot be written.
    Cancelled
        If it was cancelled before the first epoch ended.
    """
    cancel = cancel or CancelToken()
    device = device or torch.device("cpu")
    notes: list[str] = []
    begun = copied(network.state_dict())
    with torch.random.fork_rng(devices=[]), _no_denormals():
        while True:
            state = (folder.load() if folder is not None else None) or TrainingState(
                network=begun, batch_size=recipe.batch_size
            )
            size = min(state.batch_size, recipe.batch_size)
            try:
                network.load_state_dict(state.network)
                result = _train(
                    network, training, validation, replace(recipe, batch_size=size), state, device, folder, alignment, progress, cancel
                )  # fmt: skip
            except torch.OutOfMemoryError as error:
                if size < 4:
                    raise MitoxaiError(
                        f"{device} has too little memory for two patches: choose a smaller --input-size, or --device cpu."
                    ) from error
            else:
                result.notes = notes + result.notes
                return result
            # only now: the error held what the failed step had in memory
            network.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            recipe = replace(recipe, batch_size=size // 2)
            notes.append(
                f"{device} has too little memory for batches of {size}: trained in batches of {size // 2}."
            )
            progress(Progress("Training", 0, recipe.epochs, notes[-1]))


def _train(
    network: nn.Module,
    training: Examples,
    validation: Examples | None,
    recipe: Recipe,
    state: TrainingState,
    device: torch.device,
    folder: StateFolder | None,
    alignment: Alignment | None,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> Fit:
    if state.epoch == 0:
        state.precision = recipe.precision
        if recipe.precision == "auto":
            probe = training.inputs(np.arange(min(recipe.batch_size, len(training))), 0, 0)
            state.precision = faster_precision(network.to(device), probe, device)
    state.batch_size = recipe.batch_size
    for row in state.history:  # a curve goes on where it was
        progress(Progress("Training", row["epoch"], recipe.epochs, KEPT, row))
    if finished(state, recipe):
        return _as_fit(state)
    follow = _Follow(state, recipe, len(training), device, folder, progress, cancel)
    cancelled = False
    with _quiet_lightning():
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs - state.epoch,
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision="bf16-mixed" if state.precision == "bfloat16" else "32-true",
            callbacks=[follow],
            reload_dataloaders_every_n_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        try:
            trainer.fit(_Classifier(network, training, validation, recipe, state, cancel, alignment))
        except Cancelled:
            if not state.best:
                raise
            cancelled = True
            if folder is not None:
                folder.save(state, now=True)
    result = _as_fit(state)
    result.cancelled, result.notes = cancelled, follow.notes
    return result


def _as_fit(state: TrainingState) -> Fit:
    return Fit(
        state.best,
        state.history,
        state.best_epoch,
        batch_size=state.batch_size,
        precision=state.precision,
    )
