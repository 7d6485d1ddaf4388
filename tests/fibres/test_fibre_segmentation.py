import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.fibres import keep_in_tissue, match, segment
from napari_mitoxai.imc import read_section
from napari_mitoxai.simulate import section


def _honeycomb(size=300, pitch=60, wall=4):
    """Square fibres of known place: bright walls on a grid."""
    place = np.arange(size) % pitch
    wall_of = place < wall
    return np.where(wall_of[:, None] | wall_of[None], 8.0, 0.0)


def test_a_grid_of_walls_gives_one_fibre_a_square():
    labels = segment(_honeycomb())
    assert labels.dtype == np.int32
    assert labels.max() == 25
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    assert_array_equal(ids, np.arange(1, 26))
    # a square of 56 px, plus at most what the labels are grown back over the walls
    assert (areas > 48**2).all()
    assert (areas < 61**2).all()


@pytest.mark.parametrize("pixel", [0.5, 1.0, 2.0])
def test_simulated_fibres_are_found_at_every_pixel_size(pixel):
    made = section(size=round(600 / pixel), seed=1, pixel_size_um=pixel)
    found = match(segment(made.counts[9], pixel_size_um=pixel), made.fibres)
    assert found.f1 > 0.84
    assert found.precision > 0.93
    assert found.mean_iou > 0.8


def test_fibre_size_scales_what_is_kept():
    made = section(size=600, seed=1, fibre_size_um=80.0)
    assert match(segment(made.counts[9], fibre_size_um=80.0), made.fibres).f1 > 0.85
    assert segment(made.counts[9], fibre_size_um=300.0).max() < 0.2 * made.fibres.max()


def test_the_result_is_the_same_twice():
    membrane = section(size=300).counts[9]
    assert_array_equal(segment(membrane), segment(membrane))


@pytest.mark.parametrize(
    "membrane",
    [
        np.zeros((60, 60)),
        np.full((300, 300), 7.0),
        np.full((64, 64), np.nan),
        np.full((64, 64), np.inf),
        -np.ones((40, 40)),
        np.ones((1, 1)),
        np.ones((1, 200)),
        np.random.default_rng(0).poisson(2, (3, 3)),
        np.random.default_rng(0).poisson(2, (20, 20)).astype(np.uint8),
        np.zeros((30, 30), dtype=bool),
    ],
    ids=["zero", "constant", "nan", "inf", "negative", "pixel", "line", "3x3", "uint8", "bool"],
)
def test_an_image_without_a_membrane_has_no_fibre(membrane):
    labels = segment(membrane)
    assert labels.shape == membrane.shape
    assert labels.dtype == np.int32
    assert not labels.any()


def test_noise_is_not_full_of_fibres():
    labels = segment(np.random.default_rng(0).poisson(0.5, (500, 500)))
    assert (labels > 0).mean() < 0.1


def test_some_nan_pixels_do_no_harm():
    membrane = _honeycomb()
    membrane[100:103, 100:103] = np.nan
    assert segment(membrane).max() == 25


@pytest.mark.parametrize("shape", [(10,), (2, 20, 20), (0, 5)])
def test_what_is_not_one_plane_is_refused(shape):
    with pytest.raises(MitoxaiError, match="one plane"):
        segment(np.zeros(shape))


@pytest.mark.parametrize(
    ("pixel", "fibre"), [(0.0, 50.0), (-1.0, 50.0), (1.0, 4.0), (np.nan, 50.0), (1.0, np.inf)]
)
def test_impossible_sizes_are_refused(pixel, fibre):
    with pytest.raises(MitoxaiError, match="check both sizes"):
        segment(np.zeros((10, 10)), pixel_size_um=pixel, fibre_size_um=fibre)


def test_progress_is_told_and_cancel_is_looked_at():
    seen = []
    segment(_honeycomb(), progress=seen.append)
    assert [step.done for step in seen] == list(range(6))
    assert {step.total for step in seen} == {6}
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        segment(_honeycomb(), cancel=cancel)


def test_a_real_section_agrees_with_hand_made_fibres(real_data):
    folder = real_data / "warren2020"
    stack = read_section(folder / "stacks" / "P03.ome.tiff")
    truth = tifffile.imread(folder / "P03_instance_mask.tiff")
    labels = segment(stack.read([stack.panel.index("Dystrophin")])[0], pixel_size_um=stack.pixel_size_um)
    found = match(labels, truth)
    assert found.expected == 1799
    assert found.f1 >= 0.93
    assert found.mean_iou >= 0.9


def test_most_published_fibres_of_a_real_section_are_found(real_data):
    pd = pytest.importorskip("pandas")
    folder = real_data / "warren2020"
    stack = read_section(folder / "stacks" / "P01.ome.tiff")
    labels = segment(stack.read([stack.panel.index("Dystrophin")])[0])
    table = pd.read_csv(folder / "fibres.csv").query("patient_id == 'P01'")
    own = labels[table["yCoord"].astype(int), table["xCoord"].astype(int)]
    ratio = np.bincount(labels.ravel())[own] / table["Area"].to_numpy()
    assert ((own > 0) & (ratio > 0.7) & (ratio < 1.5)).mean() > 0.9


def test_labels_on_the_empty_slide_are_dropped_and_the_others_numbered_again():
    labels = np.zeros((6, 10), int)
    labels[:, :2], labels[:, 2:5], labels[:3, 6:] = 5, 2, 9
    tissue = np.array([[True, True, False], [True, True, False]])  # blocks of four pixels: columns 0 to 7
    kept = keep_in_tissue(labels, tissue, 4)
    assert_array_equal(kept[:, :2], 2)
    assert_array_equal(kept[:, 2:5], 1)
    assert_array_equal(kept[:3, 6:], 3)  # just half of it is on tissue
    tissue[0, 1] = False
    assert keep_in_tissue(labels, tissue, 4).max() == 2
    assert keep_in_tissue(labels, ~tissue & False, 4).max() == 0
