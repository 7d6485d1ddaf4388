"""The report: one page with everything in it, which needs nothing else."""

import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_mitoxai import simulate
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.store import MapGrid, create_store
from napari_mitoxai.figures.report_page import ReportPart, ReportTable, report_html, shown
from napari_mitoxai.imc import write_section
from napari_mitoxai.tasks import figure, report
from napari_mitoxai.trust.recorded import RecordedScore, record_scores

SIZE = 128


class Page(HTMLParser):
    """Tags and their attributes, the text, and whether what was opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.opened == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"meta", "img"}:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of every kind that need no network; read only."""
    place = tmp_path_factory.mktemp("results")
    made = simulate.section("complex_i_loss", True, size=SIZE, seed=1)
    section = place / "P01.ome.tiff"
    write_section(section, made.counts, made.panel, pixel_size_um=1.0)
    info = {
        "section": {"name": "P01", "path": str(section), "subject": "P01", "shape": [10, SIZE, SIZE], "notes": []},
        "checkpoint": {"architecture": "resnet18", "classes": ["control", "patient"], "patch_size": SIZE},
        "target": "patient", "target_class": "patient", "use_of_subject": "test", "area": None, "fingerprint": "f1",
    }  # fmt: skip
    methods = {"cam": {"channels": ["all channels"], "signed": False, "title": "Grad-CAM"}}
    store = create_store(place / "P01.ome.zarr", MapGrid((SIZE, SIZE), 1, 1.0), methods, info)
    store.write_block("cam", (0, 0), np.ones((1, SIZE, SIZE), np.float32))
    store.complete({"call": "patient", "probability": {"patient": 0.8, "control": 0.2}, "patches": 1})
    score = RecordedScore("deletion", 0.41, 0.35, 0.48, 12, 0, "lower")
    record_scores(place / "P01.ome.zarr", "cam", [score], fails_sanity=True)
    figure.run(
        figure.FigureParameters(
            section=section, maps=place / "P01.ome.zarr", out=place / "fig" / "one.png", dpi=100
        )
    )
    run = place / "run"
    run.mkdir()
    call = {"subject": "P01", "group": "patient", "call": "control", "probability": 0.17, "patches": 48}
    metrics = {
        "subject_accuracy": 0.5, "confidence_interval": [0.09, 0.91], "subject_calls": [call], "notes": ["A note."],
        "patch_accuracy": 0.47, "split": {"train": ["C01"], "validation": [], "test": ["P01"]}, "optimistic": True,
    }  # fmt: skip
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "config.json").write_text(json.dumps({"task": "train", "parameters": {"epochs": 20}}))
    (run / "history.csv").write_text("epoch,train_loss\n1,0.5\n2,0.25\n")
    sweep = place / "sweep"
    sweep.mkdir()
    (sweep / "sweep.json").write_text('{"task": "sweep", "parameters": {"folds": 3}}')
    pd.DataFrame({"rank": [1], "channels": ["NDUFB8"], "subject_accuracy": [0.9]}).to_csv(sweep / "table.csv")
    answer = {
        "method": "cam",
        "question": "place",
        "sentence": "Most of all the <b>background</b>.",
        "values": {},
    }
    answers = {"section": "P01", "verdict": {}, "maps_fingerprint": "f1", "answers": [answer]}
    (place / "P01_answers.json").write_text(json.dumps(answers))
    fibres = {"section": "P01", "fibre": range(500), "mean": np.linspace(0, 1, 500)}
    pd.DataFrame(fibres).to_csv(place / "fibres.csv", index=False)
    rows = [("C", "D", "edge & co", m, 0.5) for m in ("rank_correlation_pixels", "ssim")]
    agreed = pd.DataFrame(rows, columns=["section", "method_a", "method_b", "measure", "value"])
    agreed.assign(channel="all channels", section="P01").to_csv(place / "agree.csv", index=False)
    Image.fromarray(np.zeros((20, 3000, 3), np.uint8)).save(place / "wide.png")
    (place / "notes.txt").write_text("not ours")
    return place


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    result = report.run(report.ReportParameters(paths=[folder], out=out, title="Everything <here>"))
    return result, Page(out.read_text(encoding="utf-8"))


