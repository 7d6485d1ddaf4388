"""Concepts of fibres: chosen over several sections and tables, placed in pixels, added to a set."""

import pandas as pd
import pytest

from napari_mitoxai.cohort.concepts import read_concepts
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.tasks import concepts_from_table
from napari_mitoxai.tasks.concepts_from_table import ConceptsFromTableParameters


@pytest.fixture
def tables(tmp_path):
    """Where fibres lie, and what they are called, of two sections."""
    rows = [
        (name, fibre, 40.0 * fibre + 60, 50.0 * fibre + 60, area)
        for name in ("P01", "P02")
        for fibre, area in ((1, 500.0), (2, 900.0), (3, 950.0))
    ]
    measured = pd.DataFrame(rows, columns=["section", "fibre", "x_um", "y_um", "area_um2"])
    for name, own in measured.groupby("section"):
        own.to_csv(tmp_path / f"{name}.csv", index=False)
    calls = measured[["section", "fibre"]].assign(NDUFB8_z=[-4, -1, -5, -3.5, -6, 0])
    calls.to_csv(tmp_path / "calls.csv", index=False)
    return [tmp_path / "P01.csv", tmp_path / "P02.csv", tmp_path / "calls.csv"]


def asked(tables, cohort, out, **more):
    return concepts_from_table.run(
        ConceptsFromTableParameters(tables=tables, cohort=cohort, out=out, patch_size=64, **more)
    )


def test_fibres_of_several_tables_become_places(tables, simulated_cohort, tmp_path):
    out = tmp_path / "concepts.csv"
    result = asked(tables, simulated_cohort, out, name="deficient", where=["NDUFB8_z < -3"], others="rest")
    assert result.counts == {"deficient": {"P01": 2, "P02": 2}, "rest": {"P01": 1, "P02": 1}}
    first = read_concepts(out)[0]
    # a pixel of the simulated sections is a micrometre wide
    assert (first.section.name, first.y_px, first.x_px, first.source) == (
        "P01.ome.tiff",
        110.0,
        100.0,
        "fibre 1",
    )
    assert any("rest has 2 examples only" in note for note in result.notes)
    with pytest.raises(MitoxaiError, match="exists already"):
        asked(tables, simulated_cohort, out, name="large")
    grown = asked(tables, simulated_cohort, out, name="rest", where=["area_um2 > 600"], add=True)
    assert grown.counts == {"deficient": {"P01": 2, "P02": 2}, "rest": {"P01": 2, "P02": 2}}


def test_what_is_missing_is_said(tables, simulated_cohort, tmp_path):
    out = tmp_path / "concepts.csv"
    with pytest.raises(MitoxaiError, match="No fibre of 6 meets"):
        asked(tables, simulated_cohort, out, name="none", where=["NDUFB8_z < -30"])
    with pytest.raises(MitoxaiError, match="do not tell where"):
        asked(tables[2:], simulated_cohort, out, name="lost")
    with pytest.raises(MitoxaiError, match="of one kind twice"):
        asked([*tables, tables[0]], simulated_cohort, out, name="twice")
    assert not out.exists()
