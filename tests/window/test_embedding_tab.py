"""The Embedding tab: laying out, a loop in the plot, the patches' pictures, and the way to their place and back."""

import numpy as np
import pytest


@pytest.fixture
def panel(workspace):
    from napari_mitoxai.napari.embedding_panel import EmbeddingPanel

    workspace.show_tab("Embedding")
    return workspace.findChild(EmbeddingPanel)


@pytest.fixture
def state(viewer, workspace):
    from napari_mitoxai.napari.state import state_of

    return state_of(viewer)


def done(qtbot, state):
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=120_000)
    qtbot.wait(100)


@pytest.fixture
def shown(qtbot, viewer, workspace, panel, state, cohort, run_folder, tmp_path):
    """P01 open, the cohort laid out by t-SNE."""
    from napari_mitoxai.napari.train_panel import TrainPanel

    assert "Train a model" in panel.findChild(object, "what_is_missing").text()
    viewer.open(str(cohort.parent / "P01.ome.tiff"), plugin="napari-mitoxai")
    state.set_cohort(cohort)
    workspace.findChild(TrainPanel).load(run_folder)
    done(qtbot, state)
    panel.form.set_values({"out": tmp_path / "E", "methods": ["tsne"], "neighbours": 5})
    panel.findChild(object, "embed").click()
    done(qtbot, state)
    return panel


def test_from_a_loop_to_the_place_and_back(qtbot, viewer, state, shown, notifications):
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QToolButton

    panel, canvas = shown, shown._canvas
    assert canvas.plots == [("tsne", "pixels"), ("tsne", "features")]
    assert "of the same subject" in panel.findChild(object, "embedding_says").text()
    # all of P01 is in the view: its patches are highlighted, and nobody else's
    qtbot.waitUntil(lambda: bool(panel.in_view()), timeout=5000)
    names = panel._patches["section"].to_numpy()
    assert set(names[panel.in_view()]) == {"P01"}
    # a real drag of the mouse around everything selects everything
    plot = ("tsne", "features")
    axes = canvas._axes[plot]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    canvas.choose(plot, [(left, low), (left, high), (right, high), (right, low)])
    assert len(panel._chosen) == len(names)
    done(qtbot, state)
    assert len(panel.gallery.findChildren(QToolButton)) == 16
    # a click on a point selects one, here of a section that is not open
    patch = int(np.flatnonzero(names == "C02")[0])
    from qtpy.QtCore import QPoint

    x, y = canvas.place_of(plot, patch)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=QPoint(round(x), round(y)))
    done(qtbot, state)
    chosen = panel._chosen
    assert len(chosen) == 1
    assert "1 patch" in panel.findChild(object, "patches_chosen").text()
    button = panel.gallery.findChild(QToolButton, f"patch_{chosen[0]}")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.wait(300)
    row = panel._patches.iloc[chosen[0]]
    assert state.section.name == row["section"]
    assert np.allclose(viewer.scene.camera.center[-2:], (row["y_px"] - 0.5, row["x_px"] - 0.5))
    # the picture is of that place
    seen = panel.in_view()
    assert chosen[0] in seen
    assert set(names[seen]) == {row["section"]}
    assert not [text for severity, text in notifications if severity == "error"]


def test_pictures_are_the_pixels_of_the_patch(shown):
    from napari_mitoxai.imc import read_section
    from napari_mitoxai.napari.patch_gallery import pictures_of

    place = shown.places([0])[0]
    (picture,) = pictures_of([place], lambda _: None, _Never())
    assert picture.shape == (128, 128, 3)
    section = read_section(place.address)
    membrane = next(i for i, channel in enumerate(section.panel) if str(channel.role) == "membrane")
    top, left = int(place.y_px) - 64, int(place.x_px) - 64
    counts = section.read([membrane], y=slice(top, top + 128), x=slice(left, left + 128))[0]
    assert (
        np.corrcoef(picture[..., 0].ravel(), np.minimum(counts, np.percentile(counts, 99)).ravel())[0, 1]
        > 0.8
    )


def test_an_embedding_is_opened_again_and_coloured(qtbot, state, shown, tmp_path):
    from qtpy.QtWidgets import QComboBox

    shown.open(tmp_path / "E")
    done(qtbot, state)
    box = shown.findChild(QComboBox, "embedding_colour")
    box.setCurrentText("group")
    labels = [text.get_text() for text in shown._canvas.figure.legends[0].get_texts()]
    assert labels[:2] == ["control", "patient"]
    assert shown.form.field("out").value().endswith("E_2")


class _Never:
    def check(self):
        pass
