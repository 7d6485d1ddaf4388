"""`mitoxai measure` from files to a table."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.cli import main
from napari_mitoxai.imc import Channel, Panel, write_labels, write_section


@pytest.fixture
def files(tmp_path):
    counts = np.random.default_rng(0).poisson(4, (2, 60, 80)).astype(np.uint16)
    labels = np.zeros((60, 80), np.int32)
    labels[10:30, 10:30], labels[10:30, 40:70], labels[35:55, 5:75] = 3, 9, 4
    write_section(
        tmp_path / "S.ome.tiff", counts, Panel((Channel("NDUFB8"), Channel("VDAC1"))), pixel_size_um=2.0
    )
    write_labels(tmp_path / "L.tiff", labels)
    return tmp_path, counts, labels


def run(folder, *options):
    """Run the command line; the exit status."""
    arguments = ["measure", folder / "S.ome.tiff", "--fibres", folder / "L.tiff", "--out", *options]
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        return exit_.code or 0
    return 0


def failing(folder, *options, capsys):
    assert run(folder, *options) == 2
    return capsys.readouterr().err


def test_the_wide_table(files, capsys):
    folder, counts, labels = files
    assert run(folder, folder / "T.csv", "--json") == 0
    table = pd.read_csv(folder / "T.csv")
    assert json.loads(capsys.readouterr().out) == {
        "table": str(folder / "T.csv"),
        "fibres": 3,
        "columns": list(table),
        "classes": {"analysable": 2, "not transverse": 1},
        "near_empty": 0,
    }
    assert list(table)[:7] == ["section", "fibre", "area_um2", "x_um", "y_um", "NDUFB8_mean", "VDAC1_mean"]
    assert table["section"].tolist() == ["S"] * 3
    assert table["fibre"].tolist() == [3, 4, 9]
    assert table["area_um2"].tolist() == [1600, 5600, 2400]
    np.testing.assert_allclose(
        table["NDUFB8_mean"], [counts[0][labels == n].mean() for n in (3, 4, 9)], rtol=1e-6
    )


def test_the_long_table_holds_the_same(files):
    folder, _, _ = files
    assert run(folder, folder / "T.csv") == 0
    assert run(folder, folder / "L.csv", "--long") == 0
    wide, long = pd.read_csv(folder / "T.csv"), pd.read_csv(folder / "L.csv")
    words = ["section", "fibre", "measured_on", "class", "class_by", "labels"]
    assert list(long) == [*words, "quantity", "value"]
    again = long.pivot(index=["section", "fibre"], columns="quantity", values="value")  # noqa: PD010
    pd.testing.assert_frame_equal(
        again, wide.set_index(["section", "fibre"])[list(again)].astype(float), check_names=False
    )


def test_classes_are_those_beside_the_labels_where_a_person_gave_them(files, capsys):
    folder, _, _ = files
    (folder / "L_classes.csv").write_text(
        "fibre,class,by\n3,folded,hand\n9,analysable,rule\n77,folded,hand\n"
    )
    assert run(folder, folder / "T.csv") == 0
    assert "By class: " in capsys.readouterr().out
    table = pd.read_csv(folder / "T.csv").set_index("fibre")
    assert table["class"].to_dict() == {3: "folded", 4: "not transverse", 9: "analysable"}
    assert table["class_by"].to_dict() == {3: "hand", 4: "rule", 9: "rule"}
    (folder / "mine.csv").write_text("fibre,class,by\n4,analysable,hand\n")
    assert run(folder, folder / "U.csv", "--classes", folder / "mine.csv") == 0
    assert pd.read_csv(folder / "U.csv")["class"].tolist() == ["analysable"] * 3
    assert "no table of fibre classes" in failing(
        folder, folder / "V.csv", "--classes", folder / "T.csv", capsys=capsys
    )


@pytest.mark.parametrize("form", [[], ["--long"]])
def test_a_section_without_fibres_has_a_line_and_stays_in_the_summary(files, form, capsys):
    folder, _, _ = files
    assert run(folder, folder / "T.csv", *form, "--subject", "C01") == 0
    write_labels(folder / "L.tiff", np.zeros((60, 80), np.int32), overwrite=True)
    assert run(folder, folder / "E.csv", *form, "--subject", "P01", "--group", "patient") == 0
    line = pd.read_csv(folder / "E.csv", nrows=1)
    assert line["section"].tolist() == ["S"]
    assert line["fibre"].isna().all()
    capsys.readouterr()
    calls = ["oxphos", folder / "T.csv", folder / "E.csv", "--keep-all", "--out", folder / "C.csv", "--json"]
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in calls])
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["fibres"] == 3
    (empty,) = (row for row in told["subjects"] if row["subject"] == "P01")
    assert (empty["fibres"], empty["deficient"], empty["control"]) == (0, None, False)
    assert "There is no fibre in P01." in told["notes"]


def test_what_is_refused(files, capsys):
    folder, _, _ = files
    assert "ends neither in .csv nor in .parquet" in failing(folder, folder / "T.xlsx", capsys=capsys)
    assert "go from 0 to 100" in failing(folder, folder / "T.csv", "--percentile", "101", capsys=capsys)
    assert run(folder, folder / "T.csv") == 0
    assert "exists already" in failing(folder, folder / "T.csv", capsys=capsys)
    write_labels(folder / "L.tiff", np.ones((61, 80), np.int32), overwrite=True)
    assert "61 x 80 pixels and S has 60 x 80" in failing(folder, folder / "U.csv", capsys=capsys)
    assert not (folder / "U.csv").exists()


def test_parquet_holds_the_same(files):
    pytest.importorskip("pyarrow")
    folder, _, _ = files
    assert run(folder, folder / "T.csv") == 0
    assert run(folder, folder / "T.parquet") == 0
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "T.parquet"), pd.read_csv(folder / "T.csv"), check_dtype=False
    )


def test_the_columns_of_other_tools(files, capsys):
    folder, counts, labels = files
    assert run(folder, folder / "M.csv", "--columns", "mitocyto", "--outline") == 0
    table = pd.read_csv(folder / "M.csv")
    assert list(table) == ["Value", "ID", "Channel", "Folder 1", "Filename"]
    assert {"NDUFB8", "LOG_NDUFB8", "MED_NDUFB8", "Area", "Circularity", "xCoord"} <= set(table["Channel"])
    assert "say so with --group" in failing(
        folder, folder / "A.csv", "--columns", "analysis2Dmito", capsys=capsys
    )
    assert (
        run(folder, folder / "A.csv", "--columns", "analysis2Dmito", "--group", "control", "--subject", "C07")
        == 0
    )
    table = pd.read_csv(folder / "A.csv")
    assert list(table) == ["Value", "sampleID", "fibreID", "sbjType", "Channel"]
    assert table["Value"].iloc[0] == pytest.approx(counts[0][labels == 3].mean() + 1)
    assert set(table["sampleID"]) == {"C07"}


def test_options_of_the_wide_table(files):
    folder, _, _ = files
    options = ("--percentile", "10", "90", "--outline", "--subject", "Anna", "--group", "control")
    assert run(folder, folder / "T.csv", *options) == 0
    table = pd.read_csv(folder / "T.csv")
    assert {"NDUFB8_p10", "NDUFB8_p90"} <= set(table)
    assert "NDUFB8_p5" not in table
    assert table.iloc[0][["measured_on", "subject", "group"]].tolist() == ["outline", "Anna", "control"]
