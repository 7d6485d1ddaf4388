"""The Concepts tab: fibres and shapes are named, kept, and tested on the model in use; the blend over the section."""

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.cohort.concepts import read_concepts
from napari_mitoxai.napari.concept_places import fibre_places, shape_places
from napari_mitoxai.napari.concepts_panel import ConceptsPanel
from napari_mitoxai.napari.fibre_table import note_selected, put_table
from napari_mitoxai.napari.layers import LayerFacts, fibre_layer
from napari_mitoxai.napari.runs import load_run
from napari_mitoxai.napari.state import state_of


@pytest.fixture
def state(viewer):
    return state_of(viewer)


@pytest.fixture
def panel(workspace, viewer, state, section_path):
    """The tab with an open section and its true fibres, measured."""
    viewer.open(str(section_path), plugin="napari-mitoxai")
    section = state.section
    from napari_mitoxai.imc import read_labels

    labels = read_labels(section_path.parent / "fibres" / "P01.tiff")
    facts = LayerFacts("fibres", section.name, str(section.address), "fibres")
    layer = state.add_layer(fibre_layer(labels, facts, pixel_size_um=section.pixel_size_um))
    ids = np.unique(labels)[1:]
    put_table(layer, pd.DataFrame({"fibre": ids, "NDUFB8_z": np.where(np.arange(len(ids)) % 2, -4.0, 0.0)}))
    workspace.show_tab("Concepts")
    return workspace.findChild(ConceptsPanel)


@pytest.fixture
def press(child, state, qtbot, notifications):
    """Press a button and wait until what it starts is done; the errors told meanwhile."""

    def pressed(name):
        assert child(name).isEnabled()
        before = len(notifications)
        child(name).click()
        qtbot.waitUntil(lambda: not state.runner.busy, timeout=300_000)
        return [text for severity, text in notifications[before:] if severity == "error"]

    return pressed


def layer_of(state):
    return state.layers_of(state.section, "fibres")["fibres"]


def test_fibres_and_shapes_become_a_set(panel, child, press, state, viewer, tmp_path):
    assert press("add_where") == ["The concept has no name: write one first, as ragged red."]
    child("concept_name").setCurrentText("deficient")
    child("concept_where").setText("NDUFB8_z < -3")
    assert press("add_where") == []
    features = layer_of(state).features
    assert len(panel.examples) == (features["NDUFB8_z"] < -3).sum()
    assert "deficient is from P01 only" in child("concept_remarks").text()

    child("concept_name").setCurrentText("chosen")
    assert "No fibre is selected" in press("add_selected")[0]
    fibres = [int(fibre) for fibre in features["index"][:2]]
    note_selected(layer_of(state), fibres)
    assert press("add_selected") == []
    assert [each.source for each in panel.examples if each.concept == "chosen"] == [
        f"fibre {fibre}" for fibre in fibres
    ]
    assert "share patches" in child("concept_remarks").text()
    assert press("add_selected") == []  # nothing is added twice
    assert sum(each.concept == "chosen" for each in panel.examples) == 2

    child("concept_name").setCurrentText("drawn")
    press("draw_concept")
    shapes = viewer.layers[-1]
    pixel = state.section.pixel_size_um
    shapes.add_rectangles([[100, 100], [140, 140]])
    assert press("add_shapes") == []
    drawn = [each for each in panel.examples if each.concept == "drawn"]
    assert [(each.y_px, each.x_px) for each in drawn] == [(120.0 / 1, 120.0 / 1)]
    assert pixel == 1
    assert "in the set already" in press("add_shapes")[0]
    shapes.add_rectangles([[30, 30], [60, 60]])
    assert press("add_shapes") == []
    assert sum(each.concept == "drawn" for each in panel.examples) == 2
    child("concept_list").topLevelItem(2).setSelected(True)
    assert press("remove_concept") == []
    assert press("add_shapes") == []  # the shapes of a removed concept can be named again
    assert sum(each.concept == "drawn" for each in panel.examples) == 2
    points = next(layer for layer in viewer.layers if layer.name.endswith("concepts"))
    assert len(points.data) == len(panel.examples)

    panel.form.set_values({"out": tmp_path / "concepts.csv", "patch_size": 64})
    assert press("save_concepts") == []
    assert panel.saved() == tmp_path / "concepts.csv"
    assert read_concepts(tmp_path / "concepts.csv") == panel.examples
    item = child("concept_list").topLevelItem(2)
    item.setSelected(True)
    assert press("remove_concept") == []
    assert {each.concept for each in panel.examples} == {"deficient", "chosen"}
    assert press("save_concepts") == []  # its own file is replaced
    assert len(read_concepts(tmp_path / "concepts.csv")) == len(panel.examples)


def test_a_set_is_tested_on_the_model_in_use(panel, child, press, state, run_folder, cohort, tmp_path, qtbot):
    child("concept_name").setCurrentText("deficient")
    child("concept_where").setText("NDUFB8_z < -3")
    press("add_where")
    loaded = []
    state.runner.run(
        "Loading", lambda progress, cancel: load_run(run_folder, progress, cancel), on_done=loaded.append
    )
    qtbot.waitUntil(lambda: bool(loaded), timeout=300_000)
    state.set_run(loaded[0])
    assert child("concept_test_box").isEnabled()
    panel.test.form.set_values(
        {
            "out": tmp_path / "test",
            "draws": 19,
            "most_examples": 5,
            "most_patches": 4,
            "layers": ["layer4"],
            "cohort": cohort,
        }
    )
    assert "Save the set first" in press("test_concepts")[0]
    panel.form.set_values({"out": tmp_path / "concepts.csv"})
    assert press("save_concepts") == []
    assert press("test_concepts") == []
    assert "layer4" in child("concepts_found").text()
    assert (tmp_path / "test" / "tcav.csv").exists()


def test_places_by_hand():
    labels = np.zeros((10, 12), int)
    labels[2:5, 4:9] = 7
    assert fibre_places(labels, [7, 3]) == {7: (3.0, 6.0)}
    square = np.array([[0, 0], [0, 100], [100, 100], [100, 0]], float)
    assert shape_places(square, 200) == [(50, 50)]
    assert len(shape_places(square, 40)) == 9
    bent = np.array([[0, 0], [0, 90], [10, 90], [10, 10], [90, 10], [90, 0]], float)
    assert len(shape_places(bent, 400)) == 1
