"""Opening reads metadata, looking reads the tiles that are looked at: counted on the file itself."""

import gc
import tracemalloc

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Channel, Panel, read_section, write_section

SIDE, CHANNELS, TILE = 2048, 4, 256


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    # noise, so that every tile has its weight in bytes
    counts = np.random.default_rng(0).integers(0, 2**16, (CHANNELS, SIDE, SIDE), dtype=np.uint16)
    path = tmp_path_factory.mktemp("lazy") / "a.ome.tiff"
    return write_section(path, counts, Panel(tuple(Channel(f"c{i}") for i in range(CHANNELS))))


@pytest.fixture
def bytes_read(monkeypatch):
    """How many bytes tifffile asked a file for."""
    read = [0]
    handle = tifffile.tifffile.FileHandle
    real_read, real_readinto, real_segments = handle.read, handle.readinto, handle.read_segments

    def counted_read(self, size=-1, /):
        content = real_read(self, size)
        read[0] += len(content)
        return content

    def counted_readinto(self, buffer, /):
        count = real_readinto(self, buffer)
        read[0] += count
        return count

    def counted_segments(self, *args, **kwargs):
        yield from real_segments(self, *args, **kwargs)

    monkeypatch.setattr(handle, "read", counted_read)
    monkeypatch.setattr(handle, "readinto", counted_readinto)
    monkeypatch.setattr(handle, "read_segments", counted_segments)
    return read


def test_opening_reads_metadata_only(path, bytes_read):
    section = read_section(path)
    assert section.shape == (CHANNELS, SIDE, SIDE)
    assert 0 < bytes_read[0] < 100_000
    assert bytes_read[0] < path.stat().st_size / 100


@pytest.mark.parametrize(("start", "tiles"), [(512, 1), (600, 4)])
def test_a_window_of_one_channel_reads_the_tiles_it_touches(path, bytes_read, start, tiles):
    section = read_section(path)
    bytes_read[0] = 0
    section.read([2], y=slice(start, start + TILE), x=slice(start, start + TILE))
    tile_bytes = path.stat().st_size / (CHANNELS * (SIDE // TILE) ** 2)
    assert 0.9 * tiles * tile_bytes < bytes_read[0] < 1.1 * tiles * tile_bytes


def test_a_window_of_a_large_uncompressed_plane_takes_no_more_than_itself(tmp_path):
    path = tmp_path / "large.tif"  # 4 GB, empty but for its corner, so that it takes nothing of the disk
    stack = tifffile.memmap(
        path, shape=(2, 32_000, 32_000), dtype=np.uint16, photometric="minisblack", bigtiff=True
    )
    stack[1, -1, -1] = 7
    stack.flush()
    del stack
    tracemalloc.start()
    try:
        section = read_section(path)
        window = section.read([1], y=slice(31_000, 32_000), x=slice(31_000, 32_000))
        section.percentiles(0, [50])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert window[0, -1, -1] == 7
    assert peak < 64 * 2**20


def test_a_folder_decodes_only_the_channels_that_are_looked_at(tmp_path, monkeypatch):
    for name in ("SDHA", "TOM22", "COX4"):
        Image.fromarray(np.full((64, 64), 3, np.uint8)).save(tmp_path / f"{name}.png")
    decoded = []
    real_load = Image.Image.load

    def watch(picture):
        decoded.append(picture.filename)
        return real_load(picture)

    from PIL.PngImagePlugin import PngImageFile

    real_load = PngImageFile.load
    monkeypatch.setattr(PngImageFile, "load", watch)
    section = read_section(tmp_path)
    assert decoded == []
    section.read([section.panel.index("TOM22")])
    assert decoded
    assert all("TOM22" in str(name) for name in decoded)


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_file_is_open_as_long_as_its_pixels_can_be_read(path):
    def is_open():
        gc.collect()
        return str(path) in [file.path for file in psutil.Process().open_files()]

    section = read_section(path)
    window = section.data[1, :100, :100]
    del section
    assert is_open()
    assert np.asarray(window).any()
    del window
    assert not is_open()


def test_a_file_that_is_refused_is_closed(tmp_path):
    (tmp_path / "a.tiff").write_bytes(b"II*\x00" + bytes(60))
    for _ in range(3):
        with pytest.raises(MitoxaiError):
            read_section(tmp_path / "a.tiff")
    assert not [file for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))]
