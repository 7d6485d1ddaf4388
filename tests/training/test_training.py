import csv
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from napari_mitoxai.cohort import Scaling
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.imc import Panel, parse_channel, read_section, write_section
from napari_mitoxai.models import create, load_checkpoint
from napari_mitoxai.tasks.train import TrainParameters, run
from napari_mitoxai.training import PatchSet, Recipe, ScaledPatches, evaluate, fit, gather_patches
from napari_mitoxai.training.examples import draw_order

pytestmark = pytest.mark.usefixtures("one_thread")

PANEL = Panel((parse_channel("SDHA"), parse_channel("NDUFB8")))
PLAIN = Scaling((0.0, 0.0), (1.0, 1.0))


def patches_of(subjects, side=32, seed=0):
    """A set with the given number of patches for each subject; C.. are 0, P.. are 1 and brighter."""
    rng = np.random.default_rng(seed)
    names = [name for name, count in subjects.items() for _ in range(count)]
    labels = np.array([int(name[0] == "P") for name in names], np.int64)
    counts = rng.poisson(3 + 5 * labels[:, None, None, None], (len(names), 2, side, side)).astype(np.float32)
    return PatchSet(counts, np.asarray(names), labels, PANEL)


NOTHING = patches_of({})


def plain(subjects):
    """Such patches, not scaled but for the arcsinh."""
    return ScaledPatches(patches_of(subjects), PLAIN)


def parameters(cohort, out, **changes):
    values = {
        "cohort": cohort, "out": out, "epochs": 1, "hold_out": ["C03", "P03"], "patch_size": 128,
        "input_size": 32, "batch_size": 8, "device": "cpu", **changes,
    }  # fmt: skip
    return TrainParameters(**values)


def weights(run_folder):
    (path,) = Path(run_folder).glob("weights-*")
    return path.read_bytes()


# --- data --------------------------------------------------------------------------------------------------------


def test_patches_know_their_subject_and_class(simulated_cohort):
    from napari_mitoxai.cohort import PatchGeometry, read_cohort

    patches = gather_patches(
        read_cohort(simulated_cohort), PatchGeometry(128, 32), channels=["NDUFB8", "SDHA"]
    )
    assert patches.panel.targets == ["NDUFB8", "SDHA"]
    assert patches.counts.shape[1:] == (2, 32, 32)
    assert set(patches.subjects) == {"C01", "C02", "C03", "P01", "P02", "P03"}
    assert {(name[0], label) for name, label in zip(patches.subjects, patches.labels, strict=True)} == {
        ("C", 0), ("P", 1),
    }  # fmt: skip
    assert set(patches.of(["C02"]).subjects) == {"C02"}


def test_a_section_that_does_not_fit_is_named_before_anything_is_read(tmp_path):
    from napari_mitoxai.cohort import PatchGeometry, read_cohort

    for subject, names in (("C01", ["SDHA", "NDUFB8"]), ("P01", ["SDHA"])):
        panel = Panel(tuple(parse_channel(name) for name in names))
        write_section(tmp_path / f"{subject}.ome.tiff", np.ones((len(names), 40, 40), np.float32), panel)
    rows = "path,subject,group\nC01.ome.tiff,C01,control\nP01.ome.tiff,P01,patient\n"
    (tmp_path / "cohort.csv").write_text(rows)
    told = []
    with pytest.raises(MitoxaiError, match=r"P01.* has no channel NDUFB8"):
        gather_patches(read_cohort(tmp_path / "cohort.csv"), PatchGeometry(32, 32), progress=told.append)
    assert told == []


def test_classes_and_their_subjects_are_drawn_equally_often():
    examples = ScaledPatches(patches_of({"C1": 200, "P1": 10, "P2": 90}), PLAIN)
    drawn = np.concatenate(
        [examples.subjects[draw_order(examples, epoch, balance=True, seed=0)] for epoch in range(40)]
    )
    shares = {name: (drawn == name).mean() for name in ("C1", "P1", "P2")}
    assert shares == pytest.approx({"C1": 0.5, "P1": 0.25, "P2": 0.25}, abs=0.02)
    everyone = draw_order(examples, 3, balance=False, seed=0)
    assert sorted(everyone) == list(range(300))
    assert list(everyone) != list(draw_order(examples, 4, balance=False, seed=0))


