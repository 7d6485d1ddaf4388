"""The OXPHOS dock: measuring, calling, and fibres selected in the plot and in the image."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def panel(workspace):
    from napari_mitoxai.napari.oxphos_panel import OxphosPanel

    workspace.show_tab("OXPHOS")
    return workspace.findChild(OxphosPanel)


@pytest.fixture
def state(viewer, workspace):
    from napari_mitoxai.napari.state import state_of

    return state_of(viewer)


@pytest.fixture
def fibres(viewer, state, cohort, section_path):
    """The simulated patient with its true fibres as a layer."""
    from napari_mitoxai.imc import read_labels, read_section
    from napari_mitoxai.napari.layers import LayerFacts, channel_layers, fibre_layer

    section = read_section(section_path)
    for layer in channel_layers(section):
        state.add_layer(layer)
    path = cohort.parent / "fibres" / "P01.tiff"
    facts = LayerFacts("fibres", section.name, str(section.path), "fibres", source=str(path))
    return state.add_layer(fibre_layer(read_labels(path), facts, pixel_size_um=section.pixel_size_um))


def done(qtbot, state):
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=60_000)
    qtbot.wait(100)


@pytest.fixture
def called(qtbot, panel, state, fibres, tmp_path):
    """P01 measured, and called against a control made from it."""
    panel.measuring.set_values({"out": tmp_path / "P01.csv"})
    panel.findChild(object, "measure").click()
    done(qtbot, state)
    table = pd.read_csv(tmp_path / "P01.csv")
    rng = np.random.default_rng(0)
    control = table.assign(section="C01")
    for name in ("NDUFB8_mean", "VDAC1_mean"):
        control[name] = (control["VDAC1_mean"] + 1) * np.exp(rng.normal(0, 0.05, len(table)))
    control.to_csv(tmp_path / "C01.csv", index=False)
    panel.tables.add(tmp_path / "C01.csv")
    panel.calling.set_values({"out": tmp_path / "calls.csv", "proteins": ["NDUFB8"]})
    panel.findChild(object, "call").click()
    done(qtbot, state)
    return table


def test_measured_fibres_live_in_the_layer_in_the_colour_of_their_status(called, fibres, panel, tmp_path):
    features = fibres.features
    assert features["index"].tolist() == called["fibre"].tolist()
    np.testing.assert_allclose(features["NDUFB8_mean"], called["NDUFB8_mean"])
    kinds = {"deficient", "normal", "over-expressed", "not called", "not analysable"}
    assert set(features["NDUFB8_status"]) <= kinds
    apart = (features["class"] != "analysable") | features["near_empty"]
    assert (apart == (features["NDUFB8_status"] == "not analysable")).all()
    legend = panel._legend.findChild(object, "fibre_legend").text()
    assert "deficient" in legend
    assert "not analysable" in legend
    row = called.iloc[len(called) // 2]
    y, x = np.argwhere(np.asarray(fibres.data) == row["fibre"])[0]
    told = fibres.get_status((y * fibres.scale[0], x * fibres.scale[1]), world=True)
    assert "area_um2" in str(told)
    assert panel.tables.paths()[0].name == "P01.csv"

    from napari_mitoxai.figures.status import STATUS_COLOURS

    assert panel._colour.currentText() == "NDUFB8_status"
    for fibre, status in zip(fibres.features["index"], fibres.features["NDUFB8_status"], strict=True):
        expected = [int(STATUS_COLOURS[status][place : place + 2], 16) / 255 for place in (1, 3, 5)]
        np.testing.assert_allclose(fibres.colormap.map(fibre)[:3], expected, atol=0.01)
    for name in ("NDUFB8_z", "area_um2", "outlines"):
        panel._colour.setCurrentText(name)
        assert panel._colour.currentText() == name
    panel.save_plot(tmp_path / "p.pdf")
    assert (tmp_path / "p.pdf").read_bytes()[:4] == b"%PDF"
    panel._choose({("P01", int(called["fibre"][0]))})
    panel.save_selected(tmp_path / "s.csv")
    assert pd.read_csv(tmp_path / "s.csv")["fibre"].tolist() == [called["fibre"][0]]


def test_a_loop_or_a_click_in_the_plot_selects_fibres_in_the_image(called, fibres, panel):
    from napari_mitoxai.napari.fibre_table import SELECTED

    canvas = panel._canvas
    points = canvas.plot.fibres[["x", "y"]].to_numpy()
    middle = np.sort(points[:, 0])[len(points) // 2 - 1 : len(points) // 2 + 1].mean()
    low, high = points.min(0) - 1, points.max(0) + 1
    canvas.choose([(low[0], low[1]), (middle, low[1]), (middle, high[1]), (low[0], high[1])])
    inside = {
        int(fibre) for fibre, x in zip(canvas.plot.fibres["fibre"], points[:, 0], strict=True) if x < middle
    }
    assert {fibre for _, fibre in panel._chosen} == inside
    yellow = [int(SELECTED[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    shown = {
        int(each)
        for each in fibres.features["index"]
        if np.allclose(fibres.colormap.map(each)[:3], yellow, atol=0.01)
    }
    assert shown == inside
    assert len(canvas._marks.get_offsets()) == len(inside)
    point = canvas.plot.fibres[["x", "y"]].to_numpy()[3]
    canvas.choose([point, point])
    assert len(panel._chosen) == 1
    canvas.choose([point + 50, point + 50])
    assert panel._chosen == set()


class Click:
    type, button, modifiers, pos = "mouse_press", 1, (), (5, 5)

    def __init__(self, position, modifiers=()):
        self.position, self.modifiers = position, modifiers


def click(viewer, event):
    for callback in list(viewer.mouse_drag_callbacks):
        steps = callback(viewer, event)
        next(steps, None)
        event.type = "mouse_release"
        next(steps, None)


def test_a_click_on_a_fibre_marks_it_in_the_plot(called, fibres, panel, viewer):
    ids = called.loc[called["class"] == "analysable", "fibre"].tolist()[:2]
    places = [np.argwhere(np.asarray(fibres.data) == each)[0] * fibres.scale for each in ids]
    click(viewer, Click(tuple(places[0])))
    assert panel._chosen == {("P01", ids[0])}
    assert len(panel._canvas._marks.get_offsets()) == 1
    click(viewer, Click(tuple(places[1]), ("Shift",)))
    assert panel._chosen == {("P01", ids[0]), ("P01", ids[1])}
    fibres.mode = "paint"  # a click paints then
    viewer.layers.selection.active = fibres
    click(viewer, Click(tuple(places[0])))
    assert len(panel._chosen) == 2


def test_without_fibres_it_says_what_to_do(panel, viewer, state, section_path):
    assert "Open a section first" in panel._missing.text()
    assert not panel.findChild(object, "measure").isEnabled()
    assert not panel.findChild(object, "call").isEnabled()
