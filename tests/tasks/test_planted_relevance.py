"""Real explanation methods on a network whose evidence is known: do the tables name the place, the channel and the fibres?

The network is made, not trained: it looks for places where SDHA is high against COX4, which in healthy tissue rise and fall
together. On simulated tissue that is the planted rim below the membrane of some fibres, and nothing else.
"""

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import nn

from napari_mitoxai import simulate
from napari_mitoxai.explain import attribute
from napari_mitoxai.fibres.answers import PLACE, PROTEIN, STATUS, answers
from napari_mitoxai.fibres.compartments import compartments
from napari_mitoxai.fibres.cover import Placing, Regions
from napari_mitoxai.fibres.relevance import MapPlanes, sum_by_region
from napari_mitoxai.fibres.spatial_null import spatial_null
from napari_mitoxai.fibres.status_groups import Divided

SIZE = 288
SEES_CHANNELS = ("input_x_gradient", "integrated_gradients", "lrp_epsilon")
SEES_PLACES = (*SEES_CHANNELS, "grad_cam")


def detector(counts, targets):
    """SDHA over its mean, minus 1.7 times COX4 over its own, smoothed; what is above 0 speaks for a patient."""
    look = nn.Conv2d(len(targets), 1, 5, padding=2, bias=False)
    weights = torch.zeros_like(look.weight)
    for target, weight in (("SDHA", 1.0), ("COX4", -1.7)):
        weights[:, targets.index(target)] = weight / counts[targets.index(target)].mean() / 25
    look.weight = nn.Parameter(weights)
    call = nn.Linear(1, 2)
    call.weight, call.bias = nn.Parameter(torch.tensor([[-1.0], [1.0]])), nn.Parameter(torch.zeros(2))
    return nn.Sequential(look, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), call).eval()


@pytest.fixture(scope="module")
def found(one_thread):
    made = simulate.section("membrane_rim", True, size=SIZE, seed=4)
    control = simulate.section("membrane_rim", False, size=SIZE, seed=4)
    network = detector(control.counts, made.panel.targets)
    inputs = made.counts[None].astype(np.float32)
    planes = []
    for method in (*SEES_PLACES, "random"):
        values = attribute(network, inputs, method)[0].numpy()
        channels = tuple(made.panel.targets) if len(values) > 1 else ("all channels",)
        planes.append(MapPlanes(method, channels, lambda part, values=values: values[:, *part]))
    regions = Regions.of(made.fibres, compartments(made.fibres))
    planted = np.isin(regions.ids, np.unique(made.fibres[made.truth]))
    placing, everywhere = Placing((SIZE, SIZE), 1, (0, 0)), np.ones((SIZE, SIZE), bool)
    sums = sum_by_region(planes, regions, placing, everywhere)
    groups = {"deficient in SDHA": Divided(planted, ~planted)}
    nulls = spatial_null(planes, regions, placing, everywhere, groups=groups, draws=39)
    told = {(answer.method, answer.question): answer for answer in answers(sums, nulls, groups)}
    return {each.method: each for each in sums}, told, planted


@pytest.mark.parametrize("method", SEES_PLACES)
def test_methods_that_can_see_name_the_compartment_and_the_fibres(found, method):
    sums, told, planted = found
    assert told[method, PLACE].values["most"] == "sub-membrane"
    assert told[method, PLACE].values["sub-membrane p"] == 1 / 40
    assert told[method, STATUS].values["p"] == 1 / 40
    assert told[method, STATUS].values["relevance share"] > 0.8
    enrichment = sums[method].fibres().enrichment[:, -1]
    order = mannwhitneyu(enrichment[planted], enrichment[~planted]).statistic / (
        planted.sum() * (~planted).sum()
    )
    assert order > 0.95


@pytest.mark.parametrize("method", SEES_CHANNELS)
def test_methods_that_tell_channels_apart_name_the_channel(found, method):
    _, told, _ = found
    assert told[method, PROTEIN].values["most"] == "SDHA"
    assert told[method, PROTEIN].values["SDHA"] > 0.9


def test_a_method_that_looks_at_nothing_names_nothing(found):
    _, told, planted = found
    assert told["random", STATUS].values["p"] > 0.05
    assert told["random", STATUS].values["relevance share"] < 0.7
    assert told["random", PLACE].values["sub-membrane enrichment"] == pytest.approx(1, abs=0.05)
    shares = [value for value in told["random", PROTEIN].values.values() if isinstance(value, float)]
    assert max(shares) < 0.15
    assert planted.any()
