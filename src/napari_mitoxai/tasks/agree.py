"""Compare explanation methods: how far the maps of a section, or of several, agree pair by pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_outputs
from napari_mitoxai.tasks.fields import ReplaceTable
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters
from napari_mitoxai.trust.recorded import BASELINES

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.cohort import Cohort
    from napari_mitoxai.tasks.section_agreement import MapsOfSection

EVERY = "all sections"  # what rows over sections have in place of a section
_PIXELS = "rank_correlation_pixels"
_FEW = 5  # subjects, below which an interval by drawing among them is too narrow


class AgreeParameters(TaskParameters):
    """What comparing methods needs to know."""

    maps: list[Path] = Field(
        min_length=1,
        title="Maps",
        description="Stores that `mitoxai explain` wrote; those of one section are compared as one.",
        json_schema_extra={"argument": True},
    )
    out: Path = Field(title="Table", description="The table to write, ending in .csv or .parquet.")
    methods: list[str] = Field(
        default=[], title="Methods",
        description="Only these, as the table names them; by default all that the stores have.",
        json_schema_extra={"option": "--method"},
    )  # fmt: skip
    fibres: list[Path] = Field(
        default=[], title="Fibres",
        description="Label images, one a section in the order of the maps: methods are compared by fibre too, and inside each fibre, "
        "which goes beside the table as NAME_fibres.csv.",
    )  # fmt: skip
    cohort: Path | None = Field(
        default=None, title="Cohort",
        description="The table path, subject, group: means are also given for each group.",
    )  # fmt: skip
    figure: Path | None = Field(
        default=None, title="Figure",
        description="Matrices of all pairs and a dendrogram, as a picture: .pdf, .svg, .png or .tiff.",
    )  # fmt: skip
    figures_of_each: bool = Field(
        default=False, title="Figures of each",
        description="Beside the figure of all sections, one of each section and of each group; their names are put behind the figure's.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    values: Literal["signed", "positive", "magnitude"] = Field(
        default="signed", title="Values",
        description="What of a map is compared: its values with their sign, what speaks for the class, or magnitudes.",
    )  # fmt: skip
    by_channel: bool = Field(
        default=False, title="Channel by channel",
        description="Compare channel by channel as well as the sum of channels; for methods that tell channels apart.",
    )  # fmt: skip
    top: float = Field(
        default=0.1, gt=0, le=1, title="Top",
        description="Share of the pixels, or fibres, whose highest positive relevance is compared.",
    )  # fmt: skip
    most_pixels: int = Field(
        default=2_000_000, ge=1_000, le=50_000_000, title="Most pixels",
        description="Larger maps are averaged over the pixels of a coarser grid, to no more than this.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    overwrite: ReplaceTable = False


@dataclass(frozen=True)
class AgreeResult:
    """Compared methods.

    Attributes
    ----------
    table : Path
        A row a section, channel, measure and pair of methods; then those over sections.
    by_fibre : Path or None
        A row a fibre, if fibres were given.
    figure : Path or None
        The picture.
    sections : int
        How many were compared.
    subjects : int
        Of how many subjects they are.
    methods : list of str
        As they are named in the table.
    pairs : list of dict
        The rank correlations over pixels, highest first: of the only section, or over all.
    notes : list of str
        What a reader should know.
    """

    table: Path
    by_fibre: Path | None
    figure: Path | None
    sections: int
    subjects: int
    methods: list[str]
    pairs: list[dict[str, Any]]
    notes: list[str]


def run(
    parameters: AgreeParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> AgreeResult:
    """Compare all methods of each section pair by pair, and write the table.

    Raises
    ------
    MitoxaiError
        If maps are not finished, a section has fewer than two methods, labels do not fit, or a file exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    import pandas as pd

    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.fibres.tables import refuse_ending, write_table
    from napari_mitoxai.tasks.section_agreement import by_section, compare

    cancel = cancel or CancelToken()
    refuse_ending(parameters.out)
    if parameters.figure is not None:
        from napari_mitoxai.figures.saving import figure_format

        figure_format(parameters.figure)
    sections = by_section([open_maps(path) for path in parameters.maps], parameters.methods)
    if parameters.fibres and len(parameters.fibres) != len(sections):
        raise MitoxaiError(
            f"{len(parameters.fibres)} label images do not go with {len(sections)} sections ({', '.join(each.name for each in sections)}): "
            "give one for each, in this order."
        )
    groups = _groups(parameters.cohort, sections)
    pictures = _pictures(parameters, sections, groups)
    inputs = (parameters.cohort, *parameters.maps, *parameters.fibres)
    by_fibre = parameters.out.with_name(f"{parameters.out.stem}_fibres.csv") if parameters.fibres else None
    refuse_outputs((parameters.out, by_fibre, *pictures), inputs, overwrite=parameters.overwrite)
    frames, of_fibres, notes = [], [], []
    for number, section in enumerate(sections):
        progress(Progress("Comparing methods", number, len(sections), section.name))
        labels = parameters.fibres[number] if parameters.fibres else None
        agreement = compare(
            section,
            labels,
            values=parameters.values,
            by_channel=parameters.by_channel,
            top=parameters.top,
            most_pixels=parameters.most_pixels,
            cancel=cancel,
        )
        about = {
            "section": section.name,
            "subject": section.subject,
            "group": groups.get(section.subject, ""),
        }
        frames.append(agreement.pairs.assign(**about))
        if agreement.fibres is not None:
            of_fibres.append(agreement.fibres.assign(**about))
        notes += agreement.notes
    table = pd.concat(frames, ignore_index=True)
    if len(sections) > 1:
        table = pd.concat([table, *_over_sections(table, groups)], ignore_index=True)
    table = table[
        [
            "section",
            "subject",
            "group",
            "channel",
            "method_a",
            "method_b",
            "measure",
            "value",
            "low",
            "high",
            "n",
        ]
    ]
    told = rows_of(table, *((EVERY, "") if len(sections) > 1 else (sections[0].name, None)))
    for path, (name, group) in pictures.items():
        cancel.check()
        _draw(parameters, path, table, name, group)
    write_table(parameters.out, table, overwrite=parameters.overwrite)
    if by_fibre is not None:
        first = ["section", "subject", "group", "fibre", "pixels", "agreement"]
        fibres = pd.concat(of_fibres, ignore_index=True)
        fibres = fibres[[*first, *(name for name in fibres if name not in first)]]
        write_table(by_fibre, fibres, overwrite=parameters.overwrite)
    pairs = told[told["measure"] == _PIXELS].sort_values("value", ascending=False, kind="stable")
    return AgreeResult(
        parameters.out,
        by_fibre,
        parameters.figure,
        len(sections),
        len({section.subject for section in sections}),
        list(dict.fromkeys(name for section in sections for name in section.methods)),
        [{str(key): value for key, value in row.items()} for row in pairs.to_dict("records")],
        notes + _notes(sections),
    )


