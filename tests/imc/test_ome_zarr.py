"""OME-Zarr: reading what others write, and writing it."""

import json

import numpy as np
import pytest
import zarr

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.imc import Role, can_read, parse_channel, read_section, write_ome_zarr, write_section
from napari_mitoxai.imc.panel import Panel

NAMES = ["153Eu_SDHA", "158Gd_TOM22", "160Gd_NDUFB8"]
LABELS = ["SDHA (153Eu)", "TOM22 (158Gd)", "NDUFB8 (160Gd)"]
PANEL = Panel(tuple(parse_channel(name) for name in NAMES))


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(0.3, (3, 700, 540)).astype(np.uint16)


def image(path, counts, *, version="0.5", axes="cyx", levels=2, names=NAMES, changes=None):
    """As other software writes: an image with the axes of `axes`, all of length 1 but c, y and x."""
    zarr_format = 3 if version == "0.5" else 2
    root = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    datasets = []
    for level in range(levels):
        values = counts[:, :: 2**level, :: 2**level]
        kept = [axis for axis in axes if axis in "cyx"]
        values = np.expand_dims(
            values.transpose(["cyx".index(axis) for axis in kept]),
            [i for i, a in enumerate(axes) if a not in "cyx"],
        )
        chunks = [128 if axis in "yx" else 1 for axis in axes]
        root.create_array(str(level), data=np.ascontiguousarray(values), chunks=chunks)
        scale = [0.5 * 2**level if axis in "yx" else 1.0 for axis in axes]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    described = [{"name": a, **({"type": "space", "unit": "micrometer"} if a in "zyx" else {})} for a in axes]
    ome = {
        "multiscales": [
            {"version": version, "name": "x", "axes": described, "datasets": datasets, **(changes or {})}
        ],
        "omero": {"channels": [{"label": name} for name in names]},
    }
    root.attrs.update({"ome": {"version": "0.5", **ome}} if version == "0.5" else ome)
    return path


