"""The training loop, on Lightning."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from napari_mitoxai.cohort import Scaling
from napari_mitoxai.common import (
    Cancelled,
    CancelToken,
    MitoxaiError,
    Progress,
    ProgressCallback,
    no_progress,
)
from napari_mitoxai.models import CancellingMode
from napari_mitoxai.training.data import PatchSet, ScaledPatches, balanced_sampler


@dataclass
class Fit:
    """What training gave.

    Attributes
    ----------
    state : dict
        The weights: of the epoch with the lowest validation loss, or of the last one where there is no validation.
    history : list of dict
        A row an epoch: ``epoch``, ``train_loss``, ``train_accuracy`` and, with validation, ``validation_loss``,
        ``validation_accuracy``.
    best_epoch : int
        The epoch of `state`, from 1.
    cancelled : bool
        Whether the user stopped it; `state` is then that of the epochs finished until then.
    """

    state: dict[str, Tensor] = field(default_factory=dict, repr=False)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    cancelled: bool = False


class _Classifier(lightning.LightningModule):
    """Cross-entropy on logits; every tensor operation looks at the cancel token."""

    def __init__(
        self, network: nn.Module, learning_rate: float, weight_decay: float, cancel: CancelToken
    ) -> None:
        super().__init__()
        self.network = network
        self._learning_rate, self._weight_decay = learning_rate, weight_decay
        self._cancelling = CancellingMode(cancel)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self._step(batch, "validation")

    def _step(self, batch: tuple[Tensor, Tensor], name: str) -> Tensor:
        inputs, labels = batch
        with self._cancelling:
            logits = self.network(inputs.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, labels)
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        values = {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self._learning_rate, weight_decay=self._weight_decay
        )
        # a rate that falls to zero ends the swings of the last epochs, which few subjects cannot average out
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Follow(Callback):
    """Keeps the history and the best weights, reports progress, stops when validation no longer improves."""

    def __init__(
        self, result: Fit, epochs: int, patience: int, progress: ProgressCallback, cancel: CancelToken
    ) -> None:
        self._result, self._epochs, self._patience = result, epochs, patience
        self._progress, self._cancel = progress, cancel
        self._best = float("inf")

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._cancel.check()
        batches = int(trainer.num_training_batches)
        epoch = trainer.current_epoch
        loss = float(outputs["loss"])
        self._progress(
            Progress(
                "Training",
                epoch + (batch_idx + 1) / batches,
                self._epochs,
                f"epoch {epoch + 1} of {self._epochs}, loss {loss:.3f}",
            )
        )

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        values = {key: float(value) for key, value in trainer.callback_metrics.items()}
        if not all(torch.isfinite(torch.tensor(list(values.values())))):
            raise MitoxaiError("The loss is no longer a number: train again with a smaller --learning-rate.")
        row = {"epoch": float(trainer.current_epoch + 1), **values}
        self._result.history.append(row)
        # without validation the last epoch is the one to keep
        score = values.get("validation_loss", -row["epoch"])
        if score < self._best:
            self._best = score
            self._result.best_epoch = int(row["epoch"])
            network: nn.Module = module.network  # type: ignore[assignment]
            self._result.state = {
                key: value.detach().cpu().clone() for key, value in network.state_dict().items()
            }
        elif row["epoch"] - self._result.best_epoch >= self._patience:
            trainer.should_stop = True
        detail = ", ".join(
            f"{key.replace('_', ' ')} {values[key]:.3f}" for key in sorted(values) if key.endswith("loss")
        )
        self._progress(
            Progress(
                "Training",
                row["epoch"],
                self._epochs,
                f"epoch {row['epoch']:.0f} of {self._epochs}, {detail}",
                row,
            )
        )


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
    training: PatchSet,
    validation: PatchSet,
    scaling: Scaling,
    *,
    epochs: int,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    patience: int = 10,
    jitter: float = 0.5,
    seed: int = 0,
    device: torch.device | None = None,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Fit:
    """Train a network.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    training, validation : PatchSet
        Of different subjects. With no validation patches it trains for all epochs and keeps the last.
    scaling : Scaling
        Fitted on the training subjects.
    epochs, batch_size, learning_rate, weight_decay, seed
        As usual; the optimiser is AdamW, and its rate falls to zero along a cosine. Classes, and the subjects in them, are drawn equally often.
    patience : int
        Epochs without a lower validation loss after which training stops.
    jitter : float
        Standard deviation of the log of a random gain on each channel of a training patch.
    device : torch.device, optional
        The CPU by default.
    progress, cancel
        Reported after every batch, with the curve's values after every epoch; checked between layers.

    Returns
    -------
    Fit
        If it was cancelled, of the epochs finished until then.

    Raises
    ------
    MitoxaiError
        If the loss is no longer a number.
    Cancelled
        If it was cancelled before the first epoch ended.
    """
    cancel = cancel or CancelToken()
    result = Fit()
    loader = DataLoader(
        ScaledPatches(training, scaling, jitter=jitter, seed=seed),
        batch_size=batch_size,
        sampler=balanced_sampler(training, seed),
        # a last batch of one patch has no variance for batch normalisation
        drop_last=len(training) % batch_size == 1 and len(training) > 1,
    )
    checks = (
        DataLoader(ScaledPatches(validation, scaling), batch_size=batch_size) if len(validation) else None
    )
    follow = _Follow(result, epochs, patience, progress, cancel)
    device = device or torch.device("cpu")
    with _quiet_lightning():
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            callbacks=[follow],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        try:
            trainer.fit(_Classifier(network, learning_rate, weight_decay, cancel), loader, checks)
        except Cancelled:
            if not result.state:
                raise
            result.cancelled = True
    return result
