"""`mitoxai measure --maps`: the fibre table with relevance, and beside it what that says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_outputs, write_json
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.fibres.compartments import Widths
from napari_mitoxai.tasks.fibre_relevance import FibreRelevance, check_maps, read_calls, relevance_in_fibres
from napari_mitoxai.tasks.measure import (
    MeasureParameters,
    MeasureResult,
    classes_by_hand,
    counted,
    measured_table,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.imc import Section

ANSWERS = "_answers.json"


@dataclass(frozen=True)
class MapsResult(MeasureResult):
    """Measured fibres with the relevance in them.

    Attributes
    ----------
    relevance, compartments : Path
        One row a fibre, method and channel; one a compartment, method and channel.
    answers_file : Path
        The answers with all that is needed to make them again.
    figure : Path or None
        The picture.
    answers : list of dict
        ``question, method, sentence, values``.
    notes : list of str
        What a user should know.
    """

    relevance: Path
    compartments: Path
    answers_file: Path
    figure: Path | None
    answers: list[dict[str, Any]]
    notes: list[str]


def beside(table: Path, ending: str) -> Path:
    """What lies beside a fibre table: ``FIBRES_relevance.csv`` beside ``FIBRES.csv``."""
    return table.with_name(table.stem + ending)


def measure_with_maps(
    parameters: MeasureParameters,
    labels: "NDArray[np.integer] | None" = None,
    by_hand: Mapping[int, str] | None = None,
    calls: "pd.DataFrame | None" = None,
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> tuple[MapsResult, FibreRelevance]:
    """Measure fibres and the relevance in them.

    Parameters
    ----------
    parameters : MeasureParameters
        With maps.
    labels : ndarray of int, optional
        (Y, X), the fibres as they are now, where they may differ from their file.
    by_hand : mapping of int to str, optional
        With `labels`: the classes that a person gave; there is no other table of them then.
    calls : pandas.DataFrame, optional
        A row a fibre with its ``<protein>_status``, where they are known without a table of calls.
    progress, cancel : callable, CancelToken

    Returns
    -------
    MapsResult, FibreRelevance
        What was written, and what was found.

    Raises
    ------
    MitoxaiError
        If section, fibres, maps or calls do not fit together, or a file exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.fibres.identity import of_these_fibres
    from napari_mitoxai.fibres.oxphos import not_analysable
    from napari_mitoxai.fibres.relevance_tables import wide
    from napari_mitoxai.fibres.status_groups import status_groups
    from napari_mitoxai.fibres.tables import refuse_ending, with_a_line, write_table
    from napari_mitoxai.imc import read_labels, read_section

    if parameters.maps is None:
        raise MitoxaiError("There are no maps: give the store that `mitoxai explain` wrote.")
    if parameters.columns != "mitoxai":
        raise MitoxaiError(
            f"The columns of {parameters.columns} have no room for maps: measure twice, once with --columns and once with --maps."
        )
    refuse_ending(parameters.out)
    out, suffix = parameters.out, parameters.out.suffix
    files = {
        "relevance": beside(out, f"_relevance{suffix}"),
        "compartments": beside(out, f"_compartments{suffix}"),
        "answers": beside(out, ANSWERS),
    }
    if parameters.figure is not None:
        _check_figure(parameters.figure)
        files["figure"] = parameters.figure
    inputs = (parameters.section, parameters.fibres, parameters.classes, parameters.maps, parameters.calls)
    refuse_outputs((out, *files.values()), inputs, overwrite=parameters.overwrite)
    section, store = read_section(parameters.section), open_maps(parameters.maps)
    check_maps(section, store)
    if parameters.calls is not None:  # a table that is named goes before what is known
        calls = read_calls(parameters.calls, section.name)
    given = classes_by_hand(parameters) if labels is None else by_hand or {}
    if labels is None:
        labels = read_labels(parameters.fibres)
    table, whose = measured_table(parameters, section, labels, given, progress, cancel)
    notes = []
    if calls is not None:
        calls, note = of_these_fibres(calls, table)
        notes += [note] if note else []
    apart = np.zeros(len(table), bool) if parameters.keep_all else not_analysable(table)
    if apart.any():
        notes.append(
            f"{apart.sum():,} of {len(table):,} fibres are not analysable by their class, or next to empty, and do not count in the answers "
            "on fibres. Keep all fibres (--keep-all) counts them too."
        )
    found = relevance_in_fibres(
        section,
        labels,
        store,
        widths=Widths(parameters.membrane_um, parameters.submembrane_um, parameters.gap_um),
        groups=None if calls is None else status_groups(calls),
        left_out=table["fibre"][apart].tolist(),
        draws=parameters.draws,
        progress=progress,
        cancel=cancel,
    )
    by_fibre, by_part = found.fibres(), found.compartments()
    if parameters.long:
        whole = _long(with_a_line(table, section=section.name, **whose), by_fibre, section.name)
    else:
        ids = table["fibre"].to_numpy()
        whole = with_a_line(table.join(wide(by_fibre, ids)), section=section.name, **whose)
    answers = [answer.as_dict() for answer in found.answers]
    if parameters.figure is not None:
        _draw(found, section.name, parameters)
    classes, near_empty = counted(table)
    for frame, path in ((by_fibre, files["relevance"]), (by_part, files["compartments"])):
        frame.insert(0, "section", section.name)
        write_table(path, frame, overwrite=parameters.overwrite)
    write_json(
        files["answers"], _sidecar(section, store, parameters, answers, notes), overwrite=parameters.overwrite
    )
    write_table(out, whole, overwrite=parameters.overwrite)  # last: where it is, the others are
    result = MapsResult(
        out, len(table), list(whole.columns), classes, near_empty, files["relevance"], files["compartments"],
        files["answers"], parameters.figure, answers, notes,
    )  # fmt: skip
    return result, found


