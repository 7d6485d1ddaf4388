"""Compare groups by where relevance falls: one value a subject, from what `mitoxai measure --maps` said of each section."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import read_json, refuse_outputs
from napari_mitoxai.fibres.spatial_null import adjusted
from napari_mitoxai.fibres.subjects import by_subject, compare_groups
from napari_mitoxai.tasks.fields import ReplaceTable
from napari_mitoxai.tasks.measure_maps import ANSWERS, beside
from napari_mitoxai.tasks.parameters import TaskParameters

if TYPE_CHECKING:
    import pandas as pd

_FIRST = 6  # rows that are told and drawn
# what describes the fibres, the area or the test, not where relevance falls
_NOT_COMPARED = ("p", "q", "fibres", "of", "area share", "half by area", "gini by area")


class RelevanceParameters(TaskParameters):
    """What comparing groups needs to know."""

    tables: list[Path] = Field(
        min_length=1,
        title="Fibre tables",
        description="Tables that `mitoxai measure --maps` wrote, one a section; what lies beside them is read.",
        json_schema_extra={"argument": True},
    )
    cohort: Path = Field(
        title="Cohort", description="The table path, subject, group that says whose each section is."
    )
    out: Path = Field(title="Table", description="The comparison to write, ending in .csv or .parquet.")
    figure: Path | None = Field(
        default=None, title="Figure",
        description="The quantities with the smallest p, a dot a subject, as a picture: .pdf, .svg, .png or .tiff.",
    )  # fmt: skip
    overwrite: ReplaceTable = False


@dataclass(frozen=True)
class RelevanceResult:
    """Compared groups.

    Attributes
    ----------
    table : Path
        A row a method, quantity and group.
    figure : Path or None
        The picture.
    subjects : dict of int
        How many there are of each group.
    quantities : int
        How many were compared; p values are adjusted over all of them.
    smallest_p : float
        The smallest that these subjects can give.
    first : list of dict
        The rows with the smallest p.
    notes : list of str
        What a reader should know.
    """

    table: Path
    figure: Path | None
    subjects: dict[str, int]
    quantities: int
    smallest_p: float
    first: list[dict[str, Any]]
    notes: list[str]


def run(
    parameters: RelevanceParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> RelevanceResult:
    """Compare groups by the answers of their sections, and write the table.

    Raises
    ------
    MitoxaiError
        If a section has no answers, its subject is not in the cohort, or fewer than two groups have sections.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.cohort import read_cohort
    from napari_mitoxai.fibres.tables import refuse_ending, write_table

    refuse_ending(parameters.out)
    files = [beside(table, ANSWERS) for table in parameters.tables]
    outputs, inputs = (parameters.out, parameters.figure), (parameters.cohort, *parameters.tables, *files)
    refuse_outputs(outputs, inputs, overwrite=parameters.overwrite)
    if parameters.figure is not None:
        from napari_mitoxai.figures.saving import figure_format

        figure_format(parameters.figure)
    cohort = read_cohort(parameters.cohort)
    sections = [_read(path) for path in files]
    if unknown := sorted({section["subject"] for section in sections} - set(cohort.groups)):
        raise MitoxaiError(
            f"{parameters.cohort.name} has no subject {', '.join(unknown)}: add a row for each section that was measured."
        )
    if doubled := _doubled([section["section"] for section in sections]):
        raise MitoxaiError(f"{doubled} was given twice: give one table a section.")
    groups = {section["subject"]: cohort.groups[section["subject"]] for section in sections}
    present = [group for group in cohort.classes if group in groups.values()]
    if len(present) < 2:
        raise MitoxaiError(f"All sections are of the group {present[0]}: give tables of at least two groups.")
    progress(Progress("Comparing", 0, 1))
    if cancel is not None:
        cancel.check()
    values = _values(sections)
    table = _compared(values, groups, present)
    if parameters.figure is not None:
        _draw(parameters, table, values, groups)
    write_table(parameters.out, table, overwrite=parameters.overwrite)
    return RelevanceResult(
        parameters.out,
        parameters.figure,
        {group: list(groups.values()).count(group) for group in present},
        len(table),
        float(table["smallest_p"].min()),
        _smallest(table),
        _notes(sections, table),
    )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MitoxaiError(
            f"{path} is not there: measure the section with `mitoxai measure --maps` first, and leave what lies beside its table."
        )
    content = read_json(path)
    if not isinstance(content, dict) or not {"section", "subject", "explained", "answers"} <= content.keys():
        raise MitoxaiError(
            f"{path} holds no answers: measure the section with `mitoxai measure --maps` again."
        )
    return content


