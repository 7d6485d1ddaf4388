"""Damaged files of every format: opened or refused in a sentence, never a crash, a hang or a traceback."""

import random
from collections import Counter

import files
import fuzzing
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_mitoxai.imc import read_section, write_ome_zarr

CASES, MANY_CASES = 300, 10_000


@pytest.fixture(scope="module")
def originals(tmp_path_factory, request):
    """Small sound files of every format, the real ones among them where they are."""
    folder = tmp_path_factory.mktemp("originals")
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (3, 40, 30)).astype(np.float32)
    names = ["153Eu_SDHA", "158Gd_TOM22", "160Gd_NDUFB8"]
    made = [
        files.xtiff(folder / "xtiff.ome.tiff", counts, names),
        files.xtiff(folder / "broken.ome.tiff", counts, names, broken=True),
        files.mcd_viewer(folder / "viewer16.ome.tiff", counts.astype(np.uint16), names),
        files.mcd_viewer(folder / "viewer32.ome.tiff", counts, names, ome=True),
        files.imc_text(folder / "a.txt", counts[:, :12, :10], ["SDHA(Eu153Di)", "TOM22(Gd158Di)", "b(Gd160Di)"]),
        files.mcd(folder / "a.mcd", [counts, counts[:, :9]], [("Eu(153)", "SDHA")] * 3, picture=np.zeros((9, 9, 3), np.uint8)),
    ]  # fmt: skip
    tifffile.imwrite(folder / "imagej.tif", counts, imagej=True, metadata={"axes": "CYX", "Labels": names})
    options = {"photometric": "minisblack", "tile": (16, 16), "compression": "zlib"}
    with tifffile.TiffWriter(folder / "pyramid.ome.tiff", ome=True) as file:
        file.write(counts, subifds=1, metadata={"axes": "CYX", "Channel": {"Name": names}}, **options)
        file.write(counts[:, ::2, ::2], subfiletype=1, **options)
    tifffile.imwrite(
        folder / "lzw.tiff",
        counts.astype(np.uint8),
        compression="lzw",
        rowsperstrip=7,
        predictor=True,
        photometric="minisblack",
    )
    tifffile.imwrite(folder / "mask.tiff", counts[0].astype(np.uint16), compression="zlib")
    Image.fromarray(counts[0].astype(np.uint8) * 40).convert("RGB").save(folder / "mask.png")
    channels = folder / "channels"
    channels.mkdir()
    for name, plane in zip(names, counts, strict=True):
        Image.fromarray(plane.astype(np.uint8)).save(channels / f"{name}.png")
    write_ome_zarr(folder / "a.ome.zarr", read_section(folder / "pyramid.ome.tiff"))
    old = zarr.open_group(folder / "old.zarr", mode="w", zarr_format=2)
    old.create_array("0", data=counts, chunks=(1, 16, 16))
    axes = [{"name": name} for name in "cyx"]
    old.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    made += [path for path in folder.iterdir() if path not in made]
    try:
        real = request.getfixturevalue("real_data") / "imc_formats"
        slide = real / "hyperion" / "20210305_NE_mockData1"
        made += [
            slide / "20210305_NE_mockData1.mcd", slide / "20210305_NE_mockData1_ROI_003_3.txt",
            slide / "ometiff" / "20210305_NE_mockData1_s0_a1_ac.ome.tiff",
            real / "steinbock" / "img" / "20210305_NE_mockData1_001.tiff",
            real / "nameless" / "E34_imc.tiff", real / "nameless" / "E34_mask.tiff",
        ]  # fmt: skip
    except pytest.skip.Exception:
        pass
    return sorted(made)


def fuzz(originals, folder, seeds):
    """Look at one changed file a seed; the outcomes, and the defects with the seeds that find them again."""
    worker = fuzzing.Worker()
    outcomes, defects = Counter(), []
    try:
        for path in originals:
            assert worker.look(path) == "opened", path  # they are sound before they are changed
        for seed in seeds:
            rng = random.Random(seed)
            original = rng.choice(originals)
            case = folder / str(seed)
            case.mkdir()
            fuzzing.changed(original, case / original.name, rng)
            outcome = worker.look(case / original.name)
            if outcome in ("opened", "refused"):
                outcomes[outcome] += 1
            else:
                defects.append(f"seed {seed}, {original.name}: {outcome}")
    finally:
        worker.close()
    print(f"{dict(outcomes)}, {len(defects)} defects")
    return outcomes, defects


def test_damaged_files_are_opened_or_refused(originals, tmp_path):
    print(f"seeds 0 to {CASES - 1}")
    outcomes, defects = fuzz(originals, tmp_path, range(CASES))
    assert not defects, "\n\n".join(defects)
    assert min(outcomes["opened"], outcomes["refused"]) > CASES / 10  # it met both


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_damaged_files_are_opened_or_refused(originals, tmp_path):
    first = random.SystemRandom().randrange(10**9)
    print(f"seeds {first} to {first + MANY_CASES - 1}")
    _, defects = fuzz(originals, tmp_path, range(first, first + MANY_CASES))
    assert not defects, f"first seed {first}\n\n" + "\n\n".join(defects)


def test_a_hang_a_crash_and_a_traceback_are_noticed(tmp_path, monkeypatch):
    """The net has no hole: a worker that hangs, dies or fails is not taken for an answer."""
    monkeypatch.setattr(fuzzing, "LIMIT_S", 1)
    worker = fuzzing.Worker()
    try:
        assert worker.look(tmp_path / "nothing.tiff") == "refused"
        assert "Traceback" in worker.look(5)
        worker._process.kill()
        worker._process.join()
        assert "crashed" in worker.look(tmp_path / "nothing.tiff")
        assert worker.look(tmp_path / "nothing.tiff") == "refused"
    finally:
        worker.close()
