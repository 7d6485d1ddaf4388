"""Calling a section, importing foreign weights, and the leakage check."""

import json

import numpy as np
import pytest
import torch

from napari_mitoxai.cohort import (
    PatchGeometry,
    find_labels,
    inside,
    patch_corners,
    read_mask,
    read_patches,
    tissue_mask,
)
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import open_maps
from napari_mitoxai.imc import read_section
from napari_mitoxai.models import create, load_checkpoint
from napari_mitoxai.models.foreign import plain_state
from napari_mitoxai.tasks import explain, import_checkpoint, leakage, predict, train
from napari_mitoxai.tasks.import_checkpoint import ImportParameters
from napari_mitoxai.tasks.leakage import LeakageParameters, permuted_groups
from napari_mitoxai.tasks.predict import PredictParameters
from napari_mitoxai.training.section_call import call_section

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ["control", "patient"]


# --- calling a section -------------------------------------------------------------------------------------------


def test_the_map_is_the_blend_of_what_the_patches_say(trained_run, simulated_cohort, tmp_path):
    path = simulated_cohort.parent / "P03.ome.tiff"
    result = predict.run(PredictParameters(run=trained_run, section=path, out=tmp_path / "p.ome.zarr", device="cpu"))  # fmt: skip
    checkpoint, section = load_checkpoint(trained_run), read_section(path)
    geometry = PatchGeometry(128, 32)
    corners = patch_corners(section.shape, geometry, tissue_mask(section))
    counts = np.stack(list(read_patches(section, checkpoint.channels_in(section), corners, geometry)))
    with torch.no_grad():
        expected = checkpoint.model()(torch.from_numpy(checkpoint.scaling(counts))).softmax(1).numpy()
    assert result.patches == len(corners)
    assert result.probability["patient"] == pytest.approx(expected[:, 1].mean(), abs=1e-4)
    assert result.use_of_subject == "test"
    store = open_maps(tmp_path / "p.ome.zarr")
    assert store.channels("probability") == CLASSES
    values = store.read("probability")
    assert values.shape == (2, 72, 72)
    seen = values.sum(0) > 0
    np.testing.assert_allclose(values.sum(0)[seen], 1, atol=1e-4)
    assert (
        expected[:, 1].min() - 1e-4
        <= values[1][seen].min()
        <= values[1][seen].max()
        <= expected[:, 1].max() + 1e-4
    )
    corner = np.array(corners).sum(1).argmin()
    assert values[1, 0, 0] == pytest.approx(expected[corner, 1], abs=1e-4)  # one patch only lies there
    assert store.info["call"]["call"] == result.call
    assert list(tmp_path.iterdir()) == [tmp_path / "p.ome.zarr"]


def test_a_model_trained_inside_fibres_sees_nothing_else_when_it_is_asked(simulated_cohort, tmp_path):
    fibres = simulated_cohort.parent / "fibres"
    trained = tmp_path / "run"
    train.run(
        train.TrainParameters(
            cohort=simulated_cohort, out=trained, mask=fibres, epochs=1, patch_size=128, input_size=32, batch_size=8,
            device="cpu",
        )
    )  # fmt: skip
    path = simulated_cohort.parent / "P03.ome.tiff"
    given = {"run": trained, "sections": [path], "methods": ["gradient"], "out": tmp_path / "m.ome.zarr", "device": "cpu"}  # fmt: skip
    with pytest.raises(
        MitoxaiError, match=r"run was trained inside fibres: give those of the section with --mask"
    ):
        explain.run(explain.ExplainParameters(**given))
    called = {"run": trained, "section": path, "out": tmp_path / "p.ome.zarr", "device": "cpu"}
    with pytest.raises(MitoxaiError, match="trained inside fibres"):
        predict.run(PredictParameters(**called))
    (made,) = explain.run(explain.ExplainParameters(**given, mask=fibres)).sections
    assert any("outside the fibres of P03" in note for note in made.notes)
    predict.run(PredictParameters(**called, mask=fibres))
    # what was seen, by the way that training reads patches
    checkpoint, section = load_checkpoint(trained), read_section(path)
    labels = read_mask(find_labels(fibres, section), section)
    geometry = PatchGeometry(128, 32)
    for store in (open_maps(tmp_path / "m.ome.zarr"), open_maps(tmp_path / "p.ome.zarr")):
        said = store.patch_probabilities()
        corners = list(said)
        counts = np.stack(
            list(
                read_patches(
                    section, checkpoint.channels_in(section), corners, geometry,
                    lambda number, own, corners=corners: inside(own, labels, corners[number]),
                )
            )
        )  # fmt: skip
        with torch.no_grad():
            expected = checkpoint.model()(torch.from_numpy(checkpoint.scaling(counts))).softmax(1)
        np.testing.assert_allclose(list(said.values()), expected, atol=1e-4)


