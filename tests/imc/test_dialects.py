"""TIFFs of every writer: their names, their order, their pyramids."""

import files
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import find_sections, read_section

NAMES = ["153Eu_SDHA", "158Gd_TOM22", "160Gd_NDUFB8"]
LABELS = ["SDHA (153Eu)", "TOM22 (158Gd)", "NDUFB8 (160Gd)"]


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(3, (3, 40, 30)).astype(np.float32)


def labels(section):
    return [channel.label for channel in section.panel]


def test_imctools_and_xtiff(tmp_path, counts):
    path = files.xtiff(
        tmp_path / "a.ome.tiff", counts, ["SDHA", "TOM22", "NDUFB8"], ["Eu153", "Gd158", "Gd160"]
    )
    section = read_section(path)
    assert (section.format, section.dialect) == ("OME-TIFF", "xtiff")
    assert labels(section) == LABELS
    assert {channel.source for channel in section.panel} == {"OME name"}
    np.testing.assert_array_equal(section.read(), counts)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_stack_that_xtiff_wrote_a_page_a_row_is_put_together(tmp_path, counts, byteorder):
    path = files.xtiff(tmp_path / "a.ome.tiff", counts.astype(f"{byteorder}f4"), NAMES, broken=True)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 120  # it is broken
    section = read_section(path)
    assert section.shape == counts.shape
    assert labels(section) == LABELS
    assert "put together again" in section.notes[0]
    np.testing.assert_array_equal(section.read(), counts)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_mcd_viewers_exports_have_their_names_on_the_pages(tmp_path, counts, dtype):
    is_32_bit = dtype == np.float32
    path = files.mcd_viewer(tmp_path / "a.ome.tiff", counts.astype(dtype), NAMES, ome=is_32_bit)
    section = read_section(path)
    assert section.dialect == ("MCD Viewer 32-bit" if is_32_bit else "MCD Viewer 16-bit")
    assert labels(section) == LABELS
    assert {channel.source for channel in section.panel} == {"page name"}
    assert any(("time points" if is_32_bit else "images") in note for note in section.notes)
    np.testing.assert_array_equal(section.read(), counts)


def test_imagej_labels(tmp_path, counts):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, counts, imagej=True, metadata={"axes": "CYX", "Labels": NAMES})
    section = read_section(path)
    assert section.dialect == "ImageJ"
    assert labels(section) == LABELS
    assert {channel.source for channel in section.panel} == {"ImageJ label"}


