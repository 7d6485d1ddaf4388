"""Training with mixed channels is training like any other: written, resumed, swept, explained."""

import csv
import json

import pytest
import torch

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.models import create, load_checkpoint
from napari_mitoxai.models.mixing import WithMixing
from napari_mitoxai.tasks import import_checkpoint, sweep, train
from napari_mitoxai.tasks.channel_ways import _shares
from napari_mitoxai.tasks.import_checkpoint import ImportParameters
from napari_mitoxai.tasks.sweep import SweepParameters
from napari_mitoxai.tasks.train import TrainParameters
from napari_mitoxai.telling import tell_train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def settings(simulated_cohort):
    return {
        "cohort": simulated_cohort, "epochs": 1, "patch_size": 128, "input_size": 32, "batch_size": 8,
        "device": "cpu", "overlap": 0.0, "mixing": 1,
    }  # fmt: skip


def table(path):
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_folds_are_written_ranked_and_told_and_the_model_is_kept(settings, tmp_path, capsys):
    result = train.run(TrainParameters(**settings, out=tmp_path / "run", folds="2"))
    rows = table(result.run / "mixing.csv")
    assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
    assert {row["models"] for row in rows} == {"2"}
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(1)
    assert (result.run / "mixing.png").read_bytes().startswith(b"\x89PNG")
    folds = [json.loads(path.read_text()) for path in sorted(result.run.glob("folds/*/metrics.json"))]
    top = rows[0]["channel"]
    own = [row["weight"] for fold in folds for row in fold["mixing"]["channels"] if row["channel"] == top]
    assert float(rows[0]["weight"]) == pytest.approx(sum(own) / 2)
    tell_train(result)
    assert f"1. {top}: " in capsys.readouterr().out

    checkpoint = load_checkpoint(result.run / "folds" / "01")
    network = checkpoint.model()
    assert isinstance(network, WithMixing)
    shares = {row["channel"]: row["weight"] for row in folds[0]["mixing"]["channels"]}
    kept = dict(zip(checkpoint.panel.targets, network.mixing.importance.tolist(), strict=True))
    assert kept == pytest.approx(shares)
    assert network(torch.zeros(1, len(kept), 32, 32)).shape == (1, 2)


def test_a_sweep_tells_the_spread_over_seeds(settings, tmp_path):
    swept = {**settings, "out": tmp_path / "sweep", "splits": ["patch-random"], "seeds": [0, 1]}
    result = sweep.run(SweepParameters(**swept, channel_sets=["SDHA+NDUFB8"]))
    rows = table(result.mixing)
    assert {row["channel"] for row in rows} == {"SDHA", "NDUFB8"}
    assert {row["models"] for row in rows} == {"2"}
    assert all(row["weight_sd"] for row in rows)
    picture = result.folder / "mixing_SDHA+NDUFB8_resnet18_patch-random.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_runs_without_mixing_are_what_they_were(trained_run, settings, tmp_path):
    content = json.loads((trained_run / "checkpoint.json").read_text())
    assert content.pop("mixing") == 0
    older = tmp_path / "older"
    older.mkdir()
    (older / "checkpoint.json").write_text(json.dumps(content))
    (older / content["weights"]).write_bytes((trained_run / content["weights"]).read_bytes())
    assert load_checkpoint(older).mixing == 0
    assert not isinstance(load_checkpoint(older).model(), WithMixing)
    assert not (trained_run / "mixing.csv").exists()
    # a run that was begun before there was mixing goes on
    parameters = TrainParameters(**{**settings, "mixing": 0}, out=tmp_path / "begun")
    begun = {key: value for key, value in train._compared(parameters).items() if key != "mixing"}
    (tmp_path / "begun.json").write_text(json.dumps({"parameters": begun}))
    assert train._begun_alike(tmp_path / "begun.json", parameters)
    assert not train._begun_alike(tmp_path / "begun.json", parameters.model_copy(update={"mixing": 1}))


def test_a_frozen_base_stays_as_it_is_while_the_blend_in_front_of_it_learns(settings, tmp_path):
    frozen = {**settings, "head": "dense", "base": "frozen", "epochs": 2, "hold_out": ["C03", "P03"]}
    result = train.run(TrainParameters(**frozen, out=tmp_path / "run"))
    trained = load_checkpoint(result.run).state
    torch.manual_seed(settings.get("seed", 0))
    channels = trained["mixing.weight"].shape[1]
    begun = create("resnet18", channels, 2, head="dense", mixing=1).state_dict()
    base = [name for name in trained if name.startswith("network.base.")]
    assert any("running_mean" in name for name in base)
    assert all(torch.equal(trained[name], begun[name]) for name in base)
    assert not torch.equal(trained["mixing.weight"], begun["mixing.weight"])
    assert not torch.equal(trained["network.head.logits.weight"], begun["network.head.logits.weight"])
    assert table(result.run / "mixing.csv")


def test_a_mixed_network_is_imported(tmp_path):
    torch.manual_seed(0)
    state = create("resnet18", 3, 2, mixing=2).state_dict()
    torch.save(state, tmp_path / "weights.pt")
    asked = {
        "file": tmp_path / "weights.pt", "out": tmp_path / "run", "architecture": "resnet18", "i_trust_this_file": True,
        "channels": ["SDHA", "NDUFB8", "VDAC1"], "classes": ["control", "patient"],
    }  # fmt: skip
    with pytest.raises(MitoxaiError, match="--mixing it was trained with"):
        import_checkpoint.run(ImportParameters(**asked))
    checkpoint = load_checkpoint(import_checkpoint.run(ImportParameters(**asked, mixing=2)).run)
    assert torch.equal(checkpoint.model().mixing.weight, state["mixing.weight"])
    # how far its channels vary is not known: its weights are told as they are
    rows, notes = _shares([checkpoint], tmp_path / "run")
    assert {row["way"] for row in rows} == {"mixing weight"}
    assert "does not tell how far its channels vary" in notes[0]
