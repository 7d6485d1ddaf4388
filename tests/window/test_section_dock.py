"""The Section dock: search, ticks, colours, roles, composites, contrast, acquisitions, panoramas, pyramids."""

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_mitoxai.imc import Channel, Panel, Role, parse_channel, read_panel, read_section, write_section
from napari_mitoxai.napari.channel_list import ChannelList
from napari_mitoxai.napari.open_sections import OpenSections
from napari_mitoxai.napari.section_panel import SectionPanel
from napari_mitoxai.napari.state import state_of


@pytest.fixture
def panel(workspace):
    return workspace.findChild(SectionPanel)


@pytest.fixture
def rows(workspace):
    """The rows of the list by target."""

    def find():
        channels = workspace.findChild(ChannelList)
        return {row.text(0).split()[0]: row for row in channels.rows()}

    return find


@pytest.fixture
def opened(viewer, workspace, section_path, qtbot):
    viewer.open(section_path, plugin="napari-mitoxai")
    qtbot.wait(50)
    return {layer.name.split(" / ")[1]: layer for layer in viewer.layers}


def stack(path, level, targets=("Dystrophin", "VDAC1", "NDUFB8"), size=64):
    counts = np.random.default_rng(level).poisson(level, (len(targets), size, size)).astype(np.uint16)
    return write_section(path, counts, Panel(tuple(parse_channel(target) for target in targets)))


# --- the list --------------------


def test_forty_channels_are_found_and_shown_on_demand(viewer, workspace, child, rows, tmp_path):
    counts = np.random.default_rng(0).poisson(2, (40, 128, 128)).astype(np.uint16)
    named = [parse_channel(target) for target in ("Dystrophin", "VDAC1", "NDUFB8")]
    panel = Panel((*named, *(Channel(f"P{index}", "Xe", 131) for index in range(37))))
    viewer.open(write_section(tmp_path / "forty.ome.tiff", counts, panel), plugin="napari-mitoxai")
    assert len(viewer.layers) == 3
    child("search").setText("p36 xe131")
    assert [name for name, row in rows().items() if not row.isHidden()] == ["P36"]
    child("search").setText("membrane")
    assert [name for name, row in rows().items() if not row.isHidden()] == ["Dystrophin"]
    child("search").clear()
    row = rows()["P36"]
    row.setCheckState(0, Qt.CheckState.Checked)
    assert viewer.layers[-1].name == "forty / P36"
    np.testing.assert_array_equal(np.asarray(viewer.layers[-1].data), counts[39])
    child("only_shown").setChecked(True)
    assert sorted(name for name, row in rows().items() if not row.isHidden()) == [
        "Dystrophin", "NDUFB8", "P36", "VDAC1",
    ]  # fmt: skip
    row.setCheckState(0, Qt.CheckState.Unchecked)
    assert not viewer.layers["forty / P36"].visible
    assert len(viewer.layers) == 4  # kept, to be back at once


def test_ticks_follow_the_layer_list(viewer, child, rows, opened):
    assert rows()["Dystrophin"].checkState(0) == Qt.CheckState.Checked
    opened["Dystrophin"].visible = False
    assert rows()["Dystrophin"].checkState(0) == Qt.CheckState.Unchecked
    viewer.layers.remove(opened["NDUFB8"])
    assert rows()["NDUFB8"].checkState(0) == Qt.CheckState.Unchecked
    assert "256 × 256 µm" in child("about").text()


def test_tooltips_say_where_a_name_was_found(rows, opened):
    assert "found in the file" in rows()["NDUFB8"].toolTip(0)
    assert "OME channel names" in rows()["NDUFB8"].toolTip(0)
    assert "160Gd" in rows()["NDUFB8"].toolTip(0)


def test_a_colour_belongs_to_the_target_and_is_remembered(
    viewer, panel, opened, section_path, tmp_path, qtbot
):
    panel.list.colour_chosen.emit(9, "#00ffaa")
    np.testing.assert_allclose(opened["Dystrophin"].colormap.colors[-1], [0, 1, 2 / 3, 1], atol=1e-6)
    viewer.open(stack(tmp_path / "other.ome.tiff", 3), plugin="napari-mitoxai")
    np.testing.assert_allclose(
        viewer.layers["other / Dystrophin"].colormap.colors[-1][:3], [0, 1, 2 / 3], atol=1e-6
    )
    kept = json.loads((tmp_path / "settings" / "channels.json").read_text())
    assert kept["colours"] == {"DYSTROPHIN": "#00ffaa"}