def test_planes_of_imagej_without_pages_of_their_own(tmp_path, counts):
    """What ImageJ writes above 4 GB: one page, and all planes behind it."""
    path = tmp_path / "a.tif"
    text = b"ImageJ=1.54f\nimages=3\nchannels=3\nhyperstack=true\n"
    tifffile.imwrite(path, counts[0], description=text, metadata=None, photometric="minisblack")
    with path.open("ab") as file:
        file.write(counts[1:].tobytes())
    with tifffile.TiffFile(path) as file:  # the pixels of the first plane must be the last thing in the file
        page = file.pages.first
        assert page.dataoffsets[0] + page.nbytes + counts[1:].nbytes == path.stat().st_size
    np.testing.assert_array_equal(read_section(path).read(), counts)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MitoxaiError, match="cut short"):
        read_section(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_as_samples_of_one_page(tmp_path, counts, compression):
    options = {
        "photometric": "minisblack",
        "planarconfig": "separate",
        "compression": compression,
        "metadata": None,
    }
    tifffile.imwrite(tmp_path / "a.tif", counts, **options)
    section = read_section(tmp_path / "a.tif")
    assert any("samples; they are read as channels" in note for note in section.notes)
    np.testing.assert_array_equal(section.read(), counts)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_side_by_side_in_each_pixel(tmp_path, compression):
    counts = np.random.default_rng(0).poisson(3, (40, 30, 7)).astype(np.uint16)
    options = {
        "photometric": "minisblack",
        "planarconfig": "contig",
        "compression": compression,
        "metadata": None,
    }
    tifffile.imwrite(tmp_path / "a.tif", counts, **options)
    section = read_section(tmp_path / "a.tif")
    np.testing.assert_array_equal(
        section.read([5, 1], y=slice(3, 9)), counts[3:9, :, [5, 1]].transpose(2, 0, 1)
    )


@pytest.mark.parametrize("unit", ["um", "\\u00B5m", "micron"])
def test_the_pixel_size_that_imagej_keeps(tmp_path, counts, unit):
    options = {"imagej": True, "resolution": (4, 4), "metadata": {"axes": "CYX", "unit": unit}}
    tifffile.imwrite(tmp_path / "a.tif", counts, **options)
    section = read_section(tmp_path / "a.tif")
    assert section.pixel_size_um == 0.25
    assert not any("pixel size" in note for note in section.notes)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_pyramid_in_subifds(tmp_path, compression):
    counts = np.random.default_rng(0).poisson(3, (3, 600, 500)).astype(np.uint16)
    path = tmp_path / "a.ome.tiff"
    options = {"photometric": "minisblack", "tile": (128, 128), "compression": compression}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(counts, subifds=2, metadata={"axes": "CYX", "Channel": {"Name": NAMES}}, **options)
        file.write(counts[:, ::2, ::2], subfiletype=1, **options)
        file.write(counts[:, ::4, ::4], subfiletype=1, **options)
    section = read_section(path)
    assert [level.shape for level in section.levels] == [(3, 600, 500), (3, 300, 250), (3, 150, 125)]
    for level, step in zip(section.levels, (1, 2, 4), strict=True):
        np.testing.assert_array_equal(level.compute(), counts[:, ::step, ::step])
    assert section.percentiles(1, [0, 50, 100]) == np.percentile(counts[1, ::4, ::4], [0, 50, 100]).tolist()


def test_percentiles_without_a_pyramid_read_a_part(tmp_path, monkeypatch):
    from napari_mitoxai.imc import section as module

    monkeypatch.setattr(module, "_SAMPLE", 64 * 64)
    ramp = np.broadcast_to(np.arange(512, dtype=np.float32)[:, None], (512, 64))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp, tile=(16, 64))
    low, middle, high = read_section(path).percentiles(0, [1, 50, 99])
    assert low < 30
    assert 200 < middle < 300
    assert high > 440


def test_several_images_in_a_file(tmp_path, counts):
    path = tmp_path / "a.ome.tiff"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(
            counts,
            photometric="minisblack",
            metadata={"axes": "CYX", "Name": "left", "Channel": {"Name": NAMES}},
        )
        file.write(
            counts[:2, :20],
            photometric="minisblack",
            metadata={"axes": "CYX", "Name": "right", "Channel": {"Name": ["a", "b"]}},
        )
    first = read_section(path)
    assert (first.acquisition, labels(first)) == ("0", LABELS)
    assert "2 images (left, right); this is left" in first.notes[0]
    assert [each.shape for each in first.acquisitions] == [(3, 40, 30), (2, 20, 30)]
    for wanted in ("1", 1, "right"):
        second = read_section(path, acquisition=wanted)
        assert (second.shape, second.panel.targets, second.name) == ((2, 20, 30), ["a", "b"], "a 1")
    with pytest.raises(
        MitoxaiError, match=r"no single acquisition 'middle': choose one of 0 \(left\), 1 \(right\)"
    ):
        read_section(path, acquisition="middle")


def test_steinbocks_folder(tmp_path, counts):
    (tmp_path / "img").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "panel.csv").write_text(
        "channel,name,keep\nEu153,SDHA,1\nIr191,DNA,0\nGd158,TOM22,1\nGd160,NDUFB8,1\n"
    )
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / "img" / f"{name}.tiff", counts, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "masks" / "a.tiff", counts[0].astype(np.uint16))
    assert [path.name for path in find_sections(tmp_path)] == ["a.tiff", "b.tiff"]
    section = read_section(tmp_path / "img" / "a.tiff")
    assert (section.dialect, labels(section)) == ("steinbock", LABELS)
    with pytest.raises(MitoxaiError, match=r"is a folder of sections \(img/a\.tiff, img/b\.tiff\): open one"):
        read_section(tmp_path)
    (tmp_path / "panel.csv").write_text("channel,name,keep\nEu153,SDHA,1\n")
    section = read_section(tmp_path / "img" / "a.tiff")
    assert section.panel.targets == ["ch0", "ch1", "ch2"]
    assert any("panel.csv is not used" in note for note in section.notes)


