import json
from hashlib import sha256

import matplotlib
import numpy as np
import pytest
from PIL import Image

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures import (
    Extent,
    FigureLook,
    FigureRow,
    MapCell,
    PictureCell,
    compose,
    save_figure,
    write_sidecar,
)

SPEC = FigureLook(width_mm=90, dpi=150)


@pytest.fixture
def figure():
    extent = Extent.of((60, 80), 1.0)
    line = np.array([[10, 10], [40, 10], [40, 30], [10, 10]], float)
    cells = [PictureCell("S1", np.zeros((60, 80, 3))), MapCell("LRP", np.eye(60, 80), extent)]
    row = FigureRow("S1", extent, np.zeros((60, 80)), extent, cells, [line], verdict="Model: patient")
    return compose([row], SPEC)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".tif"])
def test_images_carry_their_size_and_resolution(figure, tmp_path, suffix):
    path = save_figure(figure, tmp_path / f"figure{suffix}")
    with Image.open(path) as image:
        assert image.width == round(90 / 25.4 * 150)
        assert float(image.info["dpi"][0]) == pytest.approx(150, abs=0.02)


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".tiff"])
def test_the_same_figure_gives_the_same_file(figure, tmp_path, suffix):
    first, second = (save_figure(figure, tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first == second


def test_vector_formats_keep_text_and_lines(figure, tmp_path):
    pdf = save_figure(figure, tmp_path / "figure.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    svg = save_figure(figure, tmp_path / "figure.svg").read_text()
    assert "Model: patient</text>" in svg
    assert "LineCollection" in svg
    assert svg.count("<image") >= 3


def test_settings_of_others_are_put_back(figure, tmp_path):
    before = dict(matplotlib.rcParams)
    save_figure(figure, tmp_path / "figure.pdf")
    assert dict(matplotlib.rcParams) == before


def test_nothing_is_replaced_or_left_half_written(figure, tmp_path, monkeypatch):
    path = save_figure(figure, tmp_path / "figure.png")
    with pytest.raises(MitoxaiError, match="exists already"):
        save_figure(figure, path)
    save_figure(figure, path, overwrite=True)

    def no_space(file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", no_space)
    with pytest.raises(MitoxaiError, match="No space left"):
        save_figure(figure, tmp_path / "other.png")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_an_unknown_ending_names_the_known_ones(figure, tmp_path):
    with pytest.raises(MitoxaiError, match=r"use \.png, \.pdf"):
        save_figure(figure, tmp_path / "figure.jpg")


def test_the_sidecar_tells_what_made_the_figure(figure, tmp_path):
    files = [save_figure(figure, tmp_path / f"figure.{suffix}") for suffix in ("png", "pdf")]
    sidecar = write_sidecar(files, {"spec": SPEC.model_dump(), "maps": "MAPS.ome.zarr"})
    assert sidecar == tmp_path / "figure.json"
    content = json.loads(sidecar.read_text())
    assert content["files"]["figure.png"]["sha256"] == sha256(files[0].read_bytes()).hexdigest()
    assert set(content["files"]) == {"figure.png", "figure.pdf"}
    assert content["spec"]["width_mm"] == 90
    assert content["software"]["napari-mitoxai"]
    with pytest.raises(MitoxaiError, match="exists already"):
        write_sidecar(files, {})
