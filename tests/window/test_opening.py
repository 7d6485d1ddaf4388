"""A dropped file opens lazily as named channels with the right colours, contrast and units."""

import numpy as np
import pytest

from napari_mitoxai.imc import Panel, parse_channel, write_section
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.styles import ROLE_COLOURS


@pytest.fixture
def opened(viewer, section_path, qtbot):
    layers = viewer.open(section_path, plugin="napari-mitoxai")
    qtbot.wait(100)
    return layers


def test_the_usual_channels_are_named_layers(viewer, opened):
    assert [layer.name for layer in viewer.layers] == ["P01 / NDUFB8", "P01 / TOM22", "P01 / Dystrophin"]
    assert all(layer.visible for layer in opened)


def test_layers_are_in_micrometres_and_add_up(opened):
    for layer in opened:
        assert {str(unit) for unit in layer.units} == {"micrometer"}
        assert tuple(layer.scale) == (1.0, 1.0)
        assert layer.blending == "additive"
        low, high = layer.contrast_limits
        assert 0 <= low < high


def test_colour_tells_the_role(opened):
    for layer in opened:
        full = layer.colormap.colors[-1][:3]
        np.testing.assert_allclose(full, ROLE_COLOURS[layer.metadata["mitoxai"]["role"]], atol=1e-6)


def test_provenance_is_in_the_metadata(opened, section_path):
    facts = facts_of(opened[0])
    assert (facts.kind, facts.section, facts.path) == ("channel", "P01", str(section_path))


def test_what_is_seen_has_the_colours_of_the_tissue(viewer, opened, cohort, qtbot):
    """The exported pixels: membranes red, the inside of fibres not, nothing black where there is tissue."""
    import tifffile

    fibres = tifffile.imread(cohort.parent / "fibres" / "P01.tiff")
    for layer in viewer.layers:
        layer.visible = layer.name.endswith("Dystrophin")
    qtbot.wait(100)
    picture = viewer.export_figure(flash=False)[..., :3].astype(float)
    assert picture.shape[:2] == fibres.shape
    outline = np.zeros(fibres.shape, bool)
    outline[1:-1, 1:-1] = (fibres[1:-1, 1:-1] > 0) & ((fibres[2:, 1:-1] == 0) | (fibres[:-2, 1:-1] == 0))
    inside = (fibres > 0) & ~outline
    red, green, blue = (picture[..., band] for band in range(3))
    assert red[outline].mean() > 2.5 * green[outline].mean()
    assert red[outline].mean() > 2.5 * blue[outline].mean()
    assert red[outline].mean() > 60 > red[inside].mean() / 2


def test_the_screenshot_of_the_canvas_is_not_black(viewer, opened):
    assert viewer.screenshot(flash=False)[..., :3].max(-1).mean() > 20


@pytest.fixture
def read_tiles(monkeypatch):
    """The tiles that are read from the disk, as (channel, row, column)."""
    import tifffile.zarr

    read = []
    original = tifffile.zarr.ZarrTiffStore.get

    async def get(self, key, *args, **options):
        last = key.rsplit("/", 1)[-1]
        if last[0].isdigit():
            read.append(tuple(int(part) for part in last.split(".")))
        return await original(self, key, *args, **options)

    monkeypatch.setattr(tifffile.zarr.ZarrTiffStore, "get", get)
    return read


def test_opening_reads_what_is_shown_and_once(viewer, tmp_path, read_tiles, qtbot):
    """A stack of 10 channels of 16 tiles: the planes of the three that are shown, for contrast, levels and picture together."""
    counts = np.random.default_rng(0).poisson(3, (10, 1024, 1024)).astype(np.uint16)
    targets = ("SDHA", "TOM22", "NDUFB8", "OSCP", "GRIM19", "VDAC1", "COX4", "MTCO1", "UqCRC2", "Dystrophin")
    path = write_section(
        tmp_path / "big.ome.tiff", counts, Panel(tuple(parse_channel(target) for target in targets))
    )
    viewer.open(path, plugin="napari-mitoxai")
    qtbot.wait(100)
    assert {channel for channel, _, _ in read_tiles} == {1, 2, 9}
    assert len(read_tiles) == 3 * 16
    np.testing.assert_array_equal(np.asarray(viewer.layers["big / NDUFB8"].data[0]), counts[2])


