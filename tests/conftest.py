"""What the tests of all rooms share: real data where it is, one simulated cohort, one trained run; nothing of Qt."""

import hashlib
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# the tests' networks are small: more threads cost more than they give, and several runs may share the machine
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """Where two processes share the tests: all windows in one of them and first, as they take longest; else file by file."""
    items.sort(key=lambda item: "window" not in item.path.parts)
    for item in items:
        group = "window" if "window" in item.path.parts else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def one_thread():
    """One thread for torch, so that timings and sums do not depend on the machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with published sections; tests skip where it is absent."""
    folder = Path(os.environ.get("MITOXAI_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder} (set MITOXAI_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def simulated_cohort(tmp_path_factory) -> Path:
    """The table of three controls and three patients, 288 px; read only."""
    from napari_mitoxai.simulate import cohort

    return cohort(tmp_path_factory.mktemp("cohort"), 3, "complex_i_loss", 288, 0)


@pytest.fixture(scope="session")
def trained_run(simulated_cohort, one_thread, tmp_path_factory) -> Path:
    """A ResNet18 trained for one epoch on the simulated cohort, C03 and P03 held out; read only."""
    from napari_mitoxai.tasks.train import TrainParameters, run

    out = tmp_path_factory.mktemp("runs") / "run"
    run(
        TrainParameters(
            cohort=simulated_cohort, out=out, epochs=1, hold_out=["C03", "P03"],
            patch_size=128, input_size=32, batch_size=8, device="cpu",
        )
    )  # fmt: skip
    return out


@pytest.fixture
def small_published(tmp_path, monkeypatch):
    """Two small sections on a server of this machine in place of the published ones: their counts, the folder, what was asked for."""
    import numpy as np
    from PIL import Image

    from napari_mitoxai.cohort import published

    asked: list[str] = []
    levels = (8, 2, 6, 6, 6, 3, 14, 3, 7, 5)

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *arguments):
            pass

    folder, stacks, sections = tmp_path / "served", {}, {}
    for seed, (subject, group) in enumerate((("C01", "control"), ("P09", "patient"))):
        place = folder / f"{group}s" / subject
        place.mkdir(parents=True)
        rng, planes, files = np.random.default_rng(seed), [], []
        for channel, level in zip(published._CHANNELS, levels, strict=True):
            path = place / published._file_name(subject, channel)
            # flat blocks survive the compression
            counts = rng.integers(0, level + 1, (16, 16)).repeat(16, 0).repeat(16, 1)
            Image.fromarray(np.round(counts * 255 / level).astype(np.uint8)).save(path, quality=95)
            planes.append(counts)
            files.append(hashlib.sha256(path.read_bytes()).hexdigest())
        stacks[subject] = np.stack(planes).astype("<u2")
        digest = hashlib.sha256(stacks[subject].tobytes()).hexdigest()
        sections[subject] = published._Published(f"{group}s", group, levels, digest, tuple(files))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(published, "ADDRESS", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(published, "SECTIONS", sections)
    yield stacks, folder, asked
    server.shutdown()
    server.server_close()
