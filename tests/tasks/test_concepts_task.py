"""Reading a run's concepts out: tables that say what they should, pictures, and an overlay that opens."""

import csv
import json

import numpy as np
import pytest
import torch
from concept_sets import write_fibre_concepts
from matplotlib.image import imread

from napari_mitoxai.cli import _tell_axes
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain.store import MapStore
from napari_mitoxai.tasks import concepts, train
from napari_mitoxai.tasks.concepts import ConceptsParameters
from napari_mitoxai.tasks.train import TrainParameters

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = ["layer1.0.bn1", "layer1.1.bn1"]


@pytest.fixture(scope="module")
def run(simulated_cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("concepts")
    set_ = write_fibre_concepts(simulated_cohort, folder / "concepts.csv")
    return train.run(
        TrainParameters(
            cohort=simulated_cohort, out=folder / "run", epochs=1, patch_size=128, input_size=32, batch_size=8, device="cpu",
            overlap=0.0, concepts=set_, whitened_layers=LAYERS, concept_every=1, hold_out=["C03", "P03"],
        )
    ).run  # fmt: skip


@pytest.fixture(scope="module")
def read_out(run, simulated_cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("read") / "out"
    return concepts.run(
        ConceptsParameters(
            run=run,
            out=out,
            top=12,
            overlap=0.0,
            device="cpu",
            sections=[simulated_cohort.parent / "P03.ome.tiff"],
        )
    )


def table(path):
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_purities_are_those_of_the_training_beside_the_best_axis(read_out, run, capsys):
    rows = table(read_out.folder / "purity.csv")
    trained = {
        (row["layer"], row["subjects"], row["concept"]): row["auc"]
        for row in json.loads((run / "metrics.json").read_text())["concepts"]
    }
    assert len(rows) == 8
    for row in rows:
        assert float(row["auc"]) == pytest.approx(trained[row["layer"], row["subjects"], row["concept"]])
        assert float(row["best_axis_auc"]) >= float(row["auc"])
    _tell_axes(read_out)
    assert "Axis of pale in layer1.0.bn1: purity" in capsys.readouterr().out


def test_the_gallery_has_the_most_activated_patches_with_their_places(read_out, simulated_cohort):
    rows = [
        row
        for row in table(read_out.folder / "gallery.csv")
        if row["layer"] == LAYERS[0] and row["concept"] == "pale"
    ]
    assert [int(row["rank"]) for row in rows] == list(range(1, 13))
    values = [float(row["activation"]) for row in rows]
    assert values == sorted(values, reverse=True)
    for row in rows:
        assert (row["use"] == "test") == (row["subject"] in ("C03", "P03"))
        assert 63.5 <= float(row["y_px"]) <= 288 - 64.5
    picture = imread(read_out.folder / "gallery_pale_layer1_0_bn1.png")
    assert picture.shape[1] == 1300
    assert picture[..., :3].std() > 0.1


def test_a_place_of_the_gallery_is_where_the_network_is_as_active_as_it_says(read_out, run):
    from pathlib import Path

    from napari_mitoxai.cohort import read_patches
    from napari_mitoxai.imc import read_section
    from napari_mitoxai.models import load_checkpoint
    from napari_mitoxai.models.whitening import activations_of
    from napari_mitoxai.training.concepts import axes_of

    row = next(row for row in table(read_out.folder / "gallery.csv") if row["layer"] == LAYERS[1])
    checkpoint = load_checkpoint(run)
    corner = (int(float(row["y_px"]) - 63.5), int(float(row["x_px"]) - 63.5))
    section = read_section(Path(row["section"]))
    (patch,) = read_patches(section, checkpoint.channels_in(section), [corner], checkpoint.geometry)
    axes = axes_of(checkpoint.model(), torch.from_numpy(checkpoint.scaling(patch))[None])[LAYERS[1]]
    number = checkpoint.whitening.concepts.index(row["concept"])
    assert float(activations_of(axes, "pooled-max")[0, number]) == pytest.approx(
        float(row["activation"]), rel=1e-4
    )


def test_correlations_importances_and_paths_are_written_and_drawn(read_out):
    correlations = table(read_out.folder / "correlation.csv")
    assert {row["layer"] for row in correlations} == set(LAYERS)
    assert all(-1 <= float(row["correlation"]) <= 1 for row in correlations)
    importances = table(read_out.folder / "importance.csv")
    assert {row["class"] for row in importances} == {"all", "control", "patient"}
    assert all(float(row["importance"]) > 0 for row in importances)
    paths = table(read_out.folder / "paths.csv")
    assert {row["layer"] for row in paths} == set(LAYERS)
    assert all(0 <= float(row["percentile"]) <= 100 for row in paths)
    for name in ("correlation", "importance", "paths"):
        assert (read_out.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_overlay_is_a_store_with_a_map_a_layer_and_concept(read_out):
    (path,) = read_out.overlays
    store = MapStore(path, "r")
    assert set(store.methods) == {
        f"{concept}_{layer.replace('.', '_')}" for layer in LAYERS for concept in ("pale", "normal")
    }
    assert store.channels("pale_layer1_0_bn1") == ["pale"]
    assert store.title("pale_layer1_0_bn1") == "pale in layer1.0.bn1"
    values = store.read("pale_layer1_0_bn1")
    assert values.shape == (1, 72, 72)
    assert np.nanstd(values) > 0.01


def test_the_importance_of_a_switched_axis_by_hand():
    """A network that reads one axis alone: switching it costs everything, switching another one nothing."""
    from napari_mitoxai.models import ConceptWhitening, Whitening
    from napari_mitoxai.training.concept_readouts import correlations, importance, percentiles

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        ConceptWhitening(2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(2, 2)
    )
    with torch.no_grad():
        network[3].weight.copy_(torch.tensor([[-2.0, 0], [2, 0]]))
        network[3].bias.zero_()

    class Given:
        labels = np.tile([0, 1], 20).astype(np.int64)
        subjects = np.tile(["a", "b"], 20)
        patches = 0.1 * torch.randn(40, 2, 2, 2)
        patches[:, 0] += torch.from_numpy(labels)[:, None, None] * 4 - 2

        def inputs(self, indices, epoch, first):
            return self.patches[indices]

        def __len__(self):
            return 40

    rows = importance(
        network, Given(), Whitening(("0",), ("used", "not")), ["c", "p"], repeats=3, batch_size=10
    )
    by_concept = {row["concept"]: row for row in rows if row["class"] == "all"}
    assert by_concept["not"]["importance"] == pytest.approx(1)
    assert by_concept["used"]["importance"] > 50
    assert by_concept["used"]["accuracy"] == 1
    assert 0.2 < by_concept["used"]["switched_accuracy"] < 0.8
    matrix = correlations(network, Given(), Whitening(("0",), ("used", "not")))["0"]
    assert matrix.diagonal() == pytest.approx(1)
    assert abs(matrix[0, 1]) < 0.3
    ranks = percentiles(np.array([[2.5], [0.0]], np.float32), np.array([[1], [2], [3], [4]], np.float32))
    assert ranks.tolist() == [[50], [0]]


def test_what_cannot_be_read_out_is_said_and_a_cancel_leaves_nothing(run, trained_run, tmp_path, read_out):
    with pytest.raises(MitoxaiError, match="has no concepts: train with --concepts"):
        concepts.run(ConceptsParameters(run=trained_run, out=tmp_path / "out"))
    with pytest.raises(MitoxaiError, match="exists already"):
        concepts.run(ConceptsParameters(run=run, out=read_out.folder))
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        concepts.run(ConceptsParameters(run=run, out=tmp_path / "out", device="cpu"), cancel=token)
    assert not list(tmp_path.iterdir())
