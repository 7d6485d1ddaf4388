"""What `mitoxai info` and `mitoxai convert` say and write, and what they do where something is wrong."""

import json

import numpy as np
import pytest
import tifffile

from napari_mitoxai import cli
from napari_mitoxai.imc import parse_channel, read_section, write_section
from napari_mitoxai.imc.panel import Panel
from napari_mitoxai.tasks import info

PANEL = Panel(tuple(parse_channel(name) for name in ("153Eu_SDHA", "160Gd_NDUFB8")))


def call(*arguments):
    """Run the command line; the exit status."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        return exit_.code or 0
    return 0


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(3, (2, 600, 300)).astype(np.uint16)


@pytest.fixture
def section(tmp_path, counts):
    (tmp_path / "controls").mkdir()
    return write_section(tmp_path / "controls" / "C01.ome.tiff", counts, PANEL, pixel_size_um=0.5)


def test_info_as_json_is_one_object_with_the_names_to_keep(section, capsys):
    assert call("info", section, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["format"] == "OME-TIFF"
    assert told["dialect"] == "tifffile"
    assert told["shape"] == [2, 600, 300]
    assert told["dtype"] == "uint16"
    assert told["pixel_size_um"] == 0.5
    assert told["channels"] == [
        {"index": 0, "metal": "Eu", "mass": 153, "target": "SDHA", "role": "OXPHOS complex II", "source": "OME name"},
        {"index": 1, "metal": "Gd", "mass": 160, "target": "NDUFB8", "role": "OXPHOS complex I", "source": "OME name"},
    ]  # fmt: skip
    assert told["acquisitions"] == []
    assert told["warnings"] == []
    assert (told["subject"], told["group"]) == ("C01", "control")


def test_info_for_people(section, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("channel,name\nEu153,mine\n")
    assert call("info", section, "--panel", tmp_path / "p.csv") == 0
    told = capsys.readouterr().out
    assert "2 channels of 600 x 300 pixels, uint16, 0.5 µm a pixel" in told
    assert "Subject C01, group control" in told
    assert "153Eu  mine" in told
    assert "from panel file" in told
    assert "Warning: " in told
    assert "does not name NDUFB8" in told


def test_one_bad_section_does_not_stop_the_others(section, tmp_path, counts, capsys):
    (tmp_path / "controls" / "C02.ome.tiff").write_bytes(section.read_bytes()[:5000])
    write_section(tmp_path / "controls" / "C03.ome.tiff", counts[:1], Panel((PANEL[0],)))
    assert call("info", tmp_path, "--json") == 2
    output = capsys.readouterr()
    told = json.loads(output.out)
    assert told["format"] == "folder of sections"
    assert [each["name"] for each in told["sections"]] == ["C01", "C03"]
    assert [each["path"] for each in told["failed"]] == [str(tmp_path / "controls" / "C02.ome.tiff")]
    assert "copy it again" in told["failed"][0]["error"]
    assert told["warnings"] == ["Not every section has NDUFB8 (not in C03)."]
    errors = [line for line in output.err.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1
    assert "C02.ome.tiff" in errors[0]
    assert call("info", tmp_path) == 2
    assert "Not opened: C02.ome.tiff" in capsys.readouterr().out


def test_a_folder_that_may_not_be_opened_does_not_stop_the_others(section, tmp_path, monkeypatch, capsys):
    (tmp_path / "patients").mkdir()
    from napari_mitoxai.imc import finding, folder

    def closed(path):
        if path.name == "patients":
            raise PermissionError(13, "Permission denied")
        return real_images(path)

    real_images = folder.image_files
    for module in (finding, folder):
        monkeypatch.setattr(module, "image_files", closed)
    assert call("info", tmp_path, "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in told["sections"]] == ["C01"]
    assert "Permission denied" in told["failed"][0]["error"]


@pytest.mark.parametrize("command", ["info", "convert"])
def test_what_is_wrong_is_one_line_and_status_2(tmp_path, command, capsys):
    (tmp_path / "a.tiff").write_bytes(b"junk")
    for name in ("a.tiff", "nothing.tiff"):
        out = [tmp_path / "o.ome.zarr"] if command == "convert" else []
        assert call(command, tmp_path / name, *out) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("Error: ")
        assert len(output.err.splitlines()) == 1
        assert name in output.err


def test_convert_writes_what_opens_the_same(section, tmp_path, counts, capsys):
    out = tmp_path / "C01.ome.zarr"
    assert call("convert", section, out) == 0
    assert f"2 x 600 x 300 in 2 levels: {out}" in capsys.readouterr().out
    again = read_section(out)
    np.testing.assert_array_equal(again.read(), counts)
    assert [channel.label for channel in again.panel] == [channel.label for channel in PANEL]
    assert call("convert", section, out) == 2
    assert "exists already" in capsys.readouterr().err
    assert call("convert", section, out, "--overwrite", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shape"] == [2, 600, 300]
    assert told["levels"] == 2
    assert call("info", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["levels"] == [[600, 300], [300, 150]]


def test_an_image_of_a_file_with_several(tmp_path, counts, capsys):
    path = tmp_path / "a.ome.tiff"
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, values in (("left", counts), ("right", counts[:, :100])):
            file.write(values, photometric="minisblack", metadata={"axes": "CYX", "Name": name})
    assert call("info", path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["id"], each["description"], each["shape"]) for each in told["acquisitions"]] == [
        ("0", "left", [2, 600, 300]), ("1", "right", [2, 100, 300]),
    ]  # fmt: skip
    assert call("info", path, "--acquisition", "right", "--json") == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [2, 100, 300]
    assert call("convert", path, tmp_path / "b.ome.zarr", "--acquisition", "1") == 0
    np.testing.assert_array_equal(read_section(tmp_path / "b.ome.zarr").read(), counts[:, :100])


@pytest.mark.parametrize(
    ("name", "labels"), [("P01_mask.tiff", True), ("masks/P01.tiff", True), ("P01.tiff", False)]
)
def test_what_is_no_section_is_told(tmp_path, name, labels):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, np.arange(4096, dtype=np.uint16).reshape(64, 64))
    warnings = info.run(info.InfoParameters(path=path)).warnings
    assert any("looks like labels" in warning for warning in warnings) == labels
