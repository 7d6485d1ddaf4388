"""Scores are kept with the maps, and nothing else of the store is touched."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import MapGrid, open_maps
from napari_mitoxai.explain.store import create_store
from napari_mitoxai.trust.recorded import (
    COLUMNS,
    RecordedScore,
    in_numbers,
    read_scores,
    record_scores,
    rests_on,
    sanity_failures,
)

METHODS = {
    "grad_cam": {"channels": ["all channels"], "signed": False},
    "lrp_epsilon@seed-exact": {"channels": ["SDHA"], "signed": True},
}
DELETION = RecordedScore("deletion", 0.25, 0.125, 0.5, 8, 0, "lower")


@pytest.fixture
def maps(tmp_path):
    store = create_store(tmp_path / "m.ome.zarr", MapGrid((60, 70), 4, 0.5), METHODS, {"fingerprint": "f"})
    return store.path


def test_what_was_written_is_read_also_after_a_move(maps, tmp_path):
    assert read_scores(maps).empty
    assert list(read_scores(maps).columns) == COLUMNS
    record_scores(maps, "grad_cam", [DELETION], fails_sanity=True)
    record_scores(maps, "lrp_epsilon@seed-exact", [replace(DELETION, low=np.nan)], fails_sanity=False)
    moved = tmp_path / "elsewhere.ome.zarr"
    shutil.move(maps, moved)
    table = read_scores(moved)
    assert table.iloc[0].tolist() == ["grad_cam", "deletion", 0.25, 0.125, 0.5, 8, 0, "lower"]
    assert np.isnan(table["low"][1])
    assert sanity_failures(moved) == {"grad_cam"}


def test_a_score_replaces_that_of_its_name_and_no_other(maps):
    record_scores(maps, "grad_cam", [DELETION, replace(DELETION, score="insertion")], fails_sanity=True)
    record_scores(maps, "grad_cam", [replace(DELETION, value=0.75)])
    assert read_scores(maps).set_index("score")["value"].to_dict() == {"deletion": 0.75, "insertion": 0.25}
    assert sanity_failures(maps) == {"grad_cam"}  # nothing new is known of it
    record_scores(maps, "grad_cam", [], fails_sanity=False)
    assert sanity_failures(maps) == set()


def test_the_store_can_still_be_resumed_and_completed(maps):
    store = open_maps(maps, writable=True)
    document = (maps / "zarr.json").read_bytes()
    record_scores(maps, "grad_cam", [DELETION])
    assert (maps / "zarr.json").read_bytes() == document
    store.write_block("grad_cam", (0, 0), np.ones((1, 60, 70), np.float32))
    store.mark_finished((0, 0))
    store.complete({"call": "patient"})
    assert open_maps(maps).info["verdict"] == {"call": "patient"}
    assert len(read_scores(maps)) == 1


def test_what_cannot_be_recorded_or_read(maps, tmp_path):
    with pytest.raises(MitoxaiError, match="no map by lrp_z"):
        record_scores(maps, "lrp_z", [DELETION])
    with pytest.raises(MitoxaiError, match="is not there"):
        record_scores(tmp_path / "none", "lrp_z", [DELETION])
    for content in ("{", json.dumps({"methods": {"grad_cam": 1}})):
        (maps / "trust.json").write_text(content)
        with pytest.raises(MitoxaiError, match=r"trust\.json"):
            sanity_failures(maps)


def test_a_score_in_numbers_says_its_interval_and_what_it_rests_on():
    small = asdict(RecordedScore("deletion", 0.000123, 0.0000987, 0.000234, 8, 0, "lower"))
    assert in_numbers(small) == "0.000123 (9.87e-05 to 0.000234)"  # and not 0.000 (0.000 to 0.000)
    assert in_numbers(small | {"low": np.nan, "high": np.nan}, 2) == "0.00012"
    assert in_numbers(small | {"value": np.nan}) == "no number"
    assert rests_on(small) == "8 patches"
    assert rests_on(small | {"patches": 1, "seeds": 50}) == "1 patch, 50 draws in each"
    assert rests_on(small | {"seeds": 1}) == "8 patches, 1 draw in each"
