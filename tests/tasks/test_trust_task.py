"""Judging the methods of a trained run on a simulated section: tables, curves, the cache, the maps, Cancel."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.cli import main
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain import open_maps
from napari_mitoxai.tasks import explain, trust
from napari_mitoxai.tasks.trust import TrustParameters
from napari_mitoxai.tasks.trust_tables import failures, score_rows
from napari_mitoxai.telling import tell_trust
from napari_mitoxai.trust.checks import CHECKS, SCORES
from napari_mitoxai.trust.judging import Outcome
from napari_mitoxai.trust.recorded import read_scores, sanity_failures

FAST = {"patches": 3, "steps": 3, "squares": 5, "samples": 1, "seeds": 1, "region": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def section(simulated_cohort):
    return simulated_cohort.parent / pd.read_csv(simulated_cohort).set_index("subject")["path"]["P03"]


@pytest.fixture(scope="module")
def maps(trained_run, section, tmp_path_factory):
    out = tmp_path_factory.mktemp("trust") / "P03.ome.zarr"
    explain.run(
        explain.ExplainParameters(
            run=trained_run, sections=[section], methods=["input_x_gradient", "edge_detector"], out=out, device="cpu"
        )
    )  # fmt: skip
    return out


@pytest.fixture
def cleared(trained_run):
    """Without what other tests left in the run's cache."""
    for kept in (trained_run / "trust").glob("*.json"):
        kept.unlink()


def parameters(trained_run, section, out, **values):
    return TrustParameters(run=trained_run, section=section, out=out, **{**FAST, **values})


