"""Training beside a plain PyTorch loop, and beside the bare network.

    python benchmarks/training.py frozen    [--patches 200] [--epochs 100] [--rival-epochs 3] [--size 224] [--precision float32]
    python benchmarks/training.py fine-tune [--size 512] [--batch 4] [--steps 8] [--repeats 5]

Seconds are those of the clock; where other programs share the machine, read the processor's seconds (--clock processor), with
OMP_NUM_THREADS=1: all threads of both sides count.

`frozen`: VGG16 with a frozen base and the dense head, three cached augmented views of each patch, which are not fresh
augmentation. The rival computes the base in every epoch, as a user would write it; it is timed for a few epochs and scaled.
`fine-tune`: ResNet18. The rival is forward, backward and step on tensors that are in memory already.
"""

import argparse
import itertools
import time

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import HEADER, compare
from torch.utils.data import DataLoader, Dataset

from napari_mitoxai.cohort import Scaling
from napari_mitoxai.imc import Panel, parse_channel
from napari_mitoxai.models import create, pick_device
from napari_mitoxai.training import PatchSet, Recipe, ScaledPatches, features_of, fit
from napari_mitoxai.training.augmentation import augmented

CHANNELS = 10
AUGMENTATION = ["rotation", "flips", "zoom"]


def patches(number: int, size: int) -> PatchSet:
    rng = np.random.default_rng(0)
    labels = np.arange(number) % 2
    counts = rng.poisson(4, (number, CHANNELS, size, size)).astype(np.float32)
    panel = Panel(tuple(parse_channel(f"M{channel}") for channel in range(CHANNELS)))
    return PatchSet(counts, np.array([f"S{n % 8}" for n in range(number)]), labels.astype(np.int64), panel)


SCALING = Scaling((2.0,) * CHANNELS, (0.5,) * CHANNELS)


class Plain(Dataset):
    """A data set as a user would write it, with the same augmentation."""

    def __init__(self, content: PatchSet, kinds: list[str]) -> None:
        self.content, self.kinds, self.rng = content, kinds, np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        counts = augmented(self.content.counts[index], self.kinds, 0.0, self.rng)
        return torch.from_numpy(SCALING(counts)), int(self.content.labels[index])


def frozen(options: argparse.Namespace) -> None:
    device = pick_device(options.device)
    training = patches(options.patches, options.size)
    recipe = Recipe(
        epochs=options.epochs, batch_size=2, optimizer="adam", weight_decay=0.0, schedule="constant", balance=False
    )  # fmt: skip

    def ours() -> float:
        torch.manual_seed(0)
        network = create("vgg16", CHANNELS, 2, head="dense")
        start = options.now()
        examples = ScaledPatches(training, SCALING, augmentation=AUGMENTATION)
        features = features_of(network.base, examples, views=3, precision=options.precision, device=device)
        between = options.now()
        fit(network.head, features, None, recipe, device=device)
        end = options.now()
        print(
            f"features {between - start:.1f} s, head {end - between:.1f} s for {options.epochs} epochs",
            flush=True,
        )
        return end - start

    def rival() -> float:
        torch.manual_seed(0)
        network = create("vgg16", CHANNELS, 2, head="dense").to(device)
        network.base.requires_grad_(False)
        optimizer = torch.optim.Adam(network.head.parameters(), lr=1e-3)
        loader = DataLoader(Plain(training, AUGMENTATION), batch_size=2, shuffle=True)
        start = options.now()
        for _ in range(options.rival_epochs):
            for inputs, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(network(inputs.to(device)), labels.to(device)).backward()
                optimizer.step()
        return (options.now() - start) / options.rival_epochs * options.epochs

    mine, theirs = ours(), rival()
    print(
        f"VGG16, {options.size} px, {options.patches} patches, {options.epochs} epochs: ours {mine:.0f} s, a plain loop "
        f"{theirs:.0f} s (timed for {options.rival_epochs} epochs and scaled): {theirs / mine:.1f} times faster"
    )


def fine_tune(options: argparse.Namespace) -> None:
    device = pick_device(options.device)
    training = patches(options.batch * options.steps, options.size)
    examples = ScaledPatches(training, SCALING, augmentation=["turns"], jitter=0.5)
    recipe = Recipe(epochs=1, batch_size=options.batch, precision="auto")
    ready = (
        torch.from_numpy(SCALING(training.counts)).contiguous(memory_format=torch.channels_last).to(device)
    )
    labels = torch.from_numpy(training.labels).to(device)

    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        return create("resnet18", CHANNELS, 2).to(memory_format=torch.channels_last)

    mine, theirs = network(), network().to(device).train()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=1e-2)
    starts = itertools.cycle(range(0, len(labels), options.batch))

    def bare() -> None:
        for _ in range(options.steps):
            start = next(starts)
            optimizer.zero_grad()
            logits = theirs(ready[start : start + options.batch])
            F.cross_entropy(logits, labels[start : start + options.batch]).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    print(HEADER)
    compared = compare(
        lambda: fit(mine, examples, None, recipe, device=device), bare, options.repeats, now=options.now
    )
    work = f"ResNet18, {options.size} px, batches of {options.batch}: an epoch of {options.steps} steps"
    print(compared.row(work, "bare forward, backward, step"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True)
    first = kinds.add_parser("frozen")
    first.add_argument("--patches", type=int, default=200)
    first.add_argument("--epochs", type=int, default=100)
    first.add_argument("--rival-epochs", type=int, default=3)
    first.add_argument("--size", type=int, default=224)
    first.set_defaults(work=frozen)
    second = kinds.add_parser("fine-tune")
    second.add_argument("--size", type=int, default=512)
    second.add_argument("--batch", type=int, default=4)
    second.add_argument("--steps", type=int, default=8)
    second.add_argument("--repeats", type=int, default=5)
    second.set_defaults(work=fine_tune)
    first.add_argument("--precision", choices=("float32", "bfloat16", "auto"), default="float32")
    for one in (first, second):
        one.add_argument("--device", default="auto")
        one.add_argument("--clock", choices=("wall", "processor"), default="wall")
    options = parser.parse_args()
    options.now = time.perf_counter if options.clock == "wall" else time.process_time
    options.work(options)


if __name__ == "__main__":
    main()