def _groups(cohort: Path | None, sections: "Sequence[MapsOfSection]") -> dict[str, str]:
    """The group of each subject, where a cohort tells it."""
    if cohort is None:
        return {}
    from napari_mitoxai.cohort import read_cohort

    read: Cohort = read_cohort(cohort)
    if unknown := sorted({section.subject for section in sections} - set(read.groups)):
        raise MitoxaiError(
            f"{cohort.name} has no subject {', '.join(unknown)}: add a row for each section that was explained."
        )
    return read.groups


def _over_sections(table: "pd.DataFrame", groups: dict[str, str]) -> "list[pd.DataFrame]":
    """Means over subjects with their intervals, of all sections and of each group."""
    import pandas as pd

    from napari_mitoxai.fibres.subjects import by_subject
    from napari_mitoxai.trust import mean_and_interval

    frames = []
    for group in ["", *dict.fromkeys(table["group"][table["group"] != ""])]:
        chosen = table[table["group"] == group] if group else table
        rows = []
        keys = ["channel", "method_a", "method_b", "measure"]
        for key, own in chosen.groupby(keys, sort=False):
            subjects = by_subject(own["value"].tolist(), own["subject"].tolist())
            known = [value for value in subjects.values() if value == value]
            mean, low, high = mean_and_interval(known)
            rows.append(
                {
                    **dict(zip(keys, key, strict=True)),
                    "value": mean,
                    "low": low,
                    "high": high,
                    "n": len(known),
                }
            )
        frames.append(pd.DataFrame(rows).assign(section=EVERY, subject="", group=group))
    return frames


