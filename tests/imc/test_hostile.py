"""Files that were made to harm, or are damaged beyond sense: refused in a sentence, at once, without taking memory."""

import struct
import tracemalloc

import files
import numpy as np
import pytest
import tifffile

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import read_labels, read_section

NAMES = ["SDHA", "TOM22", "NDUFB8"]


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(3, (3, 40, 30)).astype(np.float32)


def refused(path, sentence, read=read_section):
    """It is refused in one sentence that names the file, and less than 64 MB were taken meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises(MitoxaiError, match=sentence) as caught:
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert path.name in text
    assert peak < 64 * 2**20


def described(path, counts, text):
    tifffile.imwrite(path, counts, description=text.encode(), metadata=None, photometric="minisblack")
    return path


def tag(path, number, *values, page=0):
    """Overwrite a tag of a page in place."""
    with tifffile.TiffFile(path, mode="r+", _multifile=False) as file:
        file.pages[page].tags[number].overwrite(values if len(values) > 1 else values[0])
    return path


def test_more_planes_declared_than_are_there(tmp_path, counts):
    for declared in (4, 10**4, 10**11):
        text = files.ome_xml((declared, 40, 30), NAMES)
        refused(described(tmp_path / "a.ome.tiff", counts, text), rf"declares {declared} planes and holds 3")


def test_one_file_of_a_set_opens_no_other(tmp_path, counts):
    text = files.ome_xml((6, 40, 30), NAMES).replace(
        "<TiffData />",
        '<TiffData FirstC="0"><UUID FileName="a.ome.tiff">urn:uuid:1</UUID></TiffData>'
        '<TiffData FirstC="3"><UUID FileName="/etc/passwd">urn:uuid:2</UUID></TiffData>',
    )
    refused(described(tmp_path / "a.ome.tiff", counts, text), r"is one file of a set \(/etc/passwd\)")


def test_files_beside_it_are_not_opened(tmp_path, counts, monkeypatch):
    """Micro-Manager's stacks are spread over files, which tifffile finds by an index beside them."""
    (tmp_path / "NDTiff.index").write_bytes(b"junk")
    tifffile.imwrite(tmp_path / "a_MMStack.tif", counts, photometric="minisblack", metadata=None)
    monkeypatch.setattr(
        tifffile.TiffFile, "micromanager_metadata", {"MajorVersion": 3, "Summary": {}, "IndexMap": []}
    )
    looked = []
    for name in ("_series_ndtiff", "_series_mmstack"):
        monkeypatch.setattr(tifffile.TiffFile, name, lambda file, name=name: looked.append(name))
    np.testing.assert_array_equal(read_section(tmp_path / "a_MMStack.tif").read(), counts)
    assert looked == []


BOMB = "".join(f'<!ENTITY {b} "{("&" + a + ";") * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    "doctype",
    [f'<!DOCTYPE OME [<!ENTITY a "lol">{BOMB}]>', '<!DOCTYPE OME SYSTEM "file:///etc/passwd">', '<!DOCTYPE OME [<!ENTITY % p SYSTEM "http://localhost/">%p;]>'],
)  # fmt: skip
def test_document_types_and_entities(tmp_path, counts, doctype):
    text = files.ome_xml((3, 40, 30), ["&i;", *NAMES[1:]] if "ENTITY a" in doctype else NAMES)
    refused(
        described(tmp_path / "a.ome.tiff", counts, text.replace("?>", f"?>{doctype}", 1)), "unsafe or broken"
    )
    more = doctype.encode("utf-16-le").decode("utf-16-le")
    refused(files.mcd(tmp_path / "a.mcd", [counts], [("Eu(153)", "a")] * 3, more=more), "unsafe or broken")


def test_metadata_nested_or_numbered_beyond_sense(tmp_path, counts):
    deep = files.ome_xml((3, 40, 30), NAMES).replace("<TiffData />", "<a>" * 100_000 + "</a>" * 100_000)
    assert read_section(described(tmp_path / "a.ome.tiff", counts, deep)).shape == counts.shape
    huge = files.ome_xml((3, 40, 30), NAMES).replace('SizeC="3"', f'SizeC="{"9" * 5000}"')
    refused(described(tmp_path / "a.ome.tiff", counts, huge), "a.ome.tiff")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_page_of_4_million_by_4_million(tmp_path, counts, compression):
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, counts[0].astype(np.uint16), compression=compression, metadata=None)
    tag(path, 256, 4_000_000)
    tag(path, 257, 4_000_000)
    tag(path, 278, 4_000_000)
    refused(path, "a.tiff")
    refused(path, "a.tiff", read_labels)


def test_a_tile_of_a_gigabyte_from_a_few_bytes(tmp_path):
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), tile=(64, 64), compression="zlib", metadata=None)
    for number in (256, 257, 322, 323):
        tag(path, number, 32_000)
    refused(path, "claims 977 MB of pixels in")


def test_strips_that_end_beyond_the_file(tmp_path, counts):
    for compression in (None, "zlib"):
        path = tmp_path / "a.tiff"
        tifffile.imwrite(path, counts[0], compression=compression, metadata=None, rowsperstrip=40)
        tag(path, 273, 2**31)
        refused(path, "cut short")


def chained(path, counts, target):
    """The list of pages goes on at page `target` after its last one."""
    tifffile.imwrite(path, counts, photometric="minisblack", metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
        last = offsets[-1]
    content = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", content, last)
    struct.pack_into("<I", content, last + 2 + 12 * tags, offsets[target])
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("pages", "target"), [(3, 0), (3, 2), (150, 120)])
def test_pages_that_go_round_in_a_circle(tmp_path, pages, target):
    path = chained(tmp_path / "a.tiff", np.zeros((pages, 8, 8), np.uint8), target)
    refused(path, "without an end")


def test_a_hundred_thousand_pages_are_not_sorted(tmp_path):
    tags = [(256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 8), (279, 64)]
    page = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", key, 4, 1, value) for key, value in tags
    )
    content = b"II*\0" + struct.pack("<I", 8)
    size = len(page) + 4
    content += b"".join(page + struct.pack("<I", 8 + size * number) for number in range(1, 100_000))
    (tmp_path / "a.tiff").write_bytes(content + page + struct.pack("<I", 0))
    refused(tmp_path / "a.tiff", "has 100000 pages, more than any section")


def test_planes_of_different_sizes_in_a_file_are_listed_apart(tmp_path, counts):
    path = tmp_path / "a.tiff"
    with tifffile.TiffWriter(path) as file:
        for plane in (counts[0], counts[1, :20], counts[2]):
            file.write(plane, photometric="minisblack", metadata=None)
    section = read_section(path)
    assert len(section.acquisitions) > 1
    assert any("images" in note for note in section.notes)


@pytest.mark.parametrize("dtype", [np.complex64, bool])
def test_values_that_are_no_counts(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tiff", np.zeros((20, 20), dtype), photometric="minisblack")
    refused(tmp_path / "a.tiff", "a.tiff")


def test_a_folder_that_may_not_be_read_and_files_that_are_folders(tmp_path):
    (tmp_path / "a.tiff").mkdir()
    refused(tmp_path / "a.tiff", "no image files")
    (tmp_path / "b.tiff").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "b.tiff", "is not there")


def test_a_channel_file_that_links_to_a_device_is_no_file(tmp_path, counts):
    tifffile.imwrite(tmp_path / "SDHA.tiff", counts[0])
    (tmp_path / "TOM22.tiff").symlink_to("/dev/zero")
    assert read_section(tmp_path).panel.targets == ["SDHA"]
    refused(tmp_path / "TOM22.tiff", "no file")
