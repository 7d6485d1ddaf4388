"""The same maps from several processes, one of which is killed in the middle."""

import os
import signal

import dask
import numpy as np
import pytest

from napari_mitoxai.cohort import PatchGeometry, Scaling
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain import Request, explain_section, open_maps
from napari_mitoxai.imc import Panel, parse_channel, read_section, write_section
from napari_mitoxai.models import Checkpoint, create, load_checkpoint, save_checkpoint
from napari_mitoxai.tasks.explain import ExplainParameters
from napari_mitoxai.tasks.explain import run as explain

TARGETS = ("SDHA", "NDUFB8", "Dystrophin")
METHODS = ["grad_cam", "input_x_gradient", "integrated_gradients"]
SETTINGS = ["integrated_gradients.steps=3"]


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each a process of its own."""
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.worker.daemon": False, "distributed.scheduler.allowed-failures": 5}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=None
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    panel = Panel(tuple(parse_channel(target) for target in TARGETS))
    network = create("resnet18", 3, 2).eval()
    save_checkpoint(
        Checkpoint(
            "resnet18", ["control", "patient"], panel, Scaling((1.0,) * 3, (1.5,) * 3), PatchGeometry(64, 64),
            {"train": [], "validation": [], "test": []}, {}, {}, network.state_dict(),
        ),
        folder,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def sections(tmp_path_factory):
    """Two good sections and one without tissue."""
    folder = tmp_path_factory.mktemp("sections")
    panel = Panel(tuple(parse_channel(target) for target in TARGETS))
    rng = np.random.default_rng(0)
    for name in ("A", "B"):
        counts = rng.poisson(5, (3, 160, 700)).astype(np.uint16)
        write_section(folder / f"{name}.ome.tiff", counts, panel)
    write_section(folder / "empty.ome.tiff", np.zeros((3, 160, 700), np.uint16), panel)
    return [folder / f"{name}.ome.tiff" for name in ("A", "empty", "B")]


def parameters(cluster, run, sections, out, **changes):
    values = {
        "run": run, "sections": sections, "methods": METHODS, "settings": SETTINGS, "out": out, "device": "cpu",
        "scheduler": cluster.scheduler_address, "batch_size": 4, **changes,
    }  # fmt: skip
    return ExplainParameters(**values)


@pytest.fixture(scope="module")
def alone(run, sections, tmp_path_factory):
    """The maps of section A by one process."""
    request = Request({name: {"steps": 3} if "integrated" in name else {} for name in METHODS})
    out = tmp_path_factory.mktemp("alone") / "a.ome.zarr"
    return explain_section(read_section(sections[0]), load_checkpoint(run), request, out, batch_size=4)


def test_a_killed_worker_and_an_empty_section_cost_nothing_else(cluster, run, sections, alone, tmp_path):
    killed = []

    def kill_one(report):
        if report.done >= 5 and not killed:
            victim = next(iter(cluster.workers.values()))
            killed.append(victim.process.pid)
            os.kill(victim.process.pid, signal.SIGKILL)

    results = explain(parameters(cluster, run, sections, tmp_path / "maps"), progress=kill_one)
    assert killed
    assert [result.section for result in sorted(results.sections, key=lambda r: r.section)] == [
        sections[0], sections[2],
    ]  # fmt: skip
    assert list(results.failed) == [str(sections[1])]
    assert "has no tissue" in results.failed[str(sections[1])]
    assert any("empty.ome.tiff was not explained" in problem for problem in results.problems)
    store = open_maps(tmp_path / "maps" / "A_maps.ome.zarr")
    assert store.methods == METHODS
    for name in METHODS:
        mine, theirs = alone.read(name), store.read(name)
        np.testing.assert_allclose(theirs, mine, rtol=1e-3, atol=1e-4 * np.abs(mine).max())
        assert [level.shape for level in store.levels(name)] == [level.shape for level in alone.levels(name)]
    assert store.patch_probabilities().keys() == alone.patch_probabilities().keys()
    assert store.info["verdict"]["call"] == alone.info["verdict"]["call"]
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "A_maps.ome.zarr",
        "B_maps.ome.zarr",
    ]


def test_what_was_cancelled_goes_on(cluster, run, sections, alone, tmp_path):
    token, counted = CancelToken(), []

    def stop(report):
        counted.append(report)
        if report.done >= 4:
            token.cancel()

    asked = parameters(cluster, run, sections[:1], tmp_path / "m.ome.zarr", target="predicted")
    with pytest.raises(Cancelled):
        explain(asked, progress=stop, cancel=token)
    assert not (tmp_path / "m.ome.zarr").exists()
    asked_for = max(report.total for report in counted)
    counted.clear()
    (result,) = explain(asked, progress=counted.append).sections
    assert result.target == result.verdict["call"] == alone.info["verdict"]["call"]
    assert max(report.total for report in counted if report.stage == "Explaining") < asked_for


def test_a_scheduler_that_is_not_there(run, sections, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_mitoxai.explain.cluster._CONNECT_S", 1)
    with pytest.raises(MitoxaiError, match=r"No scheduler answers at tcp://127\.0\.0\.1:1"):
        explain(
            ExplainParameters(
                run=run,
                sections=sections[:1],
                methods=["grad_cam"],
                out=tmp_path / "m.ome.zarr",
                scheduler="tcp://127.0.0.1:1",
            )
        )