def test_what_cannot_be_predicted(trained_run, simulated_cohort, tmp_path):
    section = simulated_cohort.parent / "P03.ome.tiff"
    with pytest.raises(MitoxaiError, match=r"does not end in \.ome\.zarr"):
        predict.run(PredictParameters(run=trained_run, section=section, out=tmp_path / "p.png"))
    (tmp_path / "p.ome.zarr").mkdir()
    with pytest.raises(MitoxaiError, match="exists already"):
        predict.run(PredictParameters(run=trained_run, section=section, out=tmp_path / "p.ome.zarr"))


def test_the_interval_of_a_section_is_about_its_parts():
    corners = [(y, x) for y in range(0, 800, 50) for x in range(0, 800, 50)]
    even = np.tile([0.3, 0.7], (len(corners), 1))
    call = call_section(even, corners, 100, CLASSES)
    assert call.call == "patient"
    assert call.interval == pytest.approx((0.7, 0.7))
    assert call.agreement == 1
    patient = np.array([float(x >= 400) for _, x in corners])
    halves = call_section(np.stack([1 - patient, patient], 1), corners, 100, CLASSES)
    # 16 squares, each wholly one or the other: the binomial of 16 with 1/2
    assert halves.interval == pytest.approx((4 / 16, 12 / 16), abs=1 / 16)
    single = call_section(even[:1], corners[:1], 100, CLASSES)
    assert single.interval == (0.0, 1.0)


# --- foreign weights ---------------------------------------------------------------------------------------------


def importing(path, out, **changes):
    values = {
        "file": path, "out": out, "architecture": "resnet18", "i_trust_this_file": True,
        "channels": ["SDHA", "NDUFB8"], "classes": CLASSES, **changes,
    }  # fmt: skip
    return import_checkpoint.run(ImportParameters(**values))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return create("resnet18", 2, 2).eval()


def test_a_state_dict_becomes_a_run_that_computes_the_same(network, tmp_path):
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "model_state_dict": state}, tmp_path / "in.pt")
    result = importing(tmp_path / "in.pt", tmp_path / "run")
    assert any("neither centred nor scaled" in note for note in result.notes)
    checkpoint = load_checkpoint(tmp_path / "run")
    inputs = torch.randn(2, 2, 64, 64)
    assert torch.equal(checkpoint.model()(inputs), network.requires_grad_(False)(inputs))
    assert checkpoint.panel.targets == ["SDHA", "NDUFB8"]


def test_a_cohort_gives_channels_classes_and_scaling(network, simulated_cohort, trained_run, tmp_path):
    torch.save(network.state_dict(), tmp_path / "in.pt")
    importing(tmp_path / "in.pt", tmp_path / "run", cohort=simulated_cohort, classes=[], patch_size=128, input_size=32)  # fmt: skip
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.classes == CLASSES
    assert checkpoint.scaling.mean != (0.0, 0.0)


