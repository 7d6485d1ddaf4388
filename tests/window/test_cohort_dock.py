"""The Cohort tab with real widgets: what it lists, editing, saving, opening, and training on what was edited."""

import shutil

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_mitoxai.cohort import read_cohort, read_table
from napari_mitoxai.imc import Panel, parse_channel, write_section
from napari_mitoxai.napari.cohort_panel import CohortPanel
from napari_mitoxai.napari.state import state_of

_SUBJECT, _GROUP, _SECTION, _PATCHES, _MISSING = range(5)


@pytest.fixture
def study(cohort, tmp_path):
    """Two controls, and patients of whom one is broken, one is another's copy, and one lacks a channel."""
    folder = tmp_path / "study"
    for group, names in (("controls", ("C01", "C02")), ("patients", ("P01", "P02"))):
        (folder / group).mkdir(parents=True)
        for name in names:
            shutil.copy(cohort.parent / f"{name}.ome.tiff", folder / group)
    shutil.copy(folder / "patients" / "P02.ome.tiff", folder / "patients" / "P03.ome.tiff")
    content = (folder / "patients" / "P01.ome.tiff").read_bytes()
    (folder / "patients" / "P04.ome.tiff").write_bytes(content[: len(content) // 2])
    counts = np.random.default_rng(0).poisson(3, (2, 256, 256)).astype(np.uint16)
    write_section(
        folder / "patients" / "P05.ome.tiff", counts, Panel((parse_channel("SDHA"), parse_channel("NDUFB8")))
    )
    return folder


@pytest.fixture
def panel(workspace):
    workspace.show_tab("Cohort")
    return workspace.findChild(CohortPanel)


@pytest.fixture
def save_as(monkeypatch):
    """Answer the dialog that asks for a name; what it suggested is kept."""
    suggested = []

    def answer(path):
        def ask(parent, title, place, filters):
            suggested.append(place)
            return str(path), filters

        monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
        return suggested

    return answer


def listed(panel, child, qtbot, path, **values):
    panel.form.set_values({"path": path, "patch_size": 128, **values})
    child("list").click()
    qtbot.waitUntil(lambda: not panel._state.runner.busy, timeout=60_000)
    return panel.table


def texts(table, column):
    return [table.item(row, column).text() for row in range(table.rowCount())]


def ticked(table):
    items = [table.item(row, _SUBJECT) for row in range(table.rowCount())]
    return [item.text() for item in items if item.checkState() == Qt.CheckState.Checked]


def test_a_folder_is_listed_with_all_that_is_odd(panel, child, qtbot, study, notifications):
    table = listed(panel, child, qtbot, study)
    assert texts(table, _SUBJECT) == ["C01", "C02", "P01", "P02", "P03", "P04", "P05"]
    assert texts(table, _GROUP) == ["control"] * 2 + ["patient"] * 5
    patches = texts(table, _PATCHES)
    assert patches[5] == ""
    assert all(int(each) > 0 for each in patches[:5])
    assert texts(table, _MISSING)[4:] == ["", "broken", "8 channels"]
    assert "TOM22" in table.item(6, _MISSING).toolTip()
    assert ticked(table) == ["C01", "C02", "P01", "P02", "P03", "P05"]  # the broken one is left out
    remarks = child("cohort_remarks").text()
    assert "P04.ome.tiff</b>" in remarks
    assert "copy it again" in remarks
    assert "P02.ome.tiff of P02 and P03.ome.tiff of P03 are identical in every channel" in remarks
    about = child("cohort_about").text()
    assert "6 sections of 6 subjects" in about
    assert "2 control, 4 patient" in about
    assert "2 channels in every section" in about
    assert notifications == []
    # one person under one name: the copy is told of as such
    table.item(4, _SUBJECT).setText("P02")
    assert "P03.ome.tiff adds nothing" in child("cohort_remarks").text()


def test_edits_are_saved_and_trained_on(panel, child, qtbot, study, save_as, notifications, tmp_path):
    table = listed(panel, child, qtbot, study)
    table.item(4, _SUBJECT).setCheckState(Qt.CheckState.Unchecked)
    table.item(6, _SUBJECT).setCheckState(Qt.CheckState.Unchecked)
    table.item(2, _GROUP).setText("MELAS")
    suggested = save_as(study / "cohort")  # the ending is added
    child("use_cohort").click()
    assert suggested == [str(study / "cohort.csv")]
    cohort = read_cohort(study / "cohort.csv")
    assert cohort.groups == {"C01": "control", "C02": "control", "P01": "MELAS", "P02": "patient"}
    rows = read_table(study / "cohort.csv")
    assert [row.subject for row in rows if not row.include] == ["P03", "P04", "P05"]
    assert child("train_panel/cohort").text() == str(study / "cohort.csv")
    assert "4 sections of 4 subjects: 2 control, 1 MELAS, 1 patient" in child("cohort_says").text()
    assert child("train").isEnabled()
    assert child("train_panel/patch_size").value() == 128
    assert [text for severity, text in notifications if severity == "error"] == []
    # changed again under the same name: Train follows
    table.item(2, _GROUP).setText("patient")
    save_as(study / "cohort.csv")
    child("use_cohort").click()
    assert "2 control, 2 patient" in child("cohort_says").text()
    # and the folder is its table from now on
    listed(panel, child, qtbot, study)
    assert ticked(table) == ["C01", "C02", "P01", "P02"]


def test_a_cohort_that_cannot_be_trained_on_says_why(
    panel, child, qtbot, study, save_as, notifications, tmp_path
):
    table = listed(panel, child, qtbot, study)
    table.selectAll()
    child("group_choice").setCurrentText("patient")
    child("set_group").click()
    assert set(texts(table, _GROUP)) == {"patient"}
    save_as(tmp_path / "all.csv")
    child("use_cohort").click()
    assert "all.csv has the group patient only" in notifications[-1][1]
    assert child("train_panel/cohort").text() == ""


def test_nothing_is_lost_without_being_asked(panel, child, qtbot, study, save_as, monkeypatch, tmp_path):
    table = listed(panel, child, qtbot, study, quick=True)
    assert set(texts(table, _PATCHES)) == {""}
    table.item(0, _GROUP).setText("carrier")
    asked = []

    def refuse(*arguments):
        asked.append(arguments)
        return QMessageBox.StandardButton.Cancel

    monkeypatch.setattr(QMessageBox, "question", refuse)
    child("list").click()
    assert len(asked) == 1
    assert texts(table, _GROUP)[0] == "carrier"
    # counting keeps what was changed
    child("count").click()
    qtbot.waitUntil(lambda: not panel._state.runner.busy, timeout=60_000)
    assert texts(table, _GROUP)[0] == "carrier"
    first = int(texts(table, _PATCHES)[0])
    panel.form.set_values({"patch_size": 64})
    child("count").click()
    qtbot.waitUntil(lambda: not panel._state.runner.busy, timeout=60_000)
    assert int(texts(table, _PATCHES)[0]) > first
    # a name to which the dialog did not refer is not overwritten
    (tmp_path / "kept.csv").write_text("mine")
    save_as(tmp_path / "kept")
    child("save_table").click()
    assert (tmp_path / "kept.csv").read_text() == "mine"
    # a dialog that is closed changes nothing
    save_as("")
    child("save_table").click()
    assert "not saved yet" in child("cohort_about").text()


def test_changes_that_were_never_saved_are_offered_again(
    panel, child, qtbot, study, viewer, workspace, monkeypatch, save_as
):
    asked = []

    def answer(value):
        monkeypatch.setattr(QMessageBox, "question", lambda *arguments: asked.append(arguments) or value)

    table = listed(panel, child, qtbot, study, quick=True)
    table.item(0, _GROUP).setText("carrier")
    table.item(1, _SUBJECT).setCheckState(Qt.CheckState.Unchecked)
    # the window closes, and the study is listed in another one
    other = CohortPanel(state_of(viewer))
    qtbot.addWidget(other)
    other.form.set_values({"path": study, "quick": True})
    answer(QMessageBox.StandardButton.Yes)
    other._start()
    qtbot.waitUntil(lambda: not other._state.runner.busy, timeout=60_000)
    assert len(asked) == 1
    assert texts(other.table, _GROUP)[0] == "carrier"
    assert ticked(other.table) == ["C01", "P01", "P02", "P03", "P05"]
    assert "not saved yet" in other._about.text()
    # once they are saved nobody is asked again
    save_as(study / "cohort.csv")
    assert other.save()
    other._start()
    qtbot.waitUntil(lambda: not other._state.runner.busy, timeout=60_000)
    assert len(asked) == 1
    assert texts(other.table, _GROUP)[0] == "carrier"


def test_a_double_click_opens_the_section(panel, child, qtbot, study, viewer, notifications):
    table = listed(panel, child, qtbot, study, quick=True)
    place = table.visualItemRect(table.item(2, _SECTION)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert "P01 / NDUFB8" in viewer.layers
    assert state_of(viewer).section.name == "P01"
    table.opened.emit(5)
    assert len(notifications) == 1
    assert "P04.ome.tiff" in notifications[0][1]


def test_cancel_keeps_what_was_listed(panel, child, qtbot, study, monkeypatch):
    from napari_mitoxai.cohort import survey

    original = survey.read_pixels

    def cancelled_after_the_first(section, cancel):
        found = original(section, cancel)
        cancel.cancel()
        return found

    monkeypatch.setattr(survey, "read_pixels", cancelled_after_the_first)
    table = listed(panel, child, qtbot, study)
    patches = texts(table, _PATCHES)
    assert patches[0] != ""
    assert set(patches[1:]) == {""}
    assert table.rowCount() == 7
    monkeypatch.setattr(survey, "read_pixels", original)
    child("count").click()
    qtbot.waitUntil(lambda: not panel._state.runner.busy, timeout=60_000)
    assert [row for row, each in enumerate(texts(table, _PATCHES)) if not each] == [5]


def test_a_cohort_from_elsewhere_can_be_listed(panel, child, qtbot, cohort, viewer):
    state_of(viewer).set_cohort(cohort)
    assert child("cohort_panel/path").text() == str(cohort)
    table = listed(panel, child, qtbot, cohort)
    assert len(ticked(table)) == 4
    assert "in cohort.csv" in child("cohort_about").text()


def test_a_folder_is_not_walked_while_it_is_typed(child, study):
    child("train_panel/cohort").setText(str(study))
    assert "list it under Cohort" in child("cohort_says").text()
    assert not child("train").isEnabled()
