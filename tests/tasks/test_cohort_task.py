"""`mitoxai cohort` and `mitoxai train` on folders: what is listed, written, refused, and that both see the same patches."""

import json

import numpy as np
import pytest
import tifffile

from napari_mitoxai import cli
from napari_mitoxai.cohort import PatchGeometry, Survey, read_cohort, read_table, read_tree
from napari_mitoxai.imc import Panel, parse_channel, read_section, write_section
from napari_mitoxai.training.data import gather_patches

PANEL = Panel(tuple(parse_channel(name) for name in ("153Eu_SDHA", "160Gd_NDUFB8", "176Yb_Dystrophin")))


def call(*arguments):
    """Run the command line; the exit status."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        return exit_.code or 0
    return 0


def counts(seed, shape=(3, 96, 128)):
    """Blobs, so that sections of two people differ in more than noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.gamma(1.0, 4.0, (shape[0], shape[1] // 8, shape[2] // 8))
    return rng.poisson(coarse.repeat(8, 1).repeat(8, 2)).astype(np.uint16)


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    for seed, place in enumerate(("controls/C01", "controls/C02", "patients/P01", "patients/P02")):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_section(folder / f"{place}.ome.tiff", counts(seed), PANEL)
    return folder


def test_a_clean_study_is_listed_and_written(study, tmp_path, capsys):
    assert call("cohort", study, "--patch-size", 64, "--out", tmp_path / "cohort.csv", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["groups"] == {"control": ["C01", "C02"], "patient": ["P01", "P02"]}
    assert told["channels"] == ["SDHA", "NDUFB8", "Dystrophin"]
    assert (told["same"], told["notes"], told["problems"]) == ([], [], [])
    assert [row["shape"] for row in told["sections"]] == [[3, 96, 128]] * 4
    assert read_cohort(tmp_path / "cohort.csv").groups == {"C01": "control", "C02": "control", "P01": "patient", "P02": "patient"}  # fmt: skip
    assert call("cohort", study, "--out", tmp_path / "cohort.csv") == 2
    assert "cohort.csv exists already" in capsys.readouterr().err


def test_the_patches_that_are_counted_are_those_that_are_trained_on(study):
    survey = Survey(read_tree(study))
    survey.look()
    survey.read(64, 0.5)
    gathered = gather_patches(read_cohort(study), PatchGeometry(64, 64), overlap=0.5)
    assert sum(survey.patches) == len(gathered)
    for member, patches in zip(survey.members, survey.patches, strict=True):
        assert (gathered.subjects == member.subject).sum() == patches


def test_what_is_odd_is_told_and_does_not_stop_the_others(study, tmp_path, capsys):
    first = study / "controls" / "C01.ome.tiff"
    (study / "controls" / "C03.ome.tiff").write_bytes(first.read_bytes()[:3000])
    write_section(study / "patients" / "P03.ome.tiff", counts(9)[:2], Panel((PANEL[0], PANEL[2])))
    # the same person under another name, in one channel only
    mixed = counts(10)
    mixed[1] = counts(2)[1]
    write_section(study / "patients" / "P04.ome.tiff", mixed, PANEL)
    # the same section exported with 8 bits and stretched, in the same subject's folder
    (study / "patients" / "P05").mkdir()
    write_section(study / "patients" / "P05" / "a.ome.tiff", counts(11), PANEL)
    stretched = np.clip(counts(11).astype(float) * 255 / 12, 0, 255).round().astype(np.uint8)
    write_section(study / "patients" / "P05" / "b.ome.tiff", stretched, PANEL)
    assert call("cohort", study, "--patch-size", 64, "--out", tmp_path / "cohort.csv", "--json") == 2
    output = capsys.readouterr()
    told = json.loads(output.out)
    rows = {row["path"].split("study/")[1]: row for row in told["sections"]}
    assert "C03.ome.tiff" in rows["controls/C03.ome.tiff"]["problem"]
    assert rows["patients/P03.ome.tiff"]["missing"] == ["NDUFB8"]
    assert told["channels"] == ["SDHA", "Dystrophin"]
    assert told["same"] == [
        "P01.ome.tiff of P01 and P04.ome.tiff of P04 are identical in NDUFB8: give both the same subject, or leave one out.",
        "a.ome.tiff and b.ome.tiff of P05 show the same tissue in other numbers: b.ome.tiff adds nothing; leave it out.",
    ]
    errors = [line for line in output.err.splitlines() if line.startswith("Error:")]
    assert len(errors) == 2
    assert "1 of 9 sections could not be read" in errors[0]
    assert "P04.ome.tiff of P04" in errors[1]
    left_out = [row.path.name for row in read_table(tmp_path / "cohort.csv") if not row.include]
    assert left_out == ["C03.ome.tiff", "b.ome.tiff"]
    # for people
    assert call("cohort", study, "--patch-size", 128) == 2
    text = capsys.readouterr().out
    assert "lacks NDUFB8" in text
    assert "Not read: C03.ome.tiff" in text
    assert "Note: No patch with tissue fits on C01.ome.tiff" in text


def test_files_that_differ_and_hold_the_same_pixels_are_found(study):
    copy = study / "patients" / "P09.ome.tiff"
    tifffile.imwrite(
        copy, counts(3), compression="zlib", ome=True, photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": PANEL.targets}},
    )  # fmt: skip
    survey = Survey(read_tree(study))
    survey.look()
    survey.read(64)
    [same] = survey.same()
    assert same.complete
    assert (survey.members[same.first].subject, survey.members[same.second].subject) == ("P02", "P09")


def test_nothing_is_the_same_because_it_is_empty(study):
    for name in ("P07", "P08"):
        write_section(study / "patients" / f"{name}.ome.tiff", np.zeros((3, 96, 128), np.uint16), PANEL)
    survey = Survey(read_tree(study))
    survey.look()
    survey.read(64)
    assert survey.same() == []
    assert survey.patches[-2:] == [0, 0]


def test_groups_of_a_flat_folder_and_a_table_with_a_missing_file(study, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in study.rglob("*.tiff"):
        path.rename(flat / path.name)
    assert call("cohort", flat, "--quick", "--out", flat / "bare.csv") == 0
    told = capsys.readouterr().out
    assert "Nothing tells the group of C01, C02, P01, P02" in told
    assert "Next:" not in told  # such a table cannot be trained on
    assert (
        call("cohort", flat, "--groups", "C=control", "P=patient", "--quick", "--out", flat / "cohort.csv")
        == 0
    )
    capsys.readouterr()
    (flat / "P02.ome.tiff").rename(flat / "P03.ome.tiff")
    assert call("cohort", flat, "--quick") == 2
    output = capsys.readouterr()
    assert "P02.ome.tiff is not there" in output.out
    assert "does not list 1 of the sections in the folder, as P03.ome.tiff" in output.out


def test_a_folder_trains_as_its_table_does(simulated_cohort, one_thread, tmp_path):
    """The folder's own table is left aside, so that the folders tell."""
    from napari_mitoxai.tasks.train import TrainParameters, run

    folder = tmp_path / "study"
    for member in read_cohort(simulated_cohort).members:
        place = folder / f"{member.group}s"
        place.mkdir(parents=True, exist_ok=True)
        (place / member.path.name).symlink_to(member.path)
    shared = {"epochs": 1, "hold_out": ["C03"], "patch_size": 128, "input_size": 32, "device": "cpu"}
    one = run(TrainParameters(cohort=simulated_cohort, out=tmp_path / "one", **shared))
    two = run(TrainParameters(cohort=folder, out=tmp_path / "two", **shared))
    assert two.metrics["subject_calls"] == one.metrics["subject_calls"]
    kept = read_table(tmp_path / "two" / "cohort.csv")
    assert [member.subject for member in kept] == ["C01", "C02", "C03", "P01", "P02", "P03"]


def test_the_layout_and_the_stack_of_one_person_are_found(real_data, capsys):
    """C01 as ten JPEGs and as a stack of counts; C03 is somebody else."""
    root = real_data / "warren2020"
    members = [each for each in read_tree(root) if each.path.name in ("C01", "C01.ome.tiff", "C03.ome.tiff")]
    assert {(each.subject, each.group) for each in members} == {("C01", "control"), ("C03", "")}
    survey = Survey(members)
    survey.look()
    survey.read(512)
    [same] = survey.same()
    assert survey.members[same.first].path.name == "C01.ome.tiff"  # the better one stays
    assert survey.members[same.second].path.name == "C01"
    assert (same.whole, same.identical) == (True, ())
    assert survey.patches[0] == survey.patches[1] == 28


def test_every_format_of_an_acquisition_is_found_to_be_the_same(real_data):
    survey = Survey(read_tree(real_data / "imc_formats" / "hyperion"))
    survey.look()
    survey.read(32)
    assert len(survey.members) == 18
    found = survey.same()
    assert len(found) == 12  # six acquisitions, each there as .mcd, .txt and OME-TIFF
    kinds = {(survey.members[each.second].path.suffix, each.complete) for each in found}
    assert kinds == {(".txt", False), (".tiff", True)}  # the text is rounded
    for each in found:
        first, second = (survey.members[index].read() for index in (each.first, each.second))
        np.testing.assert_allclose(first.read(), second.read(), atol=6e-4)
    assert read_section(survey.members[0].path).shape == survey.looks[0].shape


def test_acquisitions_of_one_file_are_trained_on_as_sections(real_data, tmp_path):
    file = real_data / "imc_formats" / "hyperion" / "20210305_NE_mockData1" / "20210305_NE_mockData1.mcd"
    table = tmp_path / "cohort.csv"
    table.write_text(f"path,acquisition,subject,group\n{file},1,A,control\n{file},3,B,patient\n")
    patches = gather_patches(read_cohort(table), PatchGeometry(32, 32), overlap=0)
    first, third = (read_section(file, acquisition=name) for name in ("1", "3"))
    assert set(patches.subjects.tolist()) == {"A", "B"}
    np.testing.assert_array_equal(patches.of(["A"]).counts[0], first.read(y=slice(0, 32), x=slice(0, 32)))
    assert any(
        (third.read(y=slice(0, 32), x=slice(0, 32)) == each).all() for each in patches.of(["B"]).counts
    )
