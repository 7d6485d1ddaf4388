"""A training that was cancelled, killed, or ran out of room goes on as if nothing had happened."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.imc import Panel, parse_channel
from napari_mitoxai.tasks.train import TrainParameters, run
from napari_mitoxai.training import PatchSet, Recipe, ScaledPatches, features_of, fit, predict
from napari_mitoxai.training.loop import KEPT
from napari_mitoxai.training.state import StateFolder

pytestmark = pytest.mark.usefixtures("one_thread")


class Small(torch.nn.Module):
    """A network with batch normalisation and dropout, so that every kind of state matters."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Dropout(0.3),
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2),
        )  # fmt: skip

    def forward(self, inputs):
        return self.layers(inputs)


def small():
    torch.manual_seed(0)
    return Small()


def examples(subjects, **settings):
    from napari_mitoxai.cohort import Scaling

    rng = np.random.default_rng(len(subjects))
    names = np.repeat(subjects, 7)
    labels = np.array([int(name[0] == "P") for name in names], np.int64)
    counts = rng.poisson(3 + labels[:, None, None, None], (len(names), 2, 16, 16)).astype(np.float32)
    panel = Panel((parse_channel("SDHA"), parse_channel("NDUFB8")))
    return ScaledPatches(PatchSet(counts, names, labels, panel), Scaling((1.0, 1.0), (1.0, 1.0)), **settings)


TRAINING = {"augmentation": ["turns", "zoom"], "jitter": 0.3, "seed": 4}


def trained(recipe, folder=None, progress=lambda report: None, cancel=None):
    return fit(
        small(), examples(["C1", "C2", "P1", "P2"], **TRAINING), examples(["C3", "P3"]), recipe,
        folder=None if folder is None else StateFolder(folder), progress=progress, cancel=cancel,
    )  # fmt: skip


def same(first, second):
    return first.history == second.history and all(
        torch.equal(value, second.state[key]) for key, value in first.state.items()
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9, "schedule": "inverse-time", "decay": 0.01},
        {"optimizer": "adam", "schedule": "constant", "balance": False, "monitor": "accuracy"},
    ],
)
def test_a_cancelled_training_goes_on_to_the_same_bits(tmp_path, changes):
    recipe = Recipe(epochs=7, batch_size=8, learning_rate=0.01, patience=50, seed=3, **changes)
    whole = trained(recipe)
    assert len(whole.history) == 7
    token = CancelToken()

    def stop(report):
        if report.values and report.values["epoch"] == 3:
            token.cancel()

    part = trained(recipe, tmp_path, stop, token)
    assert part.cancelled
    assert part.history == whole.history[:3]
    assert not same(part, whole)
    assert same(trained(recipe, tmp_path), whole)
    assert same(trained(recipe, tmp_path), whole)  # nothing left to do


def test_another_seed_or_order_is_another_training():
    first = trained(Recipe(epochs=2, batch_size=8, seed=1))
    assert same(first, trained(Recipe(epochs=2, batch_size=8, seed=1)))
    assert not same(first, trained(Recipe(epochs=2, batch_size=8, seed=2)))


def test_the_state_of_a_best_epoch_that_is_not_the_last_is_kept(tmp_path):
    recipe = Recipe(epochs=12, batch_size=8, learning_rate=0.05, patience=3, monitor="accuracy")
    whole = trained(recipe)
    assert whole.best_epoch < len(whole.history)
    token = CancelToken()

    def stop(report):
        if report.values and report.values["epoch"] == whole.best_epoch + 1:
            token.cancel()

    trained(recipe, tmp_path, stop, token)
    again = trained(recipe, tmp_path)
    assert same(again, whole)
    assert again.best_epoch == whole.best_epoch


def test_a_full_disk_is_one_sentence_and_keeps_what_was_there(tmp_path, monkeypatch):
    recipe = Recipe(epochs=4, batch_size=8, patience=50)
    whole = trained(recipe)
    real, calls = StateFolder.save, []

    def full(self, state, *, now=False):
        calls.append(state.epoch)
        if len(calls) == 3:
            monkeypatch.setattr("napari_mitoxai.training.state.save_file", no_room)
        real(self, state, now=True)

    def no_room(tensors, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(StateFolder, "save", full)
        with pytest.raises(MitoxaiError, match=r"No space left on device.*free the disk.*goes on"):
            trained(recipe, tmp_path)
    monkeypatch.undo()
    assert StateFolder(tmp_path).load().epoch == 2
    assert same(trained(recipe, tmp_path), whole)


def test_a_damaged_state_is_one_sentence(tmp_path):
    trained(Recipe(epochs=1, batch_size=8), tmp_path)
    (path,) = tmp_path.glob("training-*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(MitoxaiError, match="does not hold a whole state of a training"):
        trained(Recipe(epochs=2, batch_size=8), tmp_path)


def test_too_little_memory_halves_the_batch_and_says_so():
    class Hungry(Small):
        def forward(self, inputs):
            if len(inputs) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(inputs)

    torch.manual_seed(0)
    recipe = Recipe(epochs=2, batch_size=16)
    result = fit(Hungry(), examples(["C1", "P1"]), None, recipe)
    assert result.batch_size == 4
    assert [note.split(": ")[1] for note in result.notes] == [
        "trained in batches of 8.", "trained in batches of 4.",
    ]  # fmt: skip
    by_four = fit(small(), examples(["C1", "P1"]), None, Recipe(epochs=2, batch_size=4))
    assert same(result, by_four)

    class Insatiable(Small):
        def forward(self, inputs):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MitoxaiError, match="too little memory for two patches"):
        fit(Insatiable(), examples(["C1", "P1"]), None, recipe)


def test_calling_and_features_halve_their_batches_too():
    class Hungry(torch.nn.Module):
        def forward(self, inputs):
            if len(inputs) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return inputs.mean((2, 3))

    inputs = np.random.default_rng(0).random((11, 2, 4, 4)).astype(np.float32)
    expected = torch.from_numpy(inputs).mean((2, 3))
    np.testing.assert_allclose(predict(Hungry(), inputs, batch_size=8), expected.softmax(1), rtol=1e-5)
    given = examples(["C1", "P1"])
    indices = np.arange(len(given))
    own = features_of(Hungry(), given).inputs(indices, 0, 0)
    torch.testing.assert_close(own, given.inputs(indices, 0, 0).mean((2, 3)))

    class Insatiable(torch.nn.Module):
        def forward(self, inputs):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MitoxaiError, match="too little memory for one patch"):
        predict(Insatiable(), inputs)


