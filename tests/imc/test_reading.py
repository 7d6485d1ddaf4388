import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import (
    Channel,
    Panel,
    Role,
    can_read,
    parse_channel,
    read_labels,
    read_section,
    write_labels,
    write_section,
)

PANEL = Panel((parse_channel("SDHA", "153Eu"), parse_channel("NDUFB8", "160Gd"), parse_channel("Dystrophin")))


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(3, (3, 90, 70)).astype(np.uint16)


def refused(path, sentence):
    with pytest.raises(MitoxaiError, match=sentence) as caught:
        read_section(path)
    text = str(caught.value)
    assert "\n" not in text.strip()
    assert path.name in text
    return text


def test_an_ome_tiff_keeps_names_metals_size_and_counts(tmp_path, counts):
    path = write_section(tmp_path / "P01.ome.tiff", counts, PANEL, pixel_size_um=0.5)
    section = read_section(str(path))
    assert section.name == "P01"
    assert section.shape == (3, 90, 70)
    assert section.pixel_size_um == 0.5
    assert [channel.label for channel in section.panel] == ["SDHA (153Eu)", "NDUFB8 (160Gd)", "Dystrophin"]
    assert [channel.role for channel in section.panel] == [Role.COMPLEX_II, Role.COMPLEX_I, Role.MEMBRANE]
    assert section.notes == ()
    assert section.data.dtype == np.uint16
    np.testing.assert_array_equal(section.read(), counts)
    np.testing.assert_array_equal(
        section.read([2, 0], y=slice(5, 60), x=slice(30, 70)), counts[[2, 0], 5:60, 30:70]
    )


@pytest.mark.parametrize(("unit", "expected"), [("nm", 1e-3), ("µm", 1.0), ("mm", 1e3)])
def test_the_pixel_size_is_read_in_its_unit(tmp_path, counts, unit, expected):
    path = tmp_path / "a.ome.tiff"
    metadata = {"axes": "CYX", "PhysicalSizeX": 2.0, "PhysicalSizeXUnit": unit}
    tifffile.imwrite(path, counts, ome=True, photometric="minisblack", metadata=metadata)
    assert read_section(path).pixel_size_um == pytest.approx(2 * expected)


def test_planes_stored_as_time_or_depth_are_channels_and_said_so(tmp_path, counts):
    path = tmp_path / "a.ome.tiff"
    tifffile.imwrite(path, counts, ome=True, photometric="minisblack", metadata={"axes": "TYX"})
    section = read_section(path)
    assert section.shape == counts.shape
    assert "time points" in section.notes[0]


def test_a_stack_without_names_gets_them_by_position_with_notes(tmp_path, counts):
    tifffile.imwrite(tmp_path / "a.tiff", counts, photometric="minisblack")
    section = read_section(tmp_path / "a.tiff")
    assert section.panel.targets == ["ch0", "ch1", "ch2"]
    assert {channel.source for channel in section.panel} == {"position"}
    assert any("no channel names" in note for note in section.notes)
    assert any("no pixel size" in note for note in section.notes)
    np.testing.assert_array_equal(section.read(), counts)


def test_one_plane_is_a_section_of_one_channel(tmp_path, counts):
    tifffile.imwrite(tmp_path / "a.tiff", counts[0])
    assert read_section(tmp_path / "a.tiff").shape == (1, 90, 70)


def test_a_reduced_view_is_the_mean_of_blocks(tmp_path, counts):
    section = read_section(write_section(tmp_path / "a.ome.tiff", counts, PANEL))
    expected = counts[[1], :88, :68].reshape(1, 22, 4, 17, 4).mean((2, 4))
    np.testing.assert_allclose(section.read_reduced([1], factor=4), expected, rtol=1e-6)


# --- folders -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, counts):
    folder = tmp_path / "patients" / "P07"
    folder.mkdir(parents=True)
    for name, plane in zip(("153Eu_153Eu SDHA", "176Yb_176Yb Dystrophin"), counts, strict=False):
        Image.fromarray(plane.astype(np.uint8)).save(folder / f"C01_P07_{name}.png")
    return folder


def test_a_folder_is_a_section_whose_subject_and_group_are_its_places(folder, counts):
    (folder / "P07_Thumbs.db").write_bytes(b"junk")
    (folder / ".hidden.png").write_bytes(b"junk")
    (folder / "notes.txt").write_text("junk")
    assert can_read(folder)
    section = read_section(folder)
    assert (section.name, section.subject, section.group) == ("P07", "P07", "patient")
    assert [channel.label for channel in section.panel] == ["SDHA (153Eu)", "Dystrophin (176Yb)"]
    np.testing.assert_array_equal(section.read(), counts[:2])


def test_a_lossy_twin_of_a_tiff_is_left_out(folder, counts):
    tifffile.imwrite(folder / "C01_P07_153Eu_153Eu SDHA.tiff", counts[2])
    section = read_section(folder)
    assert section.panel.targets == ["SDHA", "Dystrophin"]
    np.testing.assert_array_equal(section.read([0])[0], counts[2])


