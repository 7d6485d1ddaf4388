"""The whole path on published sections; skipped where they are not at hand."""

import numpy as np
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import open_maps
from napari_mitoxai.imc import read_section
from napari_mitoxai.tasks import explain, figure, segment, train

SUBJECTS = {"C01": "control", "C03": "control", "P01": "patient", "P08": "patient", "P09": "patient"}


@pytest.fixture(scope="module")
def run(real_data, one_thread, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    stacks = real_data / "warren2020" / "stacks"
    rows = [f"{stacks / name}.ome.tiff,{name},{group}" for name, group in SUBJECTS.items()]
    (folder / "cohort.csv").write_text("\n".join(["path,subject,group", *rows]) + "\n")
    return train.run(
        train.TrainParameters(
            cohort=folder / "cohort.csv", out=folder / "run", epochs=1, hold_out=["C03", "P09"],
            input_size=64, device="cpu",
        )
    )  # fmt: skip


@pytest.mark.slow
def test_a_stack_cohort_trains_and_explains_the_folder_of_jpegs(run, real_data, tmp_path):
    assert run.metrics["split"]["test"] == ["C03", "P09"]
    assert {call["subject"] for call in run.metrics["subject_calls"]} == {"C03", "P09"}
    assert any("validation" in note for note in run.metrics["notes"])

    section = real_data / "warren2020" / "layout" / "Dataset" / "controls" / "C01"
    made = explain.explain_one(
        explain.ExplainParameters(
            run=run.run, sections=[section], methods=["grad_cam", "guided_backprop", "lrp_epsilon_plus"],
            out=tmp_path / "maps.ome.zarr", device="cpu",
        )
    )  # fmt: skip
    assert made.use_of_subject == "train"  # the folder tells whose section it is
    store = open_maps(made.maps)
    opened = read_section(section)
    assert store.grid.shape == (opened.shape[1] // 8, opened.shape[2] // 8)
    for name in store.methods:
        values = store.read(name)
        assert np.isfinite(values).all()
        if (
            name != "grad_cam"
        ):  # which keeps only what speaks for the class: after one epoch, that can be nothing
            assert np.abs(values).max() > 0

    segmented = segment.run(segment.SegmentParameters(section=section, out=tmp_path / "fibres.tiff"))
    assert segmented.fibres > 200
    drawn = figure.run(
        figure.FigureParameters(
            section=section, maps=made.maps, fibres=segmented.labels, out=tmp_path / "figure.pdf", dpi=100
        )
    )
    assert drawn.figure.stat().st_size > 10_000


@pytest.mark.slow
def test_a_section_with_part_of_the_panel_names_what_is_missing(run, real_data, tmp_path):
    with pytest.raises(MitoxaiError, match=r"P03.* has no channel SDHA, TOM22, NDUFB8, OSCP, GRIM19, VDAC1 "):
        explain.run(
            explain.ExplainParameters(
                run=run.run, sections=[real_data / "warren2020" / "stacks" / "P03.ome.tiff"], methods=["grad_cam"],
                out=tmp_path / "maps.ome.zarr", device="cpu",
            )
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
