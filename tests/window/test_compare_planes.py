"""Arrays of a comparison: colours add up, outlines close, a curtain hides one side."""

import numpy as np

from napari_mitoxai.napari.compare_planes import (
    CurtainedPlane,
    Ingredient,
    OutlinePlane,
    composite_levels,
    outline_levels,
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
    assert edges.sum() == 24


def test_outlines_are_thin_at_every_level():
    labels = np.zeros((4096, 4096), np.int32)
    labels[1000:3000, 1000:3000] = 1
    levels = outline_levels(labels)
    assert [level.shape for level in levels] == [(4096, 4096), (2048, 2048), (1024, 1024)]
    assert np.asarray(levels[-1])[500].sum() == 2


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
