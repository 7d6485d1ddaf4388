import functools
import json
import re
import subprocess
import sys

import pytest

from napari_mitoxai.cli import _spread, main
from napari_mitoxai.imc import read_labels
from napari_mitoxai.models import load_checkpoint

TRAIN = ["--epochs", "1", "--patch-size", "128", "--input-size", "32", "--batch-size", "8", "--device", "cpu"]


@pytest.fixture
def mitoxai(capsys):
    """Run the command line here; gives its exit code, standard output and standard error."""

    def call(*arguments):
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_whole_path(simulated_cohort, tmp_path, mitoxai, one_thread):
    section = simulated_cohort.parent / "P03.ome.tiff"
    run, maps, fibres = tmp_path / "run", tmp_path / "maps.ome.zarr", tmp_path / "fibres.tiff"
    code, out, err = mitoxai("train", simulated_cohort, "--out", run, "--hold-out", "C03", "P03", *TRAIN)
    assert code == 0, err
    assert "C03 (control) is called" in out
    assert f"Run: {run}" in out
    assert f"mitoxai explain {run}" in out
    assert load_checkpoint(run).split["test"] == ["C03", "P03"]

    methods = ("--method", "grad_cam", "--method", "guided_backprop", "--method", "lrp_epsilon_plus")
    code, out, err = mitoxai("explain", run, section, *methods, "--out", maps, "--device", "cpu")
    assert code == 0, err
    assert "The model calls P03.ome.tiff" in out

    code, out, err = mitoxai("segment", section, "--out", fibres)
    assert code == 0, err
    assert f"{read_labels(fibres).max()} fibres: {fibres}" in out

    code, out, err = mitoxai(
        "figure", section, "--maps", maps, "--fibres", fibres, "--out", tmp_path / "f.pdf", "--dpi", "100"
    )
    assert code == 0, err
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "f.json").is_file()

    code, out, err = mitoxai("figure", tmp_path / "f.json", "--out", tmp_path / "again.png", "--json")
    assert code == 0, err
    assert json.loads(out)["figure"] == str(tmp_path / "again.png")


def test_json_is_one_object_on_standard_output(simulated_cohort, tmp_path, mitoxai, one_thread):
    code, out, _ = mitoxai(
        "train", simulated_cohort, "--out", tmp_path / "run", "--hold-out", "C03,P03", "--json", *TRAIN
    )
    assert code == 0
    answer = json.loads(out)
    assert answer["run"] == str(tmp_path / "run")
    assert answer["metrics"]["split"]["test"] == ["C03", "P03"]
    code, out, _ = mitoxai(
        "segment", simulated_cohort.parent / "C01.ome.tiff", "--out", tmp_path / "f.tiff", "--json"
    )
    assert code == 0
    assert json.loads(out)["fibres"] > 0
    code, out, _ = mitoxai("methods", "--json")
    assert "lrp_epsilon" in json.loads(out)


@pytest.mark.parametrize(
    ("given", "spread"),
    [
        ("train c.csv --hold-out A B C", "train c.csv --hold-out A --hold-out B --hold-out C"),
        ("train c.csv --hold-out A --hold-out B", "train c.csv --hold-out A --hold-out B"),
        ("train c.csv --overwrite --hold-out A B", "train c.csv --overwrite --hold-out A --hold-out B"),
        ("train --overwrite c.csv --hold-out A B", "train --overwrite c.csv --hold-out A --hold-out B"),
        ("train --seed=3 c.csv --hold-out A B", "train --seed=3 c.csv --hold-out A --hold-out B"),
        ("train --out r c.csv --hold-out A B", "train --out r c.csv --hold-out A --hold-out B"),
        ("train --hold-out A c.csv --out r", "train --hold-out A c.csv --out r"),
        ("explain r s --method a b --out m", "explain r s --method a --method b --out m"),
        ("segment s --channel a b --out f", "segment s --channel a --channel b --out f"),
        ("segment s --out f extra", "segment s --out f extra"),
        ("methods --json", "methods --json"),
        ("", ""),
    ],
)
def test_several_values_after_one_option(given, spread):
    assert _spread(given.split()) == spread.split()


