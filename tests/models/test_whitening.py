"""Concept whitening: what it computes, that its gradient is right, and that it is a convolution in evaluation."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many, available
from napari_mitoxai.models import ConceptWhitening, create
from napari_mitoxai.models.cayley import turned_towards
from napari_mitoxai.models.whitened import Whitening, best_layer, whitened_layers
from napari_mitoxai.models.whitening import (
    ACTIVATIONS,
    activations_of,
    inverse_square_root,
    moments,
    newton_schulz,
    places,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def features_with(values, count=8, side=6, mean=5.0):
    """Features (N, C, H, W), float64, whose biased covariance has exactly these eigenvalues in a drawn basis."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((count * side * side, len(values)))
    drawn -= drawn.mean(0)
    drawn = np.linalg.svd(drawn, full_matrices=False)[0] * np.sqrt(len(drawn))
    basis = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    made = drawn * np.sqrt(values) @ basis.T + mean
    return torch.from_numpy(made.reshape(count, side, side, -1).transpose(0, 3, 1, 2).copy())


def rotation_of(size, seed=1):
    torch.manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]


def distance_to_one(matrix):
    return float((matrix.double() - torch.eye(len(matrix), dtype=torch.float64)).abs().max())


# --- whitening -------------------------------------------------------------------------------------------------------


def test_what_comes_out_is_white():
    layer = ConceptWhitening(6).double()
    layer.rotation.copy_(rotation_of(6))
    mean, covariance = moments(layer(features_with([1, 1, 3, 20, 150, 4000])))
    assert distance_to_one(covariance) < 1e-5
    assert mean.abs().max() < 1e-9


def test_the_whitening_is_the_symmetric_one():
    """ZCA: of all whitenings the one that changes the features least, so that what the network learned stays."""
    covariance = moments(features_with([0.5, 2, 9]))[1]
    root = inverse_square_root(covariance)
    torch.testing.assert_close(root, root.T)
    values, vectors = np.linalg.eigh(covariance.numpy())
    np.testing.assert_allclose(root, vectors @ np.diag(values**-0.5) @ vectors.T, rtol=1e-10)


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [2, 2, 2, 2], [1, 1, 5, 5]])
def test_its_gradient_is_right_also_where_variances_are_equal(values):
    layer = ConceptWhitening(4).double()
    layer.rotation.copy_(rotation_of(4))
    x = features_with(values, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    layer = ConceptWhitening(4, iterations=5).double()
    assert torch.autograd.gradcheck(layer, (x,))


def test_equal_variances_have_a_finite_gradient_where_a_plain_one_has_none():
    matrix = torch.eye(3, dtype=torch.float64, requires_grad=True)
    inverse_square_root(matrix).sum().backward()
    assert torch.allclose(matrix.grad, torch.full((3, 3), -0.5, dtype=torch.float64))


def test_collinear_features_stay_finite_and_nothing_is_made_of_them():
    x = features_with([1, 4, 9])
    doubled = torch.cat(
        [x, x[:, :1], torch.ones_like(x[:, :1])], 1
    ).requires_grad_()  # a copy, and a constant
    layer = ConceptWhitening(5).double()
    y = layer(doubled)
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(doubled.grad).all()
    values = torch.linalg.eigvalsh(moments(y)[1])
    torch.testing.assert_close(values, torch.tensor([0.0, 0, 1, 1, 1]).double(), atol=1e-4, rtol=0)


def test_the_published_iteration_comes_near_where_variances_differ_little_and_ends_short_elsewhere():
    near, far = (moments(features_with(values))[1] for values in ([1, 1.5, 2], [0.01, 1, 100]))
    torch.testing.assert_close(newton_schulz(near, 10), inverse_square_root(near), rtol=1e-6, atol=1e-8)
    short = newton_schulz(far, 10)
    assert distance_to_one(short @ far @ short.T) > 0.3


def test_it_stands_in_for_a_batch_norm_without_its_affine_part():
    """Features that are not correlated: whitening is then what batch normalisation is."""
    x = features_with([1.0, 1, 1])
    torch.testing.assert_close(
        ConceptWhitening(3).double()(x), nn.BatchNorm2d(3, affine=False).double()(x), atol=1e-5, rtol=1e-5
    )


# --- evaluation ------------------------------------------------------------------------------------------------------


def trained_layer(dtype=torch.float32, batches=30, **options):
    """A layer that followed batches of one distribution, its rotation drawn."""
    layer = ConceptWhitening(5, **options)
    layer.rotation.copy_(rotation_of(5))
    torch.manual_seed(0)
    mixed = torch.randn(5, 5)
    for _ in range(batches):
        layer(torch.einsum("dc,nchw->ndhw", mixed, torch.randn(4, 5, 8, 8)) + 3)
    return layer.to(dtype).eval(), torch.einsum("dc,nchw->ndhw", mixed, torch.randn(64, 5, 8, 8)) + 3


@pytest.mark.parametrize("iterations", [0, 10])
def test_evaluation_is_its_folded_convolution(iterations):
    layer, x = trained_layer(iterations=iterations)
    folded = layer.folded()
    assert type(folded) is nn.Conv2d
    assert folded.kernel_size == (1, 1)
    torch.testing.assert_close(layer(x), folded(x), atol=1e-5, rtol=1e-5)
    expected = torch.einsum(
        "dc,nchw->ndhw", layer.rotation @ layer.running_whitening, x - layer.running_mean[:, None, None]
    )
    torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)


