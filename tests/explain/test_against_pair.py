"""Against PAIR's saliency itself, on more than is stored; `make test-all` runs these in an environment with it."""

import numpy as np
import pair_case
import pytest
import torch
from scipy import ndimage
from small_networks import error

from napari_mitoxai.explain import attribute

pytestmark = pytest.mark.oracle
pytest.importorskip("saliency", reason="PAIR's saliency lives in the environment of make test-all")


@pytest.fixture(params=range(3))
def case(request):
    """A network, a picture and what PAIR asks it."""
    net = pair_case.network()
    rng = np.random.default_rng(request.param)
    picture = ndimage.gaussian_filter(rng.normal(size=(40, 56, 3)), (2, 2, 0)) * 10
    return net, picture, pair_case.gradients(net, target=request.param % 2), request.param % 2


def ours(net, picture, target, name, **parameters):
    return attribute(net, pair_case.as_input(picture), name, target, mode="pair", **parameters)[0]


def test_integrated_gradients(case):
    net, picture, call, target = case
    theirs = pair_case.theirs("integrated", picture, call, x_steps=9, x_baseline=np.full_like(picture, 0.3))
    found = ours(net, picture, target, "integrated_gradients", steps=9, baseline=0.3)
    assert error(found, pair_case.as_map(theirs)) < 1e-6


@pytest.mark.parametrize(("fraction", "distance"), [(0.25, 0.02), (0.5, 1.0), (0.05, 0.2)])
def test_guided_integrated_gradients(case, fraction, distance):
    net, picture, call, target = case
    theirs = pair_case.theirs("guided", picture, call, x_steps=20, fraction=fraction, max_dist=distance)
    name = "guided_integrated_gradients"
    found = ours(net, picture, target, name, steps=20, fraction=fraction, max_distance=distance)
    assert error(found, pair_case.as_map(theirs)) < 1e-12


@pytest.mark.parametrize(("sigma", "steps"), [(50, 20), (3, 7)])
def test_blur_integrated_gradients(case, sigma, steps):
    net, picture, call, target = case
    theirs = pair_case.theirs("blur", picture, call, max_sigma=sigma, steps=steps)
    found = ours(net, picture, target, "blur_integrated_gradients", max_sigma=sigma, steps=steps)
    assert error(found, pair_case.as_map(theirs)) < 1e-10


@pytest.mark.parametrize(("name", "algorithm"), [("xrai", "full"), ("fast_xrai", "fast")])
def test_xrai(case, name, algorithm):
    net, picture, call, target = case
    picture = picture.astype(np.float32)
    theirs = pair_case.theirs("xrai", picture, call, algorithm=algorithm, steps=10)
    found = ours(net, picture, target, name, steps=10)[0]
    assert error(found, torch.from_numpy(theirs)) < 1e-6
