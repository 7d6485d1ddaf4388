"""Each score by hand, by a law, or as Captum computes it."""

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max

from napari_mitoxai.explain import attribute
from napari_mitoxai.trust.concentration import complexity, sparseness
from napari_mitoxai.trust.curves import area, deletion, mean_drop, road, shares
from napari_mitoxai.trust.imputation import FILLS, filled, linearly_imputed
from napari_mitoxai.trust.infidelity import drops, infidelity, max_sensitivity, random_squares
from napari_mitoxai.trust.randomisation import fails, layers_in_order, likeness, randomised
from napari_mitoxai.trust.units import places, planes


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def network(seed=0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.BatchNorm2d(6), torch.nn.Conv2d(6, 4, 3),
        torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2),
    )  # fmt: skip
    return net.eval().requires_grad_(False)


def asking(net, column=1):
    return lambda patches: (
        net(torch.from_numpy(np.ascontiguousarray(patches, np.float32)))[:, column].double().numpy()
    )


def test_what_is_ranked(rng):
    maps = rng.normal(size=(2, 3, 4, 4))
    assert planes(maps, "signed") == pytest.approx(maps.sum(1))
    assert planes(maps, "magnitude") == pytest.approx(abs(maps).sum(1))


def test_places_by_hand(rng):
    plane = np.array([[[[5.0, 5, 1, 1, 9], [5, 5, 1, 1, 9], [0, 0, 2, 2, 7]]]])
    found, units = places(plane, 2, rng)
    # squares of 2, those at the edge smaller: means 5 1 9 / 0 2 7
    assert units[0, 0].tolist() == [[2, 4, 0], [5, 3, 1]]
    assert found[0, 0].tolist() == [[2, 2, 4, 4, 0], [2, 2, 4, 4, 0], [5, 5, 3, 3, 1]]


def test_ties_are_broken_by_lot_and_the_same_for_every_map():
    zero = np.zeros((200, 1, 2, 2))
    first, again = (places(zero, 1, np.random.default_rng(1))[1] for _ in range(2))
    assert (first == again).all()
    assert first.mean(0).ravel() == pytest.approx([1.5] * 4, abs=0.3)  # no corner goes first


def test_deletion_and_insertion_by_hand():
    patches = np.array([[[[4.0, 3], [2, 1]]]], np.float32)
    ranked = places(patches, 1, np.random.default_rng(0))[0]
    total = lambda each: each.sum((1, 2, 3)).astype(float)  # noqa: E731
    nothing = np.zeros_like(patches)
    falling = deletion(total, patches, ranked, nothing, 4)
    rising = deletion(total, patches, ranked, nothing, 4, insert=True)
    assert falling[0].tolist() == [10, 6, 3, 1, 0]
    assert rising[0].tolist() == [0, 4, 7, 9, 10]
    assert shares(4).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert area(falling)[0] == pytest.approx((5 + 6 + 3 + 1 + 0) / 4)
    assert mean_drop(falling)[0] == pytest.approx((0 + 4 + 7 + 9 + 10) / 5)
    worst = deletion(total, patches, ranked.max() - ranked, nothing, 4)
    assert worst[0].tolist() == [10, 9, 7, 4, 0]
    # channel by channel: four places of two channels are eight units
    both = np.concatenate([patches, patches * 0.1], axis=1)
    by_channel = deletion(total, both, places(both, 1, np.random.default_rng(0))[0], both * 0, 8)
    assert by_channel[0] == pytest.approx([11, 7, 4, 2, 1, 0.6, 0.3, 0.1, 0])


def test_what_is_put_in_place(rng):
    patches = rng.normal(3, 1, (2, 3, 32, 32)).astype(np.float32)
    found = {fill: filled(patches, fill, np.random.default_rng(1)) for fill in FILLS}
    assert not found["zero"].any()
    assert found["mean"][1, 2] == pytest.approx(patches[1, 2].mean(), abs=1e-5)
    assert found["blur"].std() < 0.3 * patches.std()
    assert found["blur"].mean() == pytest.approx(patches.mean(), abs=0.02)
    noise = found["noise"][0, 1]
    assert patches[0, 1].min() <= noise.min() < noise.max() <= patches[0, 1].max()
    assert noise.mean() == pytest.approx((patches[0, 1].min() + patches[0, 1].max()) / 2, abs=0.2)


def test_linear_imputation_solves_its_equations(rng):
    y, x = np.mgrid[:9, :9]
    # what is linear is its own weighted mean: holes inside come back exactly
    patch = np.stack([2.0 * y - x, 1.0 + x]).astype(np.float32)
    removed = np.zeros((9, 9), bool)
    removed[3:6, 3:6] = removed[1, 7] = True
    found = linearly_imputed(patch, removed, np.zeros_like(patch))
    assert found == pytest.approx(patch, abs=1e-5)
    assert linearly_imputed(patch, np.ones((9, 9), bool), patch * 0 + 0.5) == pytest.approx(0.5)
    # a corner has a neighbour on either side and one across: 1/6, 1/6 and 1/12 of 5/12
    corner = np.zeros((9, 9), bool)
    corner[0, 0] = True
    values = rng.normal(size=(2, 9, 9)).astype(np.float32)
    expected = (2 * values[:, 0, 1] + 2 * values[:, 1, 0] + values[:, 1, 1]) / 5
    assert linearly_imputed(values, corner, values * 0)[:, 0, 0] == pytest.approx(expected, abs=1e-6)


