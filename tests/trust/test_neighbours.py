"""Projections and neighbourhoods against scikit-learn, and cases whose answer is known."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples
from sklearn.metrics.pairwise import euclidean_distances

from napari_mitoxai.trust.neighbours import neighbourhoods
from napari_mitoxai.trust.projection import distances, principal_components, products, project

PATCHES, SUBJECTS = 20, ("C01", "C02", "C03", "P01", "P02", "P03")
GROUPS = {name: "control" if name.startswith("C") else "patient" for name in SUBJECTS}
NAMES = np.array([name for name in SUBJECTS for _ in range(PATCHES)])


def cloud(by_subject=0.0, by_group=0.0, seed=0):
    """Points in 30 dimensions, drawn around a place a subject and a place a group."""
    rng = np.random.default_rng(seed)
    people = {name: rng.normal(size=30) for name in SUBJECTS}
    kinds = {name: rng.normal(size=30) for name in ("control", "patient")}
    places = np.stack([by_subject * people[name] + by_group * kinds[GROUPS[name]] for name in NAMES])
    return (places + rng.normal(size=places.shape) + 100).astype(np.float32)


def asked(points, **options):
    apart = np.ones((len(points),) * 2, bool)
    found = neighbourhoods(distances(products(points)), NAMES, GROUPS, apart, neighbours=10, **options)
    return {each.measure: each for each in found}


def test_components_and_distances_are_scikit_learns():
    points = cloud(1, 2)
    gram = products(points)
    scores, share = principal_components(gram)
    expected = PCA(30).fit(points)
    assert np.allclose(np.abs(scores[:, :30]), np.abs(expected.transform(points)), atol=1e-3)
    assert share == pytest.approx(1)
    assert np.allclose(distances(gram), euclidean_distances(points.astype(float)), atol=1e-4)


def test_silhouettes_are_scikit_learns():
    points = cloud(1, 1)
    found = asked(points)
    by_subject = silhouette_samples(points, NAMES).reshape(len(SUBJECTS), PATCHES).mean(1)
    by_group = silhouette_samples(points, [GROUPS[name] for name in NAMES]).mean()
    assert found["subject_silhouette"].value == pytest.approx(by_subject.mean(), abs=1e-5)
    assert found["group_silhouette"].value == pytest.approx(by_group, abs=1e-5)


def test_a_space_that_knows_people_is_told_from_one_that_knows_the_disease():
    people, disease, nothing = asked(cloud(by_subject=5)), asked(cloud(by_group=5)), asked(cloud())
    assert people["subject_purity"].value > 0.95
    assert people["group_purity"].p > 0.1  # where people lie has nothing to do with their groups
    assert disease["group_purity"].value > 0.95
    assert (
        disease["group_purity"].p == disease["group_purity"].smallest_p == 1 / 10
    )  # ways to part 6 in halves
    # noise is at chance: 19 of 119 others are one's own, 40 of 100 others' are of one's group
    assert nothing["subject_purity"].value == pytest.approx(19 / 119, abs=0.06)
    assert nothing["subject_purity"].shuffled == pytest.approx(19 / 119, abs=0.01)
    assert nothing["group_purity"].value == pytest.approx(0.4, abs=0.08)
    assert nothing["group_purity"].shuffled == pytest.approx(0.4, abs=0.02)
    assert nothing["group_purity"].p > 0.05


def test_patches_that_share_pixels_are_no_neighbours():
    points = cloud(by_subject=5)
    together = np.arange(len(points)) // 2  # pairs of patches, one the copy of the other
    points[1::2] = points[::2]
    apart = together[:, None] != together[None]
    found = neighbourhoods(distances(products(points)), NAMES, GROUPS, apart, neighbours=1)
    assert found[0].value > 0.95  # others of the same subject are still the nearest
    alone = neighbourhoods(
        distances(products(points)), NAMES, GROUPS, NAMES[:, None] != NAMES[None], neighbours=1
    )
    assert alone[0].value == 0  # nobody of the same subject may be one


def test_only_those_asked_are_counted():
    found = asked(cloud(by_subject=5), of=["C01", "P01"])
    assert (found["subject_purity"].subjects, found["subject_purity"].patches) == (2, 2 * PATCHES)


def test_without_two_subjects_a_group_groups_are_not_spoken_of():
    two = np.isin(NAMES, ["C01", "P01"])
    points = cloud()[two]
    found = neighbourhoods(distances(products(points)), NAMES[two], GROUPS, np.ones((40, 40), bool))
    assert [each.measure for each in found] == ["subject_purity", "subject_silhouette"]


def test_the_same_seed_gives_the_same_picture():
    scores, _ = principal_components(products(cloud(by_group=5)))
    first = project(scores, "tsne", seed=3)
    assert np.array_equal(first, project(scores, "tsne", seed=3))
    patients = np.array([GROUPS[name] == "patient" for name in NAMES])
    # the two groups lie apart in the plane as well
    assert silhouette_samples(first, patients).mean() > 0.5
