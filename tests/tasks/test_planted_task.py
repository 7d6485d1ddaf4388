"""The task that judges methods by a planted truth: one small network, made once and gone on with."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.tasks import planted, validated
from napari_mitoxai.tasks.planted import PlantedParameters

SMALL = {
    "signals": ["complex_i_loss"], "methods": ["input_x_gradient"], "seeds": 1, "patches": 2, "confidence": 0.5,
    "learnt": 0.5, "subjects_per_group": 5, "size": 256, "epochs": 1, "device": "cpu",
}  # fmt: skip


@pytest.fixture
def always_right(monkeypatch):
    """One epoch teaches a network nothing: take its word for the group of each patch, so that there is something to explain."""
    from napari_mitoxai.tasks import planted_run

    def told(network, inputs, **_):
        # the held-out subjects come controls first
        told.calls += 1
        patient = 0.95 if told.calls % 4 in (3, 0) else 0.05
        return np.tile(np.array([[1 - patient, patient]], np.float32), (len(inputs), 1))

    told.calls = 0
    monkeypatch.setattr(planted_run, "predict", told)


def test_a_run_is_made_gone_on_with_and_not_mixed_up(tmp_path, always_right, one_thread):
    out, stages = tmp_path / "planted", []
    cancel = CancelToken()

    def stop_at_explaining(report):
        stages.append(report.stage)
        if report.stage.endswith("Explaining"):
            cancel.cancel()

    with pytest.raises(Cancelled):
        planted.run(PlantedParameters(out=out, **SMALL), stop_at_explaining, cancel)
    assert any("Training" in stage for stage in stages)
    folder = out / "models" / "complex_i_loss_seed0"
    weights = (folder / "run" / "checkpoint.json").stat().st_mtime_ns
    assert not (folder / "model.json").exists()

    result = planted.run(PlantedParameters(out=out, **SMALL))
    assert (folder / "run" / "checkpoint.json").stat().st_mtime_ns == weights  # not trained again
    assert [model["explained"] for model in result.models] == [2]
    patches = pd.read_csv(result.patches)
    assert patches.groupby("method").size().to_dict() == {
        "input_x_gradient": 2,
        "random": 2,
        "edge_detector": 2,
    }
    assert set(patches["subject"]) == {"P04", "P05"}  # one of each, as far as there are
    assert (patches["probability"] >= 0.5).all()
    random = patches[patches["method"] == "random"]
    np.testing.assert_allclose(random["mass"], random["chance_mass"], atol=0.03)
    assert random["channel_share"].to_numpy() == pytest.approx(
        0.2, abs=0.01
    )  # two of ten channels carry the signal
    table = pd.read_csv(result.table)
    assert table["low"].isna().all()  # one seed gives no interval
    assert result.ranking[0]["method"] == "input_x_gradient"
    assert result.plot.stat().st_size > 10_000
    told = json.loads((out / "planted.json").read_text())
    assert told["models"][0]["held_out"] >= told["models"][0]["confident"] >= 2
    assert told["software"]["napari-mitoxai"]

    # a method more is explained on the same patches, the others are kept
    more = planted.run(PlantedParameters(out=out, **SMALL | {"methods": ["input_x_gradient", "grad_cam"]}))
    both = pd.read_csv(more.patches)
    kept = both[both["method"] == "input_x_gradient"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept, patches[patches["method"] == "input_x_gradient"].reset_index(drop=True)
    )
    assert both[both["method"] == "grad_cam"]["y_px"].tolist() == kept["y_px"].tolist()
    assert both[both["method"] == "grad_cam"]["channel_named"].isna().all()

    # with more epochs only those are trained anew that learnt nothing
    planted.run(PlantedParameters(out=out, **SMALL | {"epochs": 2}))
    assert (folder / "run" / "checkpoint.json").stat().st_mtime_ns == weights
    with pytest.raises(MitoxaiError, match=r"other settings \(Patches\).*another folder"):
        planted.run(PlantedParameters(out=out, **SMALL | {"patches": 3}))


def test_a_network_that_did_not_learn_is_not_scored(tmp_path, monkeypatch, one_thread):
    from napari_mitoxai.tasks import planted_run

    monkeypatch.setattr(
        planted_run, "predict", lambda network, inputs, **_: np.full((len(inputs), 2), 0.5, np.float32)
    )
    with pytest.raises(MitoxaiError, match=r"did not learn the signal \(50%.*--epochs"):
        planted.run(PlantedParameters(out=tmp_path / "planted", **SMALL | {"learnt": 0.6}))
    told = tmp_path / "planted" / "models" / "complex_i_loss_seed0" / "model.json"
    model = json.loads(told.read_text())
    assert (model["learnt"], model["explained"], model["epochs"]) == (False, 0, 1)
    with pytest.raises(MitoxaiError, match="did not learn"):
        planted.run(PlantedParameters(out=tmp_path / "planted", **SMALL | {"learnt": 0.6, "epochs": 2}))
    assert json.loads(told.read_text())["epochs"] == 2


def test_another_folder_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(MitoxaiError, match="holds other files"):
        planted.run(PlantedParameters(out=tmp_path))


def test_quick_fills_what_is_not_given():
    quick, whole = PlantedParameters(out="x", quick=True), PlantedParameters(out="x")
    assert (quick.seeds, len(quick.signals)) == (1, 2)
    assert quick.patches == whole.patches  # so that a quick look can be gone on with
    assert PlantedParameters(out="x", quick=True, seeds=2).seeds == 2
    assert PlantedParameters(out="x").seeds > 1


def test_a_method_or_signal_that_does_not_exist_is_refused_at_once():
    with pytest.raises(MitoxaiError, match="no_such"):
        validated(PlantedParameters, {"out": "x", "methods": ["no_such"]})
    with pytest.raises(MitoxaiError, match="no_such"):
        validated(PlantedParameters, {"out": "x", "signals": ["no_such"]})


def test_the_baselines_always_run_beside():
    assert PlantedParameters(out="x", methods=["grad_cam"]).all_methods() == [
        "grad_cam",
        "random",
        "edge_detector",
    ]
    assert len(PlantedParameters(out="x").all_methods()) == len(set(PlantedParameters(out="x").all_methods()))
