"""The last steps of the path: explain, segment, figure, and the figure again from its sidecar."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.imc import read_labels, read_section, write_labels, write_section
from napari_mitoxai.tasks import TaskParameters, explain, figure, segment, train, validated


@pytest.fixture(scope="module")
def made(trained_run, simulated_cohort, tmp_path_factory):
    """A folder with a section, its maps, its fibres and a figure; read only."""
    folder = tmp_path_factory.mktemp("figure")
    section = shutil.copy(simulated_cohort.parent / "P03.ome.tiff", folder / "P03.ome.tiff")
    explained = explain.explain_one(
        explain.ExplainParameters(
            run=trained_run, sections=[section], methods=["grad_cam", "gradient"],
            out=folder / "maps.ome.zarr", device="cpu",
        )
    )  # fmt: skip
    segmented = segment.run(segment.SegmentParameters(section=section, out=folder / "fibres.tiff"))
    drawn = figure.run(parameters(folder, folder / "figure.png"))
    return folder, explained, segmented, drawn


def parameters(folder, out, **changes):
    values = {
        "section": folder / "P03.ome.tiff", "maps": folder / "maps.ome.zarr",
        "fibres": folder / "fibres.tiff", "out": out, "dpi": 100, **changes,
    }  # fmt: skip
    return figure.FigureParameters(**values)


@pytest.fixture
def copy(made, tmp_path):
    """A copy of that folder to change."""
    return shutil.copytree(made[0], tmp_path / "copy")


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_results_say_what_was_made(made):
    folder, explained, segmented, drawn = made
    assert explained.maps == folder / "maps.ome.zarr"
    assert explained.target == "patient"
    assert explained.use_of_subject == "test"
    assert explained.verdict["patches"] > 0
    labels = read_labels(segmented.labels)
    assert segmented.fibres == labels.max() == len(np.unique(labels)) - 1 > 5
    assert (drawn.figure, drawn.sidecar) == (folder / "figure.png", folder / "figure.json")
    assert sorted(path.name for path in folder.iterdir()) == [
        "P03.ome.tiff", "fibres.tiff", "fibres_classes.csv", "figure.json", "figure.png", "maps.ome.zarr",
    ]  # fmt: skip


def test_the_figure_shows_something(made):
    picture = pixels(made[3].figure)
    assert picture.shape[1] == pytest.approx(180 / 25.4 * 100, abs=2)
    assert (picture < 200).any(2).mean() > 0.2
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500


def test_the_sidecar_makes_the_same_pixels_in_another_place(copy):
    again = figure.run(figure.FigureParameters(section=copy / "figure.json", out=copy / "again.png"))
    np.testing.assert_array_equal(pixels(again.figure), pixels(copy / "figure.png"))
    sidecar = json.loads((copy / "figure.json").read_text())
    assert sidecar["spec"]["rows"][0]["section"] == "P03.ome.tiff"  # relative: the folder can be moved
    assert sorted(sidecar["inputs"]) == ["P03.ome.tiff", "fibres.tiff", "maps.ome.zarr"]
    assert str(copy.parent.parent) not in str([sidecar["spec"], sidecar["inputs"]])


def refused(values, sentence):
    with pytest.raises(MitoxaiError, match=sentence) as caught:
        figure.run(values)
    assert "\n" not in str(caught.value)


def test_a_section_that_changed_is_refused(copy):
    path = copy / "P03.ome.tiff"
    section = read_section(path)
    write_section(path, section.read().astype(np.uint16)[:, ::-1], section.panel, overwrite=True)
    refused(
        figure.FigureParameters(section=copy / "figure.json", out=copy / "again.png"),
        "P03.ome.tiff is not there or changed since figure.json was written",
    )
    assert not (copy / "again.png").exists()


def test_fibres_and_maps_that_changed_are_refused(copy, trained_run):
    again = figure.FigureParameters(section=copy / "figure.json", out=copy / "again.png")
    labels = read_labels(copy / "fibres.tiff")
    content = (copy / "fibres.tiff").read_bytes()
    write_labels(copy / "fibres.tiff", labels + 1, overwrite=True)
    refused(again, "fibres.tiff is not there or changed")
    (copy / "fibres.tiff").write_bytes(content)
    explain.run(
        explain.ExplainParameters(
            run=trained_run, sections=[copy / "P03.ome.tiff"], methods=["grad_cam"],
            out=copy / "maps.ome.zarr", device="cpu", overwrite=True,
        )
    )  # fmt: skip
    refused(again, "maps.ome.zarr is not there or changed")


def test_fibres_and_sections_of_another_shape_are_refused(copy):
    write_labels(copy / "small.tiff", np.ones((50, 60), np.int32))
    refused(
        parameters(copy, copy / "b.png", fibres=copy / "small.tiff"),
        "small.tiff is 60 x 50 px and P03 288 x 288 px",
    )
    section = read_section(copy / "P03.ome.tiff")
    write_section(copy / "small.ome.tiff", section.read(y=slice(0, 200)).astype(np.uint16), section.panel)
    refused(parameters(copy, copy / "b.png", section=copy / "small.ome.tiff"), "another size than small")
    assert not (copy / "b.png").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": ["lrp_z"]}, "no map by lrp_z"),
        ({"maps": None}, "A figure needs maps"),
        ({"fibres": "none.tiff"}, "none.tiff is not there"),
        ({"maps": "none.ome.zarr"}, "none.ome.zarr is not there"),
    ],
)
def test_what_cannot_be_drawn(made, tmp_path, changes, sentence):
    refused(parameters(made[0], tmp_path / "b.png", **changes), sentence)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_figure_sidecar_or_input_is_kept(copy):
    refused(parameters(copy, copy / "figure.png"), "figure.png exists already")
    (copy / "other.json").write_text("{}")
    refused(parameters(copy, copy / "other.png"), "other.json exists already")
    before = (copy / "fibres.tiff").read_bytes()
    refused(parameters(copy, copy / "fibres.tiff", overwrite=True), "made from")
    assert (copy / "fibres.tiff").read_bytes() == before


def test_an_unknown_format_is_refused(made, tmp_path):
    refused(parameters(made[0], tmp_path / "b.gif"), "does not end in a figure's format")
    assert list(tmp_path.iterdir()) == []


def test_maps_that_are_not_finished_are_refused(copy):
    document = copy / "maps.ome.zarr" / "zarr.json"
    content = json.loads(document.read_text())
    del content["attributes"]["mitoxai"]["verdict"]
    document.write_text(json.dumps(content))
    refused(parameters(copy, copy / "b.png"), "is not finished")


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"spec": {}, "inputs": {}, "files": {}}', "{", '{"spec": 3, "inputs": 4, "files": 5}'],
)
def test_a_json_that_is_no_sidecar(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(MitoxaiError):
        figure.run(figure.FigureParameters(section=tmp_path / "a.json", out=tmp_path / "b.png"))


def test_cancelling_a_figure_writes_nothing(made, tmp_path):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        figure.run(parameters(made[0], tmp_path / "b.png"), cancel=token)
    assert list(tmp_path.iterdir()) == []


# --- the other tasks' sentences ----------------------------------------------------------------------------------


def test_segmenting_needs_a_membrane_a_free_name_and_keeps_its_input(copy, tmp_path):
    section = copy / "P03.ome.tiff"
    opened = read_section(section)
    plane = opened.panel.index("SDHA")
    write_section(
        tmp_path / "one.ome.tiff",
        opened.read([plane]).astype(np.uint16),
        type(opened.panel)((opened.panel[plane],)),
    )
    for values, sentence in (
        (
            {"section": tmp_path / "one.ome.tiff", "out": tmp_path / "f.tiff"},
            "no membrane channel .*--channel",
        ),
        ({"section": section, "out": tmp_path / "f.tiff", "channels": ["MYH7"]}, "has no channel MYH7"),
        ({"section": section, "out": tmp_path / "f.png"}, "does not end in .tif or .tiff"),
        ({"section": section, "out": copy / "fibres.tiff"}, "exists already"),
        ({"section": section, "out": section, "overwrite": True}, "made from"),
    ):
        with pytest.raises(MitoxaiError, match=sentence):
            segment.run(segment.SegmentParameters(**values))
    assert not (tmp_path / "f.tiff").exists()
    assert opened.panel.targets == read_section(section).panel.targets


def test_explaining_needs_a_run_and_a_zarr_name(made, trained_run, tmp_path):
    section = made[0] / "P03.ome.tiff"
    for values, sentence in (
        ({"run": trained_run, "out": tmp_path / "maps"}, "does not end in .ome.zarr"),
        ({"run": made[0], "out": tmp_path / "m.ome.zarr"}, "has no checkpoint.json"),
        ({"run": trained_run, "out": made[0] / "maps.ome.zarr"}, "exists already"),
    ):
        with pytest.raises(MitoxaiError, match=sentence):
            explain.run(
                explain.ExplainParameters(sections=[section], methods=["grad_cam"], device="cpu", **values)
            )
    assert list(tmp_path.iterdir()) == []


# --- parameter models --------------------------------------------------------------------------------------------


def all_models():
    from napari_mitoxai.tasks.demo import DemoParameters

    return [
        DemoParameters, train.TrainParameters, explain.ExplainParameters, segment.SegmentParameters,
        figure.FigureParameters,
    ]  # fmt: skip


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_every_field_has_what_a_form_and_a_help_page_need(model):
    assert issubclass(model, TaskParameters)
    for name, field in model.model_fields.items():
        assert field.title, name
        assert field.description, name
        assert field.description.endswith((".", "by default")), name


def test_a_wrong_value_is_named_by_its_title():
    with pytest.raises(MitoxaiError, match=r"^Epochs: .*greater than or equal to 1.*given: 0"):
        validated(train.TrainParameters, {"cohort": "a", "out": "b", "epochs": 0})
    with pytest.raises(MitoxaiError, match="Methods"):
        validated(explain.ExplainParameters, {"run": "a", "sections": ["b"], "out": "c", "methods": []})
    with pytest.raises(MitoxaiError, match="surprise"):
        validated(segment.SegmentParameters, {"section": "a", "out": "b", "surprise": 1})
