"""The instrument's own files: .mcd and .txt."""

import files
import numpy as np
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import can_read, find_sections, read_panoramas, read_section

CHANNELS = [("Eu(153)", "SDHA"), ("Gd(160)", "NDUFB8"), ("Sm(147)", "Laminin_681((851))Sm147")]
LABELS = ["SDHA (153Eu)", "NDUFB8 (160Gd)", "Laminin_681((851)) (147Sm)"]


@pytest.fixture
def counts():
    return np.random.default_rng(0).exponential(3, (3, 40, 30)).astype(np.float32)


@pytest.fixture
def two(counts):
    return [counts, counts[:, :20, :10] + 1]


def labels(section):
    return [channel.label for channel in section.panel]


def test_every_acquisition_of_an_mcd(tmp_path, two):
    path = files.mcd(tmp_path / "a.mcd", two, CHANNELS)
    assert can_read(path)
    section = read_section(path)
    assert (section.name, section.format, section.pixel_size_um) == ("a ROI_001", "MCD", 2.0)
    assert labels(section) == LABELS
    assert {channel.source for channel in section.panel} == {"acquisition"}
    assert "2 acquisitions (ROI_001, ROI_002); this is ROI_001" in section.notes[0]
    np.testing.assert_array_equal(section.read(), two[0])
    for wanted in (2, "2", "ROI_002"):
        np.testing.assert_array_equal(read_section(path, acquisition=wanted).read(), two[1])
    with pytest.raises(MitoxaiError, match=r"choose one of 1 \(ROI_001\), 2 \(ROI_002\)"):
        read_section(path, acquisition=3)


def test_rows_are_read_as_they_are_looked_at(tmp_path, counts, monkeypatch):
    from napari_mitoxai.imc import mcd

    monkeypatch.setattr(mcd, "_BAND", 30 * 6 * 4 * 7)  # seven rows
    section = read_section(files.mcd(tmp_path / "a.mcd", [counts], CHANNELS))
    assert section.data.chunks == ((3,), (7, 7, 7, 7, 7, 5), (30,))
    np.testing.assert_array_equal(section.read(), counts)
    np.testing.assert_array_equal(
        section.read([2, 0], y=slice(5, 23), x=slice(3, 9)), counts[[2, 0], 5:23, 3:9]
    )
    np.testing.assert_array_equal(section.data[1, 39].compute(), counts[1, 39])
    content = bytearray((tmp_path / "a.mcd").read_bytes())
    content[64 : 64 + 30 * 20 * 24] = b"\xff" * (30 * 20 * 24)  # the upper rows are damaged
    (tmp_path / "a.mcd").write_bytes(content)
    np.testing.assert_array_equal(section.read([0], y=slice(28, 40)), counts[[0], 28:])
    with pytest.raises(MitoxaiError, match="out of place"):
        section.read([0], y=slice(0, 7))


def test_pixels_in_another_order_lie_where_they_say(tmp_path, counts):
    order = np.random.default_rng(1).permutation(40 * 30)
    change = {1: {"MaxX": 30, "MaxY": 40}}
    path = files.mcd(tmp_path / "a.mcd", [files.records(counts, order)], CHANNELS, changes=change)
    np.testing.assert_array_equal(read_section(path).read(), counts)


