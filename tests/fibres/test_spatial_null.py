import numpy as np
import pytest
from scipy import ndimage, stats

from napari_mitoxai import simulate
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.fibres import spatial_null as module
from napari_mitoxai.fibres.compartments import Widths, compartments
from napari_mitoxai.fibres.cover import Placing, Regions
from napari_mitoxai.fibres.relevance import ROWS, MapPlanes
from napari_mitoxai.fibres.spatial_null import adjusted, spatial_null
from napari_mitoxai.fibres.status_groups import Divided


def regions_of(labels):
    return Regions.of(labels, compartments(labels, widths=Widths(2, 5, 25)))


def planes_of(values):
    return MapPlanes("method", tuple("abcdef"[: len(values)]), lambda part: values[:, *part])


def blobs(rng, shape, scale):
    """A map that knows nothing, without a seam when it is shifted round."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), scale, mode="wrap")
    return noise / noise.std()


PLACING = Placing((64, 56), 4, (1.5, 1.5))


def p_values_of_nothing(whole):
    """Of maps with blobs that know nothing of the fibres; one p of a kind for each of many independent maps."""
    regions = regions_of(simulate.section(size=(160, 144), seed=5, fibre_size_um=30).fibres)
    placing = Placing((40, 36), 4, (1.5, 1.5))
    explained = np.ones(placing.shape, bool)
    if not whole:  # an island, as of tissue
        y, x = np.ogrid[-1:1:40j, -1:1:36j]
        explained = y**2 + x**2 < 0.9
    rng = np.random.default_rng(0)
    found = {"fibre": [], "membrane": [], "gap": [], "group": []}
    for number in range(300):
        values = np.where(explained, blobs(rng, placing.shape, 2), 0)[None]
        chosen = rng.random(len(regions.ids)) < 0.4
        null = spatial_null(
            [planes_of(values)],
            regions,
            placing,
            explained,
            groups={"chosen": Divided(chosen, ~chosen)},
            draws=19,
            seed=number,
        )[0]
        seen = np.flatnonzero(np.isfinite(null.fibres[:, 0]))
        found["fibre"].append(null.fibres[rng.choice(seen), 0])
        found["membrane"].append(null.compartments[0, 0])
        found["gap"].append(null.compartments[3, 0])
        found["group"].append(null.groups["chosen"][0])
    # p values are multiples of 1/20: spread each over its step
    return {name: np.array(p) - rng.random(len(p)) / 20 for name, p in found.items()}


@pytest.mark.parametrize("whole", [True, False])
def test_p_values_are_uniform_where_nothing_is_planted(whole):
    for name, p in p_values_of_nothing(whole).items():
        assert stats.kstest(p, "uniform").pvalue > 0.002, name


def test_p_values_of_shuffled_pixels_are_not(monkeypatch):
    """The usual mistake, which breaks the blobs: the check above sees it."""

    def shuffled(shape, draws, seed):
        rng = np.random.default_rng(seed)
        for _ in range(draws):
            yield rng.permutation(shape[0]), rng.permutation(shape[1]), False

    monkeypatch.setattr(module, "_moves", shuffled)
    assert stats.kstest(p_values_of_nothing(True)["fibre"], "uniform").pvalue < 1e-6


def test_a_signal_is_found_where_it_was_planted_and_nowhere_else():
    made = simulate.section("membrane_rim", True, size=384, seed=1)
    regions = regions_of(made.fibres)
    planted = np.array([made.truth[made.fibres == label].any() for label in regions.ids])
    values = with_planted(made.truth)
    null = null_of(
        values, regions, {"planted": Divided(planted, ~planted), "others": Divided(~planted, planted)}
    )
    assert null.groups["planted"][1] == 1 / 200  # the smallest p that 199 draws can give
    assert null.groups["others"][1] == 1
    assert min(null.groups["planted"][0], null.groups["planted"][2]) > 0.02
    named = adjusted(null.fibres[:, 1]) < 0.05
    assert named.sum() > 5
    assert (named & planted).sum() >= 0.9 * named.sum()
    # a place laid at random often meets another of the many that carry the signal, so that not all have a small p;
    # but in order of p they come first
    p = null.fibres[:, 1]
    order = stats.mannwhitneyu(p[~planted], p[planted]).statistic / (planted.sum() * (~planted).sum())
    assert order > 0.95
    assert not (adjusted(null.fibres[:, [0, 2]]) < 0.05).any()
    by_part = dict(zip(ROWS, null.compartments[:, 1], strict=True))
    assert by_part[ROWS[1]] == 1 / 200
    assert by_part[ROWS[2]] > 0.05
    assert by_part[ROWS[-1]] > 0.9  # the background has less than chance


def test_a_few_fibres_with_a_signal_are_all_named():
    made = simulate.section(size=384, seed=1)
    regions = regions_of(made.fibres)
    planted = np.isin(regions.ids, [5, 17, 30])
    truth = np.isin(made.fibres, [5, 17, 30]) & (regions.parts == ROWS[0])
    null = null_of(with_planted(truth, 10), regions, {}, draws=999)
    assert ((adjusted(null.fibres[:, 1]) < 0.05) == planted).all()
    assert ROWS[int(np.argmin(null.compartments[:, 1]))].title == "membrane"


def with_planted(truth, strength=4):
    rng = np.random.default_rng(2)
    values = np.stack([0.5 * blobs(rng, truth.shape, 6) for _ in range(3)])
    values[1][truth] += strength
    return values


def null_of(values, regions, groups, draws=199):
    coarse = values.reshape(3, 192, 2, 192, 2).mean((2, 4))
    placing, everywhere = Placing((192, 192), 2, (0.5, 0.5)), np.ones((192, 192), bool)
    return spatial_null([planes_of(coarse)], regions, placing, everywhere, groups=groups, draws=draws)[0]


def test_an_even_map_says_nothing():
    regions = regions_of(simulate.section(size=(256, 224), seed=5).fibres)
    null = spatial_null(
        [planes_of(np.ones((1, 64, 56)))], regions, PLACING, np.ones((64, 56), bool), draws=19
    )[0]
    assert (null.fibres == 1).all()
    assert (null.compartments == 1).all()


def test_fibres_where_nothing_was_explained_have_no_p():
    labels = simulate.section(size=(256, 224), seed=5).fibres
    regions = regions_of(labels)
    explained = np.zeros((64, 56), bool)
    explained[:, :20] = True
    null = spatial_null([planes_of(np.ones((1, 64, 56)))], regions, PLACING, explained, draws=19)[0]
    away = np.array([np.flatnonzero((labels == label).any(0))[0] > 84 for label in regions.ids])
    assert np.isnan(null.fibres[away]).all()
    assert np.isfinite(null.fibres[~away]).any()
    nothing = spatial_null([planes_of(np.ones((2, 64, 56)))], regions, PLACING, explained & False, draws=19)[
        0
    ]
    assert np.isnan(nothing.fibres).all()
    assert nothing.compartments.shape == (5, 3)


def test_the_same_seed_draws_the_same_and_no_draws_are_refused():
    regions = regions_of(simulate.section(size=(256, 224), seed=5).fibres)
    values = np.random.default_rng(0).normal(size=(1, 64, 56))
    first, again, other = (
        spatial_null([planes_of(values)], regions, PLACING, np.ones((64, 56), bool), draws=19, seed=seed)[0]
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.fibres, again.fibres)
    assert not np.array_equal(first.fibres, other.fibres)
    with pytest.raises(MitoxaiError, match="no p value"):
        spatial_null([], regions, PLACING, np.ones((64, 56), bool), draws=0)


def test_adjusted_p_by_hand():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    assert adjusted(p)[[0, 2, 3, 4]] == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(adjusted(p)[1])
    assert np.isnan(adjusted(np.array([np.nan]))).all()
