"""Channel mixing on simulated tissue: the planted order of the channels is learned, and nothing is lost by it."""

import numpy as np
import pytest
from graded import RATIOS, graded_tissue, learned_on_tissue
from scipy.stats import spearmanr

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("one_thread")]


def share_by_ratio(outcome, seed):
    """The shares in the order of the planted ratios."""
    shares = {row["channel"]: row["weight_x_sd"] for row in outcome.rows}
    return [shares[f"Protein{number}"] for number in np.argsort(graded_tissue(seed)[2])]


def test_the_planted_order_is_learned_on_tissue_and_costs_nothing():
    mixed = [learned_on_tissue(seed, 15) for seed in range(5)]
    plain = [learned_on_tissue(seed, 15, mixing=0) for seed in range(5)]
    assert min(outcome.agreement for outcome in mixed) >= 0.9
    shares = np.mean([share_by_ratio(outcome, seed) for seed, outcome in enumerate(mixed)], axis=0)
    assert spearmanr(shares, RATIOS).statistic >= 0.9
    accuracies = [np.mean([outcome.accuracy for outcome in outcomes]) for outcomes in (mixed, plain)]
    assert accuracies[1] > 0.9
    assert accuracies[0] >= accuracies[1] - 0.01
