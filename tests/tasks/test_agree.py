"""`mitoxai agree`: from stores of maps to a table of all pairs and a figure."""

import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image
from scipy.stats import spearmanr

from napari_mitoxai.cli import main
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.store import BLOCK, MapGrid, create_store
from napari_mitoxai.figures.agreement_plot import ordered
from napari_mitoxai.imc import write_labels
from napari_mitoxai.tasks.agree import EVERY, AgreeParameters, run

SIZE, PATCH = 256, 64


def store_of(path, maps, *, name="S", subject="P07", reduction=2, channels=("NDUFB8", "SDHA")):
    side = SIZE // reduction
    entries = {
        method: {"channels": list(channels) if len(values) > 1 else ["all channels"], "signed": True, "title": method}
        for method, values in maps.items()
    }  # fmt: skip
    info = {
        "section": {"name": name, "path": name, "subject": subject, "shape": [2, SIZE, SIZE], "notes": []},
        "checkpoint": {"patch_size": PATCH}, "target": "patient", "area": None, "use_of_subject": "test",
    }  # fmt: skip
    store = create_store(path, MapGrid((side, side), reduction, 1.0), entries, info)
    for method, values in maps.items():
        for row in range(0, side, BLOCK):
            for column in range(0, side, BLOCK):
                part = values[:, row : row + BLOCK, column : column + BLOCK].astype(np.float32)
                store.write_block(method, (row // BLOCK, column // BLOCK), part)
    # the lower half was not explained
    store.note_patches(
        {(y, x): [0.1, 0.9] for y in range(0, SIZE // 2, PATCH) for x in range(0, SIZE, PATCH)}
    )
    store.note(verdict={"call": "patient"})
    return path


def drawn(seed, planes=2, side=SIZE // 2):
    values = np.random.default_rng(seed).normal(size=(planes, side, side)).astype(np.float32)
    values[:, side // 2 :] = 0
    return values


def value(table, a, b, measure, channel="all channels", section="S"):
    own = table[(table["channel"] == channel) & (table["measure"] == measure) & (table["section"] == section)]
    own = own[own["group"].isna()]
    return own[(own["method_a"] == a) & (own["method_b"] == b)].iloc[0]


@pytest.fixture
def labels(tmp_path):
    """64 square fibres of 24 px, half of them where nothing was explained."""
    image = np.zeros((SIZE, SIZE), np.int32)
    for number in range(64):
        y, x = 32 * (number // 8), 32 * (number % 8)
        image[y + 4 : y + 28, x + 4 : x + 28] = number + 1
    write_labels(tmp_path / "L.tiff", image)
    return tmp_path / "L.tiff"


def test_numbers_are_scipys_over_what_was_explained_and_over_fibres(tmp_path, labels, capsys):
    a = drawn(0)
    maps = {"lrp": a, "gradient": a[::-1] + drawn(1), "random": drawn(2), "cam": np.zeros((1, 128, 128))}
    path = store_of(tmp_path / "M.ome.zarr", maps)
    out, figure = tmp_path / "out.csv", tmp_path / "out.png"
    options = ["--fibres", labels, "--by-channel", "--out", out, "--figure", figure]
    with pytest.raises(SystemExit, match="0"):
        main([str(argument) for argument in ["agree", path, *options]])
    table = pd.read_csv(out)
    half = slice(0, 64)
    x, y = (maps[name].sum(0, dtype=np.float64)[half] for name in ("lrp", "gradient"))
    row = value(table, "lrp", "gradient", "rank_correlation_pixels")
    assert row["value"] == pytest.approx(spearmanr(x.ravel(), y.ravel()).statistic, abs=1e-9)
    assert (row["n"], row["subject"]) == (64 * 128, "P07")
    by_channel = value(table, "lrp", "gradient", "rank_correlation_pixels", "SDHA")
    expected = spearmanr(maps["lrp"][1, half].ravel(), maps["gradient"][1, half].ravel()).statistic
    assert by_channel["value"] == pytest.approx(expected, abs=1e-9)
    # map pixels lie whole in fibres here: 12 x 12 of them in each
    means = [each.reshape(4, 16, 8, 16)[:, 2:14, :, 2:14].mean((1, 3)).ravel() for each in (x, y)]
    row = value(table, "lrp", "gradient", "rank_correlation_fibres")
    assert row["value"] == pytest.approx(spearmanr(*means).statistic, abs=1e-9)
    assert row["n"] == 32
    # the baseline stands beside the others and knows nothing; an empty map has no number, and a sentence
    assert abs(value(table, "lrp", "random", "rank_correlation_pixels")["value"]) < 0.05
    assert value(table, "lrp", "random", "top_overlap_pixels")["value"] == pytest.approx(0.1, abs=0.04)
    assert table[table["method_b"] == "cam"]["value"].isna().all()
    said = capsys.readouterr().out
    assert "the map by cam is 0 everywhere" in said
    assert "no baseline edge_detector" in said
    with Image.open(figure) as image:
        assert np.asarray(image).std() > 10


def test_inside_each_fibre_numbers_are_scipys_and_baselines_do_not_count(tmp_path, labels, capsys):
    a = drawn(0)
    maps = {"lrp": a, "gradient": a + drawn(1), "random": drawn(2), "edge_detector": -a}
    path = store_of(tmp_path / "M.ome.zarr", maps)
    out = tmp_path / "out.csv"
    with pytest.raises(SystemExit, match="0"):
        main([str(each) for each in ("agree", path, "--fibres", labels, "--out", out)])
    assert f"Inside each fibre: {tmp_path / 'out_fibres.csv'}" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out_fibres.csv").set_index("fibre")
    assert list(table.index) == list(range(1, 33))  # the others lie where nothing was explained
    assert (table["pixels"] == 144).all()
    x, y = (maps[name].sum(0, dtype=np.float64)[2:14, 18:30].ravel() for name in ("lrp", "gradient"))
    expected = spearmanr(x, y).statistic
    assert table.loc[2, "agreement lrp / gradient"] == pytest.approx(expected, abs=1e-9)
    assert table.loc[2, "agreement"] == pytest.approx(expected, abs=1e-9)  # the only pair of two methods
    assert table["agreement lrp / edge_detector"].to_numpy() == pytest.approx(-1)
    out.unlink()
    with pytest.raises(MitoxaiError, match="out_fibres"):
        run(AgreeParameters(maps=[path], fibres=[labels], out=out))


def test_only_the_maps_that_are_asked_for(tmp_path):
    maps = {"lrp": drawn(0), "gradient": drawn(1), "random": drawn(2)}
    paths = [store_of(tmp_path / f"{name}.ome.zarr", maps) for name in ("one", "two")]
    run(AgreeParameters(maps=paths[:1], methods=["lrp", "random"], out=tmp_path / "a.csv"))
    table = pd.read_csv(tmp_path / "a.csv")
    assert set(zip(table["method_a"], table["method_b"], strict=True)) == {("lrp", "random")}
    # of two stores with the same methods one map each
    run(AgreeParameters(maps=paths, methods=["lrp (one)", "gradient (two)"], out=tmp_path / "b.csv"))
    table = pd.read_csv(tmp_path / "b.csv")
    assert set(zip(table["method_a"], table["method_b"], strict=True)) == {("lrp (one)", "gradient (two)")}
    with pytest.raises(MitoxaiError, match="No store has a map by shap: choose of lrp, gradient, random"):
        run(AgreeParameters(maps=paths, methods=["shap"], out=tmp_path / "c.csv"))
    with pytest.raises(MitoxaiError, match="one method only"):
        run(AgreeParameters(maps=paths[:1], methods=["lrp"], out=tmp_path / "c.csv"))


def test_stores_with_their_methods_in_another_order_give_the_same_pairs(tmp_path):
    paths = [
        store_of(tmp_path / "1.ome.zarr", {"lrp": drawn(0), "gradient": drawn(1)}),
        store_of(tmp_path / "2.ome.zarr", {"gradient": drawn(1), "lrp": drawn(0)}, name="T", subject="C01"),
    ]
    run(AgreeParameters(maps=paths, out=tmp_path / "a.csv"))
    over = pd.read_csv(tmp_path / "a.csv").query("section == @EVERY and measure == 'rank_correlation_pixels'")
    assert over[["method_a", "method_b", "n"]].to_numpy().tolist() == [["lrp", "gradient", 2]]


def test_sign_is_taken_as_asked(tmp_path):
    a = drawn(3, planes=1)
    path = store_of(tmp_path / "M.ome.zarr", {"for": a, "against": -a})
    found = {}
    for values in ("signed", "positive", "magnitude"):
        out = tmp_path / f"{values}.csv"
        run(AgreeParameters(maps=[path], out=out, values=values))
        found[values] = value(pd.read_csv(out), "for", "against", "rank_correlation_pixels")["value"]
    assert found["signed"] == pytest.approx(-1)
    assert found["magnitude"] == pytest.approx(1)
    assert -1 < found["positive"] < -0.5  # each is 0 where the other is not


def test_stores_of_one_section_are_compared_on_the_coarser_grid(tmp_path):
    fine = drawn(4, planes=1)
    coarse = fine.reshape(1, 64, 2, 64, 2).mean((2, 4))
    paths = [
        store_of(tmp_path / "fine.ome.zarr", {"lrp": fine}),
        store_of(tmp_path / "coarse.ome.zarr", {"lrp": coarse}, reduction=4),
    ]
    result = run(AgreeParameters(maps=paths, out=tmp_path / "out.csv"))
    table = pd.read_csv(tmp_path / "out.csv")
    row = value(table, "lrp (fine)", "lrp (coarse)", "rank_correlation_pixels")
    assert row["value"] == pytest.approx(1, abs=1e-6)
    assert row["n"] == 32 * 64
    assert any("averaged from pixels of 2 to 4" in note for note in result.notes)


def test_over_sections_subjects_are_counted_once(tmp_path):
    paths, rows = [], ["path,subject,group"]
    for number, (name, subject) in enumerate((("A", "C1"), ("B", "C1"), ("C", "P1"))):
        a = drawn(number, planes=1)
        paths.append(
            store_of(
                tmp_path / f"{name}.ome.zarr",
                {"x": a, "y": a + number * drawn(9 + number, 1)},
                name=name,
                subject=subject,
            )
        )
        (tmp_path / f"{name}.tiff").touch()
        rows.append(f"{name}.tiff,{subject},{'control' if subject == 'C1' else 'patient'}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    result = run(
        AgreeParameters(
            maps=paths,
            out=tmp_path / "out.csv",
            cohort=tmp_path / "cohort.csv",
            figure=tmp_path / "f.png",
            figures_of_each=True,
        )
    )
    drawn_of = {"", "_control", "_patient", "_A", "_B", "_C"}
    assert {path.name for path in tmp_path.glob("f*.png")} == {f"f{name}.png" for name in drawn_of}
    table = pd.read_csv(tmp_path / "out.csv")
    table = table[table["measure"] == "rank_correlation_pixels"]
    first, second, third = table["value"].iloc[:3]
    assert list(table["group"].iloc[:3]) == ["control", "control", "patient"]
    over = table[table["section"] == EVERY]
    means = [(first + second) / 2, third]
    every = over[over["group"].isna()].iloc[0]
    assert (every["value"], every["n"]) == (pytest.approx(np.mean(means)), 2)
    assert (every["low"], every["high"]) == (pytest.approx(min(means)), pytest.approx(max(means)))
    of_patients = over[over["group"] == "patient"].iloc[0]
    assert (of_patients["value"], of_patients["n"]) == (pytest.approx(third), 1)
    assert np.isnan(of_patients["low"])
    assert (result.sections, result.subjects) == (3, 2)


def test_what_cannot_be_compared_is_said(tmp_path, labels):
    one = store_of(tmp_path / "one.ome.zarr", {"lrp": drawn(0)})
    with pytest.raises(MitoxaiError, match="one method only"):
        run(AgreeParameters(maps=[one], out=tmp_path / "o.csv"))
    with pytest.raises(MitoxaiError, match="a name of its own"):
        run(AgreeParameters(maps=[one, one], out=tmp_path / "o.csv"))
    two = store_of(tmp_path / "two.ome.zarr", {"lrp": drawn(0), "cam": drawn(1)})
    with pytest.raises(MitoxaiError, match="do not go with"):
        run(AgreeParameters(maps=[two], fibres=[labels, labels], out=tmp_path / "o.csv"))
    group = zarr.open_group(two, mode="r+")
    about = dict(group.attrs["mitoxai"])
    del about["verdict"]
    group.attrs["mitoxai"] = about
    with pytest.raises(MitoxaiError, match="not finished"):
        run(AgreeParameters(maps=[two], out=tmp_path / "o.csv"))
    pair = store_of(tmp_path / "pair.ome.zarr", {"lrp": drawn(0), "cam": drawn(1)})
    with pytest.raises(MitoxaiError, match="name it with --figure"):
        run(AgreeParameters(maps=[pair], out=tmp_path / "o.csv", figures_of_each=True))
    assert not (tmp_path / "o.csv").exists()


def test_like_stands_beside_like():
    matrix = np.full((5, 5), 0.1)
    matrix[0, 3] = matrix[3, 0] = 0.9
    matrix[1, 4] = matrix[4, 1] = 0.8
    np.fill_diagonal(matrix, 1)
    matrix[2] = matrix[:, 2] = np.nan
    tree, order = ordered(matrix)
    assert order[-1] == 2  # it has no number
    assert {frozenset(order[:2]), frozenset(order[2:4])} == {frozenset((0, 3)), frozenset((1, 4))}
    assert tree[:, 2] == pytest.approx([0.1, 0.2, 0.9])
