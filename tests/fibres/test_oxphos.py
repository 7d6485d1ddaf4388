"""OXPHOS calls against statsmodels, hand-worked cases and the published table."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.fibres.oxphos import call_fibres
from napari_mitoxai.fibres.regression import fit_controls, logged, mass_category, protein_category, status
from napari_mitoxai.fibres.table_reading import FibreValues, read_fibre_tables
from napari_mitoxai.fibres.tables import write_table


def fibres(rng, subject, number, *, shift=0.0, group=None):
    mass = rng.lognormal(1.5, 0.4, number)
    frame = pd.DataFrame({"section": subject, "fibre": np.arange(1, number + 1), "subject": subject})
    frame["group"] = group or ("control" if subject.startswith("C") else "patient")
    noise = rng.normal(0, 0.1, (2, number))
    return frame.assign(
        VDAC1=mass, NDUFB8=mass * np.exp(noise[0] + shift), MTCO1=mass**0.8 * np.exp(noise[1])
    )


def values(*frames, offset=0.0):
    return FibreValues(pd.concat(frames, ignore_index=True), ["VDAC1", "NDUFB8", "MTCO1"], offset)


def test_what_is_not_analysable_is_left_out_and_told():
    rng = np.random.default_rng(3)
    frames = [fibres(rng, "C01", 60), fibres(rng, "P01", 40, shift=-2.0)]
    odd = fibres(rng, "C01", 20, shift=5.0).assign(fibre=np.arange(100, 120))  # would spoil the line
    every = [frame.assign(**{"class": "analysable", "near_empty": False}) for frame in (*frames, odd)]
    every[2].loc[:9, "class"] = "folded"
    every[2].loc[10:, "near_empty"] = True
    plain, sorted_out, kept = (
        call_fibres(each, controls=["C01"], resamples=50, keep_all=all_)
        for each, all_ in ((values(*frames), False), (values(*every), False), (values(*every), True))
    )
    assert sorted_out.lines["NDUFB8"] == plain.lines["NDUFB8"]
    assert kept.lines["NDUFB8"].deviation > 2 * plain.lines["NDUFB8"].deviation
    apart = sorted_out.fibres[sorted_out.fibres["fibre"] >= 100]
    assert (apart["NDUFB8_status"] == "not analysable").all()
    assert apart["NDUFB8_z"].isna().all()
    told = sorted_out.subjects.set_index(["subject", "protein"]).loc["C01", "NDUFB8"]
    assert (told["fibres"], told["not_called"], told["not_analysable"]) == (60, 0, 20)
    assert any("20 of C01" in note and "--keep-all" in note for note in sorted_out.notes)
    assert not any("--keep-all" in note for note in kept.notes)


def test_one_fibre_has_no_interval():
    rng = np.random.default_rng(4)
    calls = call_fibres(values(fibres(rng, "C01", 60), fibres(rng, "P01", 1)), resamples=50)
    told = calls.subjects.set_index(["subject", "protein"])
    assert told.loc[("P01", "NDUFB8"), "fibres"] == 1
    assert pd.isna(told.loc[("P01", "NDUFB8"), "deficient_low"])
    assert not pd.isna(told.loc[("C01", "NDUFB8"), "deficient_low"])
    assert any("of P01: no interval can be given" in note for note in calls.notes)


def test_z_and_interval_equal_those_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    x = rng.normal(2, 0.5, 60)
    y = 0.3 + 0.9 * x + rng.normal(0, 0.2, 60)
    new_x, new_y = rng.normal(2, 1, 500), rng.normal(2, 1, 500)
    line = fit_controls(x, y)
    told = (
        api.OLS(y, api.add_constant(x))
        .fit()
        .get_prediction(api.add_constant(new_x))
        .summary_frame(alpha=0.05)
    )
    z = (new_y - told["mean"]) / ((told["obs_ci_upper"] - told["obs_ci_lower"]) / (2 * 1.959964))
    np.testing.assert_allclose(line.z(new_x, new_y), z, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        line.fit(new_x) - line.half_width(new_x), told["obs_ci_lower"], rtol=0, atol=1e-10
    )


def test_the_line_equals_that_of_linear_algebra():
    """The same without another library's formula: the hat matrix of ordinary least squares."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(1, 0.3, (2, 40))
    line = fit_controls(x, y)
    design = np.stack([np.ones(40), x], 1)
    beta, (rss,), *_ = np.linalg.lstsq(design, y)
    at = np.stack([np.ones(3), [-1.0, 1.0, 4.0]], 1)
    leverage = np.einsum("ij,jk,ik->i", at, np.linalg.inv(design.T @ design), at)
    half = stats.t.ppf(0.975, 38) * np.sqrt(rss / 38 * (1 + leverage))
    np.testing.assert_allclose(line.half_width([-1.0, 1.0, 4.0]), half, rtol=1e-12)
    np.testing.assert_allclose(line.fit([-1.0, 1.0, 4.0]), at @ beta, rtol=1e-12)


