"""Which channels matter, by several ways: held-out patches only, every way ranked, ranks correlated."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import open_maps
from napari_mitoxai.tasks import channels, explain, sweep
from napari_mitoxai.tasks.channel_ways import by_chance, correlate
from napari_mitoxai.tasks.channels import ChannelsParameters
from napari_mitoxai.tasks.explain import ExplainParameters
from napari_mitoxai.tasks.sweep import SweepParameters

pytestmark = pytest.mark.usefixtures("one_thread")


def asked(run, data, out, **more):
    return channels.run(ChannelsParameters(run=run, data=data, out=out, device="cpu", most_patches=4, **more))


@pytest.fixture(scope="module")
def swept(simulated_cohort, tmp_path_factory):
    """Two networks that see one channel each, and one with the two mixed, patches held out at random."""
    out = tmp_path_factory.mktemp("sweeps") / "sweep"
    sweep.run(
        SweepParameters(
            cohort=simulated_cohort, out=out, epochs=1, patch_size=128, input_size=32, batch_size=8, device="cpu",
            overlap=0.0, channel_sets=["SDHA", "NDUFB8"], splits=["patch-random"],
        )
    )  # fmt: skip
    return out


def test_every_way_ranks_every_channel(trained_run, simulated_cohort, swept, tmp_path):
    section = simulated_cohort.parent / "P03.ome.tiff"
    maps = tmp_path / "MAPS.ome.zarr"
    explain.run(
        ExplainParameters(
            run=trained_run, sections=[section], methods=["gradient", "grad_cam"], out=maps, device="cpu"
        )
    )
    result = asked(trained_run, simulated_cohort, tmp_path / "ways", maps=[maps], sweep=swept)
    table = pd.read_csv(result.table)
    ways = [
        "occlusion",
        "pixel permutation",
        "permutation",
        "relevance, gradient",
        "alone, patches at random",
    ]
    assert list(dict.fromkeys(table["way"])) == ways
    full = table[table["way"].isin(ways[:4])]
    assert (full.groupby("way")["channel"].nunique() == len(result.channels)).all()
    # the subjects that were held out, and nobody else
    assert set(table.loc[table["way"] == "occlusion", "n"]) == {2}
    # summed by hand
    store = open_maps(maps)
    sums = np.abs(store.read("gradient")).sum((1, 2), dtype=float)
    own = table[table["way"] == "relevance, gradient"].set_index("channel")["value"]
    assert own[store.channels("gradient")].to_numpy() == pytest.approx(sums / sums.sum(), rel=1e-6)
    # an accuracy as the sweep's run has it
    (run,) = swept.glob("runs/SDHA_*")
    alone = table[table["way"] == "alone, patches at random"].set_index("channel")["value"]
    assert alone["SDHA"] == json.loads((run / "metrics.json").read_text())["patch_accuracy"]
    assert any("grad_cam: left out" in note for note in result.notes)
    assert any("not asked about" in note and "C01" in note for note in result.notes)
    pairs = pd.read_csv(result.correlations)
    assert len(pairs) == 10
    assert pairs["correlation"].isna().sum() == 4  # with two channels there is no rank correlation
    assert result.plot.read_bytes().startswith(b"\x89PNG")


def test_a_section_is_asked_without_other_patches(trained_run, simulated_cohort, tmp_path):
    result = asked(trained_run, simulated_cohort.parent / "P03.ome.tiff", tmp_path / "ways")
    assert set(pd.read_csv(result.table)["way"]) == {"occlusion", "pixel permutation"}
    assert any("at least two groups" in note for note in result.notes)
    known = asked(trained_run, simulated_cohort.parent / "P01.ome.tiff", tmp_path / "seen")
    assert any("has seen every one" in note for note in known.notes)
    with pytest.raises(MitoxaiError, match="exists already"):
        asked(trained_run, simulated_cohort, tmp_path / "ways")


def test_what_does_not_go_together_is_said(trained_run, simulated_cohort, tmp_path):
    (tmp_path / "other.csv").write_text(
        f"path,subject,group\n{simulated_cohort.parent / 'P03.ome.tiff'},P03,carrier\n{simulated_cohort.parent / 'C03.ome.tiff'},C03,control\n"
    )
    with pytest.raises(MitoxaiError, match="has the group carrier"):
        asked(trained_run, tmp_path / "other.csv", tmp_path / "ways")
    with pytest.raises(MitoxaiError, match="holds no finished runs"):
        asked(trained_run, simulated_cohort, tmp_path / "ways", sweep=tmp_path)
    assert not (tmp_path / "ways").exists()


def test_ranks_are_correlated_over_the_channels_that_both_have():
    rows = [
        ("a", "X", 3),
        ("a", "Y", 2),
        ("a", "Z", 1),
        ("b", "X", 10),
        ("b", "Y", 30),
        ("b", "Z", 20),
        ("c", "X", 1),
        ("c", "Y", 2),
    ]
    matrix = correlate(pd.DataFrame(rows, columns=["way", "channel", "value"]))
    # ranks 3 2 1 and 1 3 2: 1 - 6 * (4 + 1 + 1) / (3 * 8)
    assert matrix.loc["a", "b"] == pytest.approx(-0.5)
    assert np.isnan(matrix.loc["a", "c"])
    assert by_chance(10) == pytest.approx(0.632, abs=1e-3)  # of tables
