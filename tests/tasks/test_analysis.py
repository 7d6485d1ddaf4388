"""`mitoxai run FILE.yaml`: steps by hand and as recorded, going on after a failure, nothing overwritten."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from napari_mitoxai.cli import main
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain import open_maps
from napari_mitoxai.imc import read_labels
from napari_mitoxai.tasks.analysis import AnalysisParameters, run
from napari_mitoxai.tasks.measure import MeasureParameters
from napari_mitoxai.tasks.named import task_named
from napari_mitoxai.tasks.recording import done_step, labels_digest, write_recording


@pytest.fixture
def study(simulated_cohort, trained_run, tmp_path):
    """A folder with links to a cohort and a run, as a user has them beside their file."""
    (tmp_path / "cohort").symlink_to(simulated_cohort.parent)
    (tmp_path / "run").symlink_to(trained_run)
    return tmp_path


STEPS = [
    {"task": "explain", "parameters": {
        "run": "run", "sections": ["cohort/P03.ome.tiff"], "methods": ["grad_cam", "gradient"], "out": "out/maps.ome.zarr"}},
    {"task": "segment", "parameters": {"section": "cohort/P03.ome.tiff", "out": "out/fibres.tiff"}},
    {"task": "measure", "parameters": {
        "section": "cohort/P03.ome.tiff", "fibres": "out/fibres.tiff", "maps": "out/maps.ome.zarr", "out": "out/tables/P03.csv"}},
    {"task": "figure", "parameters": {
        "section": "cohort/P03.ome.tiff", "maps": "out/maps.ome.zarr", "fibres": "out/fibres.tiff", "out": "out/figure.png"}},
]  # fmt: skip


def written(folder, steps=STEPS, **more):
    path = folder / "analysis.yaml"
    path.write_text(yaml.safe_dump({"steps": steps, **more}), encoding="utf-8")
    return path


def test_steps_by_hand_run_in_order_and_not_twice(study, capsys):
    path = written(study)
    with pytest.raises(SystemExit, match="0"):
        main(["run", str(path), "--dry-run"])
    assert "4. figure: to do" in capsys.readouterr().out
    assert not (study / "out").exists()
    with pytest.raises(SystemExit, match="0"):
        main(["run", str(path)])
    assert (study / "out" / "tables" / "P03_relevance.csv").is_file()
    before = (study / "out" / "figure.png").stat().st_mtime_ns
    again = run(AnalysisParameters(file=path))
    assert [step.state for step in again.steps] == ["done before"] * 4
    assert (study / "out" / "figure.png").stat().st_mtime_ns == before
    # a table that measuring wrote beside its own is an input of the next, and no reason to begin again
    joined = {"task": "relevance", "parameters": {"tables": ["out/tables/P03_relevance.csv"], "cohort": "cohort/cohort.csv", "out": "out/all.csv"}}  # fmt: skip
    with pytest.raises(MitoxaiError, match=r"Step 5 \(relevance\) failed: .* Steps 1 to 4 are kept"):
        run(AnalysisParameters(file=written(study, [*STEPS, joined])))  # one subject is too few
    path = written(study)
    # the same in another folder, to the last number
    moved = run(AnalysisParameters(file=path, out_root=study / "elsewhere"))
    assert [step.state for step in moved.steps] == ["done"] * 4
    there = study / "elsewhere"
    for method in ("grad_cam", "gradient"):
        one, other = (open_maps(place / "maps.ome.zarr").read(method) for place in (study / "out", there))
        assert np.array_equal(one, other)
    assert np.array_equal(read_labels(study / "out" / "fibres.tiff"), read_labels(there / "fibres.tiff"))
    assert (study / "out" / "tables" / "P03.csv").read_bytes() == (there / "tables" / "P03.csv").read_bytes()
    assert (study / "out" / "figure.png").read_bytes() == (there / "figure.png").read_bytes()
    # what is read from there was made there
    made_of = json.loads((there / "figure.json").read_text())["spec"]["rows"][0]
    assert made_of["maps"] == ["maps.ome.zarr"]
    # a result that was changed is neither passed off as done nor replaced
    (study / "out" / "fibres.tiff").write_bytes(b"changed")
    with pytest.raises(
        MitoxaiError, match=r"Step 2 \(segment\) would write .*fibres.tiff, which exists already"
    ):
        run(AnalysisParameters(file=path))


def test_a_failure_names_its_step_and_the_next_call_goes_on(study):
    right = {**STEPS[2]["parameters"], "maps": None}
    wrong = {**right, "fibres": "cohort/P03.ome.tiff"}  # no labels
    path = written(study, [STEPS[1], {"task": "measure", "parameters": wrong}])
    with pytest.raises(
        MitoxaiError, match=r"Step 2 \(measure\) failed: .* Step 1 is kept; the same command goes on"
    ):
        run(AnalysisParameters(file=path))
    labels = study / "out" / "fibres.tiff"
    before = labels.stat().st_mtime_ns
    path = written(study, [STEPS[1], {"task": "measure", "parameters": right}])
    reports = run(AnalysisParameters(file=path)).steps
    assert [step.state for step in reports] == ["done before", "done"]
    assert labels.stat().st_mtime_ns == before


def test_cancelled_between_steps_it_keeps_what_is_done(study):
    cancel = CancelToken()

    def progress(report):
        if report.stage.startswith("2/2"):
            cancel.cancel()

    path = written(study, [STEPS[1], {"task": "measure", "parameters": {**STEPS[2]["parameters"], "maps": None}}])  # fmt: skip
    with pytest.raises(Cancelled):
        run(AnalysisParameters(file=path), progress, cancel)
    assert (study / "out" / "fibres.tiff").is_file()
    assert not (study / "out" / "tables" / "P03.csv").exists()
    assert [s.state for s in run(AnalysisParameters(file=path)).steps] == ["done before", "done"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"task": "paint", "parameters": {}}], r"Step 1 \(paint\): There is no task 'paint': choose of aggregate"),
        ([STEPS[1], {**STEPS[0], "parameters": {**STEPS[0]["parameters"], "batch_size": 0}}], r"Step 2 \(explain\): Batch size"),
        ([{"task": "analysis", "parameters": {"file": "analysis.yaml"}}], "cannot be a step of one"),
        ([STEPS[2]], r"Step 1 \(measure\) reads .*fibres.tiff, which is not there and which no earlier step makes"),
        ([{"do": "explain"}], "Step 1 is not of the form"),
        ([], "lists no steps"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_done(study, steps, said):
    with pytest.raises(MitoxaiError, match=said):
        run(AnalysisParameters(file=written(study, steps)))
    assert not (study / "out").exists()


def test_files_that_are_no_analysis(study):
    (study / "broken.yaml").write_text("steps: [")
    for name, said in (("broken.yaml", "not readable YAML"), ("none.yaml", "is not there")):
        with pytest.raises(MitoxaiError, match=said):
            run(AnalysisParameters(file=study / name))
    with pytest.raises(MitoxaiError, match="'stepz', which means nothing"):
        run(AnalysisParameters(file=written(study, stepz=[])))
    with pytest.raises(MitoxaiError, match="newer version"):
        run(AnalysisParameters(file=written(study, format=99)))


def test_nothing_of_the_users_is_replaced(study):
    (study / "out").mkdir()
    (study / "out" / "figure.png").write_bytes(b"mine")
    with pytest.raises(
        MitoxaiError, match=r"Step 4 \(figure\) would write .*figure.png, which exists already"
    ):
        run(AnalysisParameters(file=written(study)))
    assert sorted(path.name for path in (study / "out").iterdir()) == ["figure.png"]  # no step was begun


# --- recording --------------------


def do(name, folder, **values):
    """A task as the window runs it, taken down."""
    task = task_named(name)
    parameters = task.model(**values)
    return done_step(parameters, task.run(parameters))


@pytest.fixture
def recorded(study):
    section = study / "cohort" / "P03.ome.tiff"
    return section, [
        do("segment", study, section=section, out=study / "first.tiff", fibre_size_um=30.0),
        do("segment", study, section=section, out=study / "fibres.tiff"),
        do("measure", study, section=section, fibres=study / "fibres.tiff", out=study / "P03.csv"),
    ]


def test_what_was_done_is_done_again(study, recorded, tmp_path):
    _, steps = recorded
    path = study / "file" / "analysis.yaml"
    path.parent.mkdir()
    assert write_recording(path, steps) == []
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [step["task"] for step in content["steps"]] == ["segment", "segment", "measure"]
    assert content["steps"][2]["parameters"]["fibres"] == "../fibres.tiff"
    assert content["steps"][0]["parameters"]["fibre_size_um"] == 30
    assert set(content["inputs"]) == {"../cohort/P03.ome.tiff"}
    result = run(AnalysisParameters(file=path, out_root=tmp_path / "again"))
    assert result.steps[2].reads[1] == tmp_path / "again" / "fibres.tiff"
    assert (tmp_path / "again" / "P03.csv").read_bytes() == (study / "P03.csv").read_bytes()
    assert np.array_equal(read_labels(tmp_path / "again" / "fibres.tiff"), read_labels(study / "fibres.tiff"))
    # with another input it is another analysis, and says so
    content["inputs"]["../cohort/P03.ome.tiff"] = "0" * 64
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(MitoxaiError, match="is not what the analysis used"):
        run(AnalysisParameters(file=path, out_root=tmp_path / "third"))


def test_a_step_that_was_done_over_counts_once(study, recorded):
    section, steps = recorded
    again = do("segment", study, section=section, out=study / "first.tiff", overwrite=True)
    write_recording(study / "a.yaml", [*steps, again])
    content = yaml.safe_load((study / "a.yaml").read_text())
    assert [step["parameters"].get("out") for step in content["steps"]] == ["fibres.tiff", "P03.csv", "first.tiff"]  # fmt: skip
    assert not any("overwrite" in step["parameters"] for step in content["steps"])
    # but one whose result was used before is needed, and is replaced then
    other = do("segment", study, section=section, out=study / "fibres.tiff", fibre_size_um=30.0, overwrite=True)  # fmt: skip
    write_recording(study / "b.yaml", [*steps[1:], other])
    content = yaml.safe_load((study / "b.yaml").read_text())
    assert [step["parameters"].get("overwrite") for step in content["steps"]] == [None, None, True]
    result = run(AnalysisParameters(file=study / "b.yaml", out_root=study / "again"))
    assert (study / "again" / "P03.csv").read_bytes() == (study / "P03.csv").read_bytes()
    assert [step.state for step in run(AnalysisParameters(file=study / "b.yaml", out_root=study / "again")).steps] == ["done before"] * 3  # fmt: skip
    assert len(result.steps) == 3


def test_what_was_corrected_by_hand_is_an_input(study, recorded):
    from napari_mitoxai.imc import write_labels

    section, steps = recorded
    labels = read_labels(study / "fibres.tiff")
    corrected = np.where(labels == 1, 0, labels)
    parameters = MeasureParameters(section=section, fibres=study / "fibres.tiff", out=study / "by_hand.csv")
    unsaved = done_step(parameters, None, labels_digest(corrected))
    (note,) = write_recording(study / "a.yaml", [steps[1], unsaved])
    assert "differ from fibres.tiff" in note
    assert yaml.safe_load((study / "a.yaml").read_text())["notes"] == [note]
    write_labels(study / "fibres.tiff", corrected, overwrite=True)
    (note,) = write_recording(study / "b.yaml", [steps[1], unsaved])
    assert "fibres.tiff was changed after segment had written it" in note
    content = yaml.safe_load((study / "b.yaml").read_text())
    assert [step["task"] for step in content["steps"]] == ["measure"]
    assert "fibres.tiff" in content["inputs"]
    run(AnalysisParameters(file=study / "b.yaml", out_root=study / "again"))
    assert len(pd.read_csv(study / "again" / "by_hand.csv")) == len(np.unique(corrected)) - 1


def test_every_task_can_be_named(capsys):
    from napari_mitoxai import cli

    for command in set(cli.COMMANDS) - {"run", "trust-simulate"}:
        task = task_named(command)
        assert task.name == command.replace("-", "_")
    for command in ("convert", "explain", "train", "embed", "import-checkpoint"):
        assert command in cli.COMMANDS