def test_evaluation_whitens_what_training_saw():
    layer, x = trained_layer()
    assert distance_to_one(moments(layer(x))[1]) < 0.1


def test_batches_with_fewer_places_than_features_do_not_blow_up_in_evaluation():
    """Forty batches of eight places for sixteen features: each is without variance in half of the directions."""
    torch.manual_seed(0)
    spread = {}
    for iterations in (0, 10):
        layer = ConceptWhitening(16, iterations=iterations).double()
        for _ in range(40):
            layer(torch.randn(2, 16, 2, 2, dtype=torch.float64))
        spread[iterations] = float(layer.eval()(torch.randn(200, 16, 2, 2, dtype=torch.float64)).std())
    assert spread[0] == pytest.approx(1, abs=0.2)
    assert spread[10] > 4  # the mean of the whitenings of the batches, as published


def test_state_goes_into_another_layer_and_is_what_evaluation_uses():
    layer, x = trained_layer()
    layer.train()
    kept = layer.state_dict()  # taken in training, as the loop does
    other = ConceptWhitening(5)
    other.load_state_dict(kept)
    assert torch.equal(other.eval()(x), layer.eval()(x))
    copied = copy.deepcopy(layer)
    assert torch.equal(copied(x), layer(x))


def test_other_shapes_are_refused():
    with pytest.raises(MitoxaiError, match=r"needs \(N, 3, H, W\)"):
        ConceptWhitening(3)(torch.zeros(2, 4, 5, 5))
    with pytest.raises(MitoxaiError, match="at least one"):
        ConceptWhitening(0)


# --- activations and the rotation ------------------------------------------------------------------------------------


def test_activations_by_hand():
    axis = torch.tensor([[3.0, -1, 0, 9], [2, -4, 1, 9], [0, 0, 5, 9], [7, 7, 7, 7]])[None, None]
    own = axis[:, :, :3, :3]
    assert float(activations_of(own, "mean")) == pytest.approx(6 / 9)
    assert float(activations_of(own, "max")) == 5
    assert float(activations_of(own, "positive-mean")) == pytest.approx((3 + 2 + 1 + 5) / 4)
    # one block of 3 x 3; the fourth row and column fill none
    assert float(activations_of(axis, "pooled-max")) == 5
    assert float(activations_of(axis.repeat(1, 1, 1, 2)[..., 1:7], "pooled-max")) == pytest.approx(
        (9 + 5) / 2
    )
    assert float(activations_of(axis[:, :, :2, :2], "pooled-max")) == 3  # smaller than a block
    assert float(activations_of(-own.abs() - 1, "positive-mean")) == 0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_places_of_an_example_are_shares(activation):
    torch.manual_seed(0)
    assert torch.allclose(places(torch.randn(3, 7, 8), activation).sum((1, 2)), torch.ones(3))


def test_an_unknown_activation_is_refused():
    with pytest.raises(MitoxaiError, match="choose one of mean, max"):
        places(torch.zeros(1, 2, 2), "median")


def slow_cayley(rotation, directions):
    """The published search as it is written, on whole matrices."""
    one = torch.eye(len(rotation), dtype=torch.float64)
    gradient = torch.zeros_like(rotation)
    gradient[: len(directions)] = -directions
    for _ in range(2):
        step, low, high = 1000.0, 0.0, 1e8
        skew = gradient @ rotation.T - rotation @ gradient.T
        slope = -0.5 * skew.square().sum()
        while True:
            inverse = torch.linalg.inv(one + step / 2 * skew)
            there = inverse @ (one - step / 2 * skew) @ rotation
            own = -(gradient.T @ inverse @ skew @ (rotation + there) / 2).trace()
            if (gradient * there).sum() > (gradient * rotation).sum() + 1e-4 * step * slope:
                high = step
            elif own < 0.9 * slope:
                low = step
            else:
                break
            step = (low + high) / 2
        rotation = there
    return rotation