def errors(simulated_cohort, run, folder):
    """Command lines that cannot work, and a part of what is said."""
    section = simulated_cohort.parent / "P03.ome.tiff"
    one_group = folder / "one.csv"
    one_group.write_text(f"path,subject,group\n{section},P03,patient\n")
    gone = folder / "gone.csv"
    gone.write_text("path,subject,group\nnone.tiff,P03,patient\n")
    both = folder / "both.csv"
    both.write_text(
        f"path,subject,group,split\n{section},P03,patient,train\n"
        f"{simulated_cohort.parent / 'C01.ome.tiff'},P03,patient,test\n"
    )
    (folder / "text.tiff").write_text("no image")
    (folder / "cut.ome.tiff").write_bytes(section.read_bytes()[: section.stat().st_size // 2])
    (folder / "exists.tiff").write_bytes(b"mine")
    maps, out = folder / "m.ome.zarr", folder / "out"
    return [
        (["train", folder / "none.csv", "--out", out], "none.csv is not there"),
        (["train", one_group, "--out", out], "has the group patient only"),
        (["train", gone, "--out", out], "names none.tiff, which is not there"),
        (["train", both, "--out", out], "subject P03 is in split test and train"),
        (["train", simulated_cohort, "--out", out], "smaller than a patch"),
        (["train", simulated_cohort, "--out", out, "--epochs", "0"], "Epochs"),
        (["train", simulated_cohort, "--out", out, "--arch", "alexnet"], "Architecture"),
        (["train", simulated_cohort, "--out", out, "--hold-out", "Z9"], "Z9 cannot be held out"),
        (["train", simulated_cohort, "--out", run], "exists already"),
        (["explain", folder, section, "--method", "grad_cam", "--out", maps], "has no checkpoint.json"),
        (
            ["explain", run, folder / "text.tiff", "--method", "grad_cam", "--out", maps],
            "not a readable TIFF",
        ),
        (["explain", run, folder / "cut.ome.tiff", "--method", "grad_cam", "--out", maps], "copy it again"),
        (["explain", run, section, "--method", "magic", "--out", maps], "no explanation method 'magic'"),
        (["explain", run, section, "--method", "grad_cam", "--out", out], "does not end in .ome.zarr"),
        (["segment", section, "--out", folder / "exists.tiff"], "exists already"),
        (["segment", folder, "--out", folder / "f.tiff"], "differ in size|readable|planes"),
        (["figure", section, "--out", folder / "f.png"], "needs maps"),
        (["figure", section, "--maps", maps, "--out", folder / "f.png"], "m.ome.zarr is not there"),
    ]


def test_every_error_is_one_sentence_and_exit_code_2(simulated_cohort, trained_run, tmp_path, mitoxai):
    cases = errors(simulated_cohort, trained_run, tmp_path)
    before = sorted(tmp_path.iterdir())
    for arguments, part in cases:
        code, out, err = mitoxai(*arguments)
        assert code == 2, arguments
        assert out == "", arguments
        lines = [line for line in err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, (arguments, err)
        assert err.rstrip().endswith(lines[0]), err
        assert "Traceback" not in err
        assert re.search(part, lines[0]), (part, lines[0])
        assert sorted(tmp_path.iterdir()) == before, arguments


@pytest.mark.parametrize(
    "arguments", [["train"], ["explain", "a", "b"], ["train", "a", "--out", "b", "--bogus"], ["nothing"]]
)
def test_a_wrong_command_line_is_exit_code_2_without_a_traceback(mitoxai, arguments):
    code, out, err = mitoxai(*arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert err.strip()


def test_cancelling_is_exit_code_130(monkeypatch, mitoxai, tmp_path):
    from napari_mitoxai.common import Cancelled
    from napari_mitoxai.tasks import convert, segment

    def cancelled(*args, **kwargs):
        raise Cancelled

    monkeypatch.setattr(segment, "run", functools.wraps(segment.run)(cancelled))
    code, _, err = mitoxai("segment", "a", "--out", tmp_path / "f.tiff")
    assert code == 130
    assert err == "Cancelled: nothing was written.\n"
    monkeypatch.setattr(convert, "run", functools.wraps(convert.run)(cancelled))
    assert mitoxai("convert", "a", tmp_path / "b.ome.zarr")[2].endswith(
        "the same command goes on from there.\n"
    )


def test_help_puts_what_matters_first(mitoxai):
    text = mitoxai("train", "--help")[1]
    assert (
        text.index("Arguments:")
        < text.index("--out")
        < text.index("More options:")
        < text.index("--momentum")
    )


def test_help_lists_every_parameter(mitoxai):
    from napari_mitoxai.cli import _flag
    from napari_mitoxai.tasks import demo, explain, figure, segment, train
    from napari_mitoxai.tasks.parameters import extra

    models = {
        "demo": demo.DemoParameters, "train": train.TrainParameters, "explain": explain.ExplainParameters,
        "segment": segment.SegmentParameters, "figure": figure.FigureParameters,
    }  # fmt: skip
    code, out, _ = mitoxai("--help")
    assert code == 0
    for command, model in models.items():
        assert command in out
        code, text, _ = mitoxai(command, "--help")
        assert code == 0
        words = " ".join(text.split())
        for name in model.model_fields:
            wanted = name.upper() if extra(model, name).get("argument") else _flag(model, name)
            assert wanted in words, (command, name)
        assert "--json" in words
    # the names that others build on
    for option in ("--arch", "--epochs", "--seed", "--hold-out", "--out"):
        assert option in mitoxai("train", "--help")[1]


def test_the_version(mitoxai):
    from napari_mitoxai import __version__

    assert mitoxai("--version")[:2] == (0, f"{__version__}\n")


LAZY = """
import sys
{code}
heavy = [name for name in ("torch", "matplotlib", "napari", "lightning", "qtpy") if name in sys.modules]
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "code",
    [
        "import napari_mitoxai",
        "import napari_mitoxai.cli",
        "import napari_mitoxai.models, napari_mitoxai.explain, napari_mitoxai.training; napari_mitoxai.models.available()",
        "from napari_mitoxai.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
        "from napari_mitoxai.cli import main\ntry:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass",
    ],
    ids=["package", "cli", "names", "help", "train-help"],
)
def test_heavy_libraries_wait_until_they_are_needed(code):
    done = subprocess.run(
        [sys.executable, "-c", LAZY.format(code=code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_list_of_commands_needs_no_scientific_library():
    code = "import sys; from napari_mitoxai.cli import main\ntry: main(['--help'])\nfinally: print('loaded', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    loaded = done.stdout.rpartition("loaded ")[2].split()
    heavy = {
        "torch",
        "matplotlib",
        "lightning",
        "napari",
        "scipy",
        "pandas",
        "dask",
        "zarr",
        "skimage",
        "sklearn",
        "numpy",
    }
    assert "typer" in loaded, done.stderr
    assert not heavy & set(loaded)


def test_a_cancelled_run_that_is_kept_is_told_by_the_exit_status(monkeypatch, tmp_path, capsys):
    from napari_mitoxai.cli import main
    from napari_mitoxai.tasks import train

    metrics = {"subject_calls": [], "subject_accuracy": None, "notes": ["Training was cancelled."]}
    for cancelled, status in ((True, 130), (False, 0)):
        kept = train.TrainResult(tmp_path / "run", metrics, cancelled)
        monkeypatch.setattr(train, "run", functools.wraps(train.run)(lambda *_, kept=kept, **__: kept))
        with pytest.raises(SystemExit) as ended:
            main(["train", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "run")])
        assert ended.value.code == status
        assert "Training was cancelled." in capsys.readouterr().out


def test_a_protocol_fills_only_what_is_not_typed(simulated_cohort, tmp_path, mitoxai, one_thread):
    run = tmp_path / "run"
    code, out, err = mitoxai(
        "train", simulated_cohort, "--out", run, "--protocol", "S3", "--arch", "resnet18", "--test-share", "0.2", *TRAIN
    )  # fmt: skip
    assert code == 0, err
    assert "optimistic" in out
    given = load_checkpoint(run).provenance["parameters"]
    assert (given["optimizer"], given["schedule"], given["split"]) == ("sgd", "inverse-time", "patch-random")
    assert (given["architecture"], given["epochs"], given["test_share"]) == ("resnet18", 1, 0.2)

    code, out, err = mitoxai("predict", run, simulated_cohort.parent / "P03.ome.tiff", "--out", tmp_path / "p.ome.zarr")  # fmt: skip
    assert code == 0, err
    assert "The model calls P03" in out
    assert "its call is no evidence" in out

    code, out, err = mitoxai("import-checkpoint", tmp_path / "none.pt", "--arch", "resnet18", "--out", tmp_path / "i")  # fmt: skip
    assert (code, out) == (2, "")
    assert "--i-trust-this-file" in err