def views_of(patches, count, **settings):
    """The first patch, as so many epochs see it."""
    examples = ScaledPatches(patches, PLAIN, **settings)
    return [examples.inputs(np.array([0]), epoch, 0)[0].numpy() for epoch in range(count)]


def test_augmentation_turns_and_gains_but_only_where_asked():
    patches = patches_of({"C1": 1})
    np.testing.assert_allclose(views_of(patches, 1)[0], np.arcsinh(patches.counts[0]), rtol=1e-6)
    assert len({view.tobytes() for view in views_of(patches, 5)}) == 1
    turned = views_of(patches, 100, augmentation=["turns"])
    assert len({np.ascontiguousarray(view).tobytes() for view in turned}) == 8
    sums = [round(float(np.sinh(view.astype(float)).sum()), 1) for view in turned]
    assert max(sums) - min(sums) < 1
    (gained,) = views_of(patches, 1, jitter=0.5, seed=3)
    ratio = np.sinh(gained).mean((1, 2)) / patches.counts[0].mean((1, 2))
    assert abs(ratio[0] - ratio[1]) > 1e-3  # each channel has its own


@pytest.mark.parametrize("kind", ["rotation", "zoom", "shear"])
def test_warping_keeps_the_centre_the_level_and_the_size(kind):
    patches = patches_of({"C1": 1}, side=33)
    patches.counts[:] = 5
    patches.counts[0, :, 16, 16] = 50
    for view in views_of(patches, 10, augmentation=[kind]):
        counts = np.sinh(view.astype(float))
        assert counts.shape == (2, 33, 33)
        assert counts[0].argmax() == 16 * 33 + 16
        assert np.median(counts) == pytest.approx(5, rel=1e-3)
    textured = patches_of({"C1": 1}, side=33)
    assert len({view.tobytes() for view in views_of(textured, 10, augmentation=[kind])}) == 10


# --- figures -----------------------------------------------------------------------------------------------------


class BySum(torch.nn.Module):
    """Calls a patch a patient if it is brighter than a threshold."""

    def forward(self, inputs):
        score = inputs.mean((1, 2, 3)) - 5
        return torch.stack([-score, score], 1)


def test_subjects_are_called_by_the_mean_of_their_patches_with_a_wilson_interval():
    patches = patches_of({"C1": 3, "C2": 2, "P1": 4, "P2": 1})
    patches.counts[:] = 0
    patches.counts[patches.labels == 1] = 9
    patches.counts[patches.subjects == "C2"] = 9  # called wrong
    patches.counts[0] = 6  # one patch of C1 is, but not its mean

    class Raw(Scaling):
        def __call__(self, counts):
            return counts

    result = evaluate(BySum(), patches, Raw((0, 0), (1, 1)), ["control", "patient"])
    assert [(call["subject"], call["call"], call["patches"]) for call in result.subject_calls] == [
        ("C1", "control", 3), ("C2", "patient", 2), ("P1", "patient", 4), ("P2", "patient", 1),
    ]  # fmt: skip
    assert result.subject_accuracy == 0.75
    assert result.patch_accuracy == pytest.approx(7 / 10)
    # Wilson (1927) by hand
    n, p, z = 4, 0.75, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert result.confidence_interval == pytest.approx((centre - half, centre + half), abs=1e-5)


def test_with_nobody_held_out_there_are_no_figures():
    result = evaluate(BySum(), NOTHING, PLAIN, ["control", "patient"])
    assert (result.subject_accuracy, result.patch_accuracy, result.confidence_interval) == (None, None, None)


# --- the loop ----------------------------------------------------------------------------------------------------


