"""Tables are joined with fibres only if they are about them."""

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.fibres.identity import centres, digest, of_these_fibres
from napari_mitoxai.fibres.status_groups import ANY, status_groups


def grid(shift=0):
    labels = np.zeros((60, 90), np.int32)
    for number in range(6):
        y, x = 5 + 30 * (number // 3), 5 + 30 * (number % 3)
        labels[y : y + 20, x : x + 20] = 1 + (number + shift) % 6
    return labels


def test_a_digest_is_that_of_the_numbers_and_not_of_their_type():
    labels = grid()
    assert (
        digest(labels)
        == digest(labels.astype(np.uint16))
        == digest(np.asfortranarray(labels.astype(np.int64)))
    )
    other = labels.copy()
    other[0, 0] = 1
    assert (
        len(
            {digest(each) for each in (labels, other, labels.T, np.zeros((2, 6), int), np.zeros((3, 4), int))}
        )
        == 5
    )


def test_centres_are_in_um_from_the_first_pixel():
    told = centres(grid(), 2.0)
    assert told["fibre"].tolist() == [1, 2, 3, 4, 5, 6]
    assert told.loc[1, ["x_um", "y_um"]].tolist() == [2 * 44.5, 2 * 14.5]


def test_rows_go_with_the_same_labels_or_the_same_places():
    labels = grid()
    rows = centres(labels, 1.0).assign(NDUFB8_status="normal")
    same, nothing = of_these_fibres(rows, centres(labels, 1.0))
    assert same is rows
    assert nothing is None
    edited = labels.copy()
    edited[5:25, 5:15] = 7  # a fibre was split
    kept, note = of_these_fibres(rows, centres(edited, 1.0))
    assert kept["fibre"].tolist() == [2, 3, 4, 5, 6]
    assert "1 of 6 are left out" in note
    with pytest.raises(MitoxaiError, match="another segmentation"):
        of_these_fibres(rows, centres(grid(shift=1), 1.0))
    plain = rows[["fibre", "NDUFB8_status"]]
    assert "numbers alone" in of_these_fibres(plain, centres(labels, 1.0))[1]
    with pytest.raises(MitoxaiError, match="another segmentation"):
        of_these_fibres(plain.assign(fibre=plain["fibre"] + 100), centres(labels, 1.0))


def test_fibres_that_were_not_called_are_neither_deficient_nor_others():
    table = pd.DataFrame(
        {
            "fibre": [1, 2, 3, 4, 5],
            "NDUFB8_status": ["deficient", "normal", "not called", "not analysable", "over-expressed"],
            "MTCO1_status": ["normal", "not called", "not called", np.nan, "deficient"],
        }
    )
    groups = status_groups(table)
    assert groups["deficient in NDUFB8"].deficient == {1}
    assert groups["deficient in NDUFB8"].others == {2, 5}
    assert (groups[ANY].deficient, groups[ANY].others) == ({1, 5}, {2})
    divided = groups["deficient in NDUFB8"].among(np.arange(1, 6), np.array([1, 0, 1, 1, 1], bool))
    assert divided.chosen.tolist() == [True, False, False, False, False]
    assert divided.others.tolist() == [False, False, False, False, True]
