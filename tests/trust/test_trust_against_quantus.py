"""Against Quantus, where it is right; `make test-all` runs these in an environment with it."""

import numpy as np
import pytest
import torch

from napari_mitoxai.explain import attribute
from napari_mitoxai.trust.concentration import complexity, sparseness
from napari_mitoxai.trust.curves import deletion, road
from napari_mitoxai.trust.imputation import linearly_imputed
from napari_mitoxai.trust.randomisation import layers_in_order, likeness, randomised
from napari_mitoxai.trust.units import places

pytestmark = pytest.mark.oracle
quantus = pytest.importorskip("quantus", reason="Quantus lives in the environment of make test-all")
QUIET = {"disable_warnings": True, "normalise": False}


def network(channels, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.BatchNorm2d(6),
        torch.nn.Conv2d(6, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2),
    ).eval()  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def wrapped(net):
    from quantus.helpers.model.pytorch_model import PyTorchModel

    return PyTorchModel(net, channel_first=True, softmax=False)


def logits(net):
    return lambda patches: net(torch.from_numpy(np.ascontiguousarray(patches))).detach().double().numpy()


def test_sparseness_and_complexity(rng):
    magnitudes = rng.gamma(0.5, 1, (4, 20, 30))
    theirs = [
        metric.evaluate_batch(x_batch=None, a_batch=magnitudes.copy())
        for metric in (quantus.Sparseness(**QUIET), quantus.Complexity(**QUIET))
    ]
    # they add 1e-7 to every pixel, and 1e-12 to every share
    assert sparseness(magnitudes) == pytest.approx(theirs[0], abs=1e-6)
    assert complexity(magnitudes) == pytest.approx(theirs[1], abs=1e-6)


@pytest.mark.parametrize(("channels", "by_channel"), [(1, False), (3, True)])
def test_pixel_flipping(rng, channels, by_channel):
    net = network(channels)
    patches = rng.normal(size=(3, channels, 8, 8)).astype(np.float32)
    maps = rng.normal(size=patches.shape)
    metric = quantus.PixelFlipping(features_in_step=8, perturb_baseline=0.0, **QUIET)
    theirs = metric.evaluate_batch(
        model=wrapped(net), x_batch=patches.copy(), y_batch=np.ones(3, int), a_batch=maps
    )
    ranked = places(maps if by_channel else maps.sum(1, keepdims=True), 1, rng)[0]
    ours = deletion(logits(net), patches, ranked, np.zeros_like(patches), channels * 8)[..., 1]
    assert ours[:, 1:] == pytest.approx(np.array(theirs), abs=1e-6)  # they leave the whole patch out
    assert ours[:, 0] == pytest.approx(logits(net)(patches)[:, 1])


def test_linear_imputation(rng):
    from quantus.functions.perturb_func import noisy_linear_imputation

    patch = rng.normal(size=(3, 14, 11)).astype(np.float32)
    for share in (0.05, 0.4, 0.95):
        removed = rng.random((14, 11)) < share
        theirs = noisy_linear_imputation(patch, np.flatnonzero(removed), noise=0)
        assert linearly_imputed(patch, removed, np.zeros_like(patch)) == pytest.approx(theirs, abs=1e-5)


def test_road(rng):
    net = network(1)
    patches = rng.normal(size=(12, 1, 10, 10)).astype(np.float32)
    net[-1].bias.data += torch.tensor([0.0, float(np.median(np.diff(logits(net)(patches))) * -1)])
    maps = rng.normal(size=patches.shape)
    percentages = [10, 30, 50, 70, 90]
    metric = quantus.ROAD(percentages=percentages, noise=0.0, **QUIET)
    metric.a_size = 100
    theirs = metric.evaluate_batch(
        model=wrapped(net), x_batch=patches.copy(), y_batch=np.ones(12, int), a_batch=maps
    )[0]
    ranked = places(maps, 1, rng)[0]
    most, _ = road(logits(net), patches, ranked, np.array(percentages) / 100, np.zeros_like(patches))
    called = most.argmax(-1) == 1
    assert 0 < called.mean() < 1
    assert (called == theirs).all()


def test_random_weights(rng):
    net = network(2)
    patches = rng.normal(size=(4, 2, 24, 24)).astype(np.float32)

    def explain(model, inputs, targets, **_):
        asked = model if isinstance(model, torch.nn.Module) else model.get_model()
        return (
            attribute(asked, np.asarray(inputs, np.float32), "input_x_gradient", 1)
            .numpy()
            .sum(1, keepdims=True)
        )

    metric = quantus.MPRT(layer_order="top_down", seed=3, return_last_correlation=True, abs=False, **QUIET)
    theirs = metric(
        model=net, x_batch=patches, y_batch=np.ones(4, int), a_batch=None, explain_func=explain, channel_first=True
    )  # fmt: skip
    # the network that Quantus ends with: all its layers are reset, each after the same seed
    *_, (_, fresh) = wrapped(net).get_random_layer_generator(order="top_down", seed=3)
    layers = layers_in_order(net, torch.from_numpy(patches[:1]))
    ((share, changed),) = randomised(net, fresh, layers, 1)
    assert share == 1
    before, after = (explain(each, patches, None)[:, 0] for each in (net, changed))
    assert likeness(before, after)[0] == pytest.approx(np.abs(theirs), abs=1e-9)