def test_the_interval_covers_what_it_says():
    rng = np.random.default_rng(2)
    outside = []
    for _ in range(400):
        x = rng.normal(0, 1, 20)
        new = rng.normal(0, 1, 50)
        line = fit_controls(x, x + rng.normal(size=20))
        outside.append((status(line.z(new, new + rng.normal(size=50))) == "deficient").mean())
    assert np.mean(outside) == pytest.approx(0.025, abs=0.006)


def test_where_the_cuts_are():
    assert status(np.array([-1.97, -1.95, 1.95, 1.97, np.nan])).tolist() == [
        "deficient", "normal", "normal", "over-expressed", "not called",
    ]  # fmt: skip
    assert protein_category(np.array([-7, -5, -4, -2.9, 9, np.nan])).tolist() == [
        "Neg", "Int(-)", "Int(+)", "Pos", "Pos", "not called",
    ]  # fmt: skip
    assert mass_category(np.array([-4, -2.5, 0, 2.5, 4])).tolist() == [
        "Very low",
        "Low",
        "Norm",
        "High",
        "Very high",
    ]


def test_a_subject_without_its_protein_is_called_deficient():
    rng = np.random.default_rng(3)
    calls = call_fibres(
        values(fibres(rng, "C01", 200), fibres(rng, "C02", 200), fibres(rng, "P01", 300, shift=-2))
    )
    rows = calls.subjects.set_index(["subject", "protein"])
    assert rows.loc[("P01", "NDUFB8"), "deficient"] == 1
    assert rows.loc[("P01", "MTCO1"), "deficient"] < 0.06
    assert rows.loc[("C01", "NDUFB8"), "left_out_deficient"] < 0.08
    assert pd.isna(rows.loc[("P01", "NDUFB8"), "left_out_deficient"])
    low, high = rows.loc[("P01", "MTCO1"), ["deficient_low", "deficient_high"]]
    assert low <= rows.loc[("P01", "MTCO1"), "deficient"] <= high
    one = calls.fibres.iloc[0]
    assert one["NDUFB8_theta"] == pytest.approx(np.degrees(np.arctan(one["NDUFB8"] / one["VDAC1"])))
    assert one["NDUFB8_r"] == pytest.approx(np.hypot(one["NDUFB8"], one["VDAC1"]))
    control = logged(calls.fibres["VDAC1"])[:400]
    assert one["VDAC1_z"] == pytest.approx((control[0] - control.mean()) / control.std(ddof=1))


def test_a_control_of_another_level_shows_when_it_is_left_out():
    rng = np.random.default_rng(4)
    calls = call_fibres(
        values(fibres(rng, "C01", 200), fibres(rng, "C02", 200), fibres(rng, "C03", 200, shift=-0.6))
    )
    rows = calls.subjects.set_index(["subject", "protein"])
    assert rows.loc[("C03", "NDUFB8"), "left_out_deficient"] > 0.9
    assert rows.loc[("C03", "NDUFB8"), "deficient"] < 0.2  # the line was fitted through them as well
    assert (rows.xs("NDUFB8", level="protein")["highest_left_out_deficient"] > 0.9).all()


def test_the_bootstrap_interval_is_that_of_drawing_fibres_again():
    """The quick way, with binomial numbers, against drawing every fibre."""
    rng = np.random.default_rng(5)
    data = values(fibres(rng, "C01", 60), fibres(rng, "P01", 80, shift=-0.25))
    calls = call_fibres(data, proteins=["NDUFB8"], resamples=4000)
    row = calls.subjects.query("subject == 'P01'").iloc[0]
    x, y = logged(data.table["VDAC1"]), logged(data.table["NDUFB8"])
    shares = []
    for _ in range(4000):
        c, p = rng.integers(0, 60, 60), 60 + rng.integers(0, 80, 80)
        shares.append((status(fit_controls(x[c], y[c]).z(x[p], y[p])) == "deficient").mean())
    np.testing.assert_allclose(
        [row["deficient_low"], row["deficient_high"]], np.percentile(shares, [2.5, 97.5]), atol=0.026
    )


def test_one_control_only_is_told():
    rng = np.random.default_rng(6)
    calls = call_fibres(values(fibres(rng, "C01", 50), fibres(rng, "P01", 50)))
    assert calls.subjects["left_out_deficient"].isna().all()
    assert any("C01 is the only control" in note for note in calls.notes)