def test_the_search_is_the_published_one():
    torch.manual_seed(0)
    rotation, directions = rotation_of(20), 0.05 * torch.randn(3, 20, dtype=torch.float64)
    torch.testing.assert_close(
        turned_towards(rotation, directions), slow_cayley(rotation, directions), rtol=0, atol=1e-10
    )


def test_the_axes_turn_towards_the_concepts_and_stay_orthogonal():
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(64, 3))[0].T * 0.2
    rotation = torch.eye(64)
    for _ in range(60):
        rotation = turned_towards(rotation, directions)
    assert distance_to_one(rotation.double() @ rotation.double().T) < 1e-6
    assert ((rotation[:3] * directions).sum(1) / 0.2).min() > 0.99
    torch.testing.assert_close(turned_towards(rotation, torch.zeros(3, 64)), rotation)


def test_collecting_examples_gives_a_concept_its_axis():
    layer, x = trained_layer()
    strong = x.clone()
    strong[:, :, 2:5, 2:5] += 4 * torch.tensor([1.0, -1, 2, 0, 1])[:, None, None]
    before = activations_of(layer(strong), "pooled-max")[:, 1].mean()
    for _ in range(30):
        layer.collect(1, strong, "pooled-max")
        layer.turn()
    axes = layer(strong)
    assert activations_of(axes, "pooled-max")[:, 1].mean() > before + 2
    assert axes[:, 1, 2:5, 2:5].mean() > 3 * axes[:, [0, 2, 3, 4], 2:5, 2:5].mean().abs()


# --- in a network ----------------------------------------------------------------------------------------------------


def whitened_network(bias=True):
    """A small network with a whitened layer that has followed some batches."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=bias), ConceptWhitening(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, bias=bias), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 3, bias=bias),
    )  # fmt: skip
    network[1].rotation.copy_(rotation_of(6))
    for _ in range(5):
        network(torch.rand(4, 3, 16, 16))
    return network.eval().requires_grad_(False)


def test_every_method_explains_a_whitened_network_as_it_does_the_folded_one():
    network = whitened_network()
    folded = copy.deepcopy(network)
    folded[1] = network[1].folded()
    x = torch.rand(1, 3, 16, 16)
    for name in available():
        own = attribute(network, x, name, 0)
        assert torch.isfinite(own).all(), name
        torch.testing.assert_close(own, attribute(folded, x, name, 0), rtol=1e-4, atol=1e-5, msg=name)


def test_relevance_is_conserved_through_a_whitened_layer():
    network = whitened_network(bias=False).double()
    network[1].running_mean.zero_()  # without a bias nothing takes relevance away
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    found = attribute_many(network, x, {"lrp_epsilon": {"epsilon": 1e-14}, "lrp_z": {}}, 0)
    for relevance in found.maps.values():
        torch.testing.assert_close(relevance.sum((1, 2, 3)), found.logits[:, 0], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "layer", "features"),
    [
        ("resnet18", "layer3.1.bn1", 256),
        ("resnet50", "layer3.5.bn1", 256),
        ("vgg16_bn", "features.31", 512),
        ("densenet121", "features.transition2.norm", 512),
    ],
)
def test_the_published_architectures_have_a_place_for_it(name, layer, features):
    with torch.device("meta"):
        assert best_layer(create(name, 3, 2), 128, 3, 16) == layer
        network = create(name, 3, 2, whitening=Whitening((layer,), ("a", "b")))
        whitened = whitened_layers(network)
        assert {key: module.features for key, module in whitened.items()} == {layer: features}
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 2)


def test_it_goes_with_a_dense_head_and_a_mixing():
    with torch.device("meta"):
        network = create(
            "resnet18", 7, 2, head="dense", mixing=1, whitening=Whitening(("layer2.1.bn1",), ("a",))
        )
        assert list(whitened_layers(network)) == ["network.base.layer2.1.bn1"]
        assert network(torch.zeros(2, 7, 64, 64)).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "layer", "concepts", "reason"),
    [
        ("resnet18", "layer9", ("a",), "no batch norm 'layer9': it has bn1, layer1.0.bn1"),
        ("vgg16", "features.3", ("a",), "cannot be whitened"),
        ("resnet18", "bn1", tuple(map(str, range(65))), "64 features and there are 65 concepts"),
    ],
)
def test_what_cannot_be_whitened_is_said(name, layer, concepts, reason):
    with torch.device("meta"), pytest.raises(MitoxaiError, match=reason):
        create(name, 3, 2, whitening=Whitening((layer,), concepts))
