"""Optimisers, their schedules, and the precision that is faster on a device."""

import time

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from napari_mitoxai.training.recipe import Recipe


def make_optimizer(network: nn.Module, recipe: Recipe) -> Optimizer:
    """The optimiser of a recipe for all weights that may change."""
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=rate, momentum=recipe.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    # one pass over the memory in place of a dozen: for a head of dense layers this is most of a step
    return kind(weights, lr=rate, weight_decay=decay, fused=True)


def in_their_order(optimizer: Optimizer) -> None:
    """Lay an optimiser's loaded state out in memory as the weights are: the fused step walks over both at once."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def make_schedule(optimizer: Optimizer, recipe: Recipe, total_steps: int, done: int = 0) -> LRScheduler:
    """The learning rate after `done` steps of `total_steps`, and on.

    It is a function of the step alone, so that a resumed training has the rates of an uninterrupted one, to the bit.
    """

    def factor(step: int) -> float:
        step += done
        if recipe.schedule == "cosine":
            return float((1 + torch.cos(torch.tensor(torch.pi * step / max(total_steps, 1)))) / 2)
        if recipe.schedule == "inverse-time":
            return 1 / (1 + recipe.decay * step)
        return 1.0

    for group in optimizer.param_groups:
        group["initial_lr"] = recipe.learning_rate
    return LambdaLR(optimizer, factor)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context in which the network computes in this precision: ``float32`` or ``bfloat16``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def faster_precision(
    network: nn.Module, inputs: Tensor, device: torch.device, *, backward: bool = True
) -> str:
    """Measure whether bfloat16 is faster than float32 on a GPU, on a batch of this shape.

    Parameters
    ----------
    network : torch.nn.Module
        Already on the device; its weights do not change, its running averages are put back.
    inputs : Tensor
        (N, C, H, W).
    device : torch.device
        Float32 is chosen on anything but a CUDA GPU, without measuring: the same seed has to give the same weights.
    backward : bool
        Whether the network is trained; else the forward pass alone is measured.

    Returns
    -------
    str
        ``float32`` or ``bfloat16``.
    """
    if device.type != "cuda" or not torch.cuda.is_bf16_supported():
        return "float32"
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    inputs = inputs.to(device)
    seconds: dict[str, float] = {}
    for name in ("float32", "bfloat16"):
        for repeat in range(4):  # the first is a warm-up
            torch.cuda.synchronize(device)
            start = time.perf_counter()
            with autocast(device, name), torch.set_grad_enabled(backward):
                loss = network(inputs).float().square().mean()
            if backward:
                loss.backward()
            torch.cuda.synchronize(device)
            if repeat:
                seconds[name] = min(seconds.get(name, float("inf")), time.perf_counter() - start)
    network.zero_grad(set_to_none=True)
    network.load_state_dict(kept)
    return min(seconds, key=lambda name: seconds[name])