def test_a_control_left_out_that_leaves_too_few():
    rng = np.random.default_rng(7)
    calls = call_fibres(values(fibres(rng, "C01", 50), fibres(rng, "C02", 2), fibres(rng, "P01", 50)))
    rates = calls.subjects.query("protein == 'NDUFB8'").set_index("subject")["left_out_deficient"]
    assert pd.isna(rates["C01"])
    assert rates["C02"] >= 0


def test_zero_counts_are_not_called_and_are_told():
    rng = np.random.default_rng(8)
    patient = fibres(rng, "P01", 50)
    patient.loc[:4, "NDUFB8"] = 0.0
    data = values(fibres(rng, "C01", 50), patient)
    calls = call_fibres(data)
    row = calls.subjects.query("subject == 'P01' and protein == 'NDUFB8'").iloc[0]
    assert (row["fibres"], row["not_called"]) == (45, 5)
    assert calls.fibres.query("NDUFB8_status == 'not called'")["fibre"].tolist() == [1, 2, 3, 4, 5]
    assert any("5 of NDUFB8" in note for note in calls.notes)
    # with mitocyto's 1 they can be
    assert call_fibres(data, offset=1.0).subjects["not_called"].sum() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": "TOM20"}, "have no TOM20"),
        ({"proteins": ["SDHB"]}, "have no SDHB"),
        ({"controls": ["C07"]}, "no subject C07"),
        ({"proteins": ["VDAC1"]}, "no OXPHOS protein"),
    ],
)
def test_what_is_missing_is_named(options, words):
    rng = np.random.default_rng(9)
    with pytest.raises(MitoxaiError, match=words):
        call_fibres(values(fibres(rng, "C01", 50), fibres(rng, "P01", 50)), **options)


def test_controls_that_make_no_line():
    rng = np.random.default_rng(10)
    two, patient = fibres(rng, "C01", 2), fibres(rng, "P01", 9)
    with pytest.raises(MitoxaiError, match="have 2 fibres"):
        call_fibres(values(two, patient))
    flat = fibres(rng, "C01", 20).assign(VDAC1=3.0)
    with pytest.raises(MitoxaiError, match="same mitochondrial mass"):
        call_fibres(values(flat, patient))
    with pytest.raises(MitoxaiError, match="known as a control"):
        call_fibres(values(patient))


# --- tables --------------------


def same_fibres():
    rng = np.random.default_rng(11)
    return pd.concat([fibres(rng, "C01", 4), fibres(rng, "P02", 3)], ignore_index=True)


def write_ours(path, frame, long=False):
    wide = frame.drop(columns=["subject", "group"]).rename(
        columns={name: f"{name}_mean" for name in PROTEINS}
    )
    wide = wide.assign(area_um2=1.0, NDUFB8_median=0.0)
    wide[[f"{name}_mean" for name in PROTEINS]] -= 1  # theirs is the mean of the counts + 1
    if long:
        wide = wide.melt(["section", "fibre"], var_name="quantity")
    wide.to_csv(path, index=False)


def write_mitocyto(path, frame):
    long = frame.melt(["section", "fibre"], list(PROTEINS), "Channel", "Value")
    more = [long.assign(Channel=f"{kind}_" + long["Channel"], Value=9.0) for kind in ("LOG", "MED")]
    area = long.drop_duplicates(["section", "fibre"]).assign(Channel="Area", Value=700.0)
    long = pd.concat([long, *more, area]).rename(columns={"fibre": "ID", "section": "Filename"})
    long["Channel"] = long["Channel"].replace("NDUFB8", "160Gd_NDUFB8")
    long.assign(**{"Folder 1": "run"})[["Value", "ID", "Channel", "Folder 1", "Filename"]].to_csv(
        path, index=False
    )


def write_analysis(path, frame):
    long = frame.melt(["section", "fibre", "group"], list(PROTEINS), "Channel", "Value")
    long = long.rename(columns={"section": "sampleID", "fibre": "fibreID", "group": "sbjType"})
    long[["Value", "sampleID", "fibreID", "sbjType", "Channel"]].to_csv(path, index=False)


