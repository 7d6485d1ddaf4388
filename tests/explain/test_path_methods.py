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
from napari_mitoxai.explain.noise import InputNoise
from napari_mitoxai.explain.path_integrals import cut_gaussian, gaussian

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
    return error(found[0], pair_case.as_map(reference))


@pytest.mark.parametrize("baseline", [0.0, -1.3])
def test_integrated_gradients_sum_to_the_change_of_the_score(baseline):
    net, x = smooth()
    expected = rise(net, x, torch.full_like(x, baseline))
    off = [
        (
            attribute(net, x, "integrated_gradients", steps=steps, baseline=baseline).sum((1, 2, 3))
            - expected
        ).abs()
        for steps in (10, 50)
    ]
    assert (off[1] < off[0] / 20).all()  # the square of the steps
    assert (off[1] < 1e-4 * expected.abs()).all()


def test_integrated_gradients_of_a_network_with_kinks_nearly_do():
    torch.manual_seed(0)
    net, x = vgg_like().double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = attribute(net, x, "integrated_gradients")
    off = (found.sum((1, 2, 3)) - rise(net, x, 0 * x)).abs()
    assert (off < 1e-3 * found.abs().sum((1, 2, 3))).all()


@pytest.mark.parametrize("baseline", [0.0, 0.7])
@pytest.mark.parametrize(
    ("mode", "theirs"), [("canonical", "riemann_middle"), ("innvestigate", "riemann_left")]
)
def test_integrated_gradients_equal_captum(mode, theirs, baseline):
    net, x = vgg_like(), torch.randn(3, 3, 32, 32)
    expected = IntegratedGradients(net).attribute(x, baseline, target=[1, 0, 1], n_steps=20, method=theirs)
    found = attribute(net, x, "integrated_gradients", [1, 0, 1], steps=20, baseline=baseline, mode=mode)
    assert error(found, expected) < 1e-5


def test_integrated_gradients_equal_those_of_pair(stored):
    found = attribute(
        pair_case.network(),
        pair_case.as_input(stored["picture"]),
        "integrated_gradients",
        steps=pair_case.STEPS,
        mode="pair",
    )
    assert against(found, stored["integrated"]) < 1e-6  # they sum in single precision


def test_on_a_network_with_kinks_the_middle_of_each_part_is_the_better_point():
    net, x = vgg_like().double(), torch.randn(4, 3, 32, 32, dtype=torch.float64)
    fine = attribute(net, x, "integrated_gradients", steps=300)

    def off(found):
        return float((found - fine).norm())

    middle, left, ends = (
        off(attribute(net, x, "integrated_gradients", steps=12, mode=mode))
        for mode in ("canonical", "innvestigate", "pair")
    )
    gauss = off(IntegratedGradients(net).attribute(x, target=1, n_steps=12, method="gausslegendre"))
    assert middle < 0.9 * gauss < 0.9 * min(left, ends)


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
        mode="pair",
    )
    assert against(found, stored[f"guided_{case}"]) < 1e-12


def test_a_guided_path_without_freedom_is_the_straight_one():
    net, x = smooth()
    slopes = [attribute(net, k / 9 * x, "gradient") for k in range(10)]
    left = x * sum(slopes[:9]) / 9
    both = x * (sum(slopes) - (slopes[0] + slopes[9]) / 2) / 9
    guided = "guided_integrated_gradients"
    assert error(attribute(net, x, guided, steps=9, max_distance=0, mode="pair"), left) < 1e-12
    assert error(attribute(net, x, guided, steps=9, max_distance=0), both) < 1e-12
    assert error(attribute(net, x, guided, steps=9, max_distance=1), both) > 1e-3


def test_guided_paths_sum_to_the_change_of_the_score():
    net = random_net(0).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    wanted = rise(net, x, 0 * x)

    def off(**parameters):
        found = attribute(net, x, "guided_integrated_gradients", **parameters)
        return ((found.sum((1, 2, 3)) - wanted).abs() / found.abs().sum((1, 2, 3))).max()

    assert off() < 0.01
    assert off() < off(mode="pair") / 3