def test_a_role_is_changed_and_what_depends_on_it_follows(
    viewer, workspace, panel, child, rows, opened, tmp_path
):
    from napari_mitoxai.napari.display import kept_display
    from napari_mitoxai.napari.fibres_panel import FibresPanel

    index = state_of(viewer).section.panel.index("SDHA")
    menu = panel.list.role_menu(index)
    assert [action.text() for action in menu.actions() if action.isChecked()] == ["OXPHOS complex II"]
    next(action for action in menu.actions() if action.text() == "membrane").trigger()
    assert rows()["SDHA"].text(2) == "membrane"
    assert state_of(viewer).section.panel[index].role is Role.MEMBRANE
    assert "SDHA" in workspace.findChild(FibresPanel).form.values()["channels"]
    assert kept_display().roles == {"SDHA": Role.MEMBRANE}
    panel.save_panel(tmp_path / "panel.csv")
    saved = {channel.target: channel for channel in read_panel(tmp_path / "panel.csv").channels}
    assert saved["SDHA"].role is Role.MEMBRANE
    assert (saved["SDHA"].mass, saved["SDHA"].metal) == (153, "Eu")


# --- composites and contrast --------------------


def test_composites_show_their_channels_in_their_colours(viewer, child, opened, qtbot):
    child("composite_CIV").click()
    shown = {
        layer.name: tuple(layer.colormap.colors[-1][:3].round(2)) for layer in viewer.layers if layer.visible
    }
    assert set(shown) == {"P01 / Dystrophin", "P01 / TOM22", "P01 / COX4"}
    assert shown["P01 / COX4"][2] == 1.0
    child("composite_Papers").click()
    shown = {layer.name: tuple(layer.colormap.colors[-1][:3]) for layer in viewer.layers if layer.visible}
    assert shown == {"P01 / Dystrophin": (1, 0, 0), "P01 / TOM22": (0, 1, 0)}
    child("composite_OXPHOS").click()
    shown = [layer for layer in viewer.layers if layer.visible]
    full = sum(layer.opacity * np.asarray(layer.colormap.colors[-1][:3]) for layer in shown)
    assert len(shown) == 5
    assert full.max() == pytest.approx(1)  # all of them at full are white, not more


def test_percentiles_set_the_contrast_of_all_that_is_shown(viewer, child, opened, section_path, qtbot):
    counts = np.asarray(read_section(section_path).data)
    child("high_percentile").setValue(90)
    qtbot.waitUntil(lambda: opened["NDUFB8"].contrast_limits[1] == np.percentile(counts[2], 90), timeout=2000)
    qtbot.waitUntil(
        lambda: opened["Dystrophin"].contrast_limits[1] == np.percentile(counts[9], 90), timeout=5000
    )
    opened["Dystrophin"].contrast_limits = (0, 1000)
    child("auto_contrast").click()
    qtbot.waitUntil(
        lambda: opened["Dystrophin"].contrast_limits[1] == np.percentile(counts[9], 90), timeout=2000
    )


def test_the_same_contrast_in_all_sections(viewer, workspace, child, tmp_path, qtbot):
    """Two open sections and one of the cohort that is not open; limits are percentiles of all three together."""
    paths = [
        stack(tmp_path / f"{name}.ome.tiff", level) for name, level in (("C01", 20), ("P01", 4), ("P02", 50))
    ]
    table = tmp_path / "cohort.csv"
    table.write_text(
        "path,subject,group\nC01.ome.tiff,C01,control\nP01.ome.tiff,P01,patient\nP02.ome.tiff,P02,patient\n"
    )
    for path in paths[:2]:
        viewer.open(path, plugin="napari-mitoxai")
        qtbot.wait(50)
    state = state_of(viewer)
    state.set_cohort(table)
    first, second = viewer.layers["C01 / NDUFB8"], viewer.layers["P01 / NDUFB8"]
    assert tuple(first.contrast_limits) != tuple(second.contrast_limits)
    assert not first.visible  # sections lie at the same place: the one opened last is alone
    choice = child("same_contrast")
    choice.setCurrentIndex(1)
    choice.activated.emit(1)
    qtbot.waitUntil(lambda: not state.runner.busy and state.display.limits != {}, timeout=20_000)
    pooled = np.concatenate([np.asarray(read_section(path).data[2]).ravel() for path in paths])
    expected = np.percentile(pooled, (1, 99.7))
    np.testing.assert_allclose(first.contrast_limits, expected)
    np.testing.assert_allclose(second.contrast_limits, expected)
    second.contrast_limits = (1, 30)
    assert tuple(first.contrast_limits) == (1, 30)
    viewer.open(paths[2], plugin="napari-mitoxai")
    assert tuple(viewer.layers["P02 / NDUFB8"].contrast_limits) == (1, 30)