def test_what_does_not_fit_is_named(network, tmp_path):
    state = network.state_dict()
    state["fc.extra"] = state.pop("fc.bias")
    state["fc.weight"] = torch.zeros(5, 512)
    torch.save(state, tmp_path / "in.pt")
    with pytest.raises(MitoxaiError, match=r"missing: fc\.bias; unknown: fc\.extra; of another shape: fc\.weight is \(5, 512\), not \(2, 512\)"):  # fmt: skip
        importing(tmp_path / "in.pt", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_trusted_or_runs_code_is_not_opened(network, tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (ran.touch, ())

    torch.save({"a": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(MitoxaiError, match="can run any code when it is opened: pass --i-trust-this-file"):
        importing(tmp_path / "trap.pt", tmp_path / "run", i_trust_this_file=False)
    with pytest.raises(MitoxaiError, match=r"trap\.pt holds no state dict that can be read safely"):
        importing(tmp_path / "trap.pt", tmp_path / "run")
    assert not ran.exists()
    with pytest.raises(MitoxaiError, match="is not there"):
        importing(tmp_path / "none.pt", tmp_path / "run")
    with pytest.raises(MitoxaiError, match="give --cohort, or --channels and --classes"):
        importing(tmp_path / "trap.pt", tmp_path / "run", channels=[])


def test_where_training_scripts_put_their_weights():
    weight = {"a.weight": torch.ones(2)}
    for content in (
        weight, {"state_dict": {"model.a.weight": torch.ones(2)}}, {"model": {"_orig_mod.a.weight": torch.ones(2)}},
    ):  # fmt: skip
        assert list(plain_state(content)) == ["a.weight"]
    with pytest.raises(ValueError, match="a list, not a state dict"):
        plain_state([1])
    with pytest.raises(ValueError, match="no tensors"):
        plain_state({"epoch": 3})


# --- the leakage check -------------------------------------------------------------------------------------------


def test_labels_are_permuted_by_subject_away_from_the_truth():
    groups = {"C1": "control", "C2": "control", "P1": "patient", "P2": "patient"}
    for permuted in permuted_groups(groups, CLASSES, 10, 0)[:4]:
        assert sorted(permuted.values()) == sorted(groups.values())
        assert sum(permuted[name] == groups[name] for name in groups) == 2  # half of each group
    assert groups not in permuted_groups(groups, CLASSES, 50, 0)
    assert len(permuted_groups(groups, CLASSES, 50, 0)) == 5


def test_the_leakage_check_looks_at_what_is_trained_on(simulated_cohort, tmp_path):
    fibres = simulated_cohort.parent / "fibres"
    settings = LeakageParameters(
        cohort=simulated_cohort, where=["subject!=P02"], mask=fibres, channels=["SDHA"], permutations=2, patch_size=128,
        input_size=32, device="cpu",
    )  # fmt: skip
    ready = leakage.prepare(settings)
    assert set(ready.patches.subjects.tolist()) == {"C01", "C02", "C03", "P01", "P03"}
    assert ready.patches.panel.targets == ["SDHA"]
    assert ready.trainings == 2 * (1 + 5)
    assert ready.seconds > 0
    assert f"{ready.trainings} trainings, about " in ready.estimate()
    # inside fibres only
    everything = leakage.prepare(settings.model_copy(update={"mask": None})).patches
    assert ready.patches.counts.sum() < everything.counts.sum()
    one = settings.model_copy(update={"where": ["subject=C01|C02|P01"]})
    with pytest.raises(MitoxaiError, match="two subjects of every group"):
        leakage.prepare(one)


@pytest.mark.parametrize(
    ("learnt", "found", "said"),
    [
        ({"patch-random": 0.6, "subject": 0.9}, {"patch-random": 0.6, "subject": 0.5}, "Nothing can be concluded"),
        ({"patch-random": 0.99, "subject": 0.9}, {"patch-random": 0.98, "subject": 0.5}, "reports 98% with nothing to learn"),
        ({"patch-random": 0.99, "subject": 0.9}, {"patch-random": 0.6, "subject": 0.5}, "does not tell persons apart"),
        ({"subject": 0.9}, {"subject": 0.5}, "Leaving subjects out reports 50%"),
    ],
)  # fmt: skip
def test_what_follows_from_the_leakage_check(learnt, found, said):
    from napari_mitoxai.tasks.leakage import LeakageResult

    assert said in LeakageResult(found, found, learnt, 0.5, [], 1.0).verdict


def test_the_leakage_check_says_what_a_split_reports_on_no_signal(simulated_cohort, tmp_path):
    told = []
    result = leakage.run(
        LeakageParameters(
            cohort=simulated_cohort, out=tmp_path / "l.json", permutations=1, epochs=1, patch_size=128, input_size=32,
            device="cpu",
        ),
        told.append,
    )  # fmt: skip
    assert result.patch_accuracy.keys() == result.learnt.keys() == {"patch-random", "subject"}
    assert [row["split"] for row in result.each] == ["patch-random", "subject"]
    first = next(report for report in told if report.stage == "Leakage check")
    assert first.done == 0
    assert first.detail.startswith("7 trainings, about ")
    kept = json.loads((tmp_path / "l.json").read_text())
    assert kept["patch_accuracy"] == result.patch_accuracy
    assert result.chance == pytest.approx(0.5, abs=0.1)
