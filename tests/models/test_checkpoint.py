import json
import shutil

import pytest
import torch

from napari_mitoxai.cohort import PatchGeometry, Scaling
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Panel, parse_channel
from napari_mitoxai.models import Checkpoint, create, load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


def checkpoint_of(seed=0):
    torch.manual_seed(seed)
    network = create("resnet18", 2, 2)
    return Checkpoint(
        "resnet18",
        ["control", "patient"],
        Panel((parse_channel("SDHA", "153Eu"), parse_channel("Dystrophin"))),
        Scaling((0.5, 1.0), (2.0, 3.0)),
        PatchGeometry(128, 32),
        {"train": ["C1", "P1"], "validation": [], "test": ["P2"]},
        {"subject_accuracy": 1.0},
        {"seed": seed},
        network.state_dict(),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "run"
    save_checkpoint(checkpoint_of(), folder)
    return folder


@pytest.fixture
def run(saved, tmp_path):
    """A copy to damage."""
    return shutil.copytree(saved, tmp_path / "run")


def edit(run, **changes):
    path = run / "checkpoint.json"
    content = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    path.write_text(json.dumps(content))


def weights_of(run):
    (path,) = run.glob("weights-*.safetensors")
    return path


def test_a_round_trip_gives_bit_equal_outputs_and_all_it_needs(saved):
    before, after = checkpoint_of(), load_checkpoint(str(saved))
    inputs = torch.randn(3, 2, 32, 32)
    with torch.no_grad():
        assert torch.equal(before.model()(inputs), after.model()(inputs))
    assert not after.model().training
    assert not any(parameter.requires_grad for parameter in after.model().parameters())
    for name in ("architecture", "classes", "scaling", "geometry", "split", "metrics", "provenance"):
        assert getattr(after, name) == getattr(before, name)
    assert [channel.label for channel in after.panel] == ["SDHA (153Eu)", "Dystrophin"]
    assert after.panel[1].role == before.panel[1].role
    assert len(after.weights_sha256) == 64
    assert load_checkpoint(saved / "checkpoint.json").weights_sha256 == after.weights_sha256


def test_what_a_subject_was_used_for(saved):
    checkpoint = load_checkpoint(saved)
    assert [checkpoint.use_of(subject) for subject in ("C1", "P2", "Z")] == ["train", "test", "new"]


def test_saving_again_leaves_one_set_of_weights_and_is_the_new_one(run):
    old = weights_of(run)
    save_checkpoint(checkpoint_of(seed=1), run)
    assert weights_of(run) != old
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint.json", weights_of(run).name]
    assert load_checkpoint(run).provenance == {"seed": 1}


def test_a_crash_before_the_document_is_written_leaves_the_old_checkpoint_whole(run, monkeypatch):
    import napari_mitoxai.models.checkpoint as module

    def crash(*args, **kwargs):
        raise OSError("power is gone")

    monkeypatch.setattr(module, "write_json", crash)
    with pytest.raises(OSError, match="power"):
        save_checkpoint(checkpoint_of(seed=1), run)
    assert load_checkpoint(run).provenance == {"seed": 0}


def test_damaged_and_missing_weights(run):
    path = weights_of(run)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(MitoxaiError, match="damaged, copy the run again"):
        load_checkpoint(run)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(MitoxaiError, match="damaged"):
        load_checkpoint(run)
    path.unlink()
    with pytest.raises(MitoxaiError, match="copy the whole folder"):
        load_checkpoint(run)


CHANNEL = {"target": "a"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architecture": "resnet50"}, "do not fit resnet50"),
        ({"architecture": "os.system"}, "no architecture 'os.system'"),
        ({"classes": ["a", "b", "c"]}, "do not fit resnet18"),
        ({"classes": ["a"]}, "no checkpoint .classes"),
        ({"scaling": None}, "no checkpoint .scaling"),
        ({"scaling": {"mean": [0, 0], "deviation": [1, 0]}}, "no checkpoint .scaling"),
        ({"scaling": {"mean": [0, float("nan")], "deviation": [1, 1]}}, "no checkpoint .scaling"),
        ({"panel": [CHANNEL] * 3}, "another number of channels"),
        (
            {"panel": [CHANNEL] * 3, "scaling": {"mean": [0] * 3, "deviation": [1] * 3}},
            "do not fit resnet18 .conv1",
        ),
        ({"weights": "../elsewhere.safetensors"}, "no checkpoint .weights"),
        ({"weights": "weights-0123456789ab.safetensors"}, "is not there"),
        ({"weights_sha256": "0" * 64}, "is damaged"),
        ({"surprise": 1}, "no checkpoint .surprise"),
        ({"format": 99, "surprise": 1}, "newer version"),
        ({"geometry": {"patch_size": 0, "input_size": 32}}, "no checkpoint .geometry"),
    ],
)
def test_an_edited_document_is_one_sentence(run, changes, sentence):
    edit(run, **changes)
    with pytest.raises(MitoxaiError, match=sentence) as caught:
        load_checkpoint(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": 1}', "{"])
def test_a_document_of_another_kind(run, text):
    (run / "checkpoint.json").write_text(text)
    with pytest.raises(MitoxaiError, match=r"checkpoint\.json"):
        load_checkpoint(run)


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(MitoxaiError, match=r"has no checkpoint\.json: give the folder"):
        load_checkpoint(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    checkpoint = checkpoint_of()
    checkpoint.state["fc.bias"][0] = float("nan")
    save_checkpoint(checkpoint, tmp_path)
    with pytest.raises(MitoxaiError, match="not finite"):
        load_checkpoint(tmp_path)


def test_no_pickle_anywhere_in_a_run(trained_run):
    for path in trained_run.rglob("*"):
        if path.is_file():
            assert path.suffix in (".json", ".csv", ".safetensors")
            start = path.read_bytes()[:4]
            assert not start.startswith((b"PK", b"\x80"))
