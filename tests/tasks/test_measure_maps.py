"""`mitoxai measure --maps`: from a section, its fibres and its maps to tables and answers."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from napari_mitoxai import simulate
from napari_mitoxai.cli import main
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.store import BLOCK, MapGrid, create_store, open_maps
from napari_mitoxai.fibres.answers import Answer, in_brief
from napari_mitoxai.fibres.status_groups import StatusGroup, status_groups
from napari_mitoxai.imc import read_section, write_labels, write_section
from napari_mitoxai.tasks.fibre_relevance import explained_pixels, read_calls, relevance_in_fibres
from napari_mitoxai.tasks.measure import MeasureParameters, run

SIZE, REDUCTION, PATCH = 320, 2, 64
CHANNELS = ["NDUFB8", "SDHA", "VDAC1"]


def blobs(rng, shape):
    return ndimage.gaussian_filter(rng.normal(size=shape), 3, mode="wrap") * 6


def store_of(path, maps, signed, size=SIZE, area=None):
    """A finished store as `mitoxai explain` leaves it."""
    side = size // REDUCTION
    grid = MapGrid((side, side), REDUCTION, 1.0)
    entries = {
        name: {"channels": CHANNELS if len(values) == 3 else ["all channels"], "signed": signed[name], "title": name}
        for name, values in maps.items()
    }  # fmt: skip
    info = {
        "section": {"name": "S", "path": "S", "subject": "P07", "shape": [10, size, size], "notes": []},
        "checkpoint": {"architecture": "none", "classes": ["control", "patient"], "patch_size": PATCH},
        "target": "patient", "target_class": "patient", "use_of_subject": "test", "area": area, "fingerprint": "f",
    }  # fmt: skip
    store = create_store(path, grid, entries, info)
    for name, values in maps.items():
        for row in range(0, side, BLOCK):
            for column in range(0, side, BLOCK):
                part = values[:, row : row + BLOCK, column : column + BLOCK].astype(np.float32)
                store.write_block(name, (row // BLOCK, column // BLOCK), part)
    corners = range(0, size, PATCH)
    store.note_patches({(y, x): [0.1, 0.9] for y in corners for x in corners})
    store.complete({"call": "patient", "probability": {"patient": 0.9, "control": 0.1}, "patches": 25})
    return open_maps(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A patient with a rim of SDHA below the membrane of some fibres, and maps that see it, half of it, and nothing."""
    folder = tmp_path_factory.mktemp("relevance")
    made = simulate.section("membrane_rim", True, size=SIZE, seed=8)
    write_section(folder / "S.ome.tiff", made.counts, made.panel, pixel_size_um=1.0)
    labels = np.where(made.fibres > 4, made.fibres + 1000, made.fibres)
    write_labels(folder / "L.tiff", labels)
    rng = np.random.default_rng(0)
    side = SIZE // REDUCTION
    truth = made.truth.reshape(side, REDUCTION, side, REDUCTION).mean((1, 3))
    sees = np.stack([0.4 * blobs(rng, truth.shape) for _ in CHANNELS])
    sees[1] += 3 * truth
    maps = {
        "sees": sees,
        "pooled": np.abs(blobs(rng, truth.shape))[None] * 0.3 + 2 * truth,
        "blind": np.stack([blobs(rng, truth.shape) for _ in CHANNELS]),
    }
    store_of(folder / "M.ome.zarr", maps, {"sees": True, "pooled": False, "blind": True})
    planted = np.unique(labels[made.truth])
    planted = planted[planted > 0]
    rows = [
        (("S", fibre, "deficient" if fibre in planted else "normal"))
        for fibre in np.unique(labels[labels > 0])
    ]
    calls = pd.DataFrame(rows, columns=["section", "fibre", "SDHA_status"])
    calls["NDUFB8_status"] = "normal"
    calls.to_csv(folder / "C.csv", index=False)
    np.savez(folder / "truth.npz", planted=planted, labels=labels, **maps)
    return folder


