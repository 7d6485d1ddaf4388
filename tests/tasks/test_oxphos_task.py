"""`mitoxai oxphos` from tables to calls, proportions and plots."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.cli import main


def call(*arguments):
    """Run the command line; the exit status."""
    try:
        main(["oxphos", *(str(argument) for argument in arguments)])
    except SystemExit as exit_:
        return exit_.code or 0
    return 0


@pytest.fixture
def tables(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for section, shift in (("C01", 0), ("C02", 0), ("P01", -1.5)):
        mass = rng.lognormal(2, 0.3, 40)
        table = pd.DataFrame({"section": section, "fibre": np.arange(2, 42), "area_um2": 900.0})
        table["VDAC1_mean"], table["NDUFB8_mean"] = mass, mass * np.exp(rng.normal(shift, 0.1, 40))
        paths.append(tmp_path / f"{section}.csv")
        table.to_csv(paths[-1], index=False)
    return paths


def test_calls_proportions_and_plot(tables, tmp_path, capsys):
    out = tmp_path / "calls.csv"
    assert call(*tables, "--reference", "VDAC", "--out", out, "--plot", tmp_path / "p.pdf", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fibres"] == 120
    calls = pd.read_csv(out)
    assert list(calls)[:4] == ["section", "fibre", "subject", "group"]
    assert (calls.query("subject == 'P01'")["NDUFB8_status"] == "deficient").all()
    assert (calls.query("subject == 'C01'")["NDUFB8_status"] == "deficient").mean() < 0.15
    subjects = pd.read_csv(tmp_path / "calls_subjects.csv").set_index("subject")
    assert subjects.loc["P01", "deficient"] == 1
    assert subjects.loc["C01", "left_out_deficient"] < 0.2
    assert told["subjects"][0]["subject"] == "C01"
    assert (tmp_path / "p.pdf").read_bytes()[:4] == b"%PDF"


def test_the_long_form_and_what_people_are_told(tables, tmp_path, capsys):
    out = tmp_path / "calls.csv"
    assert call(*tables, "--out", out, "--long", "--control", "C01") == 0
    told = capsys.readouterr().out
    assert "P01, NDUFB8: 100.0% of 40 fibres deficient (95 %" in told
    assert "C01 is the only control" in told
    assert "C02 is not named as a control" in told
    assert list(pd.read_csv(out)) == [
        "section", "fibre", "subject", "group", "protein", "mass", "value", "z", "status", "category", "theta", "r",
    ]  # fmt: skip


def test_nothing_is_replaced(tables, tmp_path, capsys):
    (tmp_path / "calls_subjects.csv").write_text("mine")
    assert call(*tables, "--out", tmp_path / "calls.csv") == 2
    assert "calls_subjects.csv exists already" in capsys.readouterr().err
    assert call(*tables, "--out", tables[0], "--overwrite") == 2
    assert "which it is made from" in capsys.readouterr().err
    assert call(*tables, "--out", tmp_path / "d.csv", "--plot", tmp_path / "p.gif") == 2
    assert not (tmp_path / "d.csv").exists()