def test_arcsinh_changes_colours_and_not_counts(viewer, child, opened, section_path, qtbot):
    layer = opened["Dystrophin"]
    layer.contrast_limits = (0, 100)
    scale = child("scale")
    scale.setCurrentIndex(1)
    scale.activated.emit(1)
    red = layer.colormap.map(np.array([0.1]))[0][0] / layer.colormap.map(np.array([1.0]))[0][0]
    assert red == pytest.approx(np.arcsinh(10) / np.arcsinh(100), abs=0.01)
    layer.contrast_limits = (0, 10)  # the scale follows the limits
    red = layer.colormap.map(np.array([0.1]))[0][0] / layer.colormap.map(np.array([1.0]))[0][0]
    assert red == pytest.approx(np.arcsinh(1) / np.arcsinh(10), abs=0.01)
    np.testing.assert_array_equal(np.asarray(layer.data), np.asarray(read_section(section_path).data[9]))


# --- several sections, acquisitions --------------------


def test_flipping_between_sections_keeps_the_channels(viewer, workspace, child, tmp_path, qtbot):
    for name, level in (("C01", 20), ("P01", 4)):
        viewer.open(stack(tmp_path / f"{name}.ome.tiff", level), plugin="napari-mitoxai")
        qtbot.wait(50)
    viewer.layers["P01 / VDAC1"].visible = False
    workspace.findChild(OpenSections).look_at(str(tmp_path / "C01.ome.tiff"))
    assert {layer.name for layer in viewer.layers if layer.visible} == {"C01 / NDUFB8", "C01 / Dystrophin"}
    assert state_of(viewer).section.name == "C01"
    assert child("section_choice").currentText() == "C01"