@pytest.fixture(scope="module")
def result(folder):
    return run(
        MeasureParameters(
            section=folder / "S.ome.tiff", fibres=folder / "L.tiff", maps=folder / "M.ome.zarr", calls=folder / "C.csv",
            out=folder / "T.csv", figure=folder / "F.png", draws=99,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def truth(folder):
    return np.load(folder / "truth.npz")


def said(result, question, method, **values):
    (found,) = [
        answer for answer in result.answers
        if (answer["question"], answer["method"]) == (question, method) and values.items() <= answer["values"].items()
    ]  # fmt: skip
    return found


def test_the_tables_conserve_the_maps(result, truth):
    parts = pd.read_csv(result.compartments)
    fibres = pd.read_csv(result.relevance)
    for method, channels in {"sees": CHANNELS, "blind": CHANNELS, "pooled": []}.items():
        values = truth[method].astype(np.float32).astype(float)
        planes = dict(zip(channels, values, strict=False)) | {"all channels": values.sum(0)}
        assert set(planes) == set(parts.loc[parts["method"] == method, "channel"])
        for channel, plane in planes.items():
            mine = parts[(parts["method"] == method) & (parts["channel"] == channel)].set_index("compartment")
            assert mine["sum"].sum() == pytest.approx(plane.sum(), rel=1e-9, abs=1e-6)
            assert mine["share"].sum() == pytest.approx(1)
            inside = mine.loc[["membrane", "sub-membrane", "core"], "sum"].sum()
            own = fibres[(fibres["method"] == method) & (fibres["channel"] == channel)]
            assert own["sum"].sum() == pytest.approx(inside, rel=1e-9, abs=1e-6)
            assert not own["fibre"].duplicated().any()


def test_the_wide_table_has_the_promised_columns(result, truth):
    table = pd.read_csv(result.table)
    assert list(table)[:5] == ["section", "fibre", "area_um2", "x_um", "y_um"]
    ids = np.unique(truth["labels"])[1:]
    assert table["fibre"].tolist() == ids.tolist()
    for name in ("sees_SDHA_sum", "sees_all_share", "pooled_all_core_density", "blind_VDAC1_q"):
        assert name in table
    fine = np.kron(truth["sees"][1].astype(np.float32).astype(float), np.ones((2, 2))) / 4
    assert table["sees_SDHA_sum"].to_numpy() == pytest.approx(
        [fine[truth["labels"] == label].sum() for label in ids], rel=1e-6, abs=1e-6
    )


def test_the_answers_name_what_was_planted(result, truth):
    assert said(result, "protein", "sees")["values"]["most"] == "SDHA"
    for method in ("sees", "pooled"):
        place = said(result, "place", method)["values"]
        assert place["most"] == "sub-membrane"
        assert place["sub-membrane p"] == 0.01
        status = said(result, "status", method, group="deficient in SDHA")
        assert status["sentence"].startswith("Yes: ")
        assert status["values"]["ratio"] > 1.5
        table = pd.read_csv(result.table)
        counts = (table["class"] == "analysable") & ~table["near_empty"]
        lost = int((~counts).sum())
        assert lost > 5  # those at the border at least
        assert status["values"]["fibres"] == table["fibre"][counts].isin(truth["planted"]).sum()
        assert status["values"]["of"] == counts.sum()
        assert status["sentence"].endswith(f"Left out: {lost} not analysable.")
    assert any("joined by the fibres' numbers alone" in note for note in result.notes)
    assert "does not tell channels apart" in said(result, "protein", "pooled")["sentence"]
    blind = said(result, "status", "blind", group="deficient in SDHA")
    assert not blind["sentence"].startswith("Yes")
    assert said(result, "status", "sees", group="deficient in NDUFB8")["sentence"].endswith(
        "no fibre is deficient in NDUFB8."
    )
    spread = said(result, "spread", "sees")["values"]
    assert spread["half"] < spread["half by area"]


def test_in_brief_all_proteins_are_one(result):
    brief = in_brief([Answer(**answer) for answer in result.answers])
    groups = [answer.as_dict()["values"]["group"] for answer in brief if answer.question == "status"]
    assert groups == ["deficient in at least one protein"] * 3
    assert {answer.question for answer in brief} == {"status", "place", "protein", "spread"}
    one = [answer for answer in brief if answer.question != "status"]
    assert in_brief(one) == one


def test_the_planted_fibres_come_first(result, truth):
    fibres = pd.read_csv(result.relevance)
    for method, channel in (("sees", "SDHA"), ("sees", "all channels"), ("pooled", "all channels")):
        mine = fibres[(fibres["method"] == method) & (fibres["channel"] == channel)]
        first = mine.sort_values("enrichment", ascending=False)["fibre"].head(len(truth["planted"]))
        assert np.isin(first, truth["planted"]).mean() >= 0.85
    blind = fibres[(fibres["method"] == "blind")]
    assert (blind["q"] < 0.05).mean() <= 0.05


def test_the_sidecar_and_the_picture(result):
    content = json.loads(result.answers_file.read_text())
    assert (content["section"], content["subject"], content["explained"]) == ("S", "P07", "patient")
    assert content["parameters"] == {
        "keep_all": False,
        "membrane_um": 2.0,
        "submembrane_um": 5.0,
        "gap_um": 25.0,
        "draws": 99,
    }
    assert content["answers"] == result.answers
    assert result.figure.stat().st_size > 20_000


def test_the_command_line_in_the_long_form(folder, tmp_path, capsys):
    arguments = [
        "measure",
        folder / "S.ome.tiff",
        "--fibres",
        folder / "L.tiff",
        "--maps",
        folder / "M.ome.zarr",
    ]
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--out", str(tmp_path / "T.csv"), "--long", "--draws", "0"])
    assert not ended.value.code
    told = capsys.readouterr().out
    assert "Which protein?" in told
    assert "sees: SDHA first" in told
    table = pd.read_csv(tmp_path / "T.csv")
    assert {"section", "fibre", "quantity", "value", "method", "channel"} <= set(table)
    assert (table["section"] == "S").all()
    assert {"area_um2", "sum", "share"} <= set(table["quantity"])
    of_map = table[(table["method"] == "sees") & (table["channel"] == "SDHA") & (table["quantity"] == "p")]
    assert of_map["value"].isna().all()  # without draws there is no p


def test_what_does_not_fit_is_said_before_anything_is_computed(folder, tmp_path):
    given = {"section": folder / "S.ome.tiff", "fibres": folder / "L.tiff", "out": tmp_path / "T.csv"}
    with pytest.raises(MitoxaiError, match="--calls is about relevance"):
        run(MeasureParameters(**given, calls=folder / "C.csv"))
    with pytest.raises(MitoxaiError, match="not there"):
        run(MeasureParameters(**given, maps=tmp_path / "none.ome.zarr"))
    with pytest.raises(MitoxaiError, match="figure's format"):
        run(MeasureParameters(**given, maps=folder / "M.ome.zarr", figure=tmp_path / "F.doc"))
    other = store_of(tmp_path / "O.ome.zarr", {"m": np.ones((1, 64, 64))}, {"m": False}, size=128)
    with pytest.raises(MitoxaiError, match="another size"):
        run(MeasureParameters(**given, maps=other.path))
    (tmp_path / "T_answers.json").write_text("mine")
    with pytest.raises(MitoxaiError, match=r"T_answers\.json exists"):
        run(MeasureParameters(**given, maps=folder / "M.ome.zarr"))
    assert not (tmp_path / "T.csv").exists()


def test_calls_of_another_section_are_refused(folder, tmp_path):
    with pytest.raises(MitoxaiError, match="no calls of X"):
        read_calls(folder / "C.csv", "X")
    (tmp_path / "L.csv").write_text("section,fibre,protein,status\nS,4,COX4,deficient\nS,5,COX4,normal\n")
    called = status_groups(read_calls(tmp_path / "L.csv", "S"))  # the long form
    assert called == {"deficient in COX4": StatusGroup(frozenset([4]), frozenset([5]))}
    (tmp_path / "C.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MitoxaiError, match="no columns fibre and NAME_status"):
        read_calls(tmp_path / "C.csv", "S")


def test_no_fibres_one_fibre_and_an_empty_map(folder, tmp_path):
    section = read_section(folder / "S.ome.tiff")
    store = open_maps(folder / "M.ome.zarr")
    nothing = relevance_in_fibres(section, np.zeros((SIZE, SIZE), int), store, draws=3)
    assert nothing.fibres().empty
    assert {answer.sentence for answer in nothing.answers} == {"Nothing can be said: there are no fibres."}
    one = np.zeros((SIZE, SIZE), int)
    one[100:150, 100:150] = 7
    found = relevance_in_fibres(
        section, one, store, groups={"deficient in SDHA": StatusGroup(frozenset([7]), frozenset())}, draws=3
    )
    assert found.fibres()["fibre"].unique().tolist() == [7]
    assert any("all fibres that were explained are deficient" in answer.sentence for answer in found.answers)
    empty = store_of(tmp_path / "E.ome.zarr", {"m": np.zeros((1, 160, 160))}, {"m": False})
    told = relevance_in_fibres(section, one, empty, draws=3).answers
    assert [answer.sentence for answer in told] == ["Nothing can be said: the map has no positive relevance."]


def test_explained_is_what_was_asked_for(tmp_path):
    area = {"kind": "rectangle", "rows": [10, 50], "columns": [0, 20]}
    store = store_of(tmp_path / "A.ome.zarr", {"m": np.ones((1, 64, 64))}, {"m": False}, size=128, area=area)
    expected = np.zeros((64, 64), bool)
    expected[5:25, :10] = True
    assert np.array_equal(explained_pixels(store), expected)