def test_a_stopped_acquisition_is_opened_as_far_as_it_goes(tmp_path, counts):
    change = {1: {"MaxX": 30, "MaxY": 40}}
    pixels = files.records(counts)[: 24 * (30 * 12 + 5)]
    section = read_section(files.mcd(tmp_path / "a.mcd", [pixels], CHANNELS, changes=change))
    assert section.shape == (3, 40, 30)
    assert any("365 of 1200 pixels are there" in note for note in section.notes)
    expected = counts.reshape(3, -1) * (np.arange(1200) < 365)
    np.testing.assert_array_equal(section.read(), expected.reshape(3, 40, 30))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"DataEndOffset": 10**12}, "end beyond the file"),
        ({"DataStartOffset": 10**12}, "end beyond the file"),
        ({"DataEndOffset": 64, "DataStartOffset": 64}, "was not acquired"),
        ({"MaxX": 10**9, "MaxY": 10**9}, "declares 1000000000 x 1000000000 pixels and holds 1200"),
        ({"MaxX": 1}, "holds 1200"),
        ({"MaxX": "many"}, "damaged"),
        ({"MaxY": None}, "damaged"),
        ({"DataStartOffset": None}, "damaged"),
        ({"ValueBytes": 8}, "damaged"),
        ({"ValueBytes": -4}, "damaged"),
    ],
)
def test_a_bad_acquisition_is_listed_and_the_others_open(tmp_path, two, change, reason):
    path = files.mcd(tmp_path / "a.mcd", two, CHANNELS, changes={1: change})
    section = read_section(path)
    assert section.acquisition == "2"
    np.testing.assert_array_equal(section.read(), two[1])
    assert [bool(each.problem) for each in section.acquisitions] == [True, False]
    assert reason in section.acquisitions[0].problem
    assert any(reason in note and "ROI_001" in note for note in section.notes)
    with pytest.raises(MitoxaiError, match=f"Acquisition 1 of a.mcd cannot be opened .*{reason}"):
        read_section(path, acquisition=1)
    files.mcd(tmp_path / "b.mcd", two[:1], CHANNELS, changes={1: change})
    with pytest.raises(MitoxaiError, match=f"b.mcd has no acquisition that can be opened .*{reason}"):
        read_section(tmp_path / "b.mcd")


def test_the_panorama(tmp_path, counts):
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    path = files.mcd(tmp_path / "a.mcd", [counts], CHANNELS, picture=picture)
    (panorama,) = read_panoramas(path)
    assert (panorama.description, panorama.corners_um[2]) == ("Overview", (3.0, 0.0))
    np.testing.assert_array_equal(panorama.read(), picture)
    content = bytearray(path.read_bytes())
    content[64 + 161 + 8 : 64 + 161 + 60] = b"\xff" * 52
    path.write_bytes(content)
    with pytest.raises(MitoxaiError, match="not a readable picture"):
        read_panoramas(path)[0].read()
    np.testing.assert_array_equal(read_section(path).read(), counts)


@pytest.mark.parametrize(
    "content", [b"", b"MCD", "<MCDSchema><Acquisition>".encode("utf-16-le"), b"\0" * 10_000]
)
def test_what_is_no_mcd(tmp_path, content):
    (tmp_path / "a.mcd").write_bytes(content)
    with pytest.raises(MitoxaiError, match=r"a\.mcd is no \.mcd file or is cut short"):
        read_section(tmp_path / "a.mcd")


def test_text_equals_what_was_written(tmp_path, counts):
    headers = ["153Eu(153Eu153Di)", "NDUFB8(Gd160Di)", "Laminin_681((851))Sm147(Sm147Di)"]
    path = files.imc_text(tmp_path / "a.txt", counts, headers)
    assert can_read(path)
    section = read_section(path)
    assert (section.format, section.shape) == ("IMC text", (3, 40, 30))
    assert labels(section) == ["153Eu (153Eu)", *LABELS[1:]]
    np.testing.assert_allclose(section.read(), counts, atol=0.0005)
    np.testing.assert_allclose(
        section.read([1], y=slice(3, 8), x=slice(2, 9)), counts[[1], 3:8, 2:9], atol=0.0005
    )


def test_text_of_a_stopped_acquisition(tmp_path, counts):
    path = files.imc_text(tmp_path / "a.txt", counts, ["a", "b", "c"])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: 1 + 30 * 10 + 4]))
    section = read_section(path)
    assert section.shape == (3, 11, 30)
    assert (section.read([0])[0, 10, 4:] == 0).all()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("\t5\t7\t", "\t1000000000\t7\t", "too few for its coordinates, up to X 1000000000"),
        ("\t5\t7\t", "\t5\t1e30\t", "too few for its coordinates"),
        ("\t5\t7\t", "\t-5\t7\t", "without a place"),
        ("\t5\t7\t", "\tnan\t7\t", "not numbers"),
        ("\t5\t7\t", "\tinf\t7\t", "without a place|not numbers"),
        ("\t5\t7\t", "\t5.5\t7\t", "without a place"),
        ("\t5\t7\t", "\tfive\t7\t", "not numbers"),
        ("Start_push", "start", "no text file of an IMC instrument"),
    ],
)
def test_hostile_text_is_refused_on_opening(tmp_path, counts, old, new, sentence):
    path = files.imc_text(tmp_path / "a.txt", counts, ["a", "b", "c"])
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(MitoxaiError, match=sentence) as caught:
        read_section(path)
    assert "\n" not in str(caught.value)


