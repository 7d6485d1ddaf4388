"""Channel mixing on simulated tissue: the planted order of the channels is learned, and nothing is lost by it."""

import numpy as np
import pytest
from graded import learned_on_tissue

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_the_planted_order_is_learned_on_tissue_and_costs_nothing():
    mixed = [learned_on_tissue(seed, 50) for seed in range(5)]
    plain = [learned_on_tissue(seed, 50, mixing=0) for seed in range(5)]
    assert min(outcome.agreement for outcome in mixed) >= 0.9
    accuracies = [np.mean([outcome.accuracy for outcome in outcomes]) for outcomes in (mixed, plain)]
    assert accuracies[1] > 0.9
    assert accuracies[0] >= accuracies[1] - 0.01
