import numpy as np

from napari_mitoxai.figures import outlines


def test_a_square_is_traced_between_its_pixels_and_the_outside():
    labels = np.zeros((20, 30), np.int32)
    labels[5:10, 12:20] = 7
    (polygon,) = outlines(labels, 2.0, (100.0, 200.0), tolerance_px=0)
    np.testing.assert_allclose(polygon.min(axis=0), [200 + 11.5 * 2, 100 + 4.5 * 2])
    np.testing.assert_allclose(polygon.max(axis=0), [200 + 19.5 * 2, 100 + 9.5 * 2])
    np.testing.assert_allclose(polygon[0], polygon[-1])


def test_touching_fibres_single_pixels_and_the_border_each_give_a_closed_outline():
    labels = np.zeros((20, 20), np.int32)
    labels[:8, :8], labels[:8, 8:16], labels[19, 19] = 1, 2, 3
    polygons = outlines(labels, 1.0)
    assert len(polygons) == 3
    assert all(len(polygon) >= 4 and np.allclose(polygon[0], polygon[-1]) for polygon in polygons)


def test_no_fibres_no_outlines():
    assert outlines(np.zeros((5, 5), np.int32), 1.0) == []
