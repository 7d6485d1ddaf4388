"""Fibre tables against scikit-image, numpy and hand-worked shapes."""

from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.measure import regionprops_table

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.fibres import intensities as intensities_module
from napari_mitoxai.fibres.intensities import bands
from napari_mitoxai.fibres.measurement import measure
from napari_mitoxai.imc import Channel, Panel, Section

TARGETS = ("SDHA", "VDAC1", "Dystrophin")


def section_of(planes, *, pixel_size_um=1.0, chunks=None):
    data = da.from_array(planes, chunks=chunks or planes.shape)
    panel = Panel(tuple(Channel(target) for target in TARGETS[: len(planes)]))
    return Section("S", data, panel, pixel_size_um, Path("S.ome.tiff"))


def blobs(shape=(300, 260), number=60, seed=0):
    """Irregular labels that touch each other and the border, some of them in pieces."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, int)
    seeds[rng.integers(0, shape[0], number), rng.integers(0, shape[1], number)] = np.arange(1, number + 1)
    near = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    labels = seeds[tuple(near)]
    labels[ndimage.gaussian_filter(rng.normal(size=shape), 3) > 0.07] = 0
    return labels


@pytest.fixture(params=[2**22, 2000], ids=["at once", "in bands"])
def band(request, monkeypatch):
    monkeypatch.setattr(intensities_module, "_BAND", request.param)


def test_shapes_and_channels_equal_those_of_scikit_image(band):
    labels = blobs()
    rng = np.random.default_rng(1)
    planes = rng.gamma(1.0, 5.0, (3, *labels.shape)).astype(np.float32)
    table = measure(section_of(planes, chunks=(1, 41, 260)), labels)
    truth = regionprops_table(
        labels,
        np.moveaxis(planes, 0, -1),
        properties=("label", "area", "centroid", "perimeter_crofton", "intensity_mean", "intensity_std", "intensity_median"),
        separator="_",
    )  # fmt: skip
    np.testing.assert_array_equal(table["fibre"], truth["label"])
    np.testing.assert_array_equal(table["area_um2"], truth["area"])
    np.testing.assert_allclose(table["y_um"], truth["centroid_0"])
    np.testing.assert_allclose(table["x_um"], truth["centroid_1"])
    np.testing.assert_allclose(table["perimeter_um"], truth["perimeter_crofton"])
    for channel, target in enumerate(TARGETS):
        for ours, theirs in (("mean", "mean"), ("sd", "std"), ("median", "median")):
            np.testing.assert_allclose(
                table[f"{target}_{ours}"], truth[f"intensity_{theirs}_{channel}"], rtol=2e-6, atol=1e-6
            )
        fifth = [np.percentile(planes[channel][labels == fibre], 5) for fibre in table["fibre"]]
        np.testing.assert_allclose(table[f"{target}_p5"], fifth, rtol=1e-6)


def test_pieces_minus_holes(band):
    labels = blobs()
    table = measure(section_of(np.ones((1, *labels.shape))), labels).set_index("fibre")
    for fibre, row in table.iterrows():
        alone = np.pad(labels == fibre, 1)
        pieces = ndimage.label(alone)[1]
        holes = ndimage.label(~alone, np.ones((3, 3)))[1] - 1
        assert row["euler_number"] == pieces - holes


def test_feret_diameters_and_hull_equal_those_of_qhull(band):
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    labels = blobs()
    table = measure(section_of(np.ones((1, *labels.shape))), labels).set_index("fibre")
    for fibre, row in table.iterrows():
        pixels = np.argwhere(labels == fibre)
        corners = np.concatenate(
            [pixels + corner for corner in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))]
        )
        hull = ConvexHull(corners)
        assert row["convexity"] == pytest.approx(len(pixels) / hull.volume)
        assert row["feret_max_um"] == pytest.approx(pdist(corners[hull.vertices]).max())
        widths = corners[hull.vertices] @ hull.equations[:, :2].T
        assert row["feret_min_um"] == pytest.approx(np.ptp(widths, axis=0).min())


def test_a_rectangle_by_hand():
    labels = np.zeros((40, 50), int)
    labels[10:30, 5:45] = 7
    table = measure(section_of(np.ones((1, 40, 50)), pixel_size_um=0.5), labels)
    row = table.iloc[0]
    assert (row["fibre"], row["area_um2"], row["x_um"], row["y_um"]) == (7, 200, 12.25, 9.75)
    assert row["feret_max_um"] == pytest.approx(np.hypot(10, 20))
    assert row["feret_min_um"] == pytest.approx(10)
    assert row["convexity"] == pytest.approx(1)
    assert (row["euler_number"], row["on_border"]) == (1, False)


def test_a_disc_is_round():
    y, x = np.ogrid[-50:51, -50:51]
    table = measure(section_of(np.ones((1, 101, 101))), (y**2 + x**2 <= 45**2).astype(int))
    assert table["circularity"][0] == pytest.approx(1, abs=0.02)
    assert table["feret_max_um"][0] == pytest.approx(91, abs=0.5)
    assert table["aspect_ratio"][0] == pytest.approx(1, abs=0.01)


def test_who_touches_the_border():
    labels = np.zeros((20, 20), int)
    labels[0, 5], labels[19, 5], labels[5, 0], labels[5, 19], labels[10, 10] = 1, 2, 3, 4, 5
    table = measure(section_of(np.ones((1, 20, 20))), labels)
    assert table["on_border"].tolist() == [True] * 4 + [False]


def test_the_outline_is_the_line_of_pixels_beside_a_fibre(band):
    labels = blobs()
    planes = np.random.default_rng(2).poisson(3, (2, *labels.shape)).astype(np.float32)
    table = measure(section_of(planes), labels, outline=True)
    for _, row in table.iterrows():
        fibre = labels == row["fibre"]
        line = ndimage.binary_dilation(fibre) & ~fibre
        assert row["VDAC1_mean"] == pytest.approx(planes[1][line].mean())
        assert row["SDHA_median"] == np.median(planes[0][line])


def test_values_that_are_no_numbers_are_left_out():
    labels = np.repeat([[1, 1, 2, 2, 3, 3]], 2, 0)
    plane = np.array([[1, np.nan, 4, 8, np.nan, np.inf], [3, 5, 4, 8, -np.inf, np.nan]], np.float32)
    table = measure(section_of(plane[None]), labels)
    np.testing.assert_allclose(table["SDHA_mean"], [3, 6, np.nan])
    np.testing.assert_allclose(table["SDHA_median"], [3, 6, np.nan])
    np.testing.assert_allclose(table["SDHA_sd"], [np.sqrt(8 / 3), 2, np.nan])


@pytest.mark.parametrize("largest", [900, 2**31 - 1])
def test_ids_with_holes_are_kept(largest):
    labels = np.zeros((10, 10), np.int64)
    labels[2:4, 2:4], labels[6:8, 6:9] = 17, largest
    table = measure(section_of(np.ones((1, 10, 10))), labels)
    assert table["fibre"].tolist() == [17, largest]
    assert table["area_um2"].tolist() == [4, 6]


def test_no_fibres_give_an_empty_table_with_all_columns():
    empty = measure(section_of(np.ones((2, 10, 10))), np.zeros((10, 10), int))
    one = measure(section_of(np.ones((2, 10, 10))), np.eye(10, dtype=int))
    assert len(empty) == 0
    assert list(empty) == list(one)


def test_labels_of_another_shape_are_refused():
    with pytest.raises(MitoxaiError, match="10 x 9 pixels and S has 10 x 10"):
        measure(section_of(np.ones((1, 10, 10))), np.zeros((10, 9), int))
    with pytest.raises(MitoxaiError, match="whole numbers"):
        measure(section_of(np.ones((1, 10, 10))), np.zeros((10, 10)))


def test_measuring_can_be_cancelled():
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        measure(section_of(np.ones((1, 10, 10))), np.eye(10, dtype=int), cancel=cancel)


def test_a_hundred_thousand_fibres():
    """The figures of each are those of its square."""
    side, cells = 7, 317
    labels = np.zeros((side * cells, side * cells), np.int32)
    numbers = np.arange(1, cells**2 + 1).reshape(cells, cells)
    labels[np.ix_(*[np.flatnonzero(np.arange(side * cells) % side < 5)] * 2)] = numbers.repeat(5, 0).repeat(
        5, 1
    )
    plane = np.arange(labels.size, dtype=np.float32).reshape(labels.shape) % 1000
    table = measure(section_of(plane[None]), labels)
    assert len(table) == cells**2 > 100_000
    assert (table["area_um2"] == 25).all()
    assert np.allclose(table["convexity"], 1)
    sums = np.bincount(labels.ravel(), plane.ravel())[1:]
    np.testing.assert_allclose(table["SDHA_mean"] * 25, sums, rtol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "chunks"),
    [(10, 3, ()), (9000, 2000, ()), (9000, 2000, [512] * 17 + [296]), (5, 10**8, [5])],
)
def test_bands_cover_all_rows_once_and_end_with_chunks(height, width, chunks):
    cut = list(bands(height, width, chunks))
    assert [row for rows in cut for row in range(rows.start, rows.stop)] == list(range(height))
    if chunks:
        assert {rows.stop for rows in cut} <= set(np.cumsum(chunks).tolist())


def test_the_table_of_a_real_section(real_data):
    from napari_mitoxai.imc import read_labels, read_section

    folder = real_data / "warren2020"
    section, labels = (
        read_section(folder / "stacks" / "P03.ome.tiff"),
        read_labels(folder / "P03_instance_mask.tiff"),
    )
    table = measure(section, labels)
    published = pd.read_csv(folder / "fibres.csv").query("patient_id == 'P03'")
    assert len(table) == 1799
    # published centres fall in fibres whose means go with the published ones
    found = labels[published["yCoord"].astype(int), published["xCoord"].astype(int)]
    both = published.assign(fibre=found).query("fibre > 0").drop_duplicates("fibre")
    assert len(both) / len(published) > 0.95
    ours = table.set_index("fibre").loc[both["fibre"]]
    assert np.corrcoef(ours["COX4_mean"], both["COX4+4L2"])[0, 1] > 0.9
    assert np.corrcoef(ours["area_um2"], both["Area"])[0, 1] > 0.85
