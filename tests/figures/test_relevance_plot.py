import numpy as np
import pytest

from napari_mitoxai.fibres.answers import SPREAD, answers
from napari_mitoxai.fibres.compartments import compartments
from napari_mitoxai.fibres.cover import Placing, Regions
from napari_mitoxai.fibres.relevance import MapPlanes, sum_by_region
from napari_mitoxai.figures.relevance_plot import relevance_figure


def test_the_curve_of_fibres_is_of_those_that_its_sentence_counts():
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((10, 10), int))
    values = labels.astype(float)[None] ** 2
    maps = [MapPlanes("method", ("a",), lambda part: values[:, *part])]
    sums = sum_by_region(
        maps, Regions.of(labels, compartments(labels)), Placing((40, 40), 1, (0, 0)), np.ones((40, 40), bool)
    )
    counted = np.arange(1, 17) <= 8  # the eight that carry least
    found = answers(sums, [None], None, counted)
    (said,) = [answer.values for answer in found if answer.question == SPREAD]
    axes = next(
        axes for axes in relevance_figure(sums, found, counted).axes if "fibres, most" in axes.get_xlabel()
    )
    fibres, relevance = axes.lines[0].get_data()
    assert len(fibres) == 1 + 8
    assert fibres[np.searchsorted(relevance, 50)] == pytest.approx(100 * said["half"])
    # by hand: 8, 7 and 6 have 149 of 1 + 4 + ... + 64 = 204, 8 and 7 have 113
    assert said["half"] == 2 / 8
