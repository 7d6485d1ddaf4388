"""The Relevance tab: answers, plot and colours of the section and the maps in use."""

import numpy as np
import pandas as pd
import pytest
from superqt import QCollapsible

from napari_mitoxai import simulate
from napari_mitoxai.common.files import read_json, write_json
from napari_mitoxai.explain.store import MapGrid, create_store, open_maps
from napari_mitoxai.imc import write_section
from napari_mitoxai.napari.fibre_table import OUTLINES, colour_fibres, coloured_by, put_table
from napari_mitoxai.napari.groups_box import GroupsBox
from napari_mitoxai.napari.layers import LayerFacts, fibre_layer, store_layers
from napari_mitoxai.napari.relevance_panel import ENRICHMENT, RelevancePanel
from napari_mitoxai.napari.state import state_of

SIZE, CHANNELS = 256, ["NDUFB8", "SDHA"]


@pytest.fixture
def scene(viewer, workspace, tmp_path, qtbot):
    """A section with fibres, some of them known to be deficient, and a map that sees what was planted."""
    made = simulate.section("membrane_rim", True, size=SIZE, seed=8)
    path = write_section(tmp_path / "S.ome.tiff", made.counts, made.panel, pixel_size_um=1.0)
    path = path or tmp_path / "S.ome.tiff"
    side = SIZE // 2
    truth = made.truth.reshape(side, 2, side, 2).mean((1, 3))
    noise = np.random.default_rng(0).normal(size=(2, side, side))
    planes = {"lrp": noise * 0.3 + 2 * truth * np.array([0, 1])[:, None, None], "cam": np.abs(noise[:1])}
    methods = {
        "lrp": {"channels": CHANNELS, "signed": True, "title": "LRP"},
        "cam": {"channels": ["all channels"], "signed": False, "title": "Grad-CAM"},
    }
    info = {
        "section": {"name": "S.ome.tiff", "path": str(path), "subject": "S", "shape": [10, SIZE, SIZE], "notes": []},
        "checkpoint": {"architecture": "none", "classes": ["control", "patient"], "patch_size": SIZE},
        "target": "patient", "target_class": "patient", "use_of_subject": "test", "area": None, "fingerprint": "f",
    }  # fmt: skip
    store = create_store(tmp_path / "M.ome.zarr", MapGrid((side, side), 2, 1.0), methods, info)
    for name, values in planes.items():
        store.write_block(name, (0, 0), values.astype(np.float32))
    store.note_patches({(0, 0): [0.2, 0.8]})
    store.complete({"call": "patient", "probability": {"patient": 0.8, "control": 0.2}, "patches": 1})
    viewer.open(path, plugin="napari-mitoxai")
    state = state_of(viewer)
    qtbot.wait(50)
    facts = LayerFacts("fibres", state.section.name, str(state.section.path), "fibres")
    fibres = state.add_layer(fibre_layer(made.fibres, facts, pixel_size_um=1.0))
    store.info["section"]["name"] = state.section.name
    for layer in store_layers(open_maps(tmp_path / "M.ome.zarr")):
        state.add_layer(layer)
    workspace.show_tab("Relevance")
    qtbot.wait(50)
    planted = np.unique(made.fibres[made.truth])
    return state, fibres, planted[planted > 0], tmp_path


@pytest.fixture
def measure(scene, workspace, child, qtbot):
    panel = workspace.findChild(RelevancePanel)

    def run():
        panel.form.set_values({"out": scene[3] / "T.csv", "draws": 39, "overwrite": True})
        button = child("relevance_panel/measure_relevance")
        assert button.isEnabled()
        button.click()
        qtbot.waitUntil(lambda: not scene[0].runner.busy, timeout=60_000)
        qtbot.wait(100)
        return panel

    return run


def test_the_answers_the_plot_and_the_colours(scene, measure, child, qtbot, notifications):
    _, fibres, planted, folder = scene
    ids = np.unique(fibres.data)[1:]
    status = np.where(np.isin(ids, planted), "deficient", "normal")
    fibres.features = {"index": ids, "SDHA_status": status}  # as calling leaves them
    measure()
    assert notifications == []
    told = child("relevance_panel/answers").text()
    assert "Do deficient fibres carry the evidence?" in told
    assert "deficient in SDHA" in told
    assert "Most of all the sub-membrane" in told
    assert "SDHA first" in told
    assert child("relevance_panel/relevance_plot").isVisible()
    assert (folder / "T_relevance.csv").is_file()
    assert child("relevance_panel/colour_fibres").currentText() == ENRICHMENT
    lightness = {label: fibres.colormap.map(np.array([label]))[0][:3].sum() for label in ids}
    bright = sorted(ids, key=lambda label: -lightness[label])[: len(planted)]
    assert np.isin(bright, planted).mean() > 0.8

    child("relevance_panel/method").setCurrentText("cam")
    qtbot.wait(50)
    assert "does not tell channels apart" in child("relevance_panel/answers").text()
    assert child("relevance_panel/channel").count() == 1
    child("relevance_panel/colour_fibres").setCurrentText(OUTLINES)
    assert fibres.contour == 1