@pytest.mark.parametrize(
    "names",
    [
        ["C01_C01_C01_153Eu_153Eu SDHA.ome.tiff", "C01_C01_C01_158Gd_158Gd TOM22.ome.tiff", "C01_C01_C01_160Gd_160Gd NDUFB8.ome.tiff"],
        ["SDHA(Eu153Di).tiff", "TOM22(Gd158Di).tiff", "zNDUFB8(Gd160Di).tiff"],
        ["153Eu_SDHA.png", "158Gd_TOM22.png", "160Gd_NDUFB8.png"],
        ["base_s0_a1_SDHA_Eu153.tiff", "base_s0_a1_TOM22_Gd158.tiff", "base_s0_a1_zNDUFB8_Gd160.tiff"],
    ],
    ids=["published", "histocat", "mitocyto", "imctools"],
)  # fmt: skip
def test_a_file_a_channel(tmp_path, counts, names):
    folder = tmp_path / "controls" / "C01"
    folder.mkdir(parents=True)
    for name, plane in zip(names, counts.astype(np.uint8), strict=True):
        if name.endswith("png"):
            Image.fromarray(plane).save(folder / name)
        else:
            tifffile.imwrite(folder / name, plane)
    for junk in (
        "EDGE_mitocyto.png",
        "AVE_mitocyto.png",
        "CONTOURS_mitocyto.png",
        "C01_cp_masks.png",
        "x_BYPIX.png",
    ):
        Image.fromarray(counts[0].astype(np.uint8)).save(folder / junk)
    (folder / "results.csv").write_text("Value,ID\n")
    (folder / "Pt195.tiff.ARCHIVE").write_bytes(b"hidden on purpose")
    section = read_section(folder)
    assert [label.removeprefix("z") for label in labels(section)] == LABELS
    assert (section.subject, section.group) == ("C01", "control")
    np.testing.assert_array_equal(section.read(), counts)
    assert find_sections(tmp_path) == [folder]


def test_an_acquisition_is_refused_where_there_is_but_one(tmp_path, counts):
    tifffile.imwrite(tmp_path / "SDHA.tiff", counts[0])
    text = files.imc_text(tmp_path / "a.txt", counts, ["a", "b", "c"])
    for path in (tmp_path, text):
        with pytest.raises(MitoxaiError, match="holds one section only"):
            read_section(path, acquisition=2)
    broken = files.xtiff(tmp_path / "a.ome.tiff", counts, NAMES, broken=True)
    for path in (tmp_path / "SDHA.tiff", broken):
        assert read_section(path, acquisition=0).shape[1:] == (40, 30)
        with pytest.raises(MitoxaiError, match="no single acquisition '2'"):
            read_section(path, acquisition=2)


def test_a_file_beside_others_of_its_group_tells_its_subject(tmp_path, counts):
    (tmp_path / "Patients").mkdir()
    path = files.xtiff(tmp_path / "Patients" / "P07.ome.tiff", counts, NAMES)
    section = read_section(path)
    assert (section.subject, section.group) == ("P07", "patient")


def test_the_users_panel_goes_before_the_file(tmp_path, counts):
    path = files.xtiff(tmp_path / "a.ome.tiff", counts, NAMES)
    (tmp_path / "p.csv").write_text("channel,name\nGd160,mine\n")
    section = read_section(path, panel=tmp_path / "p.csv")
    assert labels(section) == ["SDHA (153Eu)", "TOM22 (158Gd)", "mine (160Gd)"]
    assert section.panel[2].source == "panel file"
