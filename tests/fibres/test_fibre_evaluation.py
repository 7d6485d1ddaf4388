import numpy as np
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.fibres import match


def _squares(*boxes, shape=(20, 20)):
    labels = np.zeros(shape, dtype=np.int32)
    for index, (y, x, height, width) in boxes:
        labels[y : y + height, x : x + width] = index
    return labels


def test_the_same_fibres_under_other_ids_match():
    truth = _squares((1, (0, 0, 5, 5)), (2, (10, 10, 5, 5)))
    labels = _squares((70, (0, 0, 5, 5)), (9, (10, 10, 5, 5)))
    found = match(labels, truth)
    assert (found.f1, found.precision, found.recall, found.mean_iou) == (1, 1, 1, 1)
    assert (found.matched, found.found, found.expected) == (2, 2, 2)


def test_by_hand():
    truth = _squares((1, (0, 0, 4, 5)), (2, (10, 0, 4, 5)), (3, (10, 10, 4, 5)))
    # the first overlaps by 16 of 20, the second lies beside, the third is not found
    labels = _squares((1, (0, 0, 4, 4)), (2, (10, 4, 4, 5)))
    found = match(labels, truth)
    assert found.matched == 1
    assert found.precision == pytest.approx(1 / 2)
    assert found.recall == pytest.approx(1 / 3)
    assert found.f1 == pytest.approx(2 / 5)
    assert found.mean_iou == pytest.approx(16 / 20)
    assert match(labels, truth, iou=0.8).matched == 0


def test_a_fibre_cut_in_two_halves_is_not_found():
    truth = _squares((1, (0, 0, 10, 10)))
    labels = _squares((1, (0, 0, 5, 10)), (2, (5, 0, 5, 10)))
    found = match(labels, truth)
    assert found.f1 == 0
    assert np.isnan(found.mean_iou)


def test_nothing_to_match_is_nan():
    none, one = np.zeros((20, 20), dtype=np.int32), _squares((1, (0, 0, 5, 5)))
    assert np.isnan(match(none, none).f1)
    assert match(one, none).f1 == 0
    assert np.isnan(match(one, none).recall)
    assert np.isnan(match(none, one).precision)


def test_other_shapes_and_ambiguous_overlaps_are_refused():
    none = np.zeros((4, 4), dtype=np.int32)
    with pytest.raises(MitoxaiError, match="one section"):
        match(none, np.zeros((4, 5), dtype=np.int32))
    with pytest.raises(MitoxaiError, match="ambiguous"):
        match(none, none, iou=0.3)
