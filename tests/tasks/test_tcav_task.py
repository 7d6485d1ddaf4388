"""Testing concepts on a trained run: from a concept set to a table, a plot and sentences."""

import shutil

import pandas as pd
import pytest

from napari_mitoxai.cohort.concepts import ConceptExample, write_concepts
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.tasks import tcav
from napari_mitoxai.tasks.tcav import TcavParameters

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def concepts(simulated_cohort, tmp_path):
    """Four places of two patients under one name, and a grid of places under another."""
    folder = simulated_cohort.parent
    some = [
        ConceptExample("left", folder / f"{name}.ome.tiff", name, y, 90.0)
        for name in ("P01", "P02")
        for y in (80.0, 110.0, 140.0, 170.0)
    ]
    grid = [
        ConceptExample("anywhere", folder / f"{name}.ome.tiff", name, y, x)
        for name in ("P01", "P02")
        for y in (75.0, 105.0, 135.0, 165.0)
        for x in (70.0, 120.0, 170.0, 210.0)
    ]
    return write_concepts(tmp_path / "concepts.csv", [*some, *grid])


def asked(run, concepts, out, **more):
    return tcav.run(
        TcavParameters(
            run=run, concepts=concepts, out=out, device="cpu", draws=19, most_patches=4, layers=["layer2", "layer4"], **more
        )
    )  # fmt: skip


def test_each_concept_is_tested_at_each_layer(trained_run, concepts, tmp_path):
    result = asked(trained_run, concepts, tmp_path / "out", most_examples=6)
    table = pd.read_csv(result.table)
    assert list(zip(table["concept"], table["layer"], strict=True)) == [
        ("left", "layer2"), ("left", "layer4"), ("anywhere", "layer2"), ("anywhere", "layer4"),
    ]  # fmt: skip
    assert result.target == "patient"
    assert table["p"].between(1 / 20, 1).all()
    assert (table["q"] >= table["p"]).all()
    assert table["score"].between(0, 1).all()
    assert set(table["examples"]) == {6}
    assert set(table["subjects"]) == {"P01 P02"}
    assert len(result.sentences) == 2
    assert any("6 of the 32 examples of anywhere are used" in note for note in result.notes)
    assert any("smallest p that 19 random sets can give is 0.05" in note for note in result.notes)
    assert result.plot.read_bytes().startswith(b"\x89PNG")
    again = asked(trained_run, concepts, tmp_path / "again", most_examples=6)
    assert pd.read_csv(again.table).equals(table)


def test_random_patches_may_come_from_a_concept(trained_run, concepts, tmp_path):
    result = asked(trained_run, concepts, tmp_path / "out", against="anywhere", target="control")
    assert {row["concept"] for row in result.rows} == {"left"}
    with pytest.raises(MitoxaiError, match="no concept 'nowhere'"):
        asked(trained_run, concepts, tmp_path / "none", against="nowhere")
    with pytest.raises(MitoxaiError, match="no class 'carrier'"):
        asked(trained_run, concepts, tmp_path / "none", target="carrier")


def test_one_or_two_examples_are_no_concept(trained_run, simulated_cohort, tmp_path):
    section = simulated_cohort.parent / "P01.ome.tiff"
    few = write_concepts(tmp_path / "few.csv", [ConceptExample("lone", section, "P01", 100.0, 100.0)])
    with pytest.raises(MitoxaiError, match="1 example has no direction"):
        asked(trained_run, few, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_concept_may_be_drawn_on_a_section_that_is_new_to_the_model(
    trained_run, simulated_cohort, tmp_path
):
    section = shutil.copy(simulated_cohort.parent / "P02.ome.tiff", tmp_path / "P77.ome.tiff")
    drawn = [ConceptExample("left", section, "P77", y, 90.0) for y in (80.0, 110.0, 140.0, 170.0)]
    result = asked(trained_run, write_concepts(tmp_path / "new.csv", drawn), tmp_path / "out")
    assert {row["subjects"] for row in result.rows} == {"P77"}
