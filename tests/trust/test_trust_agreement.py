"""How far maps agree: against scipy, scikit-image and cases by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.trust import (
    mean_and_interval,
    rank_correlations,
    rank_correlations_within,
    similarities,
    top_overlaps,
)
from napari_mitoxai.trust.common_grid import averaged, common_reduction, common_shape, labels_on


def test_rank_correlation_is_scipys_with_ties_and_nan_for_a_constant_map():
    rng = np.random.default_rng(0)
    values = np.stack(
        [
            rng.normal(size=300),
            rng.integers(-3, 4, 300).astype(float),
            rng.normal(size=300),
            np.full(300, 2.0),
        ]
    )
    values[2] += values[0]
    found = rank_correlations(values)
    assert found[:3, :3] == pytest.approx(spearmanr(values[:3], axis=1).statistic, abs=1e-12)
    assert np.isnan(found[3]).all()
    assert np.isnan(found[:, 3]).all()
    with pytest.raises(MitoxaiError, match="not finite"):
        rank_correlations(np.array([[1.0, np.nan]]))


def test_rank_correlation_inside_each_fibre():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 200))
    fibres = rng.choice([0, 4, 9, 2], 200, p=[0.2, 0.4, 0.39, 0.01])
    values[2, fibres == 9] = 1.0
    ids, found, sizes = rank_correlations_within(values, fibres)
    assert ids.tolist() == [2, 4, 9]
    assert sizes.tolist() == [(fibres == each).sum() for each in ids]
    assert np.isnan(found[0]).all()  # too small
    assert found[1] == pytest.approx(spearmanr(values[:, fibres == 4], axis=1).statistic, abs=1e-12)
    assert found[2, 0, 1] == pytest.approx(spearmanr(*values[:2, fibres == 9]).statistic, abs=1e-12)
    assert np.isnan(found[2, 2]).all()  # constant in there, not elsewhere


def test_a_pixel_of_the_grid_has_the_label_that_covers_most_of_it():
    labels = np.zeros((7, 9), int)
    labels[:3, :3] = 5  # one cell of 3 x 3
    labels[:3, 3:5] = 7  # two thirds of the next
    labels[3:6, 0] = 7  # a third
    labels[3:6, 1] = 5  # and another: none has most
    assert labels_on(labels, (2, 3), 3).tolist() == [[5, 7, 0], [0, 0, 0]]
    assert labels_on(labels, (7, 9), 1).tolist() == labels.tolist()


def test_overlap_by_hand():
    values = np.array(
        [
            [9.0, 8, 7, 1, 0, 0, -1, -2, -9, -9],  # top three: 0 1 2
            [9.0, 0, 8, 0, 7, 0, 0, 0, 0, 0],  # 0 2 4
            [5.0, -1, -1, -1, -1, -1, -1, -1, -1, -1],  # only 0 is positive
            [9.0, 2, 2, 2, 2, 0, 0, 0, 0, 0],  # 0, and 1 to 4 at a half each
            [-1.0, -2, 0, 0, 0, 0, 0, 0, 0, 0],  # nothing positive
            [3.0, 3, 3, 3, 3, 3, 3, 3, 3, 3],  # nothing higher than anything
        ]
    )
    found = top_overlaps(values, 0.3)
    assert found[0, 1] == pytest.approx(2 / 3)
    assert found[0, 2] == pytest.approx(2 * 1 / (3 + 1))
    assert found[0, 3] == pytest.approx(2 / 3)  # 1 + 1/2 + 1/2 of three
    assert np.diag(found)[:4] == pytest.approx(1)
    assert np.isnan(found[4:]).all()
    with pytest.raises(MitoxaiError, match="top"):
        top_overlaps(values, 0)


def test_overlap_of_maps_that_know_nothing_is_the_share():
    values = np.random.default_rng(1).normal(size=(2, 200_000))
    assert top_overlaps(values, 0.1)[0, 1] == pytest.approx(0.1, abs=0.01)
    assert top_overlaps(values, 0.25)[0, 1] == pytest.approx(0.25, abs=0.01)


def test_similarity_is_scikit_images_after_the_stated_scaling():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(60, 50))
    b = 1000 * (a + 0.5 * rng.normal(size=a.shape))  # the unit is of no account
    found = similarities([a, b, np.zeros_like(a)], np.ones(a.shape, bool))
    scaled = [np.clip(each / np.percentile(abs(each), 99), -1, 1) / 2 + 0.5 for each in (a, b)]
    expected = structural_similarity(
        *scaled, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert found[0, 1] == pytest.approx(expected, abs=1e-12)
    assert found[0, 0] == pytest.approx(1)
    assert similarities([a, -a], np.ones(a.shape, bool))[0, 1] < -0.8  # a sign is not lost
    assert np.isnan(found[2]).all()


def test_similarity_looks_only_at_what_was_explained():
    rng = np.random.default_rng(3)
    explained = np.zeros((60, 60), bool)
    explained[:, :30] = True
    a, b = (rng.normal(size=explained.shape) * explained for _ in range(2))
    changed = np.where(explained, b, 99.0)
    assert similarities([a, changed], explained)[0, 1] == similarities([a, b], explained)[0, 1]
    assert np.isnan(similarities([a, b], np.eye(60, dtype=bool))).all()  # nothing is 5 pixels inside
    with pytest.raises(MitoxaiError, match="one"):
        similarities([a[:10]], explained)


def test_interval_over_subjects():
    # of two subjects a quarter of the draws has one of them only: the interval is both
    assert mean_and_interval([0.2, np.nan, 0.6]) == pytest.approx((0.4, 0.2, 0.6))
    assert np.isnan(mean_and_interval([0.3])[1:]).all()
    assert np.isnan(mean_and_interval([np.nan])).all()
    values = np.random.default_rng(4).normal(0, 1, 100)
    mean, low, high = mean_and_interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 10, rel=0.1)  # by the normal law
    assert low < mean < high


@pytest.mark.parametrize(("number", "least", "most"), [(4, 0.85, 0.92), (8, 0.92, 0.97), (20, 0.93, 0.97)])
def test_the_interval_holds_the_mean_as_often_as_it_says(number, least, most):
    rng = np.random.default_rng(6)
    held = []
    for _ in range(800):
        _, low, high = mean_and_interval(rng.normal(3, 1, number), draws=1000)
        held.append(low <= 3 <= high)
    assert least < np.mean(held) < most


def test_maps_are_averaged_by_area():
    fine = np.random.default_rng(5).normal(size=(13, 12))
    found = averaged(lambda part: fine[part], fine.shape, 2, (6, 6), 4)
    assert found == pytest.approx(fine[:12].reshape(6, 2, 6, 2).mean((1, 3)))
    # from pixels of 4 to pixels of 6: the second takes two thirds from the third, one third from the second
    row = np.array([[3.0, 6.0, 9.0]])
    found = averaged(lambda part: np.repeat(row, 3, 0)[part], (3, 3), 4, (2, 2), 6)
    assert found[0] == pytest.approx([(4 * 3 + 2 * 6) / 6, (2 * 6 + 4 * 9) / 6])
    assert common_shape({4: (3, 3), 6: (2, 3)}, 6) == (2, 2)
    assert common_reduction({4: (100, 100), 2: (200, 200)}, 10_000) == 4
    assert common_reduction({4: (100, 100)}, 2_500) == 8
