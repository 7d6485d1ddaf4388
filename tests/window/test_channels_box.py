"""Which channels matter to the model in use is asked on the Train tab, and the analysis knows it."""

import pandas as pd
import pytest

from napari_mitoxai.napari.channels_box import ChannelsBox
from napari_mitoxai.napari.runs import load_run
from napari_mitoxai.napari.state import state_of
from napari_mitoxai.tasks.explain import ExplainParameters


@pytest.fixture
def maps(run_folder, cohort, tmp_path):
    """Maps of the held-out section, of which one tells channels apart."""
    from napari_mitoxai.tasks import explain

    out = tmp_path / "P02.ome.zarr"
    explain.run(
        ExplainParameters(
            run=run_folder,
            sections=[cohort.parent / "P02.ome.tiff"],
            methods=["gradient"],
            out=out,
            device="cpu",
        )
    )
    return out


def test_ways_are_compared_and_recorded(viewer, workspace, child, run_folder, cohort, maps, tmp_path, qtbot, notifications):  # fmt: skip
    from napari_mitoxai.explain.store import MapStore
    from napari_mitoxai.napari.layers import store_layers

    state = state_of(viewer)
    workspace.show_tab("Train")
    box = workspace.findChild(ChannelsBox)
    child("channels_part").expand(animate=False)
    assert not box.form.isVisibleTo(box)
    assert not child("compare_channels").isEnabled()
    viewer.open(str(cohort.parent / "P02.ome.tiff"), plugin="napari-mitoxai")
    assert box.form.field("data").value() == str(state.section.address)
    state.set_cohort(cohort)
    assert box.form.field("data").value() == str(cohort)
    loaded = []
    state.runner.run(
        "Loading", lambda progress, cancel: load_run(run_folder, progress, cancel), on_done=loaded.append
    )
    qtbot.waitUntil(lambda: bool(loaded), timeout=300_000)
    state.set_run(loaded[0])
    for layer in store_layers(MapStore(maps, "r")):
        state.add_layer(layer)
    assert box.form.field("maps").value() == [str(maps)]
    box.form.set_values({"out": tmp_path / "ways", "most_patches": 4})
    child("compare_channels").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=300_000)
    assert not [text for severity, text in notifications if severity == "error"]

    written = pd.read_csv(tmp_path / "ways" / "channels.csv")
    ranks = box.table
    heads = [ranks.horizontalHeaderItem(column).text() for column in range(ranks.columnCount())]
    assert [" ".join(head.split()) for head in heads] == list(dict.fromkeys(written["way"]))
    assert "relevance, gradient" in set(written["way"])
    by_channel = written[written["way"] == "occlusion"].set_index("channel")["rank"]
    for row in range(ranks.rowCount()):
        assert float(ranks.item(row, 0).text()) == by_channel[ranks.verticalHeaderItem(row).text()]
    assert "come first" in child("channels_say").text()
    assert child("channels_plot").pixmap().width() > 200
    assert state.recorder.last("channels").parameters.maps == [maps]
    assert box.form.field("out").value() != str(tmp_path / "ways")  # the next one goes beside it
