"""Scores against a planted truth: by hand, against scikit-learn's definition, and on a network whose evidence is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import nn

from napari_mitoxai import simulate
from napari_mitoxai.explain import attribute, method
from napari_mitoxai.trust.planted import SCORES, chance_of, channel_scores, score_patch
from napari_mitoxai.trust.planted_table import COLUMNS, over_seeds, overall, t_interval

SIZE = 160


def test_scores_by_hand():
    truth = np.array([[True, True, False, False]])
    relevance = np.array([[[3.0, 1.0, 2.0, -1.0]], [[0.0, 0.0, 0.0, -4.0]]])  # summed: 3, 1, 2, -5
    found = score_patch(relevance, truth, [0])
    assert found["mass"] == pytest.approx(4 / 6)
    assert found["rank"] == pytest.approx(1 / 2)  # the two highest are 3 and 2
    assert found["auc"] == pytest.approx(3 / 4)  # of four pairs, 1 against 2 is the wrong way round
    assert found["average_precision"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found["mass_of_magnitudes"] == pytest.approx(4 / 11)
    assert found["rank_of_magnitudes"] == pytest.approx(1 / 2)  # 5 and 3
    assert (found["channel_share"], found["channel_named"], found["empty"]) == (1, 1, 0)


def test_the_auc_is_that_of_the_rank_sum_test():
    rng = np.random.default_rng(0)
    relevance, truth = rng.normal(size=(3, 20, 20)), rng.random((20, 20)) < 0.3
    summed = relevance.sum(0)
    told = mannwhitneyu(summed[truth], summed[~truth]).statistic / (truth.sum() * (~truth).sum())
    assert score_patch(relevance, truth)["auc"] == pytest.approx(told)


def test_channels_by_hand():
    relevance = np.zeros((3, 1, 2))
    relevance[:, 0] = [[2.0, -9.0], [1.0, 0.0], [1.0, 0.0]]
    assert channel_scores(relevance, [0]) == (0.5, 1)
    assert channel_scores(relevance, [1, 2]) == (0.5, 0)
    assert channel_scores(np.ones((4, 2, 2)), [1]) == (0.25, 0.25)  # all get the same: nothing is named
    assert channel_scores(-np.ones((4, 2, 2)), [1]) == (0.25, 0.25)


def test_a_map_that_says_nothing_scores_chance():
    truth = np.zeros((10, 10), bool)
    truth[:3] = True
    chance = chance_of(truth, 4, [0])
    for values in (np.zeros((4, 10, 10)), np.full((4, 10, 10), -1.0)):
        found = score_patch(values, truth, [0])
        assert found["empty"] == 1
        for name in ("mass", "rank", "auc", "average_precision", "channel_share", "channel_named"):
            assert found[name] == pytest.approx(chance[name]), name


def detector(counts, targets):
    """NDUFB8 and GRIM19 below COX4, smoothed; what is above 0 speaks for a patient."""
    look = nn.Conv2d(len(targets), 1, 5, padding=2, bias=False)
    weights = torch.zeros_like(look.weight)
    for target, weight in (("COX4", 1.2), ("NDUFB8", -1.0), ("GRIM19", -1.0)):
        plane = targets.index(target)
        weights[:, plane] = weight / counts[plane].mean() / 25
    look.weight = nn.Parameter(weights)
    call = nn.Linear(1, 2)
    call.weight, call.bias = nn.Parameter(torch.tensor([[-1.0], [1.0]])), nn.Parameter(torch.zeros(2))
    return nn.Sequential(look, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), call).eval()


@pytest.fixture(scope="module")
def scored(one_thread):
    """Scores of a network that is made to look for fibres without complex I, on three patches."""
    rows = []
    for seed in range(3):
        made = simulate.section("complex_i_loss", True, size=SIZE, seed=seed)
        network = detector(simulate.section(size=SIZE, seed=seed).counts, made.panel.targets)
        # to the network, absence is relevance: COX4 is what it adds up where the others are missing
        channels = [made.panel.targets.index("COX4")]
        for name in ("input_x_gradient", "lrp_epsilon", "grad_cam", "random", "edge_detector"):
            values = attribute(network, made.counts[None].astype(np.float32), name)[0].numpy()
            own = channels if method(name).per_channel else None
            chance = chance_of(made.truth, len(made.panel), own)
            rows.append(
                {
                    "signal": "complex_i_loss",
                    "seed": seed,
                    "method": name,
                    **score_patch(values, made.truth, own),
                }
                | {f"chance_{score}": value for score, value in chance.items()}
            )
    return over_seeds(pd.DataFrame(rows), ("random", "edge_detector"))


def of(table, name, score="mass"):
    (row,) = table[(table["method"] == name) & (table["score"] == score)].to_dict("records")
    return row


@pytest.mark.parametrize("name", ["input_x_gradient", "lrp_epsilon", "grad_cam"])
def test_where_the_network_is_known_methods_that_ask_it_win(scored, name):
    row = of(scored, name)
    assert row["value"] > 0.8
    assert row["above_chance"]
    assert row["above_edges"]
    assert row["place"] <= row["methods"] == 3
    assert of(scored, name, "auc")["value"] > 0.8


def test_the_channel_that_the_network_adds_up_is_named(scored):
    for name in ("input_x_gradient", "lrp_epsilon"):
        assert of(scored, name, "channel_named")["value"] == 1
    assert of(scored, "random", "channel_share")["value"] == pytest.approx(0.1, abs=0.01)
    assert scored[(scored["method"] == "grad_cam") & (scored["score"] == "channel_named")].empty


def test_the_random_map_is_at_chance_and_has_no_place(scored):
    for score in ("mass", "rank", "auc", "average_precision"):
        row = of(scored, "random", score)
        assert row["value"] == pytest.approx(row["chance"], abs=0.02)
        assert pd.isna(row["place"])
    assert of(scored, "edge_detector")["value"] < of(scored, "lrp_epsilon")["value"] - 0.2


def test_the_interval_is_over_seeds_not_patches():
    assert t_interval([0.5, 0.7]) == pytest.approx((0.6, 0.6 - 12.706 * 0.1, 0.6 + 12.706 * 0.1), abs=1e-3)
    assert np.isnan(t_interval([0.5])[1:]).all()
    rows = [
        {"signal": "s", "seed": seed, "method": name, "empty": 0}
        | dict.fromkeys(SCORES, value)
        | {f"chance_{score}": 0.2 for score in SCORES}
        for name, by_seed in {"a": ([0.4] * 9 + [0.6], [0.7]), "b": ([0.1], [0.1])}.items()
        for seed, values in enumerate(by_seed)
        for value in values
    ]
    table = over_seeds(pd.DataFrame(rows))
    assert list(table.columns) == COLUMNS
    row = of(table, "a")
    assert (row["seeds"], row["patches"]) == (2, 11)
    assert row["value"] == pytest.approx((0.42 + 0.7) / 2)  # not the mean of the eleven
    assert (row["place"], of(table, "b")["place"]) == (1, 2)
    assert not row["above_chance"]  # two seeds tell little
    assert (row["low"], row["high"]) == (0, 1)


def test_the_ranking_over_signals_is_of_methods_scored_on_all():
    rows = [
        {"signal": signal, "seed": seed, "method": name, "empty": 0}
        | dict.fromkeys(SCORES, value + 0.001 * seed)
        | {f"chance_{score}": 0.1 for score in SCORES}
        for seed in range(3)
        for signal, name, value in [
            ("s", "a", 0.5), ("s", "b", 0.6), ("s", "c", 0.9), ("t", "a", 0.8), ("t", "b", 0.2), ("s", "random", 0.1),
        ]
    ]  # fmt: skip
    ranking = overall(pd.DataFrame(rows), ("random",)).to_dict("records")
    assert [row["method"] for row in ranking] == ["a", "b", "random"]  # c is missing on t
    assert [(row["place"], row["mean_place"]) for row in ranking[:2]] == [(1, 2.0), (1, 2.0)]
    assert pd.isna(ranking[2]["place"])
    # the mean of 5 and 8, over six networks
    assert ranking[0]["times_chance"] == pytest.approx(6.5, rel=0.01)
    assert 1 < ranking[0]["low"] < 6.5 < ranking[0]["high"]
    assert ranking[0]["networks"] == 6
    assert ranking[2]["times_chance"] == pytest.approx(1, rel=0.02)