def _long(table: "pd.DataFrame", relevance: "pd.DataFrame", section: str) -> "pd.DataFrame":
    """A row a fibre and quantity; those of maps have a method and a channel too."""
    import pandas as pd

    from napari_mitoxai.fibres.tables import to_long

    of_maps = relevance.melt(
        id_vars=["fibre", "method", "channel"], var_name="quantity", value_name="value"
    ).assign(section=section)
    plain = to_long(table).assign(method="", channel="")
    return pd.concat([plain, of_maps], ignore_index=True)


def _check_figure(path: Path) -> None:
    from napari_mitoxai.figures.saving import figure_format

    figure_format(path)


def _draw(found: FibreRelevance, name: str, parameters: MeasureParameters) -> None:
    from napari_mitoxai.figures.relevance_plot import relevance_figure
    from napari_mitoxai.figures.saving import save_figure

    assert parameters.figure is not None
    figure = relevance_figure(found.sums, found.answers, found.counted, title=name)
    save_figure(figure, parameters.figure, overwrite=parameters.overwrite)


def _sidecar(
    section: "Section",
    store: "MapStore",
    parameters: MeasureParameters,
    answers: list[dict[str, Any]],
    notes: list[str],
) -> dict[str, Any]:
    kept = ("keep_all", "membrane_um", "submembrane_um", "gap_um", "draws")
    return {
        "section": section.name,
        "subject": store.info["section"]["subject"],
        "use_of_subject": store.info["use_of_subject"],
        "explained": store.explained,
        "verdict": store.info["verdict"],
        "maps_fingerprint": store.info["fingerprint"],
        "inputs": {
            name: str(path)
            for name in ("section", "fibres", "classes", "maps", "calls")
            if (path := getattr(parameters, name)) is not None
        },
        "parameters": {name: getattr(parameters, name) for name in kept},
        "answers": answers,
        "notes": notes,
        "made": now(),
        "software": software(),
    }
