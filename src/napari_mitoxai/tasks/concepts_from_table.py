"""Make a concept of all fibres that meet conditions, from the tables of several sections."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_input
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.cohort import Cohort
    from napari_mitoxai.cohort.concepts import ConceptExample


class ConceptsFromTableParameters(TaskParameters):
    """What making a concept of fibres needs to know."""

    tables: list[Path] = Field(
        min_length=1, title="Fibre tables",
        description="Tables of `mitoxai measure`, which tell where fibres lie, and of `mitoxai oxphos`; what they say of the same fibre is put together.",
        json_schema_extra={"argument": True},
    )  # fmt: skip
    cohort: Path = Field(
        title="Cohort", description="The table path, subject, group, or a folder: where the sections are."
    )
    name: str = Field(min_length=1, title="Name", description="What the concept is called.")
    where: list[str] = Field(
        default=[], title="Where", description="What a fibre has to meet, as 'NDUFB8_z < -3' or 'NDUFB8_status = deficient'; all fibres by default.",
    )  # fmt: skip
    others: str = Field(
        default="", title="Name of the others", description="A name for the fibres that do not meet it, as a second concept; none by default."
    )  # fmt: skip
    out: Path = Field(title="Concepts", description="The concept set to write, ending in .csv.")
    add: bool = Field(
        default=False, title="Add to a set", description="Whether an existing set gets this concept too; one of the same name is replaced.",
    )  # fmt: skip
    patch_size: int = Field(
        default=512, ge=16, le=4096, title="Patch size (px)", description="Of the model the set is for: which patches lie on tissue, and which overlap.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    overwrite: bool = Field(
        default=False, title="Replace an existing set", description="Whether an existing file may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip


@dataclass(frozen=True)
class ConceptsResult:
    """A concept set.

    Attributes
    ----------
    concepts : Path
        The file.
    counts : dict
        Examples by concept and subject.
    notes : list of str
        What is weak in it.
    """

    concepts: Path
    counts: dict[str, dict[str, int]]
    notes: list[str]


def run(
    parameters: ConceptsFromTableParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> ConceptsResult:
    """Choose fibres by their measurements and calls, and write the places of their patches.

    Raises
    ------
    MitoxaiError
        If a table or condition does not fit, no fibre meets it, a section is not in the cohort, or the file exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.cohort import PatchGeometry, read_cohort
    from napari_mitoxai.cohort.concepts import place_concepts, read_concepts, write_concepts
    from napari_mitoxai.fibres.queries import fibres_where

    cancel = cancel or CancelToken()
    if parameters.out.suffix.lower() != ".csv":
        raise MitoxaiError(
            f"{parameters.out.name} does not end in .csv: name the set for example CONCEPTS.csv."
        )
    kept: list[ConceptExample] = []
    if parameters.add and parameters.out.exists():
        kept = read_concepts(parameters.out)
    else:
        refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_input(parameters.out, parameters.cohort, *parameters.tables)
    cohort = read_cohort(parameters.cohort)
    progress(Progress("Reading tables", 0, 1))
    table = _joined(parameters.tables)
    chosen = fibres_where(table, parameters.where)
    if not chosen.any():
        raise MitoxaiError(f"No fibre of {len(table)} meets {' and '.join(parameters.where)}: ask for less.")
    made = _examples(table[chosen], parameters.name, cohort)
    if parameters.others:
        made += _examples(table[~chosen], parameters.others, cohort)
    new = {example.concept for example in made}
    examples = [example for example in kept if example.concept not in new] + made
    progress(Progress("Looking at the places", 0, 1))
    placed = place_concepts(
        examples, cohort, PatchGeometry(parameters.patch_size, parameters.patch_size), cancel
    )
    write_concepts(parameters.out, examples, overwrite=parameters.overwrite or bool(kept))
    return ConceptsResult(parameters.out, counted(examples), list(placed.notes))


def counted(examples: "Sequence[ConceptExample]") -> dict[str, dict[str, int]]:
    """How many examples each concept has of each subject."""
    counts: dict[str, dict[str, int]] = {}
    for example in examples:
        own = counts.setdefault(example.concept, {})
        own[example.subject] = own.get(example.subject, 0) + 1
    return counts


def _joined(paths: Sequence[Path]) -> "pd.DataFrame":
    """A row a fibre, with what all tables say of it."""
    import pandas as pd

    by_columns: dict[frozenset[str], list[pd.DataFrame]] = {}
    for path in paths:
        table = _read(path)
        by_columns.setdefault(frozenset(table.columns), []).append(table)
    joined: pd.DataFrame | None = None
    for same in by_columns.values():
        own = pd.concat(same, ignore_index=True)
        if own.duplicated(["section", "fibre"]).any():
            twice = own[own.duplicated(["section", "fibre"])].iloc[0]
            raise MitoxaiError(
                f"Fibre {twice['fibre']} of {twice['section']} is in tables of one kind twice: give each section once."
            )
        if joined is None:
            joined = own
            continue
        fresh = [name for name in own if name in ("section", "fibre") or name not in joined]
        joined = joined.merge(own[fresh], on=["section", "fibre"], how="inner")
    assert joined is not None
    if not {"x_um", "y_um"} <= set(joined.columns):
        raise MitoxaiError(
            "The tables do not tell where the fibres lie (x_um, y_um): give those of `mitoxai measure` too."
        )
    if joined.empty:
        raise MitoxaiError("The tables have no fibre in common: give those of the same sections.")
    return joined


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        raise MitoxaiError(f"{path} is not there: check the path of the fibre table.")
    try:
        table = (
            pd.read_parquet(path)
            if path.suffix.lower() == ".parquet"
            else pd.read_csv(path, dtype={"section": str})
        )
    except (OSError, ValueError) as error:
        raise MitoxaiError(
            f"{path.name} cannot be read as a table ({error}): give one of `mitoxai measure`."
        ) from error
    if not {"section", "fibre"} <= set(table.columns):
        raise MitoxaiError(
            f"{path.name} has no columns section and fibre: give a table of `mitoxai measure` or `mitoxai oxphos`."
        )
    return table


def _examples(table: "pd.DataFrame", concept: str, cohort: "Cohort") -> "list[ConceptExample]":
    from napari_mitoxai.cohort.concepts import ConceptExample

    there: dict[str, Any] = {}
    for member in cohort.members:
        section = member.read()
        there[section.name] = (member, section.pixel_size_um)
    examples = []
    for row in table[["section", "fibre", "x_um", "y_um"]].to_dict("records"):
        if row["section"] not in there:
            raise MitoxaiError(
                f"{cohort.path.name} has no section {row['section']}, which the tables have fibres of: leave its table out, or add it to the cohort."
            )
        member, pixel = there[row["section"]]
        examples.append(
            ConceptExample(
                concept,
                member.address,
                member.subject,
                row["y_um"] / pixel,
                row["x_um"] / pixel,
                f"fibre {int(row['fibre'])}",
            )
        )
    return examples
