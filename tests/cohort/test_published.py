"""Downloading published sections: from a server on this machine, and what happens where something is wrong."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_mitoxai.cohort import published, read_cohort
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.imc import read_section


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_sections_come_as_counts_with_a_table_and_the_licence(small_published, tmp_path):
    counts, _, asked = small_published
    heard = []
    table = published.download(tmp_path / "out", progress=heard.append)
    cohort = read_cohort(table)
    assert cohort.groups == {"C01": "control", "P09": "patient"}
    for member in cohort.members:
        section = member.read()
        np.testing.assert_array_equal(section.read(), counts[member.subject])
        assert section.panel.targets[:2] == ["SDHA", "TOM22"]
        assert section.panel[0].label == "SDHA (153Eu)"
    assert len(asked) == 20
    assert "%20SDHA.jpg" in asked[0]
    assert "Permission is hereby granted" in (tmp_path / "out" / "README.txt").read_text()
    assert not (tmp_path / "out" / ".download").exists()
    done = [progress.done for progress in heard]
    assert done == sorted(done)
    assert (heard[-1].done, heard[-1].total) == (20, 20)
    # nothing is asked for twice
    assert published.download(tmp_path / "out") == table
    assert len(asked) == 20


def test_a_changed_file_is_refused_and_not_kept(small_published, tmp_path):
    path = next((small_published[1] / "controls" / "C01").glob("*SDHA.jpg"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(
        MitoxaiError, match=r"SDHA\.jpg as downloaded .* is not the published file .its SHA-256"
    ):
        published.download(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.jpg"))
    assert not list((tmp_path / "out").rglob("*.tiff"))


def test_a_changed_picture_is_refused_where_only_its_counts_are_known(small_published, tmp_path, monkeypatch):
    sections = {
        name: published._Published(each.folder, each.group, each.levels, each.counts)
        for name, each in published.SECTIONS.items()
    }
    monkeypatch.setattr(published, "SECTIONS", sections)
    path = next((small_published[1] / "patients" / "P09").glob("*COX4.jpg"))
    good = path.read_bytes()
    Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path)
    with pytest.raises(MitoxaiError, match="P09 as downloaded is not the published section"):
        published.download(tmp_path / "out")
    assert not (tmp_path / "out" / "P09.ome.tiff").exists()
    # the finished section was kept; all files of the other are asked for again
    path.write_bytes(good)
    before = len(small_published[2])
    published.download(tmp_path / "out")
    assert len(small_published[2]) == before + 10
    # what is no picture at all
    path.write_bytes(b"no picture")
    with pytest.raises(MitoxaiError, match="P09 as downloaded is not readable"):
        published.download(tmp_path / "again")


def test_offline_and_a_missing_file_are_one_sentence(small_published, tmp_path, monkeypatch):
    next((small_published[1] / "controls" / "C01").glob("*TOM22.jpg")).unlink()
    with pytest.raises(
        MitoxaiError, match=r"does not have .*TOM22\.jpg .it answered 404.: try again later\.$"
    ):
        published.download(tmp_path / "out")
    monkeypatch.setattr(published, "ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(
        MitoxaiError, match=r"there is no connection to 127\.0\.0\.1:9: connect to the internet"
    ):
        published.download(tmp_path / "other")


def test_a_stopped_download_goes_on(small_published, tmp_path):
    token = CancelToken()

    def stop_at_the_third(progress):
        if progress.done >= 2:
            token.cancel()

    with pytest.raises(Cancelled):
        published.download(tmp_path / "out", progress=stop_at_the_third, cancel=token)
    asked = len(small_published[2])
    assert asked <= 3
    assert not (tmp_path / "out" / "cohort.csv").exists()
    published.download(tmp_path / "out")
    assert len(small_published[2]) <= 21


def test_the_published_hashes_are_those_of_the_sections_at_hand(real_data):
    """What is promised to be downloaded, against copies: all counts, and the files of C01 decoded by our own code."""
    stacks = real_data / "warren2020" / "stacks"
    for subject, each in published.SECTIONS.items():
        counts = tifffile.imread(stacks / f"{subject}.ome.tiff")
        assert hashlib.sha256(counts.astype("<u2").tobytes()).hexdigest() == each.counts
        assert tuple(counts.max((1, 2))) == each.levels
        assert read_section(stacks / f"{subject}.ome.tiff").panel.targets == [
            name.split()[1] for name in published._CHANNELS
        ]
    c01 = published.SECTIONS["C01"]
    folder = real_data / "warren2020" / "layout" / "Dataset" / "controls" / "C01"
    files = [folder / published._file_name("C01", name) for name in published._CHANNELS]
    assert tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in files) == c01.files
    decoded = published._decoded(files, c01.levels, "C01")
    np.testing.assert_array_equal(decoded, tifffile.imread(stacks / "C01.ome.tiff"))


def test_a_published_section_served_as_it_lies_there_becomes_the_stack(real_data, tmp_path, monkeypatch):
    """C01 is the one whose files are at hand: from the folder layout over HTTP to the stack of counts."""
    served = real_data / "warren2020" / "layout" / "Dataset"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(published, "ADDRESS", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(published, "SECTIONS", {"C01": published.SECTIONS["C01"]})
    try:
        table = published.download(tmp_path / "out")
    finally:
        server.shutdown()
        server.server_close()
    made, stack = (
        read_section(folder / "C01.ome.tiff")
        for folder in (table.parent, real_data / "warren2020" / "stacks")
    )
    np.testing.assert_array_equal(made.read(), stack.read())
    assert [channel.label for channel in made.panel] == [channel.label for channel in stack.panel]
    assert made.pixel_size_um == stack.pixel_size_um == 1.0