def test_text_without_pixels_and_other_text(tmp_path):
    (tmp_path / "notes.txt").write_text("Dear diary")
    assert not can_read(tmp_path / "notes.txt")
    with pytest.raises(MitoxaiError, match="no text file of an IMC instrument"):
        read_section(tmp_path / "notes.txt")
    (tmp_path / "a.txt").write_text("Start_push\tEnd_push\tPushes_duration\tX\tY\tZ\tSDHA(Eu153Di)\n")
    with pytest.raises(MitoxaiError, match=r"a\.txt"):
        read_section(tmp_path / "a.txt")


def test_text_is_parsed_in_blocks_and_a_line_without_an_end_is_refused(tmp_path, counts, monkeypatch):
    from napari_mitoxai.imc import text

    monkeypatch.setattr(text, "_BLOCK", 1000)
    path = files.imc_text(tmp_path / "a.txt", counts, ["a", "b", "c"])
    np.testing.assert_allclose(read_section(path).read(), counts, atol=0.0005)
    path.write_bytes(path.read_bytes().rstrip())  # no line break at the end
    np.testing.assert_allclose(read_section(path).read(), counts, atol=0.0005)
    path.write_bytes(path.read_bytes() + b"\r\n" + b"\0" * 5000)
    with pytest.raises(MitoxaiError, match=r"a line of more than|not numbers"):
        read_section(path)


# --- published data ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["20210305_NE_mockData1", "20210305_NE_mockData2"])
def slide(request, real_data):
    return real_data / "imc_formats" / "hyperion" / request.param


@pytest.mark.parametrize("number", [1, 2, 3])
def test_one_acquisition_in_three_formats_gives_the_same_numbers(slide, number):
    mcd = read_section(slide / f"{slide.name}.mcd", acquisition=number)
    text = read_section(slide / f"{slide.name}_ROI_00{number}_{number}.txt")
    tiff = read_section(slide / "ometiff" / f"{slide.name}_s0_a{number}_ac.ome.tiff")
    np.testing.assert_array_equal(mcd.read(), tiff.read())
    np.testing.assert_allclose(text.read(), mcd.read(), atol=0.0005, rtol=0)
    for section in (text, tiff):
        assert [channel.label for channel in section.panel] == [channel.label for channel in mcd.panel]
        assert section.data.dtype == np.float32
        assert section.pixel_size_um == mcd.pixel_size_um == 1.0


def test_the_published_reference_acquisition(real_data):
    section = read_section(
        real_data / "imc_formats" / "hyperion" / "20210305_NE_mockData2" / "20210305_NE_mockData2.mcd"
    )
    assert section.shape == (5, 87, 103)
    assert section.read().max() == pytest.approx(475.92117, abs=1e-5)
    assert section.panel.index("laminin") == 2


def test_mcd_as_readimc_reads_it(slide):
    readimc = pytest.importorskip("readimc")
    path = slide / f"{slide.name}.mcd"
    with readimc.MCDFile(path) as file:
        (one,) = file.slides
        for acquisition in one.acquisitions:
            section = read_section(path, acquisition=acquisition.id)
            assert [f"{c.metal}{c.mass}" for c in section.panel] == acquisition.channel_names
            np.testing.assert_array_equal(section.read(), file.read_acquisition(acquisition))
        for mine, theirs in zip(read_panoramas(path), one.panoramas, strict=True):
            np.testing.assert_array_equal(mine.read(), file.read_panorama(theirs)[..., :3])


def test_published_folder_of_formats(real_data):
    names = [path.name for path in find_sections(real_data / "imc_formats" / "steinbock")]
    assert names == sorted(names)
    assert len(names) == 6
    section = read_section(real_data / "imc_formats" / "steinbock" / "img" / names[0])
    assert section.panel.targets == ["107Ag", "Cytokeratin 5", "Laminin", "YBX1", "H3K27Ac"]
    assert section.panel[2].metal == "Sm"
