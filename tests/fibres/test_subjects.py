import numpy as np
import pytest
from scipy import stats

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.fibres.subjects import by_subject, compare_groups


def test_three_and_four_subjects_by_hand():
    apart = compare_groups([1, 2, 3, 10, 11, 12, 13], [False] * 3 + [True] * 4)
    assert apart.p == apart.smallest == 2 / 35  # 7 over 3 ways, two of them as far apart
    assert apart.exact
    assert compare_groups([1, 5], [False, True]).p == 1


@pytest.mark.parametrize("seed", range(5))
def test_equals_scipy_where_there_are_no_ties(seed):
    rng = np.random.default_rng(seed)
    values, second = rng.normal(size=9), np.arange(9) < 4
    expected = stats.mannwhitneyu(values[second], values[~second], method="exact").pvalue
    assert compare_groups(values, second).p == pytest.approx(expected)


def test_ties_and_many_subjects():
    assert compare_groups([1, 1, 1, 1], [True, True, False, False]).p == 1
    rng = np.random.default_rng(0)
    values, second = rng.normal(size=40) + np.arange(40) * 0.03, np.arange(40) < 20
    many = compare_groups(values, second)
    assert not many.exact
    assert many.p == pytest.approx(stats.mannwhitneyu(values[second], values[~second]).pvalue, abs=0.02)


def test_missing_values_and_groups():
    assert np.isnan(compare_groups([1, np.nan], [False, True]).p)
    assert compare_groups([1, 2, 3, 4, np.nan], [False, False, True, True, True]).smallest == 2 / 6
    with pytest.raises(MitoxaiError, match="one each"):
        compare_groups([1], [True, False])


def test_no_p_is_below_the_smallest_one_with_ties_either():
    """One against two equal ones: only one of three labellings is as far from the middle."""
    tied = compare_groups([0.2, 1, 1], [False, True, True])
    assert tied.p == tied.smallest == 1 / 3
    assert compare_groups([0.2, 0.9, 1], [False, True, True]).smallest == 2 / 3


def test_p_values_are_uniform_or_more_cautious_without_a_difference():
    rng = np.random.default_rng(3)
    p = [compare_groups(rng.normal(size=8), np.arange(8) < 4).p for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.08
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.1)


def test_sections_of_a_subject_are_one_value():
    assert by_subject([1, 3, 5, np.nan], ["A", "A", "B", "B"]) == {"A": 2, "B": 5}
