"""`mitoxai measure --maps`: the fibre table with relevance, and beside it what that says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing, refuse_input, write_json
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.fibres.compartments import Widths
from napari_mitoxai.tasks.fibre_relevance import FibreRelevance, check_maps, read_calls, relevance_in_fibres
from napari_mitoxai.tasks.measure import MeasureParameters, MeasureResult, measured_table

if TYPE_CHECKING:
    import numpy as np
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
    """

    relevance: Path
    compartments: Path
    answers_file: Path
    figure: Path | None
    answers: list[dict[str, Any]]


def beside(table: Path, ending: str) -> Path:
    """What lies beside a fibre table: ``FIBRES_relevance.csv`` beside ``FIBRES.csv``."""
    return table.with_name(table.stem + ending)


def measure_with_maps(
    parameters: MeasureParameters,
    labels: "NDArray[np.integer] | None" = None,
    groups: Mapping[str, Sequence[int]] | None = None,
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
    groups : mapping of sequences of int, optional
        Fibres by OXPHOS status, where they are known without a table of calls.
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
    from napari_mitoxai.fibres.relevance_tables import wide
    from napari_mitoxai.fibres.tables import refuse_ending, write_table
    from napari_mitoxai.imc import read_labels, read_section

    if parameters.maps is None:
        raise MitoxaiError("There are no maps: give the store that `mitoxai explain` wrote.")
    if parameters.columns != "mitoxai":
        raise MitoxaiError(
            f"The columns of {parameters.columns} have no room for maps: measure twice, once with --columns and once with --maps."
        )
    refuse_ending(parameters.out)
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_input(parameters.out, parameters.section, parameters.fibres)
    out, suffix = parameters.out, parameters.out.suffix
    files = {
        "relevance": beside(out, f"_relevance{suffix}"),
        "compartments": beside(out, f"_compartments{suffix}"),
        "answers": beside(out, ANSWERS),
    }
    if parameters.figure is not None:
        _check_figure(parameters.figure)
        files["figure"] = parameters.figure
    for path in files.values():
        refuse_existing(path, overwrite=parameters.overwrite)
        refuse_input(path, parameters.section, parameters.fibres, parameters.maps, parameters.calls)
    section, store = read_section(parameters.section), open_maps(parameters.maps)
    check_maps(section, store)
    if groups is None and parameters.calls is not None:
        groups = read_calls(parameters.calls, section.name)
    if labels is None:
        labels = read_labels(parameters.fibres)
    table, _ = measured_table(parameters, section, labels, progress, cancel)
    found = relevance_in_fibres(
        section,
        labels,
        store,
        widths=Widths(parameters.membrane_um, parameters.submembrane_um, parameters.gap_um),
        groups=groups,
        draws=parameters.draws,
        progress=progress,
        cancel=cancel,
    )
    by_fibre, by_part = found.fibres(), found.compartments()
    if parameters.long:
        whole = _long(table, by_fibre, section.name)
    else:
        ids = table["fibre"].to_numpy()
        whole = table.join(wide(by_fibre, ids))
    answers = [answer.as_dict() for answer in found.answers]
    if parameters.figure is not None:
        _draw(found, section.name, parameters)
    for frame, path in ((by_fibre, files["relevance"]), (by_part, files["compartments"])):
        frame.insert(0, "section", section.name)
        write_table(path, frame, overwrite=parameters.overwrite)
    write_json(
        files["answers"], _sidecar(section, store, parameters, answers), overwrite=parameters.overwrite
    )
    write_table(out, whole, overwrite=parameters.overwrite)  # last: where it is, the others are
    result = MapsResult(
        out, len(table), list(whole.columns), files["relevance"], files["compartments"], files["answers"],
        parameters.figure, answers,
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
    figure = relevance_figure(found.sums, found.answers, title=name)
    save_figure(figure, parameters.figure, overwrite=parameters.overwrite)


def _sidecar(
    section: "Section", store: "MapStore", parameters: MeasureParameters, answers: list[dict[str, Any]]
) -> dict[str, Any]:
    kept = ("membrane_um", "submembrane_um", "gap_um", "draws")
    return {
        "section": section.name,
        "subject": store.info["section"]["subject"],
        "use_of_subject": store.info["use_of_subject"],
        "explained": store.explained,
        "verdict": store.info["verdict"],
        "maps_fingerprint": store.info["fingerprint"],
        "inputs": {
            name: str(path)
            for name in ("section", "fibres", "maps", "calls")
            if (path := getattr(parameters, name)) is not None
        },
        "parameters": {name: getattr(parameters, name) for name in kept},
        "answers": answers,
        "made": now(),
        "software": software(),
    }
