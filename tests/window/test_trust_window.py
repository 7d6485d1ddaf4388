"""Checking maps from the Explain tab: the table, the names of layers, Cancel, and maps that are opened again."""

import pytest

from napari_mitoxai.napari.explain_panel import ExplainPanel
from napari_mitoxai.napari.layers import store_layers
from napari_mitoxai.napari.runs import load_run
from napari_mitoxai.napari.state import state_of
from napari_mitoxai.napari.trust_box import TrustBox
from napari_mitoxai.trust.recorded import read_scores, sanity_failures

QUICK = {"patches": 2, "steps": 2, "seeds": 1, "checks": ["deletion", "randomisation"]}
FAILING = "P01 / edge_detector / patient (fails the sanity check)"


@pytest.fixture
def judged(viewer, workspace, section_path, run_folder, child, qtbot, tmp_path):
    """A window with maps of a section, and a call that checks them."""
    from napari_mitoxai.common import CancelToken, no_progress

    state = state_of(viewer)
    viewer.open(section_path, plugin="napari-mitoxai")
    state.set_run(load_run(run_folder, no_progress, CancelToken()))
    workspace.show_tab("Explain")
    box = workspace.findChild(TrustBox)
    assert not child("check_maps").isEnabled()
    panel = workspace.findChild(ExplainPanel)
    panel.form.set_values({"methods": ["gradient", "edge_detector"], "out": tmp_path / "maps.ome.zarr"})
    child("explain").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=120_000)
    qtbot.waitUntil(lambda: child("check_maps").isEnabled())

    def check(out, **values):
        child("trust").expand(animate=False)
        box.form.set_values({**QUICK, "out": tmp_path / out, **values})
        child("check_maps").click()
        return state

    return check


def test_scores_are_shown_and_a_failing_map_says_so(judged, viewer, child, qtbot, tmp_path, notifications):
    state = judged("t.csv")
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=120_000)
    qtbot.wait(100)
    assert notifications == []
    assert (tmp_path / "t.csv").exists()
    maps = tmp_path / "maps.ome.zarr"
    assert sanity_failures(maps) == {"edge_detector"}
    table = child("trust_scores")
    assert table.isVisibleTo(child("trust_box"))
    rows = [table.verticalHeaderItem(row).text() for row in range(table.rowCount())]
    assert rows == ["random", "edge_detector", "gradient"]
    kept = read_scores(maps).set_index(["method", "score"])
    assert table.item(2, 0).text() == "{value:.2g}\n{low:.2f}…{high:.2f}".format(
        **kept.loc[("gradient", "deletion")]
    )
    assert table.item(1, 2).text() == "1\n1.00…1.00"
    assert "draw in each" in table.item(1, 2).toolTip()
    assert table.item(0, 1).text() == "–"  # ROAD was not asked for
    assert "t.csv" in child("trust_says").text()
    names = [layer.name for layer in viewer.layers]
    assert FAILING in names
    assert "P01 / gradient / patient" in names
    # the maps say so too when they are opened another time, in the place of the ones that are there
    from napari_mitoxai.explain import open_maps

    assert FAILING in [layer[1]["name"] for layer in store_layers(open_maps(maps))]
    viewer.open(maps, plugin="napari-mitoxai")
    qtbot.wait(100)
    assert sorted(layer.name for layer in viewer.layers) == sorted(names)


def test_cancel_keeps_the_methods_that_are_finished(judged, child, qtbot, tmp_path, notifications):
    state = judged("t.csv", seeds=1, steps=200, checks=["deletion"])
    qtbot.waitUntil(lambda: "edge_detector" in child("task_label").text(), timeout=120_000)
    child("cancel").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    assert not [said for severity, said in notifications if severity == "error"]
    assert read_scores(tmp_path / "maps.ome.zarr").empty  # only the baseline was done, which judges no map
    state = judged("t.csv", steps=2)
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=120_000)
    assert not read_scores(tmp_path / "maps.ome.zarr").empty
