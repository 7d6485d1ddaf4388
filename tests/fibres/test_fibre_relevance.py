import numpy as np
import pytest

from napari_mitoxai import simulate
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.fibres import cover as cover_module
from napari_mitoxai.fibres.compartments import Compartment, Widths, compartments
from napari_mitoxai.fibres.concentration import carrying, gini, lorenz
from napari_mitoxai.fibres.cover import Placing, Regions
from napari_mitoxai.fibres.relevance import POOLED, ROWS, MapPlanes, sum_by_region


def planes_of(values, method="method"):
    return MapPlanes(
        method, tuple(f"channel {index}" for index in range(len(values))), lambda part: values[:, *part]
    )


def regions_of(labels, **widths):
    return Regions.of(labels, compartments(labels, widths=Widths(**widths)))


def aligned(labels, reduction):
    """As `mitoxai explain` lays maps: what is left over at the far edges is dropped."""
    shape = tuple(length // reduction for length in labels.shape)
    return Placing(shape, reduction, ((reduction - 1) / 2,) * 2)


def summed(values, labels, placing, explained=None, **widths):
    explained = np.ones(placing.shape, bool) if explained is None else explained
    return sum_by_region([planes_of(values)], regions_of(labels, **widths), placing, explained)[0]


@pytest.fixture(scope="module")
def labels():
    return simulate.section(size=(150, 131), seed=3).fibres


PLACINGS = [
    Placing((150, 131), 1, (0, 0)),
    Placing((37, 32), 4, (1.5, 1.5)),  # the far edges are not covered
    Placing((38, 33), 4, (1.5, 1.5)),  # the map reaches beyond the labels
    Placing((41, 50), 3.7, (-2.3, 0.4)),  # neither size nor place fit
    Placing((300, 262), 0.5, (-0.25, -0.25)),  # finer than the labels
    Placing((2, 2), 500, (0, 0)),
]


@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize("tile", [1024, 40])
def test_fibres_and_outside_are_the_sum_of_the_map(labels, placing, tile, monkeypatch):
    monkeypatch.setattr(cover_module, "_TILE", tile)
    values = np.random.default_rng(0).normal(size=(3, *placing.shape)).astype(np.float32)
    sums = summed(values, labels, placing)
    exact = values.astype(float)
    if placing.shape == (41, 50) or placing.shape == (37, 32):
        inside = sums.section_total[:3]
        assert inside == pytest.approx(exact.sum((1, 2)), rel=1e-12, abs=1e-9)
    pooled = exact.sum(0)
    assert sums.planes == ("channel 0", "channel 1", "channel 2", POOLED)
    assert sums.section_total == pytest.approx([*exact.sum((1, 2)), pooled.sum()], rel=1e-12, abs=1e-9)
    positive = [*np.maximum(exact, 0).sum((1, 2)), np.maximum(pooled, 0).sum()]
    assert sums.section_positive == pytest.approx(positive, rel=1e-12)
    assert sums.section_explained == pytest.approx(pooled.size, rel=1e-12)
    everything = sums.fibres().total.sum(0) + sums.total[-2:].sum(0) + sums.beyond
    assert everything == pytest.approx(sums.section_total, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("tile", [1024, 32])
def test_equals_spreading_every_map_pixel_over_the_pixels_below_it(labels, tile, monkeypatch):
    monkeypatch.setattr(cover_module, "_TILE", tile)
    values = np.random.default_rng(1).normal(size=(2, 37, 32))
    sums = summed(values, labels, aligned(labels, 4), membrane=2, submembrane=5, gap=25)
    parts = compartments(labels, widths=Widths(2, 5, 25))
    spread = np.zeros((2, *labels.shape))
    spread[:, : 37 * 4, : 32 * 4] = np.kron(values, np.ones((4, 4))) / 16
    for row, label in enumerate(sums.regions.ids):
        assert sums.fibres().total[row, :2] == pytest.approx(spread[:, labels == label].sum(1), abs=1e-12)
        for column, part in enumerate(ROWS[:3]):
            there = (labels == label) & (parts == part)
            assert sums.fibre_parts().total[row, column, :2] == pytest.approx(
                spread[:, there].sum(1), abs=1e-12
            )
    for row, part in enumerate(ROWS):
        assert sums.compartments().total[row, :2] == pytest.approx(spread[:, parts == part].sum(1), abs=1e-10)


def test_a_map_pixel_over_two_fibres_is_shared_by_area_by_hand():
    labels = np.zeros((4, 8), int)
    labels[:, 1:4], labels[:, 4:7] = 5, 9
    sums = summed(np.array([[[8.0, -4.0]]]), labels, Placing((1, 2), 4, (1.5, 1.5)))
    # a column of each map pixel is outside
    assert sums.fibres().total[:, 0].tolist() == [6, -3]
    assert sums.fibres().positive[:, 0].tolist() == [6, 0]
    assert sums.fibres().share[:, 0].tolist() == [0.75, 0]
    assert sums.fibres().mean[:, 0].tolist() == [8, -4]
    assert sums.fibres().enrichment[:, 0].tolist() == [2, 0]  # three quarters in three eighths of the area
    assert sums.section_total.tolist() == [4]


def test_only_what_was_explained_counts_as_area(labels):
    explained = np.zeros((37, 32), bool)
    explained[:, :16] = True
    sums = summed(np.where(explained, 3.0, 0.0)[None], labels, aligned(labels, 4), explained)
    fibres = sums.fibres()
    seen = fibres.explained > 0
    assert 0 < seen.sum() < len(seen)
    assert fibres.mean[seen, 0] == pytest.approx(3)
    assert fibres.enrichment[seen, 0] == pytest.approx(1)
    assert np.isnan(fibres.mean[~seen]).all()


def test_an_empty_map_and_no_fibres():
    nothing = summed(np.zeros((1, 5, 5)), np.zeros((10, 10), int), Placing((5, 5), 2, (0.5, 0.5)))
    assert nothing.fibres().total.shape == (0, 1)
    assert nothing.compartments().total[-1] == 0
    assert np.isnan(nothing.compartments().share).all()
    one = summed(np.ones((1, 5, 5)), np.ones((10, 10), int), Placing((5, 5), 2, (0.5, 0.5)))
    assert one.fibres().share.tolist() == [[1]]


def test_what_makes_no_sense_is_said(labels):
    with pytest.raises(MitoxaiError, match="not finite"):
        summed(np.full((1, 37, 32), np.nan), labels, aligned(labels, 4))
    with pytest.raises(MitoxaiError, match="do not belong"):
        Regions.of(labels, np.zeros((3, 3), np.uint8))
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        sum_by_region([], regions_of(labels), aligned(labels, 4), np.ones((37, 32), bool), cancel=token)


def test_thin_fibres_lose_nothing_for_want_of_a_core():
    labels = np.zeros((20, 20), int)
    labels[5:8, 2:18] = 1
    sums = summed(np.ones((1, 20, 20)), labels, Placing((20, 20), 1, (0, 0)))
    parts = sums.fibre_parts()
    assert parts.total[0, :, 0].tolist() == [48, 0, 0]
    assert np.isnan(parts.mean[0, Compartment.CORE - Compartment.MEMBRANE, 0])


def test_lorenz_and_gini_by_hand():
    assert gini(np.array([2.0, 2, 2, 2])) == 0
    assert gini(np.array([0.0, 0, 0, 8])) == 0.75  # (n - 1) / n
    assert gini(np.array([1.0, 2, 3, np.nan])) == pytest.approx(2 / 9)
    assert carrying(np.array([0.0, 0, 0, 0, 0, 0, 0, 0, 0, 8])) == 0.1
    assert carrying(np.ones(10)) == 0.5
    shares, relevance = lorenz(np.array([1.0, 3]))
    assert (shares.tolist(), relevance.tolist()) == ([0, 0.5, 1], [0, 0.75, 1])
    for nothing in (np.zeros(0), np.zeros(3)):
        assert np.isnan(gini(nothing))
        assert np.isnan(carrying(nothing))
