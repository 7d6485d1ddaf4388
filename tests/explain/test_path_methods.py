import numpy as np
import pair_case
import pytest
import torch
from captum.attr import IntegratedGradients
from scipy import ndimage
from small_networks import SmoothNet, error, random_net, vgg_like
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute
from napari_mitoxai.explain.path_integrals import blur_matrix

PATHS = ["integrated_gradients", "guided_integrated_gradients"]


def smooth(seed=0):
    torch.manual_seed(seed)
    return SmoothNet().double(), torch.randn(2, 2, 12, 10, dtype=torch.float64)


def rise(net, x, reference, target=1):
    with torch.no_grad():
        return (net(x) - net(reference))[:, target]


@pytest.fixture(scope="module")
def stored():
    with np.load(pair_case.STORED) as archive:
        return dict(archive)


def against(found, reference):
    return error(found[0], torch.from_numpy(np.moveaxis(reference, -1, 0).copy()))


@pytest.mark.parametrize("baseline", [0.0, -1.3])
def test_integrated_gradients_sum_to_the_change_of_the_score(baseline):
    net, x = smooth()
    found = attribute(net, x, "integrated_gradients", steps=16, baseline=baseline).sum((1, 2, 3))
    expected = rise(net, x, torch.full_like(x, baseline))
    assert ((found - expected).abs() < 1e-8 * expected.abs()).all()


def test_integrated_gradients_of_a_network_with_kinks_nearly_do():
    torch.manual_seed(0)
    net, x = vgg_like().double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = attribute(net, x, "integrated_gradients", steps=200)
    off = (found.sum((1, 2, 3)) - rise(net, x, 0 * x)).abs()
    assert (off < 1e-3 * found.abs().sum((1, 2, 3))).all()


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_integrated_gradients_equal_captum(baseline):
    net, x = vgg_like(), torch.randn(3, 3, 32, 32)
    theirs = IntegratedGradients(net).attribute(
        x, baseline, target=[1, 0, 1], n_steps=20, method="gausslegendre"
    )
    assert (
        error(attribute(net, x, "integrated_gradients", [1, 0, 1], steps=20, baseline=baseline), theirs)
        < 1e-5
    )


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("steps", [1, 7])
def test_on_a_linear_network_every_path_gives_weight_times_way(name, steps):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(60, 2)).double()
    x = torch.randn(3, 2, 6, 5, dtype=torch.float64)
    expected = net[1].weight.detach()[1].view(1, 2, 6, 5) * (x - 0.4)
    assert error(attribute(net, x, name, steps=steps, baseline=0.4), expected) < 1e-12


@pytest.mark.parametrize("case", pair_case.GUIDED)
def test_guided_paths_equal_those_of_the_authors(case, stored):
    steps, fraction, distance = pair_case.GUIDED[case]
    found = attribute(
        pair_case.network(),
        pair_case.as_input(stored["picture"]),
        "guided_integrated_gradients",
        steps=steps,
        fraction=fraction,
        max_distance=distance,
    )
    assert against(found, stored[f"guided_{case}"]) < 1e-12


def test_a_guided_path_without_freedom_is_the_straight_one():
    net, x = smooth()
    points = [k / 9 for k in range(9)]
    expected = x * sum(attribute(net, a * x, "gradient") for a in points) / 9
    found = attribute(net, x, "guided_integrated_gradients", steps=9, max_distance=0)
    assert error(found, expected) < 1e-12
    assert error(attribute(net, x, "guided_integrated_gradients", steps=9, max_distance=1), expected) > 1e-3


def test_guided_paths_sum_to_the_change_of_the_score_the_better_the_finer():
    net, x = smooth()
    wanted = rise(net, x, 0 * x)
    off = [
        float((attribute(net, x, "guided_integrated_gradients", steps=n).sum((1, 2, 3)) - wanted).abs().max())
        for n in (10, 160)
    ]
    assert off[1] < off[0] / 4
    assert off[1] < 0.01 * wanted.abs().max()


def test_a_guided_path_does_not_depend_on_the_batch_to_the_last_digit():
    net, x = random_net(3), torch.randn(4, 3, 32, 32)
    together = attribute(net, x, "guided_integrated_gradients", [0, 1, 1, 0], steps=10)
    for index, target in enumerate([0, 1, 1, 0]):
        alone = attribute(net, x[index : index + 1], "guided_integrated_gradients", target, steps=10)
        assert torch.equal(alone[0], together[index])


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.7, 3.2, 30.0])
def test_the_blur_is_that_of_scipy(sigma):
    picture = np.random.default_rng(0).normal(size=(23, 17))
    expected = ndimage.gaussian_filter(picture, sigma, mode="constant") if sigma else picture
    np.testing.assert_allclose(
        blur_matrix(23, sigma) @ picture @ blur_matrix(17, sigma).T, expected, atol=1e-12
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_blur_paths_equal_those_of_the_authors(dtype, tolerance, stored):
    found = attribute(
        pair_case.network().to(dtype),
        pair_case.as_input(stored["picture"]),
        "blur_integrated_gradients",
        steps=pair_case.BLUR_STEPS,
        max_sigma=pair_case.BLUR_SIGMA,
    )
    assert against(found.double(), stored["blur"]) < tolerance


def test_blur_paths_sum_to_the_change_from_the_blurred_input():
    torch.manual_seed(0)
    net = SmoothNet().double()
    # smooth pictures: a grid of pixels has no widths below about one
    x = torch.from_numpy(
        ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(2, 2, 24, 20)), (0, 0, 2, 2)) * 5
    )
    down, across = (torch.from_numpy(blur_matrix(length, 5.0)) for length in (24, 20))
    wanted = rise(net, x, down @ x @ across.T)
    off = [
        float(
            (attribute(net, x, "blur_integrated_gradients", steps=n, max_sigma=5).sum((1, 2, 3)) - wanted)
            .abs()
            .max()
        )
        for n in (20, 320)
    ]
    assert off[1] < off[0] / 2
    assert off[1] < 0.03 * wanted.abs().max()


@pytest.mark.parametrize("name", PATHS)
def test_an_input_that_is_its_own_baseline_gets_nothing(name):
    x = torch.full((2, 3, 32, 32), 0.5)
    x[1, 0, 3, 4] = 2.0
    found = attribute(random_net(0), x, name, steps=3, baseline=0.5)
    assert (found[0] == 0).all()
    assert found[1].count_nonzero() == (found[1, 0, 3, 4] != 0)


def test_impossible_parameters_are_refused():
    net, x = random_net(0), torch.zeros(1, 3, 32, 32)
    for name, wrong in [
        ("integrated_gradients", {"steps": 0}),
        ("integrated_gradients", {"baseline": float("inf")}),
        ("guided_integrated_gradients", {"fraction": 0}),
        ("guided_integrated_gradients", {"max_distance": 1.1}),
        ("blur_integrated_gradients", {"max_sigma": 0}),
    ]:
        with pytest.raises(MitoxaiError, match=f"{next(iter(wrong))} of {name} cannot be"):
            attribute(net, x, name, **wrong)