def test_road_rewards_the_right_order(rng):
    patches = np.zeros((2, 1, 12, 12), np.float32)
    patches[:, :, 4:8, 4:8] = 9
    noise = np.zeros_like(patches)
    total = lambda each: each.sum((1, 2, 3)).astype(float)  # noqa: E731
    scored = []
    for ranked in (patches, -patches):
        most, least = road(
            total,
            patches,
            places(ranked.astype(float), 1, np.random.default_rng(0))[0],
            np.array([0.25]),
            noise,
        )
        scored.append(((least - most) / 2).mean())
    assert scored[0] == pytest.approx(-scored[1], rel=0.05)
    assert scored[0] > 50  # of 144: nearly all is lost from the middle, nothing from outside


def test_infidelity_is_captums(rng):
    net = network()
    patches = rng.normal(size=(3, 3, 16, 16)).astype(np.float32)
    nothing = np.zeros_like(patches)
    covered = random_squares(3, 20, (16, 16), 3, rng)
    sides = np.sqrt(covered.sum((2, 3)))
    assert (sides % 1 == 0).all()
    assert (sides.min(), sides.max()) == (3, 8)
    measured = drops(asking(net), patches, covered, nothing)
    for name in ("input_x_gradient", "gradient"):
        maps = attribute(net, patches, name, 1)
        found = infidelity(maps.sum(1).numpy(), covered, measured)

        def perturb(inputs):  # each patch 20 times, one after the other
            mask = torch.from_numpy(covered).reshape(-1, 1, 16, 16).float().expand_as(inputs)
            return mask, inputs * (1 - mask)

        def captums(maps):
            return captum_infidelity(
                net, perturb, torch.from_numpy(patches), maps, target=1, n_perturb_samples=20, normalize=True
            ).numpy()  # fmt: skip

        empty = captums(torch.zeros_like(maps))
        slope = (np.einsum("nyx,nsyx->ns", maps.sum(1).numpy(), covered) * measured).sum(1)
        expected = np.where(
            slope > 0, captums(maps) / empty, 1
        )  # a map that says the opposite explains nothing
        assert found == pytest.approx(expected, rel=1e-4)


def test_infidelity_of_a_map_that_is_right(rng):
    weights = rng.normal(size=(3, 8, 8))
    patches = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    covered = random_squares(2, 30, (8, 8), 1, rng)
    measured = drops(lambda each: (each * weights).sum((1, 2, 3)), patches, covered, patches * 0)
    right = (patches * weights).sum(1)
    assert infidelity(right * 7, covered, measured) == pytest.approx(0, abs=1e-9)  # the unit is of no account
    assert infidelity(-right, covered, measured).tolist() == [1, 1]
    assert infidelity(right * 0, covered, measured).tolist() == [1, 1]
    assert np.isnan(infidelity(right, covered, measured * 0)).all()


def test_max_sensitivity_is_captums(rng):
    net = network()
    patches = rng.normal(size=(3, 3, 12, 12)).astype(np.float32)

    def explain(given):
        return attribute(net, given, "input_x_gradient", 1).numpy()

    found = max_sensitivity(explain, patches, 0.1, 4, np.random.default_rng(5))
    again = np.random.default_rng(5)
    moves = [again.uniform(-0.1, 0.1, patches.shape).astype(np.float32) for _ in range(4)]

    def perturb(inputs):  # every patch four times, one after the other
        return inputs + torch.from_numpy(np.stack(moves, 1).reshape(-1, *patches.shape[1:]))

    expected = sensitivity_max(
        lambda given: (torch.from_numpy(explain(given[0] if isinstance(given, tuple) else given)),),
        torch.from_numpy(patches), perturb, n_perturb_samples=4,
    )  # fmt: skip
    assert found == pytest.approx(expected.numpy(), rel=1e-4)
    assert np.isnan(max_sensitivity(lambda given: given * 0, patches, 0.1, 1, rng)).all()


def test_concentration_by_hand():
    one, even, empty = np.zeros((4, 5)), np.full((4, 5), 3.0), np.zeros((4, 5))
    one[1, 2] = 7
    every = np.stack([one, even, empty])
    assert sparseness(every)[:2] == pytest.approx([1 - 1 / 20, 0])
    assert complexity(every)[:2] == pytest.approx([0, np.log(20)])
    assert np.isnan(sparseness(every)[2])
    assert np.isnan(complexity(every)[2])
    # 1 3: Gini by its mean difference, 2 / (2 * 2 * 2)
    assert sparseness(np.array([[[1.0, 3.0]]])) == pytest.approx(0.25)


def test_layers_become_random_from_the_last_to_the_first(rng):
    model, fresh = network(0), network(1)
    patch = torch.from_numpy(rng.normal(size=(1, 3, 12, 12)).astype(np.float32))
    layers = layers_in_order(model, patch)
    assert layers == ["0", "2", "3", "7"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = {}
    for share, network_now in randomised(model, fresh, layers, 4):
        changed[share] = {
            name.split(".")[0]
            for name, value in network_now.state_dict().items()
            if not torch.equal(value, before[name])
        }
        if share == 1:
            assert torch.equal(network_now(patch), fresh(patch))
    assert changed == {0.25: {"7"}, 0.5: {"3", "7"}, 0.75: {"3", "7"}, 1.0: {"0", "3", "7"}}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_likeness_sets_signs_aside(rng):
    one, other = rng.normal(size=(2, 5, 30, 30))
    rank, structure = likeness(one, -3 * one)
    assert rank == pytest.approx(1)
    assert structure == pytest.approx(1)
    rank, structure = likeness(one, other)
    assert (rank < 0.15).all()
    assert (structure < 0.3).all()
    assert np.isnan(likeness(one, other * 0)[0]).all()
    assert fails(np.array([0.2, 0.7, np.nan]))  # 0.45 on average, and its interval reaches further
    assert not fails(np.array([0.2, 0.4, np.nan]))
    assert fails(np.array([0.6]))
    assert not fails(np.array([0.4]))
    assert not fails(np.array([np.nan]))