@pytest.fixture
def slide(tmp_path):
    """An .mcd with two acquisitions and a panorama: the second acquisition begins 30 um right of and 20 um below its corner."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "imc"))
    from files import mcd

    counts = [np.random.default_rng(seed).poisson(5, (2, 20, 30)).astype(np.float32) for seed in range(2)]
    place = {
        "ROIStartXPosUm": 1030_000, "ROIStartYPosUm": 2080_000, "ROIEndXPosUm": 1090, "ROIEndYPosUm": 2040,
    }  # fmt: skip
    path = mcd(
        tmp_path / "slide.mcd", counts, [("Eu(153)", "SDHA"), ("Yb(176)", "Dystrophin")],
        picture=np.full((50, 100, 3), 90, np.uint8), changes=[(2, place)],
    )  # fmt: skip
    content = path.read_bytes()
    for index, (x, y) in enumerate([(1000, 2100), (1200, 2100), (1200, 2000), (1000, 2000)], start=1):
        for axis, value in (("X", x), ("Y", y)):
            old = f"<Slide{axis}{index}PosUm>{index if axis == 'X' else 0}</Slide{axis}{index}PosUm>"
            new = f"<Slide{axis}{index}PosUm>{value}</Slide{axis}{index}PosUm>"
            content = content.replace(old.encode("utf-16-le"), new.encode("utf-16-le"))
    path.write_bytes(content)
    return path, counts


def test_an_acquisition_is_chosen_and_lies_rightly_on_the_slide(viewer, workspace, child, slide, qtbot):
    path, counts = slide
    viewer.open(path, plugin="napari-mitoxai")
    qtbot.wait(50)
    choice = child("acquisition")
    assert choice.isVisible()
    assert [choice.itemText(index) for index in range(2)] == ["ROI_001 · 30 × 20 px", "ROI_002 · 30 × 20 px"]
    choice.setCurrentIndex(1)
    choice.activated.emit(1)
    state = state_of(viewer)
    assert str(state.section.address) == f"{path}#2"
    layer = viewer.layers["slide ROI_002 / Dystrophin"]
    np.testing.assert_array_equal(np.asarray(layer.data), counts[1][1])
    assert {each.name for each in viewer.layers if each.visible} == {
        f"slide ROI_002 / {name}" for name in ("SDHA", "Dystrophin")
    }
    child("panorama").click()
    picture = viewer.layers["slide ROI_002 / Overview"]
    assert viewer.layers.index(picture) == 0
    # two um a pixel; the corner of the acquisition's first pixel is one um off its centre
    np.testing.assert_allclose(picture.data_to_world((-0.5, -0.5)), (-20 - 1, -30 - 1))
    np.testing.assert_allclose(picture.data_to_world((49.5, 99.5)), (80 - 1, 170 - 1))


def test_every_task_reads_the_acquisition_in_use(slide, tmp_path):
    """What the window hands to a task, an address, opens just that acquisition; a real name with the sign stays what it is."""
    path, counts = slide
    np.testing.assert_array_equal(np.asarray(read_section(f"{path}#2").data), counts[1])
    np.testing.assert_array_equal(np.asarray(read_section(f"{path}#ROI_002").data), counts[1])
    plain = stack(tmp_path / "C#1.ome.tiff", 3)
    assert read_section(plain).address == plain.resolve()


# --- pyramids --------------------


@pytest.fixture
def costly(monkeypatch):
    """Sections of a thousand pixels count as large, and their overviews are small."""
    monkeypatch.setattr("napari_mitoxai.napari.pyramids._COSTLY", 2**20)
    monkeypatch.setattr("napari_mitoxai.napari.overview._SIDE", 600)


@pytest.fixture
def large(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.linspace(0.2, 4, 1100)[None, :, None], (3, 1100, 1200)).astype(np.uint16)
    panel = Panel(tuple(parse_channel(target) for target in ("Dystrophin", "VDAC1", "NDUFB8")))
    return write_section(tmp_path / "large.ome.tiff", counts, panel), counts


def test_a_pyramid_is_offered_made_used_and_made_anew(
    viewer, workspace, child, costly, large, qtbot, tmp_path, monkeypatch, notifications
):
    monkeypatch.setenv("MITOXAI_CACHE", str(tmp_path / "cache"))
    path, counts = large
    viewer.open(path, plugin="napari-mitoxai")
    layer = viewer.layers["large / NDUFB8"]
    assert child("pyramid_offer").isVisible()
    assert not (tmp_path / "cache").exists()  # asked first
    # an overview stands in for the coarser levels, and fills in the background
    qtbot.waitUntil(lambda: layer.data[-1].overview.finished, timeout=10_000)
    means = counts[2].reshape(550, 2, 600, 2).mean((1, 3))
    np.testing.assert_allclose(np.asarray(layer.data[-1]), means, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(layer.data[0]), counts[2])
    state = state_of(viewer)
    child("make_pyramid").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=30_000)
    assert notifications == []
    assert not child("pyramid_offer").isVisible()
    np.testing.assert_allclose(np.asarray(layer.data[1]), means, rtol=1e-6)
    assert len(state.section.coarser) == len(layer.data) - 1
    stores = list((tmp_path / "cache" / "pyramids").iterdir())
    assert len(stores) == 1
    viewer.layers.clear()
    viewer.open(path, plugin="napari-mitoxai")
    assert len(state.section.coarser) == 2  # the next opening uses it
    assert not child("pyramid_offer").isVisible()
    # another file in its place: the old pyramid is not its own
    viewer.layers.clear()
    write_section(path, counts + 1, read_section(path).panel, overwrite=True)
    viewer.open(path, plugin="napari-mitoxai")
    assert child("pyramid_offer").isVisible()
    child("make_pyramid").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=30_000)
    assert list((tmp_path / "cache" / "pyramids").iterdir()) != stores
    assert len(list((tmp_path / "cache" / "pyramids").iterdir())) == 1


def test_a_pyramid_that_is_cancelled_leaves_nothing_that_counts(
    viewer, workspace, child, costly, large, qtbot, tmp_path, monkeypatch
):
    from napari_mitoxai.common import Cancelled
    from napari_mitoxai.napari import pyramids

    monkeypatch.setenv("MITOXAI_CACHE", str(tmp_path / "cache"))

    class Soon:
        calls = 0

        def check(self):
            self.calls += 1
            if self.calls > 2:
                raise Cancelled

    section = read_section(large[0])
    with pytest.raises(Cancelled):
        pyramids.make_pyramid(section, cancel=Soon())
    assert pyramids.with_pyramid(section) is section
    assert len(pyramids.make_pyramid(section).coarser) == 2
    assert pyramids.kept_bytes() > 0
    pyramids.clear_pyramids()
    assert pyramids.kept_bytes() == 0
    assert pyramids.with_pyramid(section) is section


def test_a_small_section_from_afar_is_averaged_not_thinned_out(viewer, large, qtbot):
    """Every second pixel of counts with a mean of one varies as they do; the mean of four varies half as much."""
    viewer.open(large[0], plugin="napari-mitoxai")
    levels = viewer.layers["large / NDUFB8"].data
    np.testing.assert_allclose(
        np.asarray(levels[1]), large[1][2].reshape(550, 2, 600, 2).mean((1, 3)), rtol=1e-6
    )


def test_a_plane_in_one_piece_waits_for_its_copy(viewer, workspace, child, tmp_path, qtbot, monkeypatch):
    """Whatever moves the picture would decode all of it: until there is a copy in tiles the overview is shown."""
    import tifffile

    from napari_mitoxai.napari.contrast import limits_of

    monkeypatch.setattr("napari_mitoxai.napari.pyramids._COSTLY", 2**20)
    monkeypatch.setattr("napari_mitoxai.napari.pyramids._SLOW_PIECE", 2**20)
    monkeypatch.setattr("napari_mitoxai.napari.overview._SIDE", 600)
    counts = np.random.default_rng(0).poisson(9, (1, 1100, 1200)).astype(np.uint16)
    path = tmp_path / "strip.tiff"
    tifffile.imwrite(path, counts[0], compression="zlib", rowsperstrip=1100, photometric="minisblack")
    viewer.open(path, plugin="napari-mitoxai")
    layer = viewer.layers[0]
    qtbot.waitUntil(lambda: layer.data[-1].overview.finished, timeout=10_000)
    qtbot.waitUntil(lambda: not layer.metadata["mitoxai"]["provisional_contrast"], timeout=3000)
    means = counts[0].reshape(550, 2, 600, 2).mean((1, 3), dtype=np.float32)
    np.testing.assert_allclose(layer.contrast_limits, limits_of(means), rtol=1e-5)
    state = state_of(viewer)
    child("make_pyramid").click()
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=30_000)
    np.testing.assert_array_equal(np.asarray(layer.data[0]), counts[0])


def test_a_section_is_saved_with_the_names_of_a_panel(viewer, workspace, child, panel, tmp_path, qtbot):
    import tifffile

    counts = np.random.default_rng(0).poisson(4, (2, 64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "nameless.tiff", counts, photometric="minisblack")
    (tmp_path / "names.csv").write_text("channel,name,role\n,SDHA,\n,Spectrin,membrane\n")
    viewer.open(tmp_path / "nameless.tiff", plugin="napari-mitoxai")
    from napari_mitoxai.napari.convert_box import ConvertBox

    box = workspace.findChild(ConvertBox)
    box.form.set_values({"panel": tmp_path / "names.csv", "out": tmp_path / "named.ome.zarr"})
    child("convert").click()
    state = state_of(viewer)
    qtbot.waitUntil(lambda: not state.runner.busy, timeout=20_000)
    qtbot.waitUntil(lambda: state.section.name == "named", timeout=5000)
    assert [(channel.target, channel.role) for channel in state.section.panel] == [
        ("SDHA", Role.COMPLEX_II), ("Spectrin", Role.MEMBRANE),
    ]  # fmt: skip
