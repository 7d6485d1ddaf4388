"""The state of a training that is not finished, on disk: after a crash it goes on from the last epoch that was kept."""

import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import read_json, write_json

STATE_FILE = "training.json"
_SHARE = 0.1  # of the time may be spent on writing


@dataclass
class TrainingState:
    """Everything that the next epoch depends on; random numbers do not count, as they follow from seed and epoch.

    Attributes
    ----------
    epoch : int
        Epochs finished.
    history : list of dict
        A row an epoch.
    best_epoch : int
        From 1; 0 before the first.
    best_score : float
        Of that epoch; lower is better.
    batch_size : int
        Smaller than asked for where the memory was too small.
    precision : str
        ``float32`` or ``bfloat16``.
    network, best : dict
        The weights now, and those of the best epoch.
    optimizer : dict
        Its ``state_dict``.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = float("inf")
    batch_size: int = 0
    precision: str = "float32"
    network: dict[str, Tensor] = field(default_factory=dict, repr=False)
    best: dict[str, Tensor] = field(default_factory=dict, repr=False)
    optimizer: dict[str, Any] = field(default_factory=dict, repr=False)


_NUMBERS = ("epoch", "history", "best_epoch", "best_score", "batch_size", "precision")


class StateFolder:
    """Where a training keeps its state.

    The tensors are written first and under a new name; the small file that names them is replaced last. A kill at any
    moment leaves the earlier state whole.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._due = 0.0

    def save(self, state: TrainingState, *, now: bool = False) -> None:
        """Keep a state, unless the last time was so short ago that writing would take more than a tenth of the time.

        Raises
        ------
        MitoxaiError
            If the disk is full or not writable; what was kept before is still there.
        """
        started = time.monotonic()
        if not now and started < self._due:
            return
        tensors = {f"network.{key}": value for key, value in state.network.items()}
        if state.best_epoch != state.epoch:
            tensors |= {f"best.{key}": value for key, value in state.best.items()}
        settings: dict[str, Any] = {"groups": state.optimizer["param_groups"], "values": {}}
        for index, values in state.optimizer["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{name}"] = value
                else:
                    settings["values"][f"{index}.{name}"] = value
        path = self.folder / f"training-{state.epoch}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # one tensor may not be stored under two names
            save_file(
                {
                    key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                    for key, value in tensors.items()
                },
                path,
            )
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        except (OSError, SafetensorError) as error:
            path.unlink(missing_ok=True)
            raise MitoxaiError(
                f"The state of the training could not be written to {self.folder.parent} ({error}): free the disk; "
                f"the same command then goes on from the last epoch that was kept."
            ) from error
        numbers = {key: value for key, value in asdict(_without_tensors(state)).items() if key in _NUMBERS}
        numbers["best_score"] = repr(state.best_score)  # may be infinite, which JSON has no word for
        write_json(self.folder / STATE_FILE, {**numbers, "optimizer": settings, "tensors": path.name})
        for old in self.folder.glob("training-*.safetensors"):
            if old != path:
                old.unlink()
        self._due = time.monotonic() + (time.monotonic() - started) / _SHARE

    def load(self) -> TrainingState | None:
        """The state that was kept last, or None."""
        if not (self.folder / STATE_FILE).exists():
            return None
        content = read_json(self.folder / STATE_FILE)
        try:
            tensors = load_file(self.folder / str(content["tensors"]))
            numbers = {key: content[key] for key in _NUMBERS}
            settings = content["optimizer"]
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise MitoxaiError(
                f"{self.folder} does not hold a whole state of a training ({error}): delete it, and train anew."
            ) from error
        numbers["best_score"] = float(numbers["best_score"])
        network, best = _part(tensors, "network"), _part(tensors, "best")
        states: dict[int, dict[str, Any]] = {}
        for key, value in [*_part(tensors, "optimizer").items(), *settings["values"].items()]:
            index, _, name = key.partition(".")
            states.setdefault(int(index), {})[name] = value
        return TrainingState(
            **numbers,
            network=network,
            best=best or {key: value.clone() for key, value in network.items()},
            optimizer={"state": states, "param_groups": settings["groups"]},
        )

    def clear(self) -> None:
        """Remove it: the training is finished."""
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        for path in self.folder.glob("training-*.safetensors"):
            path.unlink()


def has_state(folder: Path) -> bool:
    """Whether an unfinished training was kept there."""
    return (folder / STATE_FILE).is_file()


def _without_tensors(state: TrainingState) -> TrainingState:
    return replace(state, network={}, best={}, optimizer={})


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights on the CPU that later training does not change."""
    return {key: value.detach().to("cpu", copy=True) for key, value in state.items()}


def finite(state: dict[str, Tensor]) -> bool:
    """Whether all weights are numbers."""
    return all(bool(torch.isfinite(value).all()) for value in state.values())