def test_every_kind_of_result_is_in_it(page):
    result, seen = page
    assert result.notes == []
    assert result.parts == {
        "Sweep": 1, "Training run": 1, "Maps": 1, "Figure": 1, "Where relevance falls": 1, "Table": 2, "Picture": 1,
    }  # fmt: skip
    for told in (
        "Everything <here>", "called right: 50% (95 % interval 9% to 91%)", "these figures are optimistic", "A note.",
        "Grad-CAM fails the sanity check", "0.41 (0.35 to 0.48)", "deletion (lower is better; 12 patches)", "calls P01 patient",
        "Most of all the <b>background</b>.", "the first 12 of 500 rows", "fig/one.json", '"epochs": 20',
    ):  # fmt: skip
        assert told in seen.text, told
    # the loss, the maps, the figure, the agreement, the picture
    assert sum(tag == "img" for tag, _ in seen.tags) == 5


def test_it_opens_offline(page):
    _, seen = page
    assert not {tag for tag, _ in seen.tags} & {"script", "link", "iframe", "object", "embed", "form"}
    for tag, attributes in seen.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/" if tag == "img" else "#"), value
    anchors = {attributes["href"][1:] for tag, attributes in seen.tags if tag == "a"}
    assert anchors <= {attributes.get("id") for _, attributes in seen.tags}


def test_a_damaged_result_does_not_cost_the_others(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    (place / "wide.png").write_bytes(b"no picture")
    (place / "run" / "metrics.json").write_text("{")
    content = json.loads((place / "P01.ome.zarr" / "zarr.json").read_text())
    del content["attributes"]["mitoxai"]["verdict"]
    (place / "P01.ome.zarr" / "zarr.json").write_text(json.dumps(content))
    result = report.run(report.ReportParameters(paths=[place], out=tmp_path / "r.html"))
    assert len(result.notes) == 3
    assert "is not finished" in (tmp_path / "r.html").read_text()


def test_a_figure_that_was_changed_or_is_no_picture_is_told(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(place / "fig" / "one.png")
    out = tmp_path / "r.html"
    report.run(report.ReportParameters(paths=[place / "fig"], out=out))
    assert "one.png was changed after it was made" in out.read_text()
    (place / "fig" / "one.png").unlink()
    report.run(report.ReportParameters(paths=[place / "fig"], out=out, overwrite=True))
    assert "made again from its sidecar" in out.read_text()


def test_maps_without_their_section_are_told(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    content = json.loads((place / "P01.ome.zarr" / "zarr.json").read_text())
    content["attributes"]["mitoxai"]["section"]["path"] = str(tmp_path / "gone.ome.tiff")
    (place / "P01.ome.zarr" / "zarr.json").write_text(json.dumps(content))
    result = report.run(report.ReportParameters(paths=[place / "P01.ome.zarr"], out=tmp_path / "r.html"))
    assert result.parts == {"Maps": 1}
    assert "The maps are not drawn: " in (tmp_path / "r.html").read_text()


def test_what_cannot_be_reported(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for paths, out, sentence in (
        ([tmp_path / "none"], "r.html", "is not there"),
        ([tmp_path / "empty"], "r.html", "holds no run, maps, figure or table"),
        ([folder], "r.pdf", "does not end in .html"),
    ):
        with pytest.raises(MitoxaiError, match=sentence):
            report.run(report.ReportParameters(paths=paths, out=tmp_path / out))
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(MitoxaiError, match="exists already"):
        report.run(report.ReportParameters(paths=[folder], out=tmp_path / "r.html"))
    assert (tmp_path / "r.html").read_text() == "mine"


def test_cells_and_texts_are_safe():
    assert [shown(each) for each in (None, float("nan"), 0.00012345, -2.5, True, "a")] == [
        "–", "–", "0.0001234", "−2.5", "yes", "a",
    ]  # fmt: skip
    part = ReportPart(
        "Table", "<script>alert(1)</script>", tables=[ReportTable(["<i>"], [["</td><script>"]])]
    )
    page = report_html("t", [part], made="now", software={"napari-mitoxai": "0"})
    assert "<script" not in page
    assert "<i>" not in page
