import numpy as np
import pytest

from napari_mitoxai.figures import block_mean, map_limit, nice_length
from napari_mitoxai.figures.scales import number, opacity, relative


def test_limit_is_the_percentile_of_the_absolute_values():
    values = np.linspace(-2, 1, 3001)
    assert map_limit(values, 100) == 2
    assert map_limit(values, 90) == pytest.approx(np.percentile(np.abs(values), 90))


def test_limit_of_a_map_that_is_zero_almost_everywhere_is_its_maximum():
    values = np.zeros((100, 100))
    values[3, 4] = -7
    assert map_limit(values) == 7


@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_an_empty_map_has_no_limit_and_no_colour(values):
    assert map_limit(values) == 0
    assert not opacity(relative(values, 0.0, signed=True)).any()


def test_relative_keeps_signs_symmetric_and_hides_nan():
    values = np.array([[-4.0, -1.0, 0.0, 1.0, 4.0, np.nan]])
    assert relative(values, 2.0, signed=True).tolist() == [[-1, -0.5, 0, 0.5, 1, 0]]
    assert relative(values, 2.0, signed=False).tolist() == [[0, 0, 0, 0.5, 1, 0]]


@pytest.mark.parametrize(
    ("width", "length"), [(1158, 200), (2632, 500), (80, 20), (39, 5), (1000, 200), (0.5, 0.1)]
)
def test_scale_bar_is_a_nice_length_of_at_most_a_quarter(width, length):
    assert nice_length(width) == pytest.approx(length)


def test_block_mean_leaves_nan_out_and_keeps_partial_blocks():
    image = np.array([[1, 3, 5], [np.nan, 2, 7], [4, 8, np.nan]])
    np.testing.assert_allclose(block_mean(image, 2), [[2, 6], [6, np.nan]])
    assert block_mean(np.ones((7, 5, 3)), 3).shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (-0.42, "−0.42"), (1.4e-5, "1.4×10⁻⁵"), (-2.5e7, "−2.5×10⁷"), (12, "12")]
)
def test_numbers_read_as_in_print(value, text):
    assert number(value) == text
