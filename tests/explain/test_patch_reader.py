"""Patches read in cells are those read one by one, and every pixel is read once."""

import numpy as np
import pytest
from small_sections import section_of

from napari_mitoxai.cohort import PatchGeometry, Scaling, patch_corners, read_patches
from napari_mitoxai.explain import patch_reader
from napari_mitoxai.explain.patch_reader import PatchReader

SCALING = Scaling((1.0, 2.0, 0.5), (1.5, 0.5, 1.0))


def section(height=700, width=900):
    counts = np.random.default_rng(0).poisson(5, (3, height, width)).astype(np.uint16)
    return section_of(counts)


@pytest.mark.parametrize("geometry", [PatchGeometry(96, 96), PatchGeometry(128, 32), PatchGeometry(96, 64)])
@pytest.mark.parametrize("kept", [256 * 2**20, 1])
def test_patches_are_those_that_are_read_one_by_one(monkeypatch, geometry, kept):
    monkeypatch.setattr(patch_reader, "_KEPT_BYTES", kept)
    picture, channels = section(), [2, 0]
    scaling = Scaling(SCALING.mean[:2], SCALING.deviation[:2])
    tissue = np.ones((44, 57), bool)
    corners = patch_corners(picture.shape, geometry, tissue, overlap=0.5)
    np.random.default_rng(1).shuffle(corners)
    corners = [tuple(corner) for corner in corners]
    reader = PatchReader(picture, channels, geometry, scaling, corners)
    for start in range(0, len(corners), 7):
        batch = corners[start : start + 7]
        one_by_one = np.stack(list(read_patches(picture, channels, batch, geometry)))
        np.testing.assert_allclose(reader.read(batch), scaling(one_by_one), rtol=1e-5, atol=1e-5)


def test_every_pixel_is_read_once(monkeypatch):
    picture, geometry = section(), PatchGeometry(128, 64)
    corners = patch_corners(picture.shape, geometry, np.ones((44, 57), bool), overlap=0.5)
    times = np.zeros(picture.shape[1:], int)
    read = type(picture).read

    def counting(self, channels, *, y, x):
        times[y, x] += 1
        return read(self, channels, y=y, x=x)

    monkeypatch.setattr(type(picture), "read", counting)
    reader = PatchReader(picture, [0, 1, 2], geometry, SCALING, corners)
    for start in range(0, len(corners), 8):
        reader.read(corners[start : start + 8])
    assert times.max() == 1
    assert times.mean() > 0.95
    assert not reader._cells  # nothing is kept that nobody needs