def test_tables_curves_figure_and_the_maps(trained_run, section, maps, tmp_path, cleared):
    asked = parameters(
        trained_run, section, tmp_path / "T.csv", maps=maps, curves=tmp_path / "C.csv", figure=tmp_path / "T.png"
    )  # fmt: skip
    reports = []
    result = trust.run(asked, progress=reports.append)
    table = pd.read_csv(result.table)
    assert list(dict.fromkeys(table["method"])) == ["random", "edge_detector", "input_x_gradient"]
    assert set(table["score"]) == set(SCORES)
    assert result.patches == 3
    assert result.fails_sanity == ["edge_detector"]
    known = table.dropna(subset=["value", "low"])
    assert (known["low"] <= known["value"]).all()
    assert (known["value"] <= known["high"]).all()
    random = table[table["method"] == "random"]
    assert random["from_random"].isna().all()
    edges = table[table["method"] == "edge_detector"].set_index("score")
    assert edges["from_edges"].isna().all()
    own = table[table["method"] == "input_x_gradient"].set_index("score")
    # every patch has these: the mean of differences is the difference of means
    for score in ("deletion", "road", "sparseness"):
        assert own.loc[score, "from_edges"] == pytest.approx(
            own.loc[score, "value"] - edges.loc[score, "value"]
        )
        assert (
            own.loc[score, "from_edges_low"]
            <= own.loc[score, "from_edges"]
            <= own.loc[score, "from_edges_high"]
        )
    curves = pd.read_csv(result.curves)
    deletion = curves[(curves["method"] == "input_x_gradient") & (curves["curve"] == "deletion")]
    assert deletion["share"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    area = np.trapezoid(deletion["value"], deletion["share"])
    row = table.set_index(["method", "score"]).loc[("input_x_gradient", "deletion")]
    assert row["value"] == pytest.approx(area, abs=1e-9)
    assert (tmp_path / "T.png").stat().st_size > 10_000
    # the scores are with the maps, also those of the baseline that it has no map of
    recorded = read_scores(maps).set_index(["method", "score"])
    assert set(recorded.index.get_level_values(0)) == {"input_x_gradient", "edge_detector", "random"}
    assert recorded.loc[("input_x_gradient", "deletion"), "value"] == pytest.approx(area)
    assert sanity_failures(maps) == {"edge_detector"}
    assert reports[-1].done == reports[-1].total == 3 * len(CHECKS)


def test_a_rerun_only_does_what_is_new(trained_run, section, tmp_path, cleared):
    first = trust.run(
        parameters(
            trained_run, section, tmp_path / "1.csv", methods=["gradient"], checks=["concentration", "deletion"]
        )
    )  # fmt: skip
    assert (first.computed, first.known) == (6, 0)
    again = trust.run(
        parameters(
            trained_run, section, tmp_path / "2.csv", methods=["gradient", "grad_cam"], checks=["concentration", "deletion"]
        )
    )  # fmt: skip
    assert (again.computed, again.known) == (2, 6)
    assert pd.read_csv(first.table).equals(pd.read_csv(again.table).iloc[: len(first.scores)])
    # other steps are other curves, but the same concentration
    other = trust.run(
        parameters(
            trained_run, section, tmp_path / "3.csv", methods=["gradient"], checks=["concentration", "deletion"], steps=2
        )
    )  # fmt: skip
    assert (other.computed, other.known) == (3, 3)
    # a file that was cut short is made again
    for kept in (trained_run / "trust").glob("*.json"):
        kept.write_text("{")
    assert trust.run(
        parameters(trained_run, section, tmp_path / "4.csv", methods=["gradient"], checks=["concentration"])
    ).computed == 3  # fmt: skip


def test_cancel_keeps_what_is_judged(trained_run, section, tmp_path, cleared):
    cancel = CancelToken()

    def stop(report):
        if report.detail.startswith("grad_cam"):
            cancel.cancel()

    asked = parameters(
        trained_run, section, tmp_path / "T.csv", methods=["gradient", "grad_cam"], checks=["concentration", "deletion"]
    )  # fmt: skip
    result = trust.run(asked, progress=stop, cancel=cancel)
    assert result.cancelled
    assert set(pd.read_csv(result.table)["method"]) == {"random", "edge_detector", "gradient"}
    finished = trust.run(asked.model_copy(update={"out": tmp_path / "U.csv"}))
    assert (finished.computed, finished.known) == (2, 6)
    at_once = CancelToken()
    at_once.cancel()
    with pytest.raises(Cancelled):
        trust.run(asked.model_copy(update={"out": tmp_path / "V.csv"}), cancel=at_once)
    assert not (tmp_path / "V.csv").exists()


def test_the_maps_say_what_is_judged(trained_run, section, maps, tmp_path, simulated_cohort):
    rows = trust.run(
        parameters(trained_run, section, tmp_path / "1.csv", maps=maps, checks=["concentration"])
    )
    assert rows.target == open_maps(maps).info["target"] == "patient"
    other = simulated_cohort.parent / pd.read_csv(simulated_cohort).set_index("subject")["path"]["C03"]
    for change, message in (
        ({"section": other}, "of the section P03"),
        ({"target": "control"}, "explains patient"),
        ({"maps": None}, "No method was chosen"),
        ({"methods": ["gradient"], "settings": ["gradient.x=1"]}, "knows the parameters"),
        ({"checks": ["luck"]}, "no check 'luck'"),
        ({"curves": tmp_path / "2.csv"}, "cannot be one file"),
        ({"out": tmp_path / "1.csv"}, "exists already"),
    ):
        asked = {"section": section, "out": tmp_path / "2.csv", "maps": maps, **change}
        with pytest.raises(MitoxaiError, match=message):
            trust.run(TrustParameters(run=trained_run, **FAST, **asked))
    told = json.loads((maps / "zarr.json").read_text())["attributes"]["mitoxai"]
    assert told["verdict"]


def test_a_method_without_a_meaning_is_left_out(trained_run, section, tmp_path):
    result = trust.run(
        parameters(
            trained_run, section, tmp_path / "T.csv", methods=["gradient", "lrp_epsilon"], checks=["concentration"],
            output="probability", target="predicted",
        )
    )  # fmt: skip
    assert {row["method"] for row in result.scores} == {"random", "edge_detector", "gradient"}
    assert any("lrp_epsilon was left out" in note for note in result.notes)
    assert result.target in ("patient (probability)", "control (probability)")
    with pytest.raises(MitoxaiError, match="true class"):
        trust.run(parameters(trained_run, section, tmp_path / "U.csv", methods=["gradient"], target="true"))


def test_on_the_command_line(trained_run, section, tmp_path, capsys):
    asked = [
        "trust",
        trained_run,
        section,
        "--method",
        "gradient",
        "--check",
        "concentration",
        "--device",
        "cpu",
    ]
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in (*asked, "--patches", 2, "--out", tmp_path / "T.csv")])
    assert not ended.value.code
    told = capsys.readouterr().out
    assert "2 patches, the same for every method; maps for patient" in told
    assert "Sparseness, higher is better; 2 patches:" in told
    assert f"Table: {tmp_path / 'T.csv'}" in told
    with pytest.raises(SystemExit, match="2"):
        main([str(each) for each in (*asked, "--method", "sorcery", "--out", tmp_path / "U.csv")])
    assert "no explanation method 'sorcery'" in capsys.readouterr().err


