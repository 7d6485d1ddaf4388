"""A model with axes of concepts is read out in the window: numbers, overlays over the section, patches to click on."""

import numpy as np
import pytest
from qtpy.QtWidgets import QToolButton

from napari_mitoxai.napari.concepts_panel import ConceptsPanel
from napari_mitoxai.napari.runs import load_run
from napari_mitoxai.napari.state import state_of


@pytest.fixture(scope="module")
def run_with_axes(cohort, tmp_path_factory):
    """A ResNet18 trained for an epoch towards two concepts, P02 held out."""
    from napari_mitoxai.cohort import ConceptExample, read_cohort, write_concepts
    from napari_mitoxai.napari.libraries import keep_llvms_apart
    from napari_mitoxai.tasks.train import TrainParameters, run

    keep_llvms_apart()
    folder = tmp_path_factory.mktemp("axes")
    examples = [
        ConceptExample(concept, member.address, member.subject, y, x)
        for member in read_cohort(cohort).members
        for concept, y in (("upper", 70), ("lower", 180))
        for x in (70, 130, 190)
    ]
    return run(
        TrainParameters(
            cohort=cohort, out=folder / "run", epochs=1, patch_size=128, input_size=32, batch_size=16, hold_out=["P02"],
            concepts=write_concepts(folder / "concepts.csv", examples), whitened_layers=["layer1.1.bn1"], concept_every=1,
        )
    ).run  # fmt: skip


def test_the_axes_of_the_model_are_read_out(
    viewer, workspace, child, run_with_axes, section_path, tmp_path, qtbot, notifications
):
    state = state_of(viewer)
    workspace.show_tab("Concepts")
    box = workspace.findChild(ConceptsPanel).readout
    assert not box.form.isVisibleTo(box)
    viewer.open(str(section_path), plugin="napari-mitoxai")
    loaded = []
    state.runner.run(
        "Loading", lambda progress, cancel: load_run(run_with_axes, progress, cancel), on_done=loaded.append
    )
    qtbot.waitUntil(lambda: bool(loaded), timeout=300_000)
    state.set_run(loaded[0])
    assert box.form.isVisibleTo(box)
    summary = child("train_panel/run_summary").text()
    assert all(told in summary for told in ("axis of", "layer1.1.bn1", "upper"))
    child("concept_readout").expand(animate=False)
    box.form.set_values({"out": tmp_path / "axes", "top": 6})
    child("read_concepts_out").click()
    qtbot.waitUntil(lambda: len(box.gallery.findChildren(QToolButton)) == 6, timeout=300_000)
    assert "upper" in child("axes_found").text()
    names = [layer.name for layer in viewer.layers]
    assert any("upper in layer1.1.bn1" in name or "upper_layer1_1_bn1" in name for name in names), names
    before = viewer.scene.camera.center if hasattr(viewer, "scene") else viewer.camera.center
    box.gallery.findChildren(QToolButton)[0].click()
    qtbot.wait(300)
    after = viewer.scene.camera.center if hasattr(viewer, "scene") else viewer.camera.center
    assert not np.allclose(before, after)
    assert not [text for severity, text in notifications if severity == "error"]