@pytest.mark.parametrize("axes", ["cyx", "tczyx", "yxc"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_both_versions_with_any_axes(tmp_path, counts, version, axes):
    path = image(tmp_path / "a.zarr", counts, version=version, axes=axes)
    assert can_read(path)
    section = read_section(path)
    assert (section.format, section.dialect, section.pixel_size_um) == ("OME-Zarr", version, 0.5)
    assert [channel.label for channel in section.panel] == LABELS
    assert section.notes == ()
    assert [level.shape for level in section.levels] == [(3, 700, 540), (3, 350, 270)]
    np.testing.assert_array_equal(section.levels[1].compute(), counts[:, ::2, ::2])
    np.testing.assert_array_equal(
        section.read([2], y=slice(100, 300), x=slice(5, 99)), counts[[2], 100:300, 5:99]
    )


def test_planes_declared_as_depths(tmp_path, counts):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.create_array("0", data=counts, chunks=(1, 128, 128))
    axes = [{"name": name} for name in "zyx"]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    section = read_section(tmp_path / "a.zarr")
    assert section.panel.targets == ["ch0", "ch1", "ch2"]
    assert any("declares its planes as depths" in note for note in section.notes)
    assert any("no pixel size" in note for note in section.notes)


def test_a_collection_of_images(tmp_path, counts):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    image(tmp_path / "a.zarr" / "0", counts, version="0.4")
    image(tmp_path / "a.zarr" / "1", counts[:, :90], version="0.4")
    section = read_section(tmp_path / "a.zarr")
    assert [each.id for each in section.acquisitions] == ["0", "1"]
    assert read_section(tmp_path / "a.zarr", acquisition=1).shape == (3, 90, 540)


# --- writing -----------------------------------------------------------------------------------------------------


@pytest.fixture
def section(tmp_path, counts):
    return read_section(write_section(tmp_path / "P07.ome.tiff", counts, PANEL, pixel_size_um=0.5))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_written_and_read_again_it_is_the_same(tmp_path, counts, dtype):
    counts = counts.astype(dtype) * (1 if dtype == np.uint16 else 0.3)
    section = read_section(
        write_section(tmp_path / "a.ome.tiff", counts.astype(dtype), PANEL, pixel_size_um=0.5)
    )
    again = read_section(write_ome_zarr(tmp_path / "a.ome.zarr", section))
    assert again.data.dtype == dtype
    assert again.pixel_size_um == 0.5
    assert [channel.label for channel in again.panel] == LABELS
    assert [channel.role for channel in again.panel] == [channel.role for channel in PANEL]
    np.testing.assert_array_equal(again.read(), counts.astype(dtype).astype(np.float32))
    assert [level.shape for level in again.levels] == [(3, 700, 540), (3, 350, 270)]
    assert list(tmp_path.glob(".*")) == []  # nothing is left beside it


def test_a_coarser_pixel_is_the_mean_and_whole_numbers_keep_it_on_average(tmp_path, counts):
    decimal = counts.astype(np.float32)
    path = write_section(tmp_path / "b.ome.tiff", decimal, PANEL)
    mean = read_section(write_ome_zarr(tmp_path / "b.ome.zarr", read_section(path))).levels[1].compute()
    np.testing.assert_allclose(mean, decimal.reshape(3, 350, 2, 270, 2).mean((2, 4)), rtol=1e-6)
    path = write_section(tmp_path / "a.ome.tiff", counts, PANEL)
    whole = read_section(write_ome_zarr(tmp_path / "a.ome.zarr", read_section(path))).levels[1].compute()
    assert np.abs(whole - mean).max() < 1
    # rounded to the nearest, nearly all of it would be 0
    np.testing.assert_allclose(whole.mean((1, 2)), counts.mean((1, 2)), rtol=0.02)


def test_the_metadata_are_those_of_the_format(tmp_path, section):
    path = write_ome_zarr(tmp_path / "a.ome.zarr", section)
    document = json.loads((path / "zarr.json").read_text())
    assert document["zarr_format"] == 3
    ome = document["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (multiscales,) = ome["multiscales"]
    assert [axis["name"] for axis in multiscales["axes"]] == ["c", "y", "x"]
    first, second = (dataset["coordinateTransformations"] for dataset in multiscales["datasets"])
    assert first == [
        {"type": "scale", "scale": [1, 0.5, 0.5]},
        {"type": "translation", "translation": [0, 0, 0]},
    ]
    assert second == [
        {"type": "scale", "scale": [1, 1, 1]},
        {"type": "translation", "translation": [0, 0.25, 0.25]},
    ]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["SDHA", "TOM22", "NDUFB8"]
    assert json.loads((path / "0" / "zarr.json").read_text())["dimension_names"] == ["c", "y", "x"]


class Stop(CancelToken):
    """Cancels when it is asked for the `at`-th time."""

    def __init__(self, at):
        super().__init__()
        self.left = at

    def check(self):
        self.left -= 1
        if self.left < 0:
            raise Cancelled


def test_a_cancelled_call_is_gone_on_with_and_gives_the_same(tmp_path, section, monkeypatch):
    from napari_mitoxai.imc import zarr_writing

    monkeypatch.setattr(zarr_writing, "_SHARD", 256)  # so that there are bands to stop between
    whole = write_ome_zarr(tmp_path / "whole.ome.zarr", section)
    out = tmp_path / "a.ome.zarr"
    written = []
    real = zarr_writing._values
    monkeypatch.setattr(zarr_writing, "_values", lambda *args: written.append(args[2].key) or real(*args))
    with pytest.raises(Cancelled):
        write_ome_zarr(out, section, cancel=Stop(10))
    assert not out.exists()
    assert len(written) == 10
    log = tmp_path / ".a.partial.ome.zarr" / "finished.jsonl"
    log.write_text(log.read_text() + "[0, 0,")  # killed while writing
    reports = []
    write_ome_zarr(out, section, progress=reports.append)
    assert len(written) == len({tuple(key) for key in written}) == reports[-1].total
    for ours, theirs in zip(read_section(out).levels, read_section(whole).levels, strict=True):
        np.testing.assert_array_equal(ours.compute(), theirs.compute())
    assert list(tmp_path.glob(".*")) == []


def test_half_a_store_of_another_section_is_not_gone_on_with(tmp_path, section, counts):
    out = tmp_path / "a.ome.zarr"
    with pytest.raises(Cancelled):
        write_ome_zarr(out, section, cancel=Stop(1))
    other = read_section(write_section(tmp_path / "other.ome.tiff", counts + 5, PANEL))
    np.testing.assert_array_equal(read_section(write_ome_zarr(out, other)).read(), counts + 5)


def test_nothing_is_replaced_unless_asked_for(tmp_path, section, counts):
    out = write_ome_zarr(tmp_path / "a.ome.zarr", section)
    with pytest.raises(MitoxaiError, match="exists already"):
        write_ome_zarr(out, section)
    write_ome_zarr(out, section, overwrite=True)
    with pytest.raises(MitoxaiError, match=r"does not end in \.ome\.zarr"):
        write_ome_zarr(tmp_path / "a.tiff", section)
    mine = tmp_path / "mine.ome.zarr"
    mine.mkdir()
    (mine / "thesis.doc").write_text("years")
    with pytest.raises(MitoxaiError, match="is not an OME-Zarr image and is not replaced"):
        write_ome_zarr(mine, section, overwrite=True)
    with pytest.raises(MitoxaiError, match="made from"):
        write_ome_zarr(out, read_section(out), overwrite=True)
    assert (mine / "thesis.doc").read_text() == "years"


def test_a_role_that_the_user_gave_is_kept(tmp_path, counts):
    (tmp_path / "p.csv").write_text("metal,name,role\nEu153,Spectrin,membrane\n")
    path = write_section(tmp_path / "a.ome.tiff", counts, PANEL)
    out = write_ome_zarr(tmp_path / "a.ome.zarr", read_section(path, panel=tmp_path / "p.csv"))
    assert read_section(out).panel[0].role == Role.MEMBRANE


# --- hostile stores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["../secret", "/tmp/secret", "0/../../secret", "..\\secret", "", 5, None, "nowhere"]
)
def test_a_level_that_is_named_elsewhere_is_not_opened(tmp_path, counts, place):
    image(tmp_path / "secret", counts + 7)
    path = image(tmp_path / "a.zarr", counts, changes={"datasets": [{"path": place}]})
    with pytest.raises(MitoxaiError, match=r"a\.zarr") as caught:
        read_section(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("link", ["0", "0/zarr.json", "0/c"])
def test_links_out_of_the_store_are_not_followed(tmp_path, counts, link):
    secret = image(tmp_path / "secret", counts + 7, levels=1)
    path = image(tmp_path / "a.zarr", counts, levels=1)
    target = path / link
    target.rename(tmp_path / "gone")
    target.symlink_to(secret / link)
    with pytest.raises(MitoxaiError):
        read_section(path).read([0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [3, 10**12, 10**12]),
        ("shape", [10**6, 700, 540]),
        ("shape", [3, 0, 540]),
        ("shape", "large"),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [1, 10**6, 10**6]}}),
        ("codecs", [{"name": "pickle"}]),
        ("data_type", "complex64"),
        ("zarr_format", 9),
    ],
)
def test_metadata_that_claim_what_is_not_there_are_refused(tmp_path, counts, key, value):
    path = image(tmp_path / "a.zarr", counts, levels=1)
    document = json.loads((path / "0" / "zarr.json").read_text())
    (path / "0" / "zarr.json").write_text(json.dumps({**document, key: value}))
    with pytest.raises(MitoxaiError, match=r"a\.zarr") as caught:
        read_section(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"attributes": 5}', b'{"attributes": {"ome": []}}', b'{"attributes":' * 3000],
)
def test_what_is_no_ome_zarr(tmp_path, content):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_bytes(content)
    assert not can_read(tmp_path / "a.zarr")
    with pytest.raises(MitoxaiError, match=r"a\.zarr"):
        read_section(tmp_path / "a.zarr")


def test_a_damaged_chunk_is_a_sentence_when_it_is_looked_at(tmp_path, counts):
    path = image(tmp_path / "a.zarr", counts, levels=1)
    (path / "0" / "c" / "0" / "0" / "0").write_bytes(b"junk")
    section = read_section(path)
    with pytest.raises(MitoxaiError, match="cannot be read"):
        section.read([0])
    np.testing.assert_array_equal(section.read([1]), counts[[1]])
