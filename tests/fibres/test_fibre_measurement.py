"""Fibre tables against scikit-image, numpy and hand-worked shapes."""

from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.measure import regionprops_table

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.fibres import intensities as intensities_module
from napari_mitoxai.fibres.hulls import hulls, pixels_in_hulls
from napari_mitoxai.fibres.intensities import bands
from napari_mitoxai.fibres.measurement import measure, measure_like_mitocyto
from napari_mitoxai.fibres.numbering import numbered
from napari_mitoxai.fibres.runs import runs_in
from napari_mitoxai.imc import Channel, Panel, Section
from napari_mitoxai.imc.panel import default_role

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


def test_hulls_in_pixels_equal_those_of_scikit_image():
    labels = blobs()
    ours = numbered(labels)
    runs = runs_in(np.pad(ours.index, ((0, 0), (1, 1))), 0)
    truth = regionprops_table(labels, properties=("area_convex",))
    np.testing.assert_array_equal(
        pixels_in_hulls(hulls([runs.edge_middles()]), len(ours)), truth["area_convex"]
    )


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


def test_an_outline_on_the_membrane_is_told_from_one_that_missed_it():
    y, x = np.ogrid[:80, :140]
    labels, planes = np.zeros((80, 140), int), np.zeros((3, 80, 140))
    for number, centre in enumerate((30, 90), start=1):
        away = np.maximum(abs(y - 30), abs(x - centre))
        planes[1][away < 16], planes[2][away == 16] = 5, 9  # mass inside, membrane around
        labels[away < (16 if number == 1 else 10)] = number
    section = section_of(planes)
    panel = Panel(tuple(replace(channel, role=default_role(channel.target)) for channel in section.panel))
    table = measure(replace(section, panel=panel), labels)
    assert table["outline_on_membrane"].tolist() == [1, 0]
    assert table["outline_on_mass"].tolist() == [0, 1]
    none = measure(section, labels)  # roles are not known
    assert none[["outline_on_membrane", "outline_on_mass"]].isna().all(axis=None)


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


def membrane_with_holes():
    """A membrane of 8-connected pixels around irregular holes, and the holes' labels."""
    rng = np.random.default_rng(3)
    edge = ndimage.gaussian_filter(rng.normal(size=(220, 260)), 4) > -0.01
    edge[[0, -1]] = edge[:, [0, -1]] = True
    labels, number = ndimage.label(~edge)
    whole = [n for n in range(1, number + 1) if ndimage.label(labels != n, np.ones((3, 3)))[1] == 1]
    sizes = np.bincount(labels.ravel())
    kept = [n for n in whole if sizes[n] > 30]
    return edge, np.where(np.isin(labels, kept), labels, 0)


def test_contours_equal_those_of_opencv(band):
    cv2 = pytest.importorskip("cv2")
    edge, labels = membrane_with_holes()
    planes = np.random.default_rng(4).poisson(3, (2, *labels.shape)).astype(np.float32)
    table = measure_like_mitocyto(section_of(planes), labels)
    assert list(table) == ["Value", "ID", "Channel", "Folder 1", "Filename"]
    wide = table.pivot_table(index="ID", columns="Channel", values="Value")
    found, tree = cv2.findContours(edge.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    compared = 0
    for contour, node in zip(found, tree[0], strict=True):
        line = np.zeros(labels.shape, np.uint8)
        cv2.drawContours(line, [contour], -1, 1, 1)
        filled = np.zeros_like(line)
        cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED)
        ids = np.unique(labels[(filled > 0) & (line == 0)])
        if node[3] == -1 or len(ids) != 1 or not ids[0]:
            continue
        compared += 1
        row = wide.loc[ids[0]]
        _, _, width, height = cv2.boundingRect(contour)
        moments = cv2.moments(contour)
        expected = {
            "Area": cv2.contourArea(contour),
            "Perimeter": cv2.arcLength(contour, True),
            "AspectRatio": width / height,
            "xCoord": int(moments["m10"] / moments["m00"]),
            "yCoord": int(moments["m01"] / moments["m00"]),
            "SDHA": planes[0][line > 0].mean() + 1,
            "LOG_VDAC1": np.exp(np.log(planes[1][line > 0] + 1).mean()),
            "MED_VDAC1": np.median(planes[1][line > 0]) + 1,
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-6), name
    assert compared > 10


def test_a_contour_by_hand():
    """Around a hole of 3 x 2 pixels goes an octagon: a 4 x 3 rectangle whose four corners are cut."""
    labels = np.zeros((8, 9), int)
    labels[3:5, 2:5] = 1
    told = measure_like_mitocyto(section_of(np.ones((1, 8, 9))), labels).set_index("Channel")["Value"]
    assert told["Area"] == pytest.approx(4 * 3 - 4 * 0.5)
    assert told["Perimeter"] == pytest.approx(2 + 2 + 1 + 1 + 4 * np.sqrt(2))
    assert told["AspectRatio"] == 5 / 4
    assert (told["xCoord"], told["yCoord"]) == (3, 3)
    assert (told["SDHA"], told["MED_SDHA"], told["LOG_SDHA"]) == pytest.approx((2, 2, 2))


def test_published_rows_are_those_of_the_outline(real_data):
    """The published table of P08, where counts are not clipped: the holes come from mitocyto's steps with OpenCV."""
    cv2 = pytest.importorskip("cv2")
    from napari_mitoxai.imc import read_section

    folder = real_data / "warren2020"
    section = read_section(folder / "stacks" / "P08.ome.tiff")
    membrane = section.read([section.panel.index("Dystrophin")])[0]

    def stretched(values):
        low, high = np.percentile(values, [5, 95])
        return np.round(np.clip((values.astype(float) - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)

    smooth = stretched(cv2.bilateralFilter(stretched(membrane), 6, 7, 7))
    edge = cv2.adaptiveThreshold(smooth, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, 251, 0)
    edge[[0, -1]] = edge[:, [0, -1]] = 255
    found, tree = cv2.findContours(edge, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = [
        one for one, node in zip(found, tree[0], strict=True) if node[3] != -1 and cv2.contourArea(one) > 500
    ]
    labels = np.zeros(membrane.shape, np.int32)
    for number, contour in enumerate(holes, start=1):
        cv2.drawContours(labels, [contour], -1, number, cv2.FILLED)
    for contour in holes:
        cv2.drawContours(labels, [contour], -1, 0, 1)
    long = measure_like_mitocyto(section, labels)
    ours = long.pivot_table(index="ID", columns="Channel", values="Value").rename(
        columns={"COX4": "COX4+4L2"}
    )
    published = pd.read_csv(folder / "fibres.csv").query("patient_id == 'P08'")
    both = published.merge(ours.round({"Area": 6}), on=["Area", "xCoord", "yCoord"], suffixes=("", "_ours"))
    assert len(both) / len(published) > 0.9
    np.testing.assert_allclose(both["Perimeter_ours"], both["Perimeter"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(both["Circularity_ours"], both["Circularity"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(both["AspectRatio_ours"], both["AspectRatio"], rtol=1e-12)
    # counts that were clipped can only be smaller here than where they were published
    exact = np.isclose(both["COX4+4L2_ours"], both["COX4+4L2"], rtol=0, atol=1e-12)
    assert exact.sum() >= 14
    assert (both["COX4+4L2_ours"] <= both["COX4+4L2"] + 1e-9).all()


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