def test_methods_without_a_number_come_last_and_fewer_patches_are_told(tmp_path, capsys):
    def row(method, value, patches):
        return {"method": method, "score": "randomisation_rank", "value": value, "low": value, "high": value, "patches": patches, "seeds": 3,
                "better": "lower", "fails_sanity": None}  # fmt: skip

    rows = [row("a", 0.3, 8), row("b", float("nan"), 0), row("c", 0.1, 4), row("d", 0.2, 8)]
    tell_trust(
        trust.TrustResult(
            tmp_path / "T.csv", None, None, None, "patient", 8, rows, [], 4, 0, [], cancelled=False
        )
    )
    told = capsys.readouterr().out.splitlines()
    assert told[1:6] == [
        "Random weights, rank, lower is better; 8 patches, 3 draws in each:",
        "  c: 0.1 (0.1 to 0.1); 4 patches",
        "  d: 0.2 (0.2 to 0.2)",
        "  a: 0.3 (0.3 to 0.3)",
        "  b: no number; 0 patches",
    ]


def test_a_method_without_any_map_neither_passes_nor_fails():
    constant = {"randomisation": Outcome({"randomisation_rank": np.full(3, np.nan)}, 3)}
    other = {"randomisation": Outcome({"randomisation_rank": np.array([0.9, np.nan, 0.8])}, 3)}
    assert failures({"empty": constant, "like": other}) == {"like": True}
    rows = score_rows({"empty": constant, "like": other}, {"like": True})
    assert [row["fails_sanity"] for row in rows] == [None, True]


def test_where_a_filling_is_called_like_the_patch_deletion_is_said_to_tell_little(
    trained_run, section, tmp_path, monkeypatch, cleared
):
    told = []
    for number, most in enumerate((-1.0, 1.1)):  # no probability is that near another; all are
        monkeypatch.setattr("napari_mitoxai.tasks.trust._LITTLE", most)
        asked = {"methods": ["gradient"], "checks": ["deletion"], "curves": tmp_path / f"{number}_curves.csv"}
        result = trust.run(parameters(trained_run, section, tmp_path / f"{number}.csv", **asked))
        told.append([note for note in result.notes if "hardly tell methods apart" in note])
    assert told[0] == []
    curve = (
        pd.read_csv(result.curves)
        .query("method == 'random' and curve == 'deletion'")
        .set_index("share")["value"]
    )
    assert f"is {curve[0.0]:.3g} of these patches and {curve[1.0]:.3g} of what" in told[1][0]


def test_what_other_code_computed_is_computed_again(trained_run, section, tmp_path, monkeypatch, cleared):
    asked = {"methods": ["gradient"], "checks": ["concentration"]}
    assert trust.run(parameters(trained_run, section, tmp_path / "1.csv", **asked)).computed == 3
    monkeypatch.setattr("napari_mitoxai.trust.cache._code", lambda: "another")
    assert trust.run(parameters(trained_run, section, tmp_path / "2.csv", **asked)).computed == 3
