"""Arrays of a comparison: colours add up, outlines close, a curtain hides one side."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_mitoxai.napari.compare_cells import CellMap, MapChoice, in_grid
from napari_mitoxai.napari.compare_planes import (
    CurtainedPlane,
    Ingredient,
    OutlinePlane,
    composite_levels,
    outline_levels,
    with_smaller,
)

RED, GREEN = np.outer(np.linspace(0, 1, 256), [1, 0, 0]), np.outer(np.linspace(0, 1, 256), [0, 1, 0.5])


def test_channels_add_up_in_their_colours():
    a = np.array([[0, 5, 10, 20]], np.float32)
    b = np.array([[np.nan, 0, 4, 4]], np.float32)
    plane = composite_levels([Ingredient("a", [a], (0, 10), RED), Ingredient("b", [b], (2, 4), GREEN)])[0]
    assert plane.shape == (1, 4, 3)
    expected = [[[0, 0, 0], [127, 0, 0], [255, 255, 128], [255, 255, 128]]]
    assert np.abs(np.asarray(plane).astype(int) - expected).max() <= 1


def test_a_window_is_that_part_of_the_whole():
    rng = np.random.default_rng(0)
    levels = [rng.random((60, 80), np.float32), rng.random((30, 40), np.float32)]
    planes = composite_levels([Ingredient("a", levels, (0, 1), RED)])
    assert len(planes) == 2
    whole = np.asarray(planes[0])
    assert np.array_equal(planes[0][10:50:3, 5:70:2], whole[10:50:3, 5:70:2])
    assert np.array_equal(planes[0][10:20, 5:7, 0], whole[10:20, 5:7, 0])
    labels = rng.integers(0, 4, (8, 9)).repeat(7, 0).repeat(8, 1)
    outlines = OutlinePlane(labels)
    edges = np.asarray(outlines)
    for part in (np.s_[3:30, 10:40], np.s_[0:56, 0:72], np.s_[20:21, 5:60]):
        assert np.array_equal(outlines[part], edges[part])


def test_outlines_lie_on_fibres_and_close():
    labels = np.zeros((12, 12), int)
    labels[2:6, 2:6], labels[2:6, 6:10] = 1, 2
    edges = np.asarray(OutlinePlane(labels))
    assert not edges[labels == 0].any()
    assert edges[2:6, 5:7].all()  # between two that touch
    assert not edges[3:5, 3:5].any()
    assert np.count_nonzero(edges) == 24


def test_outlines_are_thin_at_every_level():
    labels = np.zeros((4096, 4096), np.int32)
    labels[1000:3000, 1000:3000] = 1
    levels = outline_levels(labels)
    assert [level.shape[0] for level in levels] == [4096, 2048, 1024, 512, 256]
    assert np.count_nonzero(np.asarray(levels[1])[1000]) == 2
    # then fainter, where whole outlines would cover the maps: half a pixel, a quarter
    assert sorted(set(np.asarray(levels[2])[500].tolist())) == [0, 128]
    assert sorted(set(np.asarray(levels[3])[250].tolist())) == [0, 64]


def test_smaller_levels_are_means_wherever_a_window_begins():
    values = np.random.default_rng(0).normal(size=(41, 66)).astype(np.float32)
    levels = with_smaller([values], 8)
    assert [level.shape for level in levels] == [(41, 66), (20, 33), (10, 16)]
    means = values[:40].reshape(20, 2, 33, 2).mean((1, 3))
    assert np.asarray(levels[1]) == pytest.approx(means)
    assert levels[1][3:17, 5:33] == pytest.approx(means[3:17, 5:33])
    assert levels[1][3:17:2, 5:33:3] == pytest.approx(means[3:17:2, 5:33:3])
    colours = np.full((40, 40, 3), 200, np.uint8)
    assert (np.asarray(with_smaller([colours], 8)[-1]) == 200).all()


def test_the_curtain_divides_a_map_wherever_it_hangs():
    values = np.arange(1, 41, dtype=np.float32).reshape(4, 10)
    place = [3.0]
    left = CurtainedPlane(values, lambda: place[0], 1, left=True)
    right = CurtainedPlane(values, lambda: place[0], 1, left=False)
    for where, columns in ((3.0, 3), (0.0, 0), (10.0, 10), (7.2, 7)):
        place[0] = where
        assert np.array_equal(np.asarray(left)[:, :columns], values[:, :columns])
        assert not np.asarray(left)[:, columns:].any()
        assert np.array_equal(np.asarray(left) + np.asarray(right), values)
    coarse = CurtainedPlane(values[:, ::2], lambda: 6.0, 2, left=True)
    assert np.count_nonzero(np.asarray(coarse)[0]) == 3


def cell_of(section, method, shape):
    info = {"section": {"path": section, "shape": [1, *shape]}}
    store = SimpleNamespace(info=info, grid=SimpleNamespace(pixel_size_um=1.0))
    return CellMap(MapChoice(Path(section), method), store, method, [], True, 1.0)


def test_sections_stand_in_rows_or_columns_with_their_methods_in_one_order():
    cells = [cell_of("C", method, (100, 200)) for method in ("cam", "lrp", "grad")]
    cells += [cell_of("P", method, (150, 200)) for method in ("lrp", "grad", "cam")]
    ordered, shape = in_grid(cells, (300, 1200))
    assert shape == (2, 3)
    named = [(cell.section, cell.choice.method) for cell in ordered]
    assert named == [(section, method) for section in "CP" for method in ("cam", "lrp", "grad")]
    ordered, shape = in_grid(cells, (900, 500))
    assert shape == (3, 2)
    named = [(cell.section, cell.choice.method) for cell in ordered]
    assert named == [(section, method) for method in ("cam", "lrp", "grad") for section in "CP"]
    # of one section, or of sections with other maps, what makes them largest
    assert in_grid(cells[:3], (300, 1200)) == (cells[:3], (1, 3))
    assert in_grid(cells[:4], (800, 500)) == (cells[:4], (4, 1))
    assert in_grid(cells[:1], (800, 500)) == (cells[:1], (1, 1))
