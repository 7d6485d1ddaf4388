import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Role
from napari_mitoxai.simulate import SIGNALS, section
from napari_mitoxai.simulate.acquire import _draw_subject, _expected
from napari_mitoxai.simulate.tissue import make_tissue, smooth_noise


def test_a_section_has_counts_fibres_and_truth_of_one_grid():
    made = section("complex_i_loss", patient=True, size=(200, 260))
    assert made.counts.shape == (10, 200, 260)
    assert made.counts.dtype == np.uint16
    assert made.truth.shape == made.fibres.shape == (200, 260)
    assert made.truth.dtype == bool
    assert made.fibres.dtype == np.int32
    assert made.panel.targets[2] == "NDUFB8"
    assert made.panel[2].metal == "Gd"
    assert made.panel[2].mass == 160
    assert made.panel.with_role(Role.MEMBRANE) == [9]


def test_fibre_ids_are_consecutive_and_fibres_have_the_size_asked_for():
    fibres = section(size=600, seed=3).fibres
    ids, area = np.unique(fibres[fibres > 0], return_counts=True)
    assert_array_equal(ids, np.arange(1, len(ids) + 1))
    diameter = 2 * np.sqrt(np.median(area) / np.pi)
    assert 35 < diameter < 60


def test_there_are_gaps_and_empty_background():
    made = section(size=512, seed=1)
    share = (made.fibres > 0).mean()
    assert 0.6 < share < 0.9
    outside = made.counts[:, made.fibres == 0][:9]
    inside = made.counts[:, made.fibres > 0][:9]
    assert (outside.mean(axis=1) < 0.2 * inside.mean(axis=1)).all()


def test_counts_are_small_like_those_of_published_sections():
    # 95th percentiles of published sections lie between these, by channel (Warren 2020)
    low = [6, 1, 1, 5, 2, 2, 6, 1, 4, 3]
    high = [40, 5, 14, 30, 14, 10, 45, 10, 32, 14]
    for seed in range(4):
        percentile = np.percentile(section(size=300, seed=seed).counts, 95, axis=(1, 2))
        assert (percentile >= low).all()
        assert (percentile <= high).all()


def test_the_same_seed_gives_the_same_counts_and_another_seed_others():
    first, second = (section("membrane_rim", True, size=128, seed=5) for _ in range(2))
    assert_array_equal(first.counts, second.counts)
    assert_array_equal(first.truth, second.truth)
    assert (first.counts != section("membrane_rim", True, size=128, seed=6).counts).any()


def test_sections_of_one_subject_share_its_gains_and_not_its_tissue():
    def profile(seed, subject):
        made = section(size=400, seed=seed, subject_seed=subject)
        mean = made.counts[:, made.fibres > 0].mean(axis=1)
        return np.log(mean / mean.mean())

    first, same, other = profile(1, 7), profile(2, 7), profile(1, 8)
    assert np.abs(first - same).mean() < 0.5 * np.abs(first - other).mean()
    assert (
        section(size=64, seed=1, subject_seed=7).fibres != section(size=64, seed=2, subject_seed=7).fibres
    ).any()


@pytest.mark.parametrize("seed", [4, 5, 6])
@pytest.mark.parametrize("name", SIGNALS)
def test_truth_is_exactly_where_the_expected_counts_change(name, seed):
    rng = np.random.default_rng(seed)
    tissue = make_tissue(rng, (300, 240), pixel_size_um=1.0 + 0.25 * (seed - 4))
    expected = _expected(tissue, _draw_subject(np.random.default_rng(0)), rng)
    before = {target: plane.copy() for target, plane in expected.items()}
    truth = SIGNALS[name].plant(tissue, expected, np.random.default_rng(1))
    assert truth.any()
    changed = {target for target in expected if (before[target] != expected[target]).any()}
    assert changed == set(SIGNALS[name].channels)
    for target in changed:
        assert_array_equal(before[target] != expected[target], truth)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_is_in_the_counts_and_only_in_patients(name):
    patient, control = section(name, True, size=400, seed=2), section(name, False, size=400, seed=2)
    assert not control.truth.any()
    assert_array_equal(patient.fibres, control.fibres)
    for target in patient.panel.targets:
        index = patient.panel.index(target)
        ratio = patient.counts[index][patient.truth].mean() / control.counts[index][patient.truth].mean()
        if target in SIGNALS[name].channels:
            assert not 0.5 < ratio < 1.9
        else:
            assert_array_equal(patient.counts[index], control.counts[index])


def test_complex_i_loss_takes_whole_fibres_about_a_third_of_them():
    made = section("complex_i_loss", True, size=700)
    lost = np.unique(made.fibres[made.truth])
    assert_array_equal(np.isin(made.fibres, lost), made.truth)
    assert 0.28 < len(lost) / made.fibres.max() < 0.42


def test_cracks_run_through_fibres_and_are_of_even_width():
    for seed in range(3):
        made = section("tissue_gaps", True, size=500, seed=seed)
        assert 0.03 < made.truth.mean() < 0.2
        assert (made.fibres[made.truth] > 0).all()
        assert (
            made.counts[:, made.truth].mean() < 0.1 * made.counts[:, (made.fibres > 0) & ~made.truth].mean()
        )
        middle = ndimage.distance_transform_edt(made.truth)
        assert np.percentile(middle[made.truth], 99) < 6  # half of about 8 um, more where two meet


def test_without_a_signal_a_patient_is_a_control():
    patient, control = section(None, True, size=96), section(None, False, size=96)
    assert_array_equal(patient.counts, control.counts)
    assert not patient.truth.any()


def test_pixel_size_scales_the_fibres():
    coarse, fine = section(size=256, pixel_size_um=2.0), section(size=512, pixel_size_um=1.0)
    assert coarse.fibres.max() == pytest.approx(fine.fibres.max(), rel=0.25)


def test_hot_pixels_are_rare_and_bright():
    counts = section(size=512, seed=9).counts
    assert 0 < (counts[1] > 25).sum() < 50


@pytest.mark.parametrize("size", [32, (32, 900)])
def test_a_small_section_works(size):
    for name in SIGNALS:
        assert section(name, True, size=size).counts.shape[0] == 10


@pytest.mark.parametrize("size", [0, 31, -5, (64, 10), 10**6])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(MitoxaiError, match="choose sides"):
        section(size=size)


@pytest.mark.parametrize(("pixel", "fibre"), [(0.0, 50.0), (-1.0, 50.0), (10.0, 50.0), (float("nan"), 50.0)])
def test_fibres_too_small_for_the_pixels_are_refused(pixel, fibre):
    with pytest.raises(MitoxaiError, match="8 pixels"):
        section(size=64, pixel_size_um=pixel, fibre_size_um=fibre)


def test_an_unknown_signal_is_refused_with_a_list():
    with pytest.raises(MitoxaiError, match=r"complex_i_loss.*membrane_rim"):
        section("no_such", True)
    with pytest.raises(MitoxaiError, match="complex_i_loss"):
        section("no_such", False)


def test_every_signal_says_what_it_is():
    for signal in SIGNALS.values():
        assert signal.title
        assert signal.description.endswith(".")
        assert signal.channels


@pytest.mark.parametrize("scale", [3.0, 20.0, 500.0])
def test_smooth_noise_is_standard_and_smooth(scale):
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_noise(rng, (90, 110), scale) for _ in range(60)])
    assert fields.shape == (60, 90, 110)
    assert fields.std() == pytest.approx(1, abs=0.2)
    assert np.abs(np.diff(fields, axis=2)).mean() < 1.5 / scale