def test_a_plain_signal_is_learnt_and_the_best_epoch_kept():
    torch.manual_seed(0)
    training = patches_of({"C1": 16, "C2": 16, "P1": 16, "P2": 16})
    validation = patches_of({"C3": 8, "P3": 8}, seed=1)
    network = create("resnet18", 2, 2)
    scaling = Scaling((2.0, 2.0), (0.7, 0.7))
    result = fit(
        network, ScaledPatches(training, scaling), ScaledPatches(validation, scaling), Recipe(epochs=4)
    )
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    losses = [row["validation_loss"] for row in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    network.load_state_dict(result.state)
    called = evaluate(network, validation, scaling, ["control", "patient"])
    if result.best_epoch > 1:
        assert called.subject_accuracy == 1


def test_training_stops_when_validation_does_not_improve():
    class Noise(torch.nn.Module):
        """Never improves: its answer does not depend on its weight's direction."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2))

        def forward(self, inputs):
            return (self.weight * 0)[None].expand(len(inputs), 2)

    training, validation = plain({"C1": 4, "P1": 4}), plain({"C2": 2, "P2": 2})
    result = fit(Noise(), training, validation, Recipe(epochs=50, batch_size=8, patience=3))
    assert len(result.history) == 4
    assert result.best_epoch == 1


def test_a_loss_that_is_no_number_is_one_sentence():
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))

        def forward(self, inputs):
            return (self.weight * float("inf") * 0)[None].expand(len(inputs), 2)

    with pytest.raises(MitoxaiError, match="no longer a number: train again with a smaller --learning-rate"):
        fit(Broken(), plain({"C1": 4, "P1": 4}), None, Recipe(epochs=3))


def test_a_last_batch_of_one_patch_does_not_stop_training():
    torch.manual_seed(0)
    training = plain({"C1": 4, "P1": 5})
    result = fit(create("resnet18", 2, 2), training, None, Recipe(epochs=1, batch_size=8))
    assert len(result.history) == 1


# --- whole runs --------------------------------------------------------------------------------------------------


def test_a_run_holds_what_it_says(trained_run, simulated_cohort):
    metrics = json.loads((trained_run / "metrics.json").read_text())
    assert metrics["split"]["test"] == ["C03", "P03"]
    assert metrics["split"]["protocol"] == "subject"
    assert {call["subject"] for call in metrics["subject_calls"]} == {"C03", "P03"}
    assert any("validation" in note for note in metrics["notes"])
    assert metrics["patches"]["test"] > 0
    config = json.loads((trained_run / "config.json").read_text())
    assert TrainParameters.model_validate(config["parameters"]).patch_size == 128
    assert (trained_run / "cohort.csv").read_text() == simulated_cohort.read_text()
    with (trained_run / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1.0"]
    checkpoint = load_checkpoint(trained_run)
    assert checkpoint.metrics == metrics
    assert torch.__version__.startswith(checkpoint.provenance["software"]["torch"])
    assert [path.name for path in trained_run.parent.iterdir()] == ["run"]  # nothing hidden beside it


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(simulated_cohort, trained_run, tmp_path):
    random_state = torch.get_rng_state()
    run(parameters(simulated_cohort, tmp_path / "again"))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert weights(tmp_path / "again") == weights(trained_run)
    run(parameters(simulated_cohort, tmp_path / "other", seed=1))
    assert weights(tmp_path / "other") != weights(trained_run)


def poisoned(simulated_cohort, folder, subjects):
    """A copy of the cohort in which some subjects' pixels are something else."""
    folder.mkdir()
    for name in ("C01", "C02", "C03", "P01", "P02", "P03"):
        section = read_section(simulated_cohort.parent / f"{name}.ome.tiff")
        counts = section.read()
        if name in subjects:
            counts = counts[:, ::-1] * 7 + 3
        write_section(folder / f"{name}.ome.tiff", counts.astype(np.uint16), section.panel)
    table = folder / "cohort.csv"
    table.write_text(simulated_cohort.read_text())
    return table


def test_nothing_of_a_held_out_subject_reaches_scaling_or_weights(simulated_cohort, trained_run, tmp_path):
    table = poisoned(simulated_cohort, tmp_path / "held_out", {"C03", "P03"})
    run(parameters(table, tmp_path / "run"))
    assert weights(tmp_path / "run") == weights(trained_run)
    clean, other = load_checkpoint(trained_run), load_checkpoint(tmp_path / "run")
    assert other.scaling == clean.scaling
    assert other.metrics["subject_calls"] != clean.metrics["subject_calls"]  # the poison was there


def test_a_training_subject_does_reach_them(simulated_cohort, trained_run, tmp_path):
    table = poisoned(simulated_cohort, tmp_path / "training", {"P01"})
    run(parameters(table, tmp_path / "run"))
    assert load_checkpoint(tmp_path / "run").scaling != load_checkpoint(trained_run).scaling
    assert weights(tmp_path / "run") != weights(trained_run)


# --- cancelling --------------------------------------------------------------------------------------------------


def cancel_when(condition):
    """A progress callback and a token that is set, from another thread, as soon as the condition holds."""
    token, asked, reached = CancelToken(), [], threading.Event()

    def wait():
        reached.wait(60)
        time.sleep(0.05)  # into the middle of a step
        asked.append(time.perf_counter())
        token.cancel()

    threading.Thread(target=wait, daemon=True).start()

    def progress(report):
        if condition(report):
            reached.set()

    return progress, token, asked


def test_cancelling_before_the_first_epoch_ends_leaves_nothing(simulated_cohort, tmp_path):
    progress, token, asked = cancel_when(lambda report: report.stage == "Training" and report.done > 0)
    with pytest.raises(Cancelled):
        run(parameters(simulated_cohort, tmp_path / "run", input_size=128), progress, token)
    assert time.perf_counter() - asked[0] < 1.5
    assert list(tmp_path.iterdir()) == []


def test_cancelling_after_an_epoch_keeps_it_and_says_so(simulated_cohort, tmp_path):
    progress, token, asked = cancel_when(lambda report: report.stage == "Training" and report.done >= 1)
    result = run(parameters(simulated_cohort, tmp_path / "run", epochs=500), progress, token)
    assert time.perf_counter() - asked[0] < 4  # the held-out subjects are still called, and the run written
    assert result.cancelled
    assert 1 <= result.metrics["epochs"] < 500
    cancelled, uncalled = result.metrics["notes"][-2:]
    assert "cancelled after" in cancelled
    assert "not called" in uncalled
    assert result.metrics["subject_calls"] == []
    assert load_checkpoint(tmp_path / "run").metrics == result.metrics
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# --- sentences ---------------------------------------------------------------------------------------------------


def refused(values, sentence):
    with pytest.raises(MitoxaiError, match=sentence):
        run(values)
    out = values.out
    assert not any(path.name.startswith((".", out.name)) for path in out.parent.iterdir() if path != out)


def test_an_existing_run_is_kept(simulated_cohort, tmp_path):
    (tmp_path / "run").mkdir()
    refused(parameters(simulated_cohort, tmp_path / "run"), "run exists already")


def test_overwriting_spares_a_folder_that_is_no_run(simulated_cohort):
    before = sorted(simulated_cohort.parent.iterdir())
    with pytest.raises(MitoxaiError, match="is not a run and is not replaced"):
        run(parameters(simulated_cohort, simulated_cohort.parent, overwrite=True))
    assert sorted(simulated_cohort.parent.iterdir()) == before


def test_a_section_smaller_than_a_patch(simulated_cohort, tmp_path):
    refused(
        parameters(simulated_cohort, tmp_path / "run", patch_size=512),
        "C01 is 288 x 288 px, smaller than a patch of 512 px",
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architecture": "vgg16", "input_size": 16}, "vgg16 cannot be trained on .* larger --input-size"),
        ({"architecture": "inception_v3", "input_size": 32}, "inception_v3 cannot be trained on"),
        ({"batch_size": 1}, "resnet18 cannot be trained on batches of 1 .* larger --batch-size"),
        ({"input_size": 256}, "larger than the patch"),
        ({"channels": ["SDHA", "MYH7"]}, "has no channel MYH7"),
        ({"hold_out": ["Z1"]}, "Z1 cannot be held out"),
        ({"device": "quantum"}, "has no device 'quantum'"),
        ({"weights": "none.safetensors"}, "none.safetensors is not there"),
    ],
)
def test_what_cannot_be_trained(simulated_cohort, tmp_path, changes, sentence):
    refused(parameters(simulated_cohort, tmp_path / "run", **changes), sentence)


def test_a_cohort_with_a_blank_section_a_cut_one_or_another_panel(simulated_cohort, tmp_path):
    table = poisoned(simulated_cohort, tmp_path / "cohort", set())
    path = tmp_path / "cohort" / "P02.ome.tiff"
    section = read_section(path)
    content = path.read_bytes()
    write_section(path, np.zeros(section.shape, np.uint16), section.panel, overwrite=True)
    refused(parameters(table, tmp_path / "run"), "P02 has no patch with tissue in it")
    path.write_bytes(content[: len(content) // 2])
    refused(parameters(table, tmp_path / "run"), r"P02\.ome\.tiff is")
    tifffile.imwrite(path, np.ones((3, 288, 288), np.uint16), photometric="minisblack")
    refused(parameters(table, tmp_path / "run"), "P02 in the cohort has no channel")