def _doubled(names: list[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)


def _values(sections: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, float]]:
    """By method, question and quantity: one value a subject."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for section in sections:
        for answer in section["answers"]:
            group = answer["values"].get("group")
            for name, value in answer["values"].items():
                if isinstance(value, str) or name.endswith((" p", " q")) or name in _NOT_COMPARED:
                    continue
                quantity = f"{name}, {group}" if group else name
                of_sections = found.setdefault((answer["method"], answer["question"], quantity), {})
                of_sections[section["section"]] = np.nan if value is None else float(value)
    subject = {section["section"]: section["subject"] for section in sections}
    return {
        key: by_subject(list(values.values()), [subject[name] for name in values])
        for key, values in found.items()
    }


def _compared(
    values: Mapping[tuple[str, str, str], Mapping[str, float]], groups: Mapping[str, str], present: list[str]
) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    reference, *others = present
    for (method, question, quantity), of_subject in values.items():
        for other in others:
            own = {name: value for name, value in of_subject.items() if groups[name] in (reference, other)}
            second = [groups[name] == other for name in own]
            test = compare_groups(list(own.values()), second)
            medians = [
                np.nanmedian(chosen) if np.isfinite(chosen := _of(own, groups, group)).any() else np.nan
                for group in (reference, other)
            ]
            rows.append(
                {
                    "method": method, "question": question, "quantity": quantity, "group": other, "reference": reference,
                    "subjects": int(np.isfinite(_of(own, groups, other)).sum()),
                    "subjects_reference": int(np.isfinite(_of(own, groups, reference)).sum()),
                    "median": medians[1], "median_reference": medians[0], "difference": medians[1] - medians[0],
                    "p": test.p, "smallest_p": test.smallest, "exact": test.exact,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    table["q"] = adjusted(table["p"].to_numpy(float))
    return table


def _smallest(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows with the smallest p."""
    first = table.dropna(subset=["p"]).sort_values("p", kind="stable").head(_FIRST)
    return [{str(name): value for name, value in row.items()} for row in first.to_dict("records")]


def _of(values: Mapping[str, float], groups: Mapping[str, str], group: str) -> Any:
    return np.array([value for name, value in values.items() if groups[name] == group], float)


def _draw(
    parameters: RelevanceParameters,
    table: "pd.DataFrame",
    values: Mapping[tuple[str, str, str], Mapping[str, float]],
    groups: Mapping[str, str],
) -> None:
    from napari_mitoxai.figures.relevance_plot import group_figure
    from napari_mitoxai.figures.saving import save_figure

    panels = [
        (
            f"{row['method']}\n{row['quantity']}",
            f"p = {row['p']:.2g}, adjusted {row['q']:.2g}",
            {
                group: _of(values[row["method"], row["question"], row["quantity"]], groups, group)
                for group in (row["reference"], row["group"])
            },
        )
        for row in _smallest(table)
    ]
    assert parameters.figure is not None
    save_figure(group_figure(panels), parameters.figure, overwrite=parameters.overwrite)


def _notes(sections: list[dict[str, Any]], table: "pd.DataFrame") -> list[str]:
    notes = []
    smallest = table["smallest_p"].min()
    if not smallest <= 0.05:
        notes.append(
            f"These subjects are too few for any p below {smallest:.3g}: the medians describe them and prove nothing."
        )
    explained = sorted({section["explained"] for section in sections})
    if len(explained) > 1:
        notes.append(f"The maps explain different things ({'; '.join(explained)}): compare like with like.")
    seen = sorted(
        {
            section["subject"]
            for section in sections
            if section.get("use_of_subject") in ("train", "validation")
        }
    )
    if len({section.get("parameters", {}).get("keep_all") for section in sections}) > 1:
        notes.append(
            "Some sections were measured with all fibres and others with the analysable ones alone: compare like with like."
        )
    if seen:
        notes.append(
            f"The model has seen {', '.join(seen)} in training: what it looks at there is no evidence for new subjects."
        )
    return notes
