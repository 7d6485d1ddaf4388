import numpy as np
from numpy.testing import assert_allclose
from skimage.draw import polygon2mask

from napari_mitoxai.fibres import outlines
from napari_mitoxai.simulate import section


def test_a_square_has_its_outline_half_a_pixel_outside_its_pixel_centres():
    labels = np.zeros((10, 12), dtype=np.int32)
    labels[2:5, 3:8] = 4
    (fibre,) = outlines(labels).items()
    assert fibre[0] == 4
    assert_allclose(fibre[1].min(axis=0), [1.5, 2.5])
    assert_allclose(fibre[1].max(axis=0), [4.5, 7.5])
    assert_allclose(fibre[1][0], fibre[1][-1])


def test_a_fibre_at_the_border_is_closed_and_one_that_touches_another_is_its_own():
    labels = np.zeros((8, 8), dtype=np.uint16)
    labels[:4] = 1
    labels[4:] = 2
    polygons = outlines(labels)
    assert list(polygons) == [1, 2]
    for polygon in polygons.values():
        assert_allclose(polygon[0], polygon[-1])
    assert_allclose(polygons[1].max(axis=0), [3.5, 7.5])
    assert_allclose(polygons[2].min(axis=0), [3.5, -0.5])


def test_of_two_parts_the_longer_outline_is_taken():
    labels = np.zeros((20, 20), dtype=np.int32)
    labels[1:3, 1:3] = 1
    labels[8:18, 8:18] = 1
    assert_allclose(outlines(labels)[1].min(axis=0), [7.5, 7.5])


def test_nothing_has_no_outline():
    assert outlines(np.zeros((5, 5), dtype=np.int32)) == {}


def test_filled_outlines_give_the_fibres_back():
    fibres = section(size=300).fibres
    back = np.zeros_like(fibres)
    for index, polygon in outlines(fibres).items():
        back[polygon2mask(fibres.shape, polygon)] = index
    assert (back == fibres).mean() > 0.99