PROTEINS = ("VDAC1", "NDUFB8", "MTCO1")
WRITERS = {
    "ours": write_ours,
    "ours, long": lambda path, frame: write_ours(path, frame, long=True),
    "mitocyto": write_mitocyto,
    "analysis2Dmito": write_analysis,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_tables_of_every_tool_say_the_same(kind, tmp_path):
    frame = same_fibres()
    WRITERS[kind](tmp_path / "t.csv", frame)
    read = read_fibre_tables([tmp_path / "t.csv"])
    assert set(read.proteins) == set(PROTEINS)
    again = read.table.sort_values(["section", "fibre"], ignore_index=True)
    pd.testing.assert_frame_equal(
        again[["section", "fibre", "subject", "group"]].astype(object),
        frame[["section", "fibre", "subject", "group"]].astype(object),
    )
    for name in PROTEINS:
        np.testing.assert_allclose(again[name] + read.offset, frame[name])


def test_whose_a_section_is(tmp_path):
    frame = same_fibres().assign(section=lambda table: table["section"] + "-2")
    write_ours(tmp_path / "t.csv", frame)
    assert read_fibre_tables([tmp_path / "t.csv"]).table["subject"].unique().tolist() == ["C01", "P02"]
    (tmp_path / "s.csv").write_text("section,subject,group\nP02-2,Anna,control\n")
    read = read_fibre_tables([tmp_path / "t.csv"], subjects=tmp_path / "s.csv").table
    assert read.groupby("subject")["group"].first().to_dict() == {"C01": "control", "Anna": "control"}


def test_tables_without_fibres_and_of_one(tmp_path):
    rng = np.random.default_rng(12)
    for name, number in (("C01", 30), ("P01", 1), ("P02", 0)):
        write_ours(tmp_path / f"{name}.csv", fibres(rng, name, number))
    calls = call_fibres(read_fibre_tables([tmp_path / f"{name}.csv" for name in ("C01", "P01", "P02")]))
    assert calls.subjects.query("protein == 'NDUFB8'")["fibres"].tolist() == [30, 1]
    with pytest.raises(MitoxaiError, match="hold no fibre"):
        read_fibre_tables([tmp_path / "P02.csv"])


def test_a_name_that_a_spreadsheet_would_compute_comes_back(tmp_path):
    write_ours(tmp_path / "t.csv", same_fibres().assign(section="-1", fibre=range(7)))
    write_table(tmp_path / "q.csv", pd.read_csv(tmp_path / "t.csv", dtype={"section": str}))
    assert "'-1" in (tmp_path / "q.csv").read_text()
    assert set(read_fibre_tables([tmp_path / "q.csv"]).table["section"]) == {"-1"}


def test_tables_that_cannot_be_joined(tmp_path):
    frame = same_fibres()
    write_ours(tmp_path / "a.csv", frame)
    write_mitocyto(tmp_path / "b.csv", frame)
    with pytest.raises(MitoxaiError, match=r"counts \+ 1"):
        read_fibre_tables([tmp_path / "a.csv", tmp_path / "b.csv"])
    with pytest.raises(MitoxaiError, match="in the tables twice"):
        read_fibre_tables([tmp_path / "a.csv", tmp_path / "a.csv"])
    (tmp_path / "c.csv").write_text("x,y\n1,2\n")
    with pytest.raises(MitoxaiError, match="no fibre table that is known"):
        read_fibre_tables([tmp_path / "c.csv"])
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00,\n\x9d")
    with pytest.raises(MitoxaiError, match=r"d\.csv"):
        read_fibre_tables([tmp_path / "d.csv"])
    with pytest.raises(MitoxaiError, match="not there"):
        read_fibre_tables([tmp_path / "e.csv"])


# Shares of fibres whose call agrees with the published flag; three controls were used there, and two are at hand.
AGREEMENT = {
    "NDUFB8": 0.91,
    "MTCO1": 0.94,
    "COX4+4L2": 0.96,
    "GRIM19": 0.96,
    "UqCRC2": 0.98,
    "OSCP": 0.99,
    "SDHA": 0.999,
}


def test_the_published_table_is_called_much_as_published(real_data):
    path = real_data / "warren2020" / "fibres.csv"
    calls = call_fibres(read_fibre_tables([path]), resamples=0)
    published = pd.read_csv(path)
    agreement = {
        name: float(((calls.fibres[f"{name}_status"] == "deficient") == published[f"{name}_down"]).mean())
        for name in AGREEMENT
    }
    for name, expected in AGREEMENT.items():
        assert agreement[name] > expected - 0.015, name
    shares = calls.subjects.set_index(["subject", "protein"])["deficient"]
    assert shares["P01", "NDUFB8"] > 0.99
    assert shares["P01", "MTCO1"] < 0.01
    assert shares["P08", "MTCO1"] == pytest.approx(0.857, abs=0.03)
    assert shares["P09", "NDUFB8"] == pytest.approx(0.374, abs=0.12)
