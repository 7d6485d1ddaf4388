"""Choosing fibres by conditions."""

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.fibres.queries import fibres_where

TABLE = pd.DataFrame(
    {
        "fibre": [1, 2, 3, 4], "NDUFB8_z": [-4.0, -3.0, 0.5, np.nan], "COX4+4L2_z": [0.0, -5.0, 1.0, 2.0],
        "NDUFB8_status": ["deficient", "normal", "normal", None],
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("conditions", "fibres"),
    [
        ([], [1, 2, 3, 4]),
        (["NDUFB8_z < -3"], [1]),
        (["NDUFB8_z<=-3"], [1, 2]),
        (["NDUFB8_z != -3"], [1, 3]),
        (["NDUFB8_z = 0.5"], [3]),
        (["COX4+4L2_z > 0.5"], [3, 4]),
        (["NDUFB8_status = deficient"], [1]),
        (["NDUFB8_status != deficient"], [2, 3]),
        (["NDUFB8_z < 0", "COX4+4L2_z < -1"], [2]),
    ],
)
def test_all_conditions_hold_and_what_is_not_known_meets_none(conditions, fibres):
    assert TABLE["fibre"][fibres_where(TABLE, conditions)].tolist() == fibres


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("NDUFB8_z", "not of the form"),
        ("SDHA_z < 1", "no 'SDHA_z'"),
        ("NDUFB8 z < 1", "choose one of NDUFB8_z"),
        ("NDUFB8_status < 3", "told in words"),
        ("NDUFB8_status = absent", "there is deficient, normal"),
        ("NDUFB8_z < low", "is a number"),
    ],
)
def test_what_cannot_be_meant_is_said(condition, says):
    with pytest.raises(MitoxaiError, match=says):
        fibres_where(TABLE, [condition])