def test_a_loss_that_is_no_number_later_keeps_the_best_epoch():
    class Breaks(Small):
        calls = 0

        def forward(self, inputs):
            self.calls += self.training
            return super().forward(inputs) * (float("nan") if self.calls > 8 else 1)

    torch.manual_seed(0)
    result = fit(
        Breaks(), examples(["C1", "C2", "P1", "P2"]), examples(["C3", "P3"]), Recipe(epochs=9, batch_size=8)
    )
    assert len(result.history) == 2
    assert result.best_epoch in (1, 2)
    assert "no longer a number after epoch 2" in result.notes[0]


# --- whole runs --------------------------------------------------------------------------------------------------

EPOCHS = 4


def parameters(cohort, out, **changes):
    values = {
        "cohort": cohort, "out": out, "epochs": EPOCHS, "hold_out": ["C03", "P03"], "patch_size": 128,
        "input_size": 32, "batch_size": 8, "device": "cpu", **changes,
    }  # fmt: skip
    return TrainParameters(**values)


def weights(folder):
    (path,) = folder.glob("weights-*")
    return path.read_bytes()


def curve(folder):
    with (folder / "history.csv").open() as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def uninterrupted(simulated_cohort, one_thread, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    run(parameters(simulated_cohort, out))
    return out


def test_a_killed_run_goes_on_to_the_same_bits(simulated_cohort, uninterrupted, tmp_path):
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from napari_mitoxai.tasks.train import TrainParameters, run\n"
        "import json; run(TrainParameters(**json.loads(sys.argv[1])))"
    )
    given = parameters(simulated_cohort, tmp_path / "run").model_dump(mode="json")
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(given)])
    state = tmp_path / ".run.unfinished" / "training.json"
    limit = time.monotonic() + 120
    while not state.exists() and time.monotonic() < limit:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    epochs = json.loads(state.read_text())["epoch"]
    assert 1 <= epochs < EPOCHS
    assert not (tmp_path / "run").exists()
    told = []
    run(parameters(simulated_cohort, tmp_path / "run"), told.append)
    rows = [report for report in told if report.values]
    # the curve is whole, and what was there is not trained again
    assert [report.values["epoch"] for report in rows] == list(range(1, EPOCHS + 1))
    assert [report.detail == KEPT for report in rows] == [True] * epochs + [False] * (EPOCHS - epochs)
    assert curve(tmp_path / "run") == curve(uninterrupted)
    assert weights(tmp_path / "run") == weights(uninterrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def cancelled_run(cohort, out):
    token = CancelToken()

    def stop(report):
        if report.values:
            token.cancel()

    assert run(parameters(cohort, out), stop, token).cancelled


def test_a_cancelled_run_goes_on_with_the_same_command(simulated_cohort, uninterrupted, tmp_path):
    cancelled_run(simulated_cohort, tmp_path / "run")
    assert len(curve(tmp_path / "run")) == 2
    with pytest.raises(MitoxaiError, match="run exists already"):
        run(parameters(simulated_cohort, tmp_path / "run", epochs=6))
    result = run(parameters(simulated_cohort, tmp_path / "run"))
    assert not result.cancelled
    assert result.metrics["subject_calls"]
    assert curve(tmp_path / "run") == curve(uninterrupted)
    assert weights(tmp_path / "run") == weights(uninterrupted)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert not any(name.startswith(("training", "begun")) for name in names)
    with pytest.raises(MitoxaiError, match="run exists already"):
        run(parameters(simulated_cohort, tmp_path / "run"))


def test_an_unfinished_run_is_not_gone_on_with_by_another_command(simulated_cohort, tmp_path):
    cancelled_run(simulated_cohort, tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / ".run.unfinished")  # as after a kill
    with pytest.raises(MitoxaiError, match="begun with other parameters and is not finished"):
        run(parameters(simulated_cohort, tmp_path / "run", seed=5))
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        run(parameters(simulated_cohort, tmp_path / "run"), cancel=token)
    assert (tmp_path / ".run.unfinished" / "training.json").exists()