def test_what_is_missing_is_said_and_results_of_other_fibres_go(scene, measure, child, viewer, qtbot):
    _, fibres, _, _ = scene
    assert not child("relevance_panel/answers").isVisible()
    measure()
    assert child("relevance_panel/answers").isVisible()
    viewer.layers.remove(fibres)
    qtbot.wait(50)
    assert not child("relevance_panel/answers").isVisible()
    assert "Find the fibres" in child("relevance_panel/what_is_missing").text()
    assert not child("relevance_panel/measure_relevance").isEnabled()


def test_maps_that_are_dropped_lie_below_the_fibres_as_those_that_were_explained(scene, viewer, qtbot):
    _, fibres, _, folder = scene
    put_table(fibres, pd.DataFrame({"fibre": [1, 2], "area_um2": [3.0, 4.0]}))
    for layer in [layer for layer in viewer.layers if "lrp" in layer.name or "cam" in layer.name]:
        viewer.layers.remove(layer)
    colour_fibres(fibres, "area_um2")
    viewer.open(folder / "M.ome.zarr", plugin="napari-mitoxai")
    qtbot.waitUntil(lambda: coloured_by(fibres) == OUTLINES)
    names = [layer.name for layer in viewer.layers]
    lrp, cam = (next(i for i, name in enumerate(names) if each in name) for each in ("lrp", "cam"))
    assert lrp < cam < names.index(fibres.name) == len(names) - 1


def test_maps_are_offered_under_their_final_name(scene, child, viewer, qtbot):
    state = scene[0]
    maps = [layer for layer in viewer.layers if layer.metadata.get("mitoxai", {}).get("kind") == "map"]
    final = maps[0].metadata["mitoxai"]["source"]
    for layer in maps:  # as while they are made
        layer.metadata["mitoxai"]["source"] = str(scene[3] / ".M.partial.ome.zarr")
    state.layers_changed.emit()
    assert "Explain this section first" in child("relevance_panel/what_is_missing").text()

    def work(progress, cancel):
        return None

    def end(_):
        for layer in maps:
            layer.metadata["mitoxai"]["source"] = final

    state.runner.run("Explaining", work, on_done=end)
    qtbot.waitUntil(lambda: child("relevance_panel/maps").currentData() == final, timeout=5_000)
    assert child("relevance_panel/measure_relevance").isEnabled()


def test_without_maps_the_way_is_told(viewer, workspace, child, qtbot):
    workspace.show_tab("Relevance")
    assert "Open a section first" in child("relevance_panel/what_is_missing").text()
    assert not child("relevance_panel/measure_relevance").isEnabled()


def test_groups_are_compared_by_subject(scene, measure, child, workspace, qtbot, notifications):
    state, folder = scene[0], scene[3]
    workspace.findChild(QCollapsible, "groups_of_subjects").expand(animate=False)
    assert not child("groups_box/compare_groups").isEnabled()
    measure()  # S, into T.csv
    answers = read_json(folder / "T_answers.json")
    for name in ("C1", "C2"):
        (folder / f"{name}.csv").touch()
        (folder / f"{name}.ome.tiff").touch()
        write_json(
            folder / f"{name}_answers.json", answers | {"section": name, "subject": name}, overwrite=False
        )
    box = workspace.findChild(GroupsBox)
    box.tables.add(folder / "C1.csv", folder / "C2.csv")
    assert [path.name for path in box.tables.paths()] == ["T.csv", "C1.csv", "C2.csv"]
    cohort = folder / "cohort.csv"
    cohort.write_text(
        "path,subject,group\nS.ome.tiff,S,patient\nC1.ome.tiff,C1,control\nC2.ome.tiff,C2,control\n"
    )
    state.set_cohort(cohort)
    box.form.set_values({"figure": folder / "G.png"})
    child("groups_box/compare_groups").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    qtbot.wait(100)
    assert notifications == []
    told = child("groups_box/groups_say").text()
    says = child("groups_box/groups_say")
    view = child("relevance_panel").parentWidget()
    whole = min(says.height(), view.height())  # as much as fits is scrolled to, from its beginning
    qtbot.waitUntil(
        lambda: (seen := says.visibleRegion().boundingRect()).top() == 0 and seen.height() == whole
    )
    assert "2 control, 1 patient" in told
    assert "smallest p that they can give is 0.667" in told  # 2 of the 3 ways of choosing one of three
    assert "prove nothing" in told
    assert (folder / "relevance_groups.csv").is_file()
    assert (folder / "G.png").is_file()
