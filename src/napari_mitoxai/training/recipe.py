"""How to train: the settings of a training loop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """The settings of a training loop.

    Attributes
    ----------
    epochs : int
        How often training goes over all patches.
    batch_size : int
        Patches a step.
    optimizer : str
        ``adamw``, ``adam`` or ``sgd``.
    learning_rate, weight_decay, momentum : float
        As usual; momentum is that of ``sgd``.
    schedule : str
        ``cosine`` falls to zero at the last step: it ends the swings of the last epochs, which few subjects cannot average
        out. ``inverse-time`` is ``rate / (1 + decay * step)``, as Keras' SGD does. ``constant`` stays.
    decay : float
        Of ``inverse-time``.
    patience : int
        Epochs without a better validation figure after which training stops.
    monitor : str
        ``loss`` or ``accuracy``: which validation figure tells the best epoch.
    balance : bool
        Whether classes, and the subjects in them, are drawn equally often; else every patch once an epoch.
    precision : str
        ``float32``, ``bfloat16``, or ``auto``: what a measurement finds faster on a GPU, and float32 on the CPU, where
        the same seed has to give the same weights.
    seed : int
        Of drawing, augmentation and dropout; each epoch's random numbers depend on it and the epoch only.
    """

    epochs: int = 20
    batch_size: int = 16
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.0
    schedule: str = "cosine"
    decay: float = 0.0
    patience: int = 10
    monitor: str = "loss"
    balance: bool = True
    precision: str = "float32"
    seed: int = 0