def test_a_file_without_a_dock_says_where_the_other_channels_are(viewer, section_path, notifications):
    viewer.open(section_path, plugin="napari-mitoxai")
    assert [text for _, text in notifications] == [
        "3 of 10 channels of P01 are shown; the others are in Plugins › MitoXAI › Section."
    ]


def test_opening_again_replaces(viewer, workspace, section_path, qtbot):
    for _ in range(2):
        viewer.open(section_path, plugin="napari-mitoxai")
        qtbot.wait(50)
    assert len(viewer.layers) == 3
    assert not any("[1]" in layer.name for layer in viewer.layers)


def test_a_file_that_is_no_image_gives_one_sentence(viewer, tmp_path, notifications):
    bad = tmp_path / "notes.ome.tiff"
    bad.write_text("this is no image")
    assert viewer.open(bad, plugin="napari-mitoxai") == []
    [(severity, text)] = notifications
    assert severity == "error"
    assert "notes.ome.tiff is not a readable TIFF" in text
    assert "Traceback" not in text


def test_a_truncated_file_gives_one_sentence(viewer, section_path, tmp_path, notifications):
    cut = tmp_path / "cut.ome.tiff"
    content = section_path.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    assert viewer.open(cut, plugin="napari-mitoxai") == []
    assert len(notifications) == 1
    assert "cut.ome.tiff" in notifications[0][1]


def test_a_text_file_is_refused_in_the_dock(viewer, workspace, tmp_path, notifications):
    text = tmp_path / "notes.txt"
    text.write_text("this is no image")
    from napari_mitoxai.napari.section_panel import SectionPanel

    workspace.findChild(SectionPanel).open(str(text))
    assert "notes.txt is not a section" in notifications[0][1]


def test_a_damaged_tile_is_empty_and_told_once(viewer, workspace, tmp_path, notifications, qtbot):
    counts = np.full((1, 512, 512), 7, np.uint16)
    path = write_section(tmp_path / "hurt.ome.tiff", counts, Panel((parse_channel("Dystrophin"),)))
    import tifffile

    with tifffile.TiffFile(path) as file:
        start, size = file.pages[0].dataoffsets[3], file.pages[0].databytecounts[3]
    content = bytearray(path.read_bytes())
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    from napari_mitoxai.imc import read_section
    from napari_mitoxai.napari.planes import ShownPlane

    plane = ShownPlane(read_section(path), read_section(path).data[0])
    shown = np.asarray(plane)
    plane[300:310, 300:310]
    np.testing.assert_array_equal(shown[:256], 7)
    np.testing.assert_array_equal(shown[256:, :256], 7)
    np.testing.assert_array_equal(shown[256:, 256:], 0)
    [(severity, text)] = notifications
    assert severity == "error"
    assert "Parts of hurt.ome.tiff cannot be read and are shown empty" in text


def test_other_files_are_left_to_other_plugins(tmp_path):
    from napari_mitoxai.napari.reader import get_reader

    (tmp_path / "empty").mkdir()
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path / "empty")) is None


def test_the_sample_opens_at_once_and_offers_its_cohort(viewer, workspace, child, qtbot):
    import time

    start = time.monotonic()
    viewer.open_sample("napari-mitoxai", "simulated_cohort")
    assert time.monotonic() - start < 4  # about 1.5 s; the machine may be busy
    assert "P99 / NDUFB8" in viewer.layers
    qtbot.waitUntil(lambda: child("train").isEnabled(), timeout=60_000)
    assert child("train_panel/cohort").text().endswith("cohort.csv")
    assert child("train_panel/patch_size").value() == 128
