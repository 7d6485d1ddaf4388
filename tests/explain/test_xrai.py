import numpy as np
import pair_case
import pytest
import torch
from small_networks import error, random_net

from napari_mitoxai.explain import attribute
from napari_mitoxai.explain.regions import rank_greedily, rank_once, regions
from napari_mitoxai.explain.xrai import picture_of


@pytest.fixture(scope="module")
def stored():
    with np.load(pair_case.STORED) as archive:
        return dict(archive)


def whole(region, shape):
    plane = np.zeros(shape, bool)
    plane[region.rows, region.columns] = region.mask
    return plane


def test_regions_are_those_of_the_authors(stored):
    shape = stored["picture"].shape[:2]
    count = int(stored["mask_count"])
    theirs = (
        np.unpackbits(stored["masks"], count=count * shape[0] * shape[1]).reshape(count, *shape).astype(bool)
    )
    found = regions(stored["picture"])
    theirs = theirs[
        theirs.any((1, 2))
    ]  # they keep regions that were lost at the picture's own size, and skip them later
    assert len(found) == len(theirs) > 20
    assert all(np.array_equal(whole(a, shape), b) for a, b in zip(found, theirs, strict=True))


@pytest.mark.parametrize("name", ["xrai", "fast_xrai"])
def test_maps_are_those_of_the_authors(name, stored):
    x = pair_case.as_input(stored["picture"])
    found = attribute(pair_case.network(), x, name, mode="pair", steps=pair_case.STEPS)
    assert error(found[0, 0], torch.from_numpy(stored[name])) < 1e-6  # they sum in single precision


def by_definition(attribution, masks):
    """The greedy ranking without any bookkeeping."""
    left = np.ones(attribution.shape, bool)
    result = np.empty_like(attribution)
    while True:
        new = [mask & left for mask in masks]
        means = [attribution[m].mean() if m.sum() >= 50 else -np.inf for m in new]
        best = int(np.argmax(means))
        if means[best] == -np.inf:
            break
        result[new[best]] = means[best]
        left &= ~masks[best]
    if left.any():
        result[left] = attribution[left].mean()
    return result


@pytest.mark.parametrize("seed", range(3))
def test_ranking_by_its_definition(seed, stored):
    attribution = np.random.default_rng(seed).normal(size=stored["picture"].shape[:2])
    found = regions(stored["picture"])
    masks = [whole(region, attribution.shape) for region in found]
    np.testing.assert_allclose(
        rank_greedily(attribution, found), by_definition(attribution, masks), atol=1e-12
    )
    few = found[::9]  # which leave pixels uncovered
    np.testing.assert_allclose(
        rank_greedily(attribution, few), by_definition(attribution, masks[::9]), atol=1e-12
    )


@pytest.mark.parametrize("rank", [rank_greedily, rank_once])
def test_ranking_keeps_the_whole(rank, stored):
    attribution = np.random.default_rng(0).normal(size=stored["picture"].shape[:2])
    for found in (regions(stored["picture"]), regions(stored["picture"])[::7]):
        assert rank(attribution, found).sum() == pytest.approx(attribution.sum(), abs=1e-9)


@pytest.mark.parametrize("name", ["xrai", "fast_xrai"])
def test_a_number_as_baseline_gathers_those_integrated_gradients(name):
    net, x = random_net(0).double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    gathered = attribute(net, x, "integrated_gradients", steps=9, baseline=0.2).amax(1).sum((1, 2))
    assert error(attribute(net, x, name, steps=9, baseline=0.2).sum((1, 2, 3)), gathered) < 1e-9


def test_the_top_fraction_keeps_the_highest():
    net, x = random_net(0), torch.randn(1, 3, 32, 32)
    everything = attribute(net, x, "xrai", steps=4)
    top = attribute(net, x, "xrai", steps=4, top_fraction=0.3)
    kept = top != 0
    assert 0 < kept.float().mean() <= 0.3
    assert torch.equal(top[kept], everything[kept])
    assert everything[kept].min() > everything[~kept].max()


def test_the_top_fraction_keeps_the_best_region_even_if_it_is_larger(stored):
    net, x = pair_case.network(), pair_case.as_input(stored["picture"])
    everything = attribute(net, x, "xrai", steps=4)
    best = everything == everything.max()
    share = float(best.double().mean())
    top = attribute(net, x, "xrai", steps=4, top_fraction=share / 2)
    assert torch.equal(top, everything * best)


@pytest.mark.parametrize("name", ["xrai", "fast_xrai"])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_constant_and_tiny_patches_and_any_number_of_channels(name, channels):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(4 * channels, 2)
    )
    assert (attribute(net, torch.ones(1, channels, 9, 9), name) == 0).all()
    found = attribute(net, torch.randn(2, channels, 6, 5), name, steps=2)
    assert found.shape == (2, 1, 6, 5)
    assert found.isfinite().all()


def test_what_is_cut_into_regions():
    planes = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    assert np.array_equal(picture_of(planes)[..., 0], planes.mean(0))
    assert np.array_equal(picture_of(planes[:3]), planes[:3].transpose(1, 2, 0))