def test_jpeg_channels_are_said_to_be_lossy(folder, counts):
    assert not any("lossy" in note for note in read_section(folder).notes)
    Image.fromarray(counts[2].astype(np.uint8)).save(folder / "160Gd_NDUFB8.jpg")
    assert any("lossy" in note for note in read_section(folder).notes)


@pytest.mark.parametrize("odd", ["100Mo_COX4.png", "160Gd_NDUFB8.png"])
def test_a_size_that_differs_is_named(folder, odd):
    names = {path.name for path in folder.iterdir()} - {odd}
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / odd)
    text = refused(folder, "differ in size")
    assert odd in text
    assert not any(name in text for name in names)


def test_a_stack_in_a_folder_of_channels_is_refused(folder, counts):
    tifffile.imwrite(folder / "stack.tiff", counts, photometric="minisblack")
    with pytest.raises(MitoxaiError, match=r"stack\.tiff holds 3 planes"):
        read_section(folder)


def test_an_empty_folder_and_a_folder_of_junk(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no image files")
    assert not can_read(tmp_path / "empty")
    (tmp_path / "empty" / "Thumbs.db").write_text("junk")
    refused(tmp_path / "empty", "has no image files")


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_damaged_picture_in_a_folder_is_named(folder, content):
    (folder / "160Gd_NDUFB8.jpg").write_bytes(content)
    with pytest.raises(MitoxaiError, match=r"160Gd_NDUFB8\.jpg is not a readable picture"):
        read_section(folder)


def test_a_picture_cut_short_is_a_sentence_when_it_is_looked_at(folder):
    noise = np.random.default_rng(0).integers(0, 255, (90, 70), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "160Gd_NDUFB8.jpg")
    content = (folder / "160Gd_NDUFB8.jpg").read_bytes()
    (folder / "160Gd_NDUFB8.jpg").write_bytes(content[: len(content) // 2])
    section = read_section(folder)
    with pytest.raises(MitoxaiError, match="damaged or was moved"):
        section.read()


# --- what is no section ------------------------------------------------------------------------------------------


def test_what_is_not_there(tmp_path):
    refused(tmp_path / "missing.tiff", "is not there")


@pytest.mark.parametrize("content", [b"", b"path,subject,group\n", b"II*\0", b"\x89PNG\r\n"])
def test_a_file_that_is_no_tiff(tmp_path, content):
    (tmp_path / "a.tiff").write_bytes(content)
    refused(tmp_path / "a.tiff", "is not a readable TIFF")


def test_an_unknown_ending(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"x")
    refused(tmp_path / "a.docx", "not a kind of image")
    assert not can_read(tmp_path / "a.docx")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["tiled", "ome", "imagej", "plain"])
def test_a_file_cut_short_is_refused_on_opening(tmp_path, share, kind, capfd):
    counts = np.random.default_rng(0).poisson(50, (3, 300, 280)).astype(np.uint16)
    path = tmp_path / "cut.tiff"
    options = {"ome": {"ome": True}, "imagej": {"imagej": True}, "plain": {}}
    if kind == "tiled":
        write_section(path, counts, PANEL)
    else:
        metadata = {"axes": "CYX"} if kind != "plain" else None
        tifffile.imwrite(path, counts, photometric="minisblack", metadata=metadata, **options[kind])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "copy it again")
    assert capfd.readouterr().err == ""


def test_colour_pictures_and_other_axes_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "rgb.tiff", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    refused(tmp_path / "rgb.tiff", "has the axes YXS")
    tifffile.imwrite(
        tmp_path / "4d.ome.tiff", np.zeros((2, 3, 20, 30), np.uint8), photometric="minisblack",
        metadata={"axes": "TCYX"},
    )  # fmt: skip
    refused(tmp_path / "4d.ome.tiff", "has the axes TCYX")


def test_a_byte_changed_anywhere_is_at_worst_a_sentence(tmp_path, counts):
    path = write_section(tmp_path / "a.ome.tiff", counts[:, :40, :40], PANEL)
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    damaged = tmp_path / "b.ome.tiff"
    places = [*range(300), *range(len(content) - 700, len(content))]
    failures = 0
    for _ in range(150):
        changed = bytearray(content)
        changed[rng.choice(places)] = rng.integers(256)
        damaged.write_bytes(changed)
        try:
            section = read_section(damaged)
            if section.data.size < 1e7 and np.prod(section.data.chunksize) < 1e7:
                section.read()
        except MitoxaiError:
            failures += 1
    assert failures > 10  # it did meet damaged files


def ome(tmp_path, counts, change):
    """An OME-TIFF whose description was changed."""
    path = write_section(tmp_path / "a.ome.tiff", counts, PANEL)
    with tifffile.TiffFile(path) as file:
        description = file.ome_metadata
    changed = tmp_path / "b.ome.tiff"
    tifffile.imwrite(
        changed, counts, photometric="minisblack", description=change(description).encode(), metadata=None
    )
    return changed


def test_metadata_with_a_doctype_is_refused(tmp_path, counts):
    bomb = '<!DOCTYPE OME [<!ENTITY a "SDHA">]>'
    path = ome(tmp_path, counts, lambda text: text.replace("?>", "?>" + bomb, 1))
    assert b"DOCTYPE" in path.read_bytes()
    refused(path, "unsafe or broken OME metadata")


def test_metadata_that_name_another_file_do_not_open_it(tmp_path, counts, monkeypatch):
    secret = tmp_path / "elsewhere" / "secret.ome.tiff"
    write_section(secret, np.full_like(counts, 7), PANEL)

    def point_elsewhere(text):
        uuid = (
            '<UUID FileName="elsewhere/secret.ome.tiff">urn:uuid:00000000-0000-0000-0000-000000000001</UUID>'
        )
        changed = re.sub(r"(<TiffData[^>]*?)\s*(?:/>|>.*?</TiffData>)", rf"\1>{uuid}</TiffData>", text)
        assert changed != text
        return changed

    path = ome(tmp_path, counts, point_elsewhere)
    assert b"secret.ome.tiff" in path.read_bytes()
    opened = []
    real_open = tifffile.tifffile.FileHandle.open

    def watch(handle):
        opened.append(str(handle._file))
        return real_open(handle)

    monkeypatch.setattr(tifffile.tifffile.FileHandle, "open", watch)
    try:
        section = read_section(path)
    except MitoxaiError:
        pass
    else:
        assert not (section.read() == 7).all()
    assert opened
    assert not any("secret" in name for name in opened)


def test_a_file_taken_away_while_it_is_open_is_a_sentence(folder):
    section = read_section(folder)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(MitoxaiError, match="was moved"):
        section.read()


# --- labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("largest", [5, 70_000])
def test_labels_come_back_as_they_were(tmp_path, largest):
    labels = np.zeros((50, 60), np.int32)
    labels[10:20, 10:20] = largest
    path = write_labels(tmp_path / "labels.tiff", labels, pixel_size_um=2)
    np.testing.assert_array_equal(read_labels(path), labels)
    assert read_section(path).pixel_size_um == 2


def test_what_is_no_label_image(tmp_path, counts):
    with pytest.raises(MitoxaiError, match="is not there"):
        read_labels(tmp_path / "a.tiff")
    tifffile.imwrite(tmp_path / "a.tiff", counts[0].astype(np.float32))
    with pytest.raises(MitoxaiError, match="not one plane of labels"):
        read_labels(tmp_path / "a.tiff")
    tifffile.imwrite(tmp_path / "a.tiff", counts, photometric="minisblack")
    with pytest.raises(MitoxaiError, match="not one plane of labels"):
        read_labels(tmp_path / "a.tiff")
    (tmp_path / "a.tiff").write_text("text")
    with pytest.raises(MitoxaiError, match="cannot be read as labels"):
        read_labels(tmp_path / "a.tiff")


def test_an_existing_section_is_not_replaced(tmp_path, counts):
    path = write_section(tmp_path / "a.ome.tiff", counts, PANEL)
    before = path.read_bytes()
    with pytest.raises(MitoxaiError, match="exists already"):
        write_section(path, counts * 2, Panel((Channel("a"), Channel("b"), Channel("c"))))
    assert path.read_bytes() == before


# --- published data ----------------------------------------------------------------------------------------------


def test_published_stack(real_data):
    section = read_section(real_data / "warren2020" / "stacks" / "C01.ome.tiff")
    assert section.panel.targets == [
        "SDHA", "TOM22", "NDUFB8", "OSCP", "GRIM19", "VDAC1", "COX4", "MTCO1", "UqCRC2", "Dystrophin",
    ]  # fmt: skip
    assert all(channel.metal and channel.role != Role.OTHER for channel in section.panel)
    assert section.pixel_size_um == 1
    assert section.notes == ()


def test_published_folder_equals_its_stack_in_shape_and_order(real_data):
    folder = real_data / "warren2020" / "layout" / "Dataset" / "controls" / "C01"
    section, stack = read_section(folder), read_section(real_data / "warren2020" / "stacks" / "C01.ome.tiff")
    assert (section.subject, section.group) == ("C01", "control")
    assert section.panel.targets == stack.panel.targets
    assert section.shape == stack.shape
    assert [channel.mass for channel in section.panel] == [channel.mass for channel in stack.panel]


def test_published_stack_without_names(real_data):
    section = read_section(real_data / "imc_formats" / "nameless" / "E34_imc.tiff")
    assert section.shape == (5, 100, 100)
    assert "images" in section.notes[0]


def test_published_instrument_export(real_data):
    folder = real_data / "imc_formats" / "hyperion" / "20210305_NE_mockData1" / "ometiff"
    section = read_section(folder / "20210305_NE_mockData1_s0_a1_ac.ome.tiff")
    assert [(channel.metal, channel.mass) for channel in section.panel] == [
        ("Ag", 107), ("Pr", 141), ("Sm", 147), ("Eu", 153), ("Yb", 172),
    ]  # fmt: skip
    assert section.data.dtype == np.float32
    assert section.read().max() > 0
