"""`mitoxai trust --simulate`, and what the command line says of planted truths."""

import json

import pytest

from napari_mitoxai.cli import main
from napari_mitoxai.explain.planted_truth import ranking


def told(capsys, *arguments, status=0):
    code = 0
    try:
        main(list(arguments))
    except SystemExit as stop:
        code = stop.code or 0
    assert code == status
    return capsys.readouterr()


@pytest.mark.parametrize("arguments", [("trust", "--simulate", "--help"), ("trust", "--help", "--simulate")])
def test_simulate_turns_trust_into_another_command(capsys, arguments):
    said = told(capsys, *arguments).out
    assert "--quick" in said
    assert "--subjects-per-group" in said
    assert "RUN" not in said


def test_trust_says_that_it_has_another_face(capsys):
    said = " ".join(told(capsys, "trust", "--help").out.split())
    assert "mitoxai trust --simulate --help" in said
    assert "trust-simulate" not in told(capsys, "--help").out


def test_what_does_not_exist_is_refused_in_a_sentence(capsys, tmp_path):
    out = str(tmp_path / "planted")
    said = told(capsys, "trust", "--simulate", "--out", out, "--signals", "no_such", status=2).err
    assert "Signals" in said
    assert not (tmp_path / "planted").exists()


def test_explain_and_methods_tell_which_find_most(capsys):
    best, *_, worst = ranking()
    assert best in told(capsys, "explain", "--help").out
    entries = json.loads(told(capsys, "methods", "--json").out)
    assert entries[worst]["planted_truth"][0]["place"] >= 1
    assert entries["random"]["planted_truth"] == []
    assert "times chance" in told(capsys, "methods").out
