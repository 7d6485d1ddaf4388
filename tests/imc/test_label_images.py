"""Labels as steinbock, mitocyto, Newcastle and Cellpose write them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import read_labels


@pytest.fixture
def labels():
    labels = np.zeros((60, 80), np.uint16)
    labels[5:25, 5:25] = 7
    labels[5:25, 25:50] = 300  # they touch
    labels[30:55, 10:70] = 12
    return labels


COLOURS = {0: (0, 0, 0), 7: (255, 0, 0), 300: (12, 200, 3), 12: (255, 0, 0)}  # two fibres of one colour


def coloured(labels, alpha=None):
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    for number, colour in COLOURS.items():
        pixels[labels == number] = colour
    return pixels if alpha is None else np.dstack([pixels, np.full(labels.shape, alpha, np.uint8)])


def same_fibres(ours, theirs):
    pairs = set(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    return len(pairs) == len(np.unique(ours)) == len(np.unique(theirs)) and (0, 0) in pairs


@pytest.mark.parametrize("name", ["a.tiff", "C01_cp_masks.tif", "C01_cp_masks.png"])
def test_numbers_are_kept(tmp_path, labels, name):
    path = tmp_path / name
    if name.endswith("png"):
        Image.fromarray(labels).save(path)
    else:
        tifffile.imwrite(
            path, labels, imagej=name == "a.tiff", compression=None if name == "a.tiff" else "lzw"
        )
    np.testing.assert_array_equal(read_labels(path), labels)


@pytest.mark.parametrize("alpha", [None, 255])
def test_a_colour_is_a_fibre_where_it_hangs_together(tmp_path, labels, alpha):
    Image.fromarray(coloured(labels, alpha)).save(tmp_path / "S2-IMC.png")
    found = read_labels(tmp_path / "S2-IMC.png")
    assert same_fibres(found, labels)
    assert set(np.unique(found)) == {0, 1, 2, 3}


def test_mitocytos_preview_has_grey_edges_and_white_numbers(tmp_path, labels):
    pixels = coloured(labels)
    pixels[labels == 0] = 90
    pixels[40:46, 30:40] = 255
    Image.fromarray(pixels).save(tmp_path / "CONTOURS_mitocyto.png")
    assert same_fibres(read_labels(tmp_path / "CONTOURS_mitocyto.png"), labels)


def test_transparent_pixels_are_outside(tmp_path, labels):
    pixels = coloured(labels, 255)
    pixels[labels == 0] = (10, 20, 30, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert same_fibres(read_labels(tmp_path / "a.png"), labels)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white_is_a_fibre_a_patch(tmp_path, labels, mode):
    labels[labels == 300] = 0
    Image.fromarray(((labels > 0) * 255).astype(np.uint8)).convert(mode).save(tmp_path / "a.png")
    assert same_fibres(read_labels(tmp_path / "a.png"), labels)


def test_what_is_no_label_image(tmp_path, labels):
    for name, sentence in [
        ("C01_seg.npy", "can run code"),
        ("EDGE_mitocyto.png", "give CONTOURS_mitocyto.png"),
        ("a.txt", "neither a TIFF nor a PNG"),
        ("a.png", "cannot be read as labels"),
    ]:
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(MitoxaiError, match=sentence):
            read_labels(tmp_path / name)
    tifffile.imwrite(tmp_path / "a.tiff", labels.astype(np.int32) - 5)
    with pytest.raises(MitoxaiError, match="below 0"):
        read_labels(tmp_path / "a.tiff")


def test_published_masks(real_data):
    manual = read_labels(real_data / "warren2020" / "P03_instance_mask.tiff")
    assert manual.shape == (2600, 3561)
    assert len(np.unique(manual)) == 1 + 1799
    pancreas = read_labels(real_data / "imc_formats" / "nameless" / "E34_mask.tiff")
    assert pancreas.max() > len(np.unique(pancreas))  # ids are kept, gaps and all
    cells = read_labels(real_data / "imc_formats" / "steinbock" / "masks" / "20210305_NE_mockData1_001.tiff")
    assert (cells.shape, cells.max()) == ((60, 60), 17)
