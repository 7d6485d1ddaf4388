import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from scipy import ndimage
from skimage.morphology import h_maxima

from napari_mitoxai.cohort import TISSUE_BLOCK, tissue_mask
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.fibres import match, mean_density, segment
from napari_mitoxai.fibres.tops import tops
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
    assert found.f1 > 0.88
    assert found.precision > 0.9
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


def test_a_density_of_another_shape_is_refused():
    with pytest.raises(MitoxaiError, match="one section"):
        segment(np.zeros((10, 10)), density=np.zeros((9, 10), np.float32))


def test_a_gap_in_the_tissue_is_no_fibre_where_other_channels_show_it_empty():
    """The membrane alone cannot tell a gap with a rim from a fibre."""
    membrane = _honeycomb()
    inside = np.where(membrane == 0, 3.0, 0.5)
    inside[124:180, 124:180] = 0
    assert segment(membrane)[150, 150] > 0
    labels = segment(membrane, density=mean_density(inside[None], [2.5]))
    assert labels[150, 150] == 0
    assert labels.max() == 24


def test_a_fibre_that_is_open_to_the_slide_ends_where_the_other_channels_end():
    membrane = _honeycomb(size=304)
    inside = np.full(membrane.shape, 3.0)
    membrane[:, 244:] = inside[:, 244:] = 0  # the slide
    membrane[124:180, 240:] = 0  # and a side without a membrane
    labels = segment(membrane, density=mean_density(inside[None], [3.0]))
    own = labels == labels[150, 210]
    assert labels[150, 210] > 0
    assert own[:, :240].sum() > 45**2
    assert own[:, 252:].sum() == 0


def test_the_density_of_channels_is_the_mean_of_what_they_are_in_tissue():
    channels = np.array([[[2.0, 100.0, np.nan]], [[1.0, 0.0, 1.0]], [[3.0, 3.0, 3.0]]])
    assert_array_equal(mean_density(channels, [2.0, 1.0, 0.0]), np.float32([[1.0, 2.5, 0.5]]))
    assert mean_density(channels, [0.0, np.nan, 0.0]) is None


@pytest.mark.parametrize("density", [False, True])
def test_tiles_give_what_the_whole_gives(density):
    made = section(size=500, seed=3, fibre_size_um=60.0, pixel_size_um=2.0)
    more = mean_density(made.counts[:9], made.counts[:9].mean((1, 2))) if density else None
    sizes = {"fibre_size_um": 60.0, "pixel_size_um": 2.0}
    whole = segment(made.counts[9], density=more, **sizes)
    assert whole.max() > 150
    tiled = segment(made.counts[9], density=more, tile=170, **sizes)
    assert_array_equal(tiled, whole)


def test_fibres_at_the_borders_of_tiles_are_whole_and_counted_once():
    membrane = _honeycomb(size=800, pitch=40)
    whole = segment(membrane, fibre_size_um=36.0)
    assert_array_equal(np.unique(whole), np.arange(401))
    assert_array_equal(segment(membrane, fibre_size_um=36.0, tile=330), whole)


@pytest.fixture(scope="module")
def p03(real_data):
    folder = real_data / "warren2020"
    stack = read_section(folder / "stacks" / "P03.ome.tiff")
    own = stack.panel.index("Dystrophin")
    return stack.read([own])[0], _density(stack, own), tifffile.imread(folder / "P03_instance_mask.tiff")


def _density(stack, own):
    others = stack.read([index for index in range(len(stack.panel)) if index != own])
    y, x = (np.arange(length) // TISSUE_BLOCK for length in stack.shape[1:])
    return mean_density(others, others[:, tissue_mask(stack)[np.ix_(y, x)]].mean(1))


def test_a_real_section_agrees_with_hand_made_fibres(p03):
    membrane, density, truth = p03
    found = match(segment(membrane, density=density), truth)
    assert found.expected == 1799
    assert found.f1 >= 0.95
    assert found.mean_iou >= 0.92


@pytest.mark.slow
def test_tiles_of_a_real_section_give_what_the_whole_gives(p03):
    membrane, density, _ = p03
    part = np.s_[1000:2000, 900:1900]
    whole = segment(membrane[part], density=density[part])
    assert whole.max() > 300
    assert_array_equal(segment(membrane[part], density=density[part], tile=500), whole)


@pytest.mark.parametrize("subject", ["C01"])
def test_published_centres_fall_in_fibres_of_their_own(real_data, subject):
    pd = pytest.importorskip("pandas")
    folder = real_data / "warren2020"
    stack = read_section(folder / "stacks" / f"{subject}.ome.tiff")
    own = stack.panel.index("Dystrophin")
    labels = segment(stack.read([own])[0], density=_density(stack, own))
    table = pd.read_csv(folder / "fibres.csv").query("patient_id == @subject")
    at = labels[table["yCoord"].astype(int), table["xCoord"].astype(int)]
    _, count = np.unique(at[at > 0], return_counts=True)
    assert (count == 1).sum() >= 0.9 * len(table)


@pytest.mark.parametrize("seed", range(4))
def test_tops_are_the_h_maxima(seed):
    """Rough, smooth, with many equal heights, and with plateaus."""
    noise = np.random.default_rng(seed).random((60, 83)).astype(np.float32)
    smooth = 100 * ndimage.gaussian_filter(noise, 2)
    for heights, dip in ((noise, 0.3), (smooth, 4.0), (np.round(4 * noise), 1.0), (np.round(smooth), 3.0)):
        assert_array_equal(tops(heights, dip), h_maxima(heights, dip))
    assert not tops(noise, 2.0).any()
    assert not tops(np.zeros((5, 5), np.float32), 0.5).any()
