"""What is done with the widgets is saved as a file, and comes out the same without a window."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image


@pytest.fixture
def state(viewer, workspace):
    from napari_mitoxai.napari.state import state_of

    return state_of(viewer)


def done(qtbot, state):
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=120_000)
    qtbot.wait(100)


def press(qtbot, state, panel, name):
    panel.findChild(object, name).click()
    done(qtbot, state)


def test_a_session_is_saved_and_repeated(qtbot, viewer, workspace, state, child, cohort, run_folder, tmp_path, notifications):  # fmt: skip
    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.imc import read_labels, read_section, write_section
    from napari_mitoxai.napari.explain_panel import ExplainPanel
    from napari_mitoxai.napari.fibres_panel import FibresPanel
    from napari_mitoxai.napari.figure_panel import FigurePanel
    from napari_mitoxai.napari.oxphos_panel import OxphosPanel
    from napari_mitoxai.napari.recorder import SaveButton
    from napari_mitoxai.napari.relevance_panel import RelevancePanel
    from napari_mitoxai.napari.train_panel import TrainPanel
    from napari_mitoxai.tasks.analysis import AnalysisParameters, run

    save = workspace.findChild(SaveButton)
    assert save.isHidden()
    opened = read_section(cohort.parent / "P02.ome.tiff")
    path = write_section(tmp_path / "P02.ome.tiff", opened.read(), opened.panel)
    viewer.open(str(path), plugin="napari-mitoxai")
    workspace.findChild(TrainPanel).load(run_folder)
    done(qtbot, state)
    explain = workspace.findChild(ExplainPanel)
    explain.form.set_values({"methods": ["grad_cam", "gradient"], "out": tmp_path / "maps.ome.zarr"})
    child("explain_panel/area").setCurrentIndex(2)  # what is drawn
    layer = viewer.add_shapes(name="part")
    layer.add_polygons([[20.25, 30.5], [20.25, 200.75], [210.5, 180.125]])
    press(qtbot, state, explain, "explain")
    fibres = workspace.findChild(FibresPanel)
    fibres.form.set_values({"out": tmp_path / "fibres.tiff"})
    press(qtbot, state, fibres, "segment")
    oxphos = workspace.findChild(OxphosPanel)
    oxphos.measuring.set_values({"out": tmp_path / "fibres.csv"})
    press(qtbot, state, oxphos, "measure")
    relevance = workspace.findChild(RelevancePanel)
    relevance.form.set_values({"out": tmp_path / "relevance.csv"})
    press(qtbot, state, relevance, "measure_relevance")
    workspace.show_tab("Figure")
    figure = workspace.findChild(FigurePanel)
    figure.out.set_value(tmp_path / "figure")
    qtbot.waitUntil(lambda: figure.preview.pixels is not None and not state.runner.busy, timeout=60_000)
    press(qtbot, state, figure, "save_figure")
    workspace.show_tab("Section")
    assert not save.isHidden()
    assert "explain, segment, measure, measure, draw" in save.toolTip()
    save.save(tmp_path / "analysis.yaml")
    done(qtbot, state)
    content = yaml.safe_load((tmp_path / "analysis.yaml").read_text())
    assert [step["task"] for step in content["steps"]] == ["explain", "segment", "measure", "measure", "draw"]
    assert content["steps"][0]["parameters"]["shapes"] == "maps_part.csv"
    assert "notes" not in content
    assert any(name.endswith("P02.ome.tiff") for name in content["inputs"])

    again = tmp_path / "again"
    run(AnalysisParameters(file=tmp_path / "analysis.yaml", out_root=again))
    first, second = open_maps(tmp_path / "maps.ome.zarr"), open_maps(again / "maps.ome.zarr")
    for method in ("grad_cam", "gradient"):
        one, other = first.read(method), second.read(method)
        # the window computes what is on the screen first: sums of the same numbers in another order
        assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()
        assert np.array_equal(one != 0, other != 0)
    assert first.info["verdict"] == second.info["verdict"]
    assert np.array_equal(read_labels(tmp_path / "fibres.tiff"), read_labels(again / "fibres.tiff"))
    assert (again / "fibres.csv").read_bytes() == (tmp_path / "fibres.csv").read_bytes()
    for name in ("relevance.csv", "relevance_relevance.csv"):
        one, other = pd.read_csv(tmp_path / name), pd.read_csv(again / name)
        pd.testing.assert_frame_equal(one, other, rtol=1e-4, atol=1e-6)
    one, other = (np.asarray(Image.open(folder / "figure.png"), int) for folder in (tmp_path, again))
    assert np.abs(one - other).max() <= 3
    assert (again / "figure.pdf").is_file()
    assert not [text for severity, text in notifications if severity == "error"]

    # fibres that were changed by hand and not saved: the file says what it cannot promise
    labels = next(layer for layer in viewer.layers if layer.name.endswith("/ fibres"))
    labels.data[labels.data == labels.data.max()] = 0
    labels.refresh()
    oxphos.measuring.set_values({"out": tmp_path / "edited.csv"})
    press(qtbot, state, oxphos, "measure")
    save.save(tmp_path / "edited.yaml")
    done(qtbot, state)
    (note,) = yaml.safe_load((tmp_path / "edited.yaml").read_text())["notes"]
    assert "save the labels and do this step again" in note
    assert any("save the labels" in text for severity, text in notifications if severity == "warning")


def test_what_failed_or_was_cancelled_is_not_in_it(qtbot, viewer, workspace, state, section_path, tmp_path):
    from napari_mitoxai.napari.fibres_panel import FibresPanel
    from napari_mitoxai.tasks.segment import SegmentParameters

    viewer.open(str(section_path), plugin="napari-mitoxai")
    panel = workspace.findChild(FibresPanel)
    (tmp_path / "there.tiff").write_bytes(b"mine")
    panel.form.set_values({"out": tmp_path / "there.tiff"})
    press(qtbot, state, panel, "segment")
    assert state.recorder.steps == []
    step = SegmentParameters(section=section_path, out=tmp_path / "x.tiff")

    def stopped(progress, cancel):
        state.runner.cancel()
        cancel.cancel()
        cancel.check()

    state.runner.run("Nothing", stopped, step=step)
    done(qtbot, state)
    assert state.recorder.steps == []