def test_a_guided_path_does_not_depend_on_the_batch_to_the_last_digit():
    net, x = random_net(3), torch.randn(4, 3, 32, 32)
    together = attribute(net, x, "guided_integrated_gradients", [0, 1, 1, 0], steps=10)
    for index, target in enumerate([0, 1, 1, 0]):
        alone = attribute(net, x[index : index + 1], "guided_integrated_gradients", target, steps=10)
        assert torch.equal(alone[0], together[index])


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.7, 3.2, 30.0])
def test_the_cut_blur_is_that_of_scipy(sigma):
    picture = np.random.default_rng(0).normal(size=(23, 17))
    expected = ndimage.gaussian_filter(picture, sigma, mode="constant") if sigma else picture
    np.testing.assert_allclose(
        cut_gaussian(23, sigma) @ picture @ cut_gaussian(17, sigma).T, expected, atol=1e-12
    )


@pytest.mark.parametrize("sigma", [0.02, 0.7, 3.2, 30.0])
def test_the_exact_blur_is_a_wide_cut_one_and_knows_its_derivative(sigma):
    matrix, change = gaussian(23, sigma)
    row = np.zeros(23 + 2 * 400)
    row[400 + 4] = 1
    wide = ndimage.gaussian_filter1d(row, sigma, truncate=10, mode="constant")[400:423]
    np.testing.assert_allclose(matrix[:, 4], wide, atol=1e-9)
    quotient = (gaussian(23, sigma + 1e-5)[0] - gaussian(23, sigma - 1e-5)[0]) / 2e-5
    np.testing.assert_allclose(change, quotient, atol=1e-8)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3, 20])
def test_a_blur_has_no_weights_too_small_for_single_precision(sigma):
    for matrix in gaussian(256, sigma):
        weights = np.abs(matrix.astype(np.float32))
        assert weights[weights > 0].min() > 1e-30


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_blur_paths_equal_those_of_the_authors(dtype, tolerance, stored):
    found = attribute(
        pair_case.network().to(dtype),
        pair_case.as_input(stored["picture"]),
        "blur_integrated_gradients",
        steps=pair_case.BLUR_STEPS,
        max_sigma=pair_case.BLUR_SIGMA,
        mode="pair",
    )
    assert against(found.double(), stored["blur"]) < tolerance


@pytest.mark.parametrize("fine", [False, True])
def test_blur_paths_sum_to_the_change_from_the_blurred_input(fine):
    net, _ = smooth()
    x = np.random.default_rng(0).normal(size=(2, 2, 24, 20)) * 5
    x = torch.from_numpy(x if fine else ndimage.gaussian_filter(x, (0, 0, 2, 2)))
    down, across = (torch.from_numpy(gaussian(length, 5.0)[0]) for length in (24, 20))
    wanted = rise(net, x, down @ x @ across.T)
    off = [
        (attribute(net, x, "blur_integrated_gradients", steps=n, max_sigma=5).sum((1, 2, 3)) - wanted)
        .abs()
        .max()
        for n in (10, 50)
    ]
    assert off[1] < off[0] / 10
    assert off[1] < 0.005 * wanted.abs().max()


@pytest.mark.parametrize("name", [*PATHS, "blur_integrated_gradients"])
def test_smoothing_explains_noisy_copies(name):
    net, x = smooth()
    plain = attribute(net, x, name, steps=4)
    assert torch.equal(attribute(net, x, name, steps=4, samples=3, noise=0), plain)
    assert torch.equal(attribute(net, x, name, steps=4, squared=True), plain**2)
    # the same noise as SmoothGrad's, from the patch and the seed
    noise = InputNoise(x, 5)
    copies = [x + 0.3 * noise.draw() for _ in range(3)]
    expected = sum(attribute(net, copy, name, steps=4) ** 2 for copy in copies) / 3
    chosen = {"steps": 4, "samples": 3, "noise": 0.3, "relative": False, "squared": True, "seed": 5}
    assert error(attribute(net, x, name, **chosen), expected) < 1e-12


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
        ("blur_integrated_gradients", {"mode": "innvestigate"}),
        ("integrated_gradients", {"samples": 0}),
    ]:
        with pytest.raises(MitoxaiError, match=f"{next(iter(wrong))} of {name} cannot be"):
            attribute(net, x, name, **wrong)
