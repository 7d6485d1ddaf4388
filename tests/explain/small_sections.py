"""Small sections and checkpoints, and ways to explain them, for tests of the section engine."""

from pathlib import Path

import dask.array as da
import numpy as np
import torch

from napari_mitoxai.cohort import PatchGeometry, Scaling
from napari_mitoxai.explain import Request, Watcher
from napari_mitoxai.explain import explain_section as explain_request
from napari_mitoxai.imc import Panel, Section, parse_channel
from napari_mitoxai.models import Checkpoint, create

TARGETS = ("SDHA", "NDUFB8", "Dystrophin")
METHODS = ["grad_cam", "input_x_gradient"]


def explain_section(section, checkpoint, methods, out, **options):
    """Explain with a request made of what it is given."""
    asked = {name: options.pop(name) for name in list(options) if name in Request.__dataclass_fields__}
    return explain_request(section, checkpoint, Request(methods, **asked), out, **options)


class Blocks(Watcher):
    """Keeps what it sees; calls `then` after every finished block."""

    def __init__(self, then=lambda region: None):
        self.stores, self.regions, self.previews, self._then = [], [], [], then

    def on_store(self, store):
        self.stores.append(store)

    def on_block(self, region, maps, *, finished):
        (self.regions if finished else self.previews).append((region, maps))
        if finished:
            self._then(region)


def panel_of(targets):
    return Panel(tuple(parse_channel(target) for target in targets))


def checkpoint_of(patch=64, target=32, targets=TARGETS):
    torch.manual_seed(0)
    network = create("resnet18", len(targets), 2)
    network.fc.bias.data[:] = torch.tensor([0.1, -0.1])
    count = len(targets)
    return Checkpoint(
        "resnet18", ["control", "patient"], panel_of(targets), Scaling((1.0,) * count, (1.5,) * count),
        PatchGeometry(patch, target), {"train": ["A"], "validation": [], "test": ["B"]}, {}, {},
        network.eval().state_dict(), weights_sha256="w" * 64,
    )  # fmt: skip


def section_of(counts, targets=TARGETS, name="S"):
    return Section(name, da.from_array(counts, chunks=(1, 64, 64)), panel_of(targets), 0.5, Path(name))


def tissue(height=160, width=224, channels=3, seed=0):
    return np.random.default_rng(seed).poisson(5, (channels, height, width)).astype(np.uint16)


def same(store, other, exactly=False):
    for name in store.methods:
        one, two = store.read(name), other.read(name)
        if exactly:
            np.testing.assert_array_equal(one, two)
        else:
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4 * np.abs(one).max())
