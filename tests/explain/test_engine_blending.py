import numpy as np
import pytest

from napari_mitoxai.explain.blending import Blender, blending_window


def blended(shape, corners, patch, block, value_of):
    """The whole map that a blender gives when every patch holds value_of(corner)."""
    blender = Blender(shape, corners, patch, block)
    whole = np.full((2, *shape), np.nan, np.float32)
    seen = []
    for corner in corners:
        for (row, column), maps in blender.add(corner, {"m": value_of(corner)}):
            values = maps["m"]
            y, x = row * block, column * block
            whole[:, y : y + values.shape[1], x : x + values.shape[2]] = values
            seen.append((row, column))
    assert len(seen) == len(set(seen))  # a block is given once
    return whole


CORNERS = [(y, x) for y in (0, 13, 30) for x in (0, 10, 20, 44)]


def test_the_window_is_symmetric_largest_in_the_middle_and_never_zero():
    window = blending_window(8)
    assert window.min() > 0
    assert window.max() <= 1.001
    np.testing.assert_allclose(window, window[::-1, ::-1])
    np.testing.assert_allclose(window, window.T)
    assert window[3, 3] == window.max()


@pytest.mark.parametrize("block", [7, 16, 64])
def test_patches_of_a_constant_blend_to_the_constant(block):
    whole = blended(
        (46, 60), CORNERS, 16, block, lambda corner: np.stack([np.full((16, 16), v) for v in (3.0, -2.0)])
    )
    covered = np.zeros((46, 60), bool)
    for y, x in CORNERS:
        covered[y : y + 16, x : x + 16] = True
    np.testing.assert_allclose(whole[0][covered], 3, rtol=1e-5)
    np.testing.assert_allclose(whole[1][covered], -2, rtol=1e-5)
    assert not np.nan_to_num(whole[:, ~covered]).any()


def test_blocks_do_not_show_in_the_map():
    rng = np.random.default_rng(0)
    maps = {corner: rng.normal(size=(2, 16, 16)).astype(np.float32) for corner in CORNERS}
    small, large = (
        np.nan_to_num(blended((46, 60), CORNERS, 16, block, maps.__getitem__)) for block in (7, 64)
    )
    np.testing.assert_array_equal(small, large)


def test_crops_of_one_picture_blend_back_to_it():
    picture = np.random.default_rng(0).normal(size=(2, 46, 60)).astype(np.float32)
    whole = blended((46, 60), CORNERS, 16, 16, lambda c: picture[:, c[0] : c[0] + 16, c[1] : c[1] + 16])
    covered = np.zeros((46, 60), bool)
    for y, x in CORNERS:
        covered[y : y + 16, x : x + 16] = True
    np.testing.assert_allclose(whole[:, covered], picture[:, covered], rtol=1e-4, atol=1e-5)
