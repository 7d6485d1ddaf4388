import numpy as np
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.simulate import section
from napari_mitoxai.trust import TruthScore, area_share, relevance_mass, relevance_rank, score_truth

TRUTH = np.array([[True, True, False], [False, False, False]])


def test_mass_by_hand():
    relevance = np.array([[3.0, 1.0, 2.0], [-5.0, 2.0, 0.0]])
    # positive relevance: 3 + 1 in the truth, 2 + 2 outside
    assert relevance_mass(relevance, TRUTH) == pytest.approx(0.5)
    assert area_share(TRUTH) == pytest.approx(1 / 3)
    assert score_truth(relevance, TRUTH).enrichment == pytest.approx(1.5)


def test_channels_are_summed_before_the_positive_part_is_taken():
    relevance = np.zeros((2, 2, 3))
    relevance[0] = [[4.0, 0.0, 3.0], [0.0, 0.0, 0.0]]
    relevance[1] = [[-2.0, 0.0, 3.0], [0.0, 0.0, 0.0]]
    assert relevance_mass(relevance, TRUTH) == pytest.approx(2 / 8)


def test_rank_by_hand():
    # the two highest are 9 (truth) and 7 (not)
    assert relevance_rank(np.array([[9.0, 1.0, 7.0], [0.0, 0.0, 0.0]]), TRUTH) == pytest.approx(0.5)
    assert relevance_rank(np.array([[9.0, 8.0, 7.0], [0.0, 0.0, 0.0]]), TRUTH) == 1
    assert relevance_rank(np.array([[0.0, 0.0, 7.0], [1.0, 0.0, 0.0]]), TRUTH) == 0


def test_ties_count_by_their_share():
    # 9 is above; 1 (truth) ties with three others for the one place left
    relevance = np.array([[9.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    assert relevance_rank(relevance, TRUTH) == pytest.approx((1 + 1 / 4) / 2)


def test_a_uniform_map_scores_chance():
    truth = section("complex_i_loss", True, size=200).truth
    score = score_truth(np.full(truth.shape, 0.1, dtype=np.float32), truth)
    assert score.enrichment == pytest.approx(1)
    assert score.rank == pytest.approx(score.area_share)


def test_the_truth_itself_scores_one():
    truth = section("membrane_rim", True, size=200).truth
    score = score_truth(truth.astype(np.float32), truth)
    assert (score.mass, score.rank) == (1, 1)
    assert score.enrichment == pytest.approx(1 / truth.mean())


def test_the_scale_of_a_map_does_not_matter():
    rng = np.random.default_rng(0)
    relevance, truth = rng.normal(size=(3, 30, 30)), rng.random((30, 30)) < 0.2
    one, other = score_truth(relevance, truth), score_truth(1e-9 * relevance, truth)
    assert (one.mass, one.rank) == pytest.approx((other.mass, other.rank))


def test_only_tissue_counts():
    relevance = np.array([[3.0, 1.0, 2.0], [9.0, 9.0, 9.0]])
    tissue = np.array([[True, False, True], [False, False, False]])
    assert relevance_mass(relevance, TRUTH, tissue=tissue) == pytest.approx(3 / 5)
    assert relevance_rank(relevance, TRUTH, tissue=tissue) == 1
    assert area_share(TRUTH, tissue=tissue) == pytest.approx(1 / 2)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_without_positive_relevance_is_not_scored(value):
    score = score_truth(np.full((2, 3), value), TRUTH)
    assert np.isnan([score.mass, score.rank, score.enrichment]).all()


def test_without_a_truth_there_is_no_enrichment():
    score = score_truth(np.ones((2, 3)), np.zeros((2, 3), dtype=bool))
    assert (score.mass, score.area_share) == (0, 0)
    assert np.isnan([score.rank, score.enrichment]).all()


def test_without_tissue_nothing_is_scored():
    score = score_truth(np.ones((2, 3)), TRUTH, tissue=np.zeros((2, 3), dtype=bool))
    assert np.isnan([score.mass, score.rank, score.area_share, score.enrichment]).all()


def test_a_float32_map_is_summed_in_double_precision():
    relevance = np.full((2000, 2000), 0.1, dtype=np.float32)
    truth = np.zeros(relevance.shape, dtype=bool)
    truth[:1] = True
    assert relevance_mass(relevance, truth) == pytest.approx(1 / 2000, rel=1e-9)


@pytest.mark.parametrize("shape", [(3, 2), (6,), (2, 2), (1, 1, 2, 3)])
def test_another_grid_is_refused(shape):
    with pytest.raises(MitoxaiError, match="one grid"):
        relevance_mass(np.ones(shape), TRUTH)
    with pytest.raises(MitoxaiError, match="one grid"):
        relevance_mass(np.ones((2, 3)), TRUTH, tissue=np.ones(shape, dtype=bool))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_refused(value):
    with pytest.raises(MitoxaiError, match="not finite"):
        score_truth(np.full((2, 3), value), TRUTH)


def test_a_score_is_plain_numbers():
    assert score_truth(np.ones((2, 3), dtype=np.float32), TRUTH) == TruthScore(1 / 3, 1 / 3, 1 / 3)
