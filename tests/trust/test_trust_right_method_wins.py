"""On networks whose truth is known by construction, the right map scores best and a random one as chance does."""

import numpy as np
import pytest
import torch

from napari_mitoxai.explain.plan import Request, Score
from napari_mitoxai.trust import mean_and_interval
from napari_mitoxai.trust.judging import Judge, Settings
from napari_mitoxai.trust.network import Network

METHODS = ["random", "edge_detector", "input_x_gradient", "integrated_gradients"]
SIDE = 32


class OneRegion(torch.nn.Module):
    """Sees channel 1 in its upper left quarter and nothing else."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.read = torch.nn.Linear(1, 2)
        self.read.weight.data[:] = torch.tensor([[0.0], [1.0 if seed == 0 else -1.0]])
        self.read.bias.data[:] = 0
        where = torch.zeros(SIDE, SIDE)
        if seed == 0:
            where[: SIDE // 2, : SIDE // 2] = 1
        else:
            where = torch.rand((SIDE, SIDE), generator=generator)
        self.where = torch.nn.Parameter(where)

    def forward(self, patches):
        return self.read((patches[:, 1] * self.where).mean((1, 2), keepdim=True).flatten(1) * 20)


@pytest.fixture(scope="module")
def outcomes():
    rng = np.random.default_rng(0)
    patches = rng.gamma(2, 1, (12, 3, SIDE, SIDE)).astype(np.float32)
    network = Network(OneRegion().requires_grad_(False), Score(1))
    judge = Judge(
        network, patches, lambda seed: OneRegion(seed).requires_grad_(False), Settings(region=4, fill="zero")
    )
    checks = ("deletion", "pixel_flipping", "road", "infidelity", "sensitivity", "randomisation")
    return {
        wanted.label: {name: values for check in checks for name, values in judge.judge(check, wanted).scores.items()}
        for wanted in Request(METHODS).wanted()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("score", "sign"),
    [
        ("deletion", -1),
        ("insertion", 1),
        ("pixel_flipping_zero", 1),
        ("road", 1),
        ("infidelity", -1),
    ],
)
def test_the_right_map_wins(outcomes, score, sign):
    for method in ("input_x_gradient", "integrated_gradients"):
        for other in ("random", "edge_detector"):
            _, low, _ = mean_and_interval(sign * (outcomes[method][score] - outcomes[other][score]))
            assert low > 0, (method, other)


def test_a_random_map_is_at_chance(outcomes):
    # removed in random order, the score falls in proportion: half of it on average
    patches_lose = outcomes["random"]["pixel_flipping_zero"]
    _, low, high = mean_and_interval(outcomes["random"]["road"])
    assert low < 0 < high
    assert outcomes["random"]["infidelity"].mean() > 0.3
    assert outcomes["input_x_gradient"]["infidelity"] == pytest.approx(0, abs=1e-6)
    assert (patches_lose < outcomes["input_x_gradient"]["pixel_flipping_zero"]).all()


def test_who_fails_the_sanity_check(outcomes):
    ranks = {label: values["randomisation_rank"].mean() for label, values in outcomes.items()}
    assert ranks["edge_detector"] == pytest.approx(1)
    assert ranks["random"] < 0.1
    assert ranks["input_x_gradient"] < 0.5


def test_the_random_map_is_as_sensitive_as_two_draws_differ(outcomes):
    assert outcomes["random"]["max_sensitivity"] == pytest.approx(np.sqrt(2), abs=0.1)
