"""Channel mixing finds which channels hold what is to be told apart."""

import numpy as np
import pytest

from napari_mitoxai.training.channel_shares import shares_over

pytest.importorskip("sklearn", reason="scikit-learn, which brings the digits, is not installed")

from digits import RATIOS, learned

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_planted_order_is_learned():
    outcome = learned(seed=0, epochs=6)
    assert outcome.agreement >= 0.9
    assert outcome.accuracy > 0.8
    assert sum(row["weight"] for row in outcome.rows) == pytest.approx(1)
    assert all(
        row["deviation"] == pytest.approx(1, abs=1e-3) for row in outcome.rows
    )  # the scaling sees to it


@pytest.mark.slow
def test_the_planted_order_over_seeds_and_what_it_costs():
    ranges = np.linspace(0.3, 1.5, len(RATIOS))  # other ranges than the order's: the scaling takes them away
    mixed = [learned(seed, 20, ranges=ranges) for seed in range(5)]
    plain = [learned(seed, 20, mixing=0, ranges=ranges) for seed in range(5)]
    assert min(outcome.agreement for outcome in mixed) >= 0.9
    accuracies = [np.mean([outcome.accuracy for outcome in outcomes]) for outcomes in (mixed, plain)]
    assert accuracies[0] >= accuracies[1] - 0.01


def test_mean_and_spread_over_models_by_hand():
    models = [
        [{"channel": "A", "weight": 0.8, "weight_x_sd": 0.4}, {"channel": "B", "weight": 0.2, "weight_x_sd": 0.6}],
        [{"channel": "B", "weight": 0.4, "weight_x_sd": 0.8}, {"channel": "A", "weight": 0.6, "weight_x_sd": 0.2}],
    ]  # fmt: skip
    first, second = shares_over(models)
    assert (first["channel"], second["channel"], first["models"]) == ("B", "A", 2)
    assert (first["weight"], first["weight_x_sd"]) == pytest.approx((0.3, 0.7))
    assert first["weight_sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert shares_over(models[:1])[0]["weight_sd"] is None
