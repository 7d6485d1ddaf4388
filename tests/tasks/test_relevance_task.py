"""`mitoxai relevance`: groups compared by subject."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_mitoxai.cli import main
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.tasks.relevance import RelevanceParameters, run


@pytest.fixture
def measured(tmp_path):
    """What measuring five sections of four subjects leaves: C2 has two; patients have more in the deficient fibres."""
    ratios = {"C1": 0.9, "C2": 1.0, "C2b": 1.2, "P1": 2.0, "P2": None, "P3": 3.0}
    rows = ["path,subject,group"]
    for section, ratio in ratios.items():
        subject = section[:2]
        answers = [
            {"question": "status", "method": "lrp", "sentence": "", "values": {
                "group": "deficient in NDUFB8", "fibres": 4, "of": 9, "area share": 0.4, "ratio": ratio, "p": 0.1, "q": 0.2}},
            {"question": "place", "method": "lrp", "sentence": "", "values": {"most": "core", "core enrichment": 1.0, "core p": 0.3, "core q": 0.4}},
        ]  # fmt: skip
        content = {"section": section, "subject": subject, "explained": "patient", "use_of_subject": "train" if section == "P1" else "test",
                   "answers": answers}  # fmt: skip
        (tmp_path / f"{section}_answers.json").write_text(json.dumps(content))
        (tmp_path / f"{section}.tiff").touch()
        rows.append(f"{section}.tiff,{subject},{'control' if section[0] == 'C' else 'patient'}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    return tmp_path, [tmp_path / f"{section}.csv" for section in ratios]


def test_subjects_not_sections_are_counted(measured):
    folder, tables = measured
    result = run(
        RelevanceParameters(
            tables=tables, cohort=folder / "cohort.csv", out=folder / "out.csv", figure=folder / "out.png"
        )
    )
    table = pd.read_csv(folder / "out.csv").set_index("quantity")
    assert list(table.index) == ["ratio, deficient in NDUFB8", "core enrichment"]  # no p values, no areas
    ratio = table.loc["ratio, deficient in NDUFB8"]
    assert (ratio["median"], ratio["median_reference"]) == (
        2.5,
        1.0,
    )  # C2 counts once: the mean of its sections
    assert (ratio["subjects"], ratio["subjects_reference"]) == (2, 2)  # P2 has no value
    assert ratio["p"] == pytest.approx(ratio["smallest_p"]) == pytest.approx(2 / 6)
    assert ratio["q"] == pytest.approx(4 / 6)
    assert table.loc["core enrichment", "p"] == 1
    assert table.loc["core enrichment", "smallest_p"] == pytest.approx(0.2)
    assert result.subjects == {"control": 2, "patient": 3}
    assert any("too few for any p below 0.2" in note for note in result.notes)
    assert any("has seen P1" in note for note in result.notes)
    assert result.figure.stat().st_size > 5_000
    assert np.isfinite([row["p"] for row in result.first]).all()


def test_the_command_prints_the_smallest_p(measured, capsys):
    folder, tables = measured
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "relevance",
                *map(str, tables),
                "--cohort",
                str(folder / "cohort.csv"),
                "--out",
                str(folder / "o.csv"),
            ]
        )
    assert not ended.value.code
    assert "The smallest p that these subjects can give: 0.2" in capsys.readouterr().out


def test_what_does_not_fit_is_said(measured, tmp_path):
    folder, tables = measured
    given = {"cohort": folder / "cohort.csv", "out": folder / "o.csv"}
    with pytest.raises(MitoxaiError, match="measure the section"):
        run(RelevanceParameters(tables=[folder / "X.csv"], **given))
    with pytest.raises(MitoxaiError, match="C1 was given twice"):
        run(RelevanceParameters(tables=[tables[0], tables[0]], **given))
    with pytest.raises(MitoxaiError, match="at least two groups"):
        run(RelevanceParameters(tables=tables[:2], **given))
    (folder / "cohort.csv").write_text("path,subject,group\nC1.tiff,C1,control\nP1.tiff,P1,patient\n")
    with pytest.raises(MitoxaiError, match="has no subject C2"):
        run(RelevanceParameters(tables=tables[:2], **given))
    assert not (folder / "o.csv").exists()