def rows_of(table: "pd.DataFrame", section: str, group: str | None = None) -> "pd.DataFrame":
    """What the table says of all channels of one section, or over the sections of one group (of all, if it is empty)."""
    own = table[(table["section"] == section) & (table["channel"] == "all channels")]
    return own if group is None else own[own["group"].fillna("") == group]


def _pictures(
    parameters: AgreeParameters, sections: "Sequence[MapsOfSection]", groups: dict[str, str]
) -> dict[Path, tuple[str, str | None]]:
    """The figures to draw, each with its section and group for `rows_of`."""
    figure = parameters.figure
    if figure is None:
        if parameters.figures_of_each:
            raise MitoxaiError(
                "Figures of each section and group go beside the figure of all: name it with --figure."
            )
        return {}
    if len(sections) == 1:
        return {figure: (sections[0].name, None)}
    pictures: dict[Path, tuple[str, str | None]] = {figure: (EVERY, "")}
    if parameters.figures_of_each:
        own = {groups[section.subject] for section in sections} if groups else set()
        wanted = [*((EVERY, group) for group in sorted(own)), *((section.name, None) for section in sections)]
        for section, group in wanted:
            pictures[figure.with_name(f"{figure.stem}_{group or section}{figure.suffix}")] = section, group
    return pictures


def _draw(
    parameters: AgreeParameters, path: Path, table: "pd.DataFrame", section: str, group: str | None
) -> None:
    from napari_mitoxai.figures.agreement_plot import agreement_figure
    from napari_mitoxai.figures.saving import save_figure

    kind = parameters.values  # noqa: PD011 - a field of its own
    title = f"{what_is_shown(table, section, group)}; {kind} values"
    figure = agreement_figure(
        rows_of(table, section, group), title=title, top=parameters.top, baselines=BASELINES
    )
    save_figure(figure, path, overwrite=parameters.overwrite)


def what_is_shown(table: "pd.DataFrame", section: str, group: str | None = None) -> str:
    """Of what the rows of one section, or over the sections of one group, are."""
    if section != EVERY:
        return section
    own = table[table["section"] != EVERY]
    if group:
        own = own[own["group"] == group]
    subjects, sections = own["subject"].nunique(), own["section"].nunique()
    return f"{group + ': ' if group else ''}mean of {subjects} subject{'s' if subjects > 1 else ''}, {sections} section{'s' if sections > 1 else ''}"


def _notes(sections: "Sequence[MapsOfSection]") -> list[str]:
    notes = []
    explained = sorted({store.explained for section in sections for store in section.stores})
    if len(explained) > 1:
        notes.append(f"The maps explain different things ({'; '.join(explained)}): compare like with like.")
    present = {method.partition("@")[0] for section in sections for _, method in section.methods.values()}
    if missing := [name for name in BASELINES if name not in present]:
        notes.append(
            f"The maps have no baseline {' and no '.join(missing)}: explain with it too, to see which agreement takes no network."
        )
    subjects = len({section.subject for section in sections})
    if len(sections) > 1 and subjects < _FEW:
        notes.append(
            f"There {'is only one subject' if subjects == 1 else f'are only {subjects} subjects'}: "
            + (
                "the means have no interval."
                if subjects == 1
                else "the intervals are too narrow, and describe these subjects only."
            )
        )
    return notes
