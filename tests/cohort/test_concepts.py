"""Concept sets: what is read back, what is refused, and what is told of a weak one."""

from pathlib import Path

import numpy as np
import pytest

from napari_mitoxai.cohort import (
    ConceptExample,
    PatchGeometry,
    place_concepts,
    read_cohort,
    read_concepts,
    write_concepts,
)
from napari_mitoxai.common import MitoxaiError

GEOMETRY = PatchGeometry(64, 32)


def example(cohort, concept="pale", subject="P01", y=100.0, x=100.0, source=""):
    section = next(member.address for member in cohort.members if member.subject == subject)
    return ConceptExample(concept, section, subject, y, x, source)


@pytest.fixture(scope="module")
def cohort(simulated_cohort):
    return read_cohort(simulated_cohort)


@pytest.fixture(scope="module")
def tissue_places(simulated_cohort):
    """Centres of fibres of each subject, (n, 2) in pixels, well inside the section."""
    from skimage.measure import regionprops

    from napari_mitoxai.imc import read_labels

    places = {}
    for path in sorted((simulated_cohort.parent / "fibres").glob("*.tiff")):
        centres = np.array([region.centroid for region in regionprops(read_labels(path))])
        places[path.stem] = centres[((centres > 40) & (centres < 248)).all(1)]
    return places


def many(cohort, places, concept, subjects, count=4, start=0):
    """Examples a patch's side apart at least, so that two concepts may be kept apart by their start."""
    made = []
    for subject in subjects:
        spread = places[subject][:: max(len(places[subject]) // 8, 1)][start : start + count]
        made += [example(cohort, concept, subject, y, x) for y, x in spread]
    return made


def test_a_set_is_read_as_it_was_written_and_can_be_moved_with_its_sections(tmp_path):
    set_ = [
        ConceptExample("ragged red", tmp_path / "a" / "P01.ome.tiff", "P01", 12.5, 7, "fibre 17"),
        ConceptExample("normal, big", Path("/elsewhere/slide.mcd#2"), "C01", 0, 123456.0, ""),
    ]
    path = write_concepts(tmp_path / "concepts.csv", set_)
    assert read_concepts(path) == set_
    assert "a/P01.ome.tiff" in path.read_text()
    assert str(tmp_path) not in path.read_text()
    with pytest.raises(MitoxaiError, match="exists already"):
        write_concepts(path, set_)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("concept,section,y_px\na,b,1", "no column x_px"),
        ("concept,section,y_px,x_px\n", "no rows"),
        ("concept,section,y_px,x_px\n,b,1,2", "Line 2 of bad.csv has no concept"),
        ("concept,section,y_px,x_px\na,b,one,2", "write pixels as numbers"),
        ("concept,section,y_px,x_px\na,b,nan,2", "write pixels as numbers"),
    ],
)
def test_what_is_no_concept_set_is_refused_with_the_line(tmp_path, text, reason):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(MitoxaiError, match=reason):
        read_concepts(tmp_path / "bad.csv")


def test_a_good_set_is_placed_without_a_word(cohort, tissue_places):
    good = many(cohort, tissue_places, "a", ["C01", "P01"]) + many(
        cohort, tissue_places, "b", ["C02", "P02"], start=4
    )
    placed = place_concepts(good, cohort, GEOMETRY)
    assert placed.notes == ()
    assert placed.concepts == ["a", "b"]
    for item in placed.examples:
        assert item.corner == (round(item.example.y_px - 31.5), round(item.example.x_px - 31.5))
    assert {item.member.subject for item in placed.of(["P01"]).examples} == {"P01"}


def test_a_patch_at_the_edge_is_moved_inside(cohort):
    corners = [
        item.corner
        for item in place_concepts(
            [example(cohort, y=y, x=150) for y in (20, 270)], cohort, GEOMETRY
        ).examples
    ]
    assert [corner[0] for corner in corners] == [0, 288 - 64]


def test_files_that_moved_are_found_by_their_name(cohort):
    moved = ConceptExample("a", Path("/gone/P01.ome.tiff"), "", 100, 100)
    assert place_concepts([moved], cohort, GEOMETRY).examples[0].member.subject == "P01"


def test_twice_the_same_example_counts_once(cohort):
    placed = place_concepts([example(cohort), example(cohort)], cohort, GEOMETRY)
    assert len(placed.examples) == 1
    assert any("used once" in note for note in placed.notes)


def test_few_examples_and_one_subject_are_told(cohort):
    notes = place_concepts([example(cohort)], cohort, GEOMETRY).notes
    assert any("has one example only" in note for note in notes)
    assert any("a detector of this subject" in note for note in notes)


def test_two_concepts_that_share_patches_are_named(cohort):
    near = [example(cohort, "a"), example(cohort, "b", y=110)]  # 54 of 64 rows in common
    assert any(
        "a and b share patches (1 of the 1" in note for note in place_concepts(near, cohort, GEOMETRY).notes
    )
    apart = [example(cohort, "a"), example(cohort, "b", y=140)]
    assert not any("share" in note for note in place_concepts(apart, cohort, GEOMETRY).notes)


@pytest.fixture(scope="module")
def half_empty(tmp_path_factory):
    """Two sections with tissue in their upper half only."""
    from napari_mitoxai.imc import write_section
    from napari_mitoxai.simulate import PANEL

    folder = tmp_path_factory.mktemp("half")
    counts = np.zeros((len(PANEL), 256, 256), np.uint16)
    counts[:, :128] = np.random.default_rng(0).poisson(6, (len(PANEL), 128, 256))
    for name in ("C01", "P01"):
        write_section(folder / f"{name}.ome.tiff", counts, PANEL, pixel_size_um=1.0)
    (folder / "cohort.csv").write_text(
        "path,subject,group\nC01.ome.tiff,C01,control\nP01.ome.tiff,P01,patient\n"
    )
    return read_cohort(folder / "cohort.csv")


def test_examples_over_background_are_left_out_and_counted(half_empty):
    set_ = [example(half_empty, y=60), example(half_empty, y=220), example(half_empty, y=210)]
    placed = place_concepts(set_, half_empty, GEOMETRY)
    assert [item.example.y_px for item in placed.examples] == [60]
    assert any("2 of the examples of pale lie over background" in note for note in placed.notes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"y": 220}, "No example of the concept pale lies on tissue"),
        ({"y": 300}, "outside of"),
        ({"x": -3}, "outside of"),
    ],
)
def test_what_cannot_be_an_example_is_refused(half_empty, change, reason):
    with pytest.raises(MitoxaiError, match=reason):
        place_concepts([example(half_empty, **change)], half_empty, GEOMETRY)


def test_sections_and_subjects_that_the_cohort_does_not_have_are_refused(cohort):
    with pytest.raises(MitoxaiError, match=r"cohort.csv does not have"):
        place_concepts([ConceptExample("a", Path("/no/X.ome.tiff"), "", 1, 1)], cohort, GEOMETRY)
    foreign = ConceptExample("a", example(cohort).section, "C02", 100, 100)
    with pytest.raises(MitoxaiError, match=r"is of C02, the cohort says P01"):
        place_concepts([foreign], cohort, GEOMETRY)
