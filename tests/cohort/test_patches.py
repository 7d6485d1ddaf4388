from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from napari_mitoxai.cohort import (
    PatchGeometry,
    first_on_tissue,
    fit_scaling,
    patch_corners,
    read_patches,
    tissue_mask,
)
from napari_mitoxai.cohort.tissue import _density
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Panel, Section, parse_channel


def section_of(counts, names=("SDHA", "Dystrophin")):
    panel = Panel(tuple(parse_channel(name) for name in names[: len(counts)]))
    return Section("S", da.from_array(counts, chunks=(1, 64, 64)), panel, 1.0, Path("S"))


def tissue_of(height, width):
    return np.ones((-(-height // 16), -(-width // 16)), bool)


def test_reduction_is_the_whole_factor_or_one():
    assert PatchGeometry(512, 128).reduction == 4
    assert PatchGeometry(512, 224).reduction == 1
    assert PatchGeometry(64, 64).reduction == 1


@pytest.mark.parametrize("shape", [(2, 512, 512), (2, 700, 1033), (2, 515, 2048), (2, 1860, 1158)])
@pytest.mark.parametrize(("patch", "target"), [(512, 128), (256, 64), (128, 128), (512, 200)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
def test_patches_lie_on_the_map_grid_reach_the_edges_and_cover_all(shape, patch, target, overlap):
    geometry = PatchGeometry(patch, target)
    corners = patch_corners(shape, geometry, tissue_of(*shape[1:]), overlap=overlap)
    assert len(set(corners)) == len(corners)
    grid = geometry.reduction
    covered = np.zeros(shape[1:], bool)
    for y, x in corners:
        assert y % grid == 0 == x % grid
        assert 0 <= y <= shape[1] - patch
        assert 0 <= x <= shape[2] - patch
        covered[y : y + patch, x : x + patch] = True
    # what is not covered is less than a map pixel at the far edges
    assert covered[: shape[1] // grid * grid, : shape[2] // grid * grid].all()
    assert min(corners) == (0, 0)
    steps = np.diff(sorted({x for _, x in corners}))
    assert (steps <= max(patch * (1 - overlap), grid) + grid).all()


def test_a_section_of_one_patch_has_one_and_a_smaller_one_is_refused():
    geometry = PatchGeometry(128, 32)
    assert patch_corners((1, 128, 130), geometry, tissue_of(128, 130)) == [(0, 0)]
    with pytest.raises(MitoxaiError, match="S is 127 x 128 px, smaller than a patch of 128 px"):
        geometry.check((1, 128, 127), "S")
    geometry.check((1, 128, 128), "S")


def test_patches_without_enough_tissue_are_left_out():
    tissue = tissue_of(256, 512)
    tissue[:, 16:] = False  # the right half is empty
    corners = patch_corners((1, 256, 512), PatchGeometry(128, 32), tissue, overlap=0, min_tissue=0.25)
    assert corners == [(0, 0), (0, 128), (128, 0), (128, 128)]
    tissue[:] = False
    assert patch_corners((1, 256, 512), PatchGeometry(128, 32), tissue) == []


def test_a_blank_section_has_no_tissue_and_a_constant_one_is_all_tissue():
    blank = tissue_mask(section_of(np.zeros((2, 100, 130), np.uint16)))
    assert blank.shape == (7, 9)
    assert not blank.any()
    assert tissue_mask(section_of(np.full((2, 100, 130), 3, np.uint16))).all()


def test_tissue_is_where_the_counts_are_not_on_the_slide():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.05, (2, 640, 640))
    counts[:, :, :320] = rng.poisson(6, (2, 640, 320))
    tissue = tissue_mask(section_of(counts.astype(np.uint16)))
    assert tissue[:, :19].all()
    assert not tissue[:, 22:].any()


def test_some_tissue_is_found_without_reading_all_of_a_large_section():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.05, (2, 2048, 4096)).astype(np.uint16)
    counts[:, 1000:1600, 3000:3700] = rng.poisson(6, (2, 600, 700))
    read = []
    stored = da.map_blocks(
        lambda block, block_info: (read.append(1), block)[1],
        da.from_array(counts, chunks=(1, 64, 64)),
        dtype=np.uint16,
    )
    section = replace(section_of(counts), data=stored)
    corners = patch_corners(section.shape, PatchGeometry(256, 64), np.ones((128, 256), bool))
    read.clear()
    y, x = first_on_tissue(section, corners, 256)
    assert 0 < len(read) < 0.1 * section.data.npartitions
    assert tissue_mask(section)[y // 16 : (y + 256) // 16, x // 16 : (x + 256) // 16].mean() > 0.25
    assert first_on_tissue(section, [(1024, 3072), *corners], 256) == (1024, 3072)
    assert first_on_tissue(section_of(np.zeros((2, 300, 300), np.uint16)), [(0, 0)], 256) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_blocks_at_the_edge_are_means_of_what_is_there(dtype):
    counts = np.random.default_rng(0).poisson(5, (2, 530, 37)).astype(dtype)
    section = section_of(counts)
    expected = counts[1, 528:530, 32:37].mean(dtype=np.float64)  # of the membranes
    assert _density(section, slice(None), slice(None))[-1, -1] == pytest.approx(expected, rel=1e-6)
    assert _density(section, slice(None), slice(None)).shape == tissue_mask(section).shape == (34, 3)


def test_a_dark_protein_inside_tissue_is_still_tissue():
    # complex loss must not be mistaken for the empty slide: membrane and mass channels decide
    rng = np.random.default_rng(0)
    counts = rng.poisson(5, (2, 320, 320))
    counts[0, 100:200, 100:200] = 0
    assert tissue_mask(section_of(counts.astype(np.uint16))).all()


@pytest.mark.parametrize(("patch", "target"), [(64, 64), (64, 16)])
def test_patches_are_block_means_of_the_section_in_the_order_asked(patch, target):
    counts = np.random.default_rng(0).poisson(3, (2, 200, 300)).astype(np.uint16)
    corners = [(0, 0), (0, 32), (0, 200), (64, 8), (136, 236), (4, 100)]
    patches = list(read_patches(section_of(counts), [1, 0], corners, PatchGeometry(patch, target)))
    assert len(patches) == len(corners)
    step = patch // target
    for (y, x), values in zip(corners, patches, strict=True):
        window = counts[[1, 0], y : y + patch, x : x + patch].astype(np.float64)
        expected = window.reshape(2, target, step, target, step).mean((2, 4))
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_a_patch_resized_by_no_whole_factor_keeps_its_level():
    counts = np.full((1, 100, 100), 5, np.uint16)
    (patch,) = read_patches(section_of(counts), [0], [(0, 0)], PatchGeometry(100, 48))
    assert patch.shape == (1, 48, 48)
    np.testing.assert_allclose(patch, 5, rtol=1e-5)


def test_values_that_are_not_numbers_are_named_by_place():
    counts = np.ones((1, 128, 256), np.float32)
    counts[0, 5, 200] = np.nan
    patches = read_patches(section_of(counts), [0], [(0, 0), (0, 128)], PatchGeometry(128, 32))
    next(patches)
    with pytest.raises(MitoxaiError, match=r"S holds values that are not numbers near \(128, 0\)"):
        next(patches)


# --- scaling -----------------------------------------------------------------------------------------------------


def test_scaling_by_hand():
    patch = np.sinh(np.array([[[1.0, 3.0]], [[5.0, 5.0]]], np.float64)).astype(np.float32)
    scaling = fit_scaling([[patch]])
    np.testing.assert_allclose(scaling.mean, [2, 5], rtol=1e-6)
    np.testing.assert_allclose(scaling.deviation, [1, 1], rtol=1e-6)  # a channel that never varies gets 1
    np.testing.assert_allclose(scaling(patch), [[[-1, 1]], [[0, 0]]], atol=1e-5)
    assert scaling(patch[None]).shape == (1, 2, 1, 2)
    assert scaling(patch).dtype == np.float32


def test_every_subject_weighs_the_same_however_many_patches_it_has():
    low, high = np.full((1, 4, 4), np.sinh(0.0)), np.full((1, 4, 4), np.sinh(2.0))
    scaling = fit_scaling([[low] * 9, [high]])
    np.testing.assert_allclose(scaling.mean, [1], rtol=1e-6)
    np.testing.assert_allclose(scaling.deviation, [1], rtol=1e-6)
