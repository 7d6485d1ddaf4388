"""The plots of a figure, from the tables that other tasks wrote."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures.cells import PlotCell
from napari_mitoxai.figures.spec import Panel
from napari_mitoxai.tasks.figure_inputs import Inputs

if TYPE_CHECKING:
    import pandas as pd

_HISTORY = "history.csv"


def plot_cell(panel: Panel, inputs: Inputs, section: str = "") -> PlotCell:
    """A plot.

    Parameters
    ----------
    panel : Panel
        With the kind of plot and its table.
    inputs : Inputs
        Reads it.
    section : str
        Name of the section that the row shows; empty below the rows.

    Raises
    ------
    MitoxaiError
        If the table is not of that kind, or says nothing of this section.
    """
    make = {"mito": _mito, "compartments": _compartments, "agreement": _agreement, "training": _training}
    return make[panel.plot](panel, inputs, section)


def _path(panel: Panel) -> Path:
    assert panel.table is not None  # the specification sees to it
    return panel.table


def _table(panel: Panel, inputs: Inputs, columns: set[str], what: str) -> "pd.DataFrame":
    table = inputs.table(_path(panel))
    if lacking := sorted(columns - set(table.columns)):
        raise MitoxaiError(
            f"{_path(panel).name} has no column {', '.join(lacking)}: a plot of {panel.plot} is drawn from {what}."
        )
    return table


def _of(panel: Panel, table: "pd.DataFrame", column: str, wanted: str) -> str:
    """The section or subject that is drawn, once it is sure that the table has it."""
    known = list(dict.fromkeys(table[column].astype(str)))
    name = panel.of or wanted or (known[0] if len(known) == 1 else "")
    if name not in known:
        raise MitoxaiError(
            f"{_path(panel).name} says nothing of {name or 'an unnamed ' + column} (it has {', '.join(known)}): give another table, or say whose plot it is (of)."
        )
    return name


def _mito(panel: Panel, inputs: Inputs, section: str) -> PlotCell:
    from napari_mitoxai.fibres.oxphos import Calls
    from napari_mitoxai.fibres.regression import fit_controls, logged
    from napari_mitoxai.figures.mito_plot import draw_mito, mito_plot

    keys = ["section", "fibre", "subject", "group"]
    table = _table(panel, inputs, set(keys), "the calls that `mitoxai oxphos` wrote")
    proteins = [str(name).removesuffix("_status") for name in table if str(name).endswith("_status")]
    masses = [
        str(name).removesuffix("_category")
        for name in table
        if str(name).endswith("_category") and str(name).removesuffix("_category") not in proteins
    ]
    protein = panel.protein or (proteins[0] if proteins else "")
    if not masses or protein not in proteins:
        raise MitoxaiError(
            f"{_path(panel).name} holds no calls of {protein or 'a protein'} (of {', '.join(proteins) or 'none'}): give what `mitoxai oxphos` wrote, a row a fibre."
        )
    own = table[table["section"].astype(str) == section]["subject"].tolist()
    subject = _of(panel, table, "subject", str(own[0]) if own else "")
    # those that were called: not analysable ones are in the table, and not in the line
    control = table[(table["group"] == "control") & table[f"{protein}_z"].notna()]
    line = fit_controls(logged(control[masses[0]]), logged(control[protein]))
    plot = mito_plot(Calls(table, table[keys], {protein: line}, masses[0], []), protein, subject)

    def draw(axes: Any, ink: str, size: float) -> None:
        draw_mito(axes, plot, ink=ink, size=size)

    return PlotCell(panel.title or f"{protein} over {masses[0]}", draw)


def _compartments(panel: Panel, inputs: Inputs, section: str) -> PlotCell:
    import pandas as pd

    from napari_mitoxai.fibres.relevance import POOLED
    from napari_mitoxai.fibres.relevance_tables import BEYOND
    from napari_mitoxai.figures.plots import compartment_bars

    columns = {"section", "compartment", "method", "channel", "enrichment"}
    table = _table(panel, inputs, columns, "NAME_compartments.csv that `mitoxai measure --maps` wrote")
    name = _of(panel, table, "section", section)
    table = table[(table["section"].astype(str) == name) & (table["compartment"] != BEYOND)]
    parts = []
    for _, own in table.groupby("method", sort=False):
        pooled = own[own["channel"] == POOLED]
        parts.append(pooled if len(pooled) else own[own["channel"] == own["channel"].iloc[0]])
    shown = pd.concat(parts)
    methods = list(dict.fromkeys(shown["method"].astype(str)))

    def draw(axes: Any, ink: str, size: float) -> None:
        compartment_bars(axes, shown, methods, ink, size)

    return PlotCell(panel.title or f"{name}: relevance by compartment", draw)


def _agreement(panel: Panel, inputs: Inputs, section: str) -> PlotCell:
    from napari_mitoxai.figures.agreement_plot import draw_matrix, matrix_of, ordered
    from napari_mitoxai.tasks.agree import EVERY
    from napari_mitoxai.trust.recorded import BASELINES

    measure = "rank_correlation_pixels"
    columns = {"section", "channel", "method_a", "method_b", "measure", "value"}
    table = _table(panel, inputs, columns, "the table that `mitoxai agree` wrote")
    table = table[(table["measure"] == measure) & (table["channel"] == "all channels")]
    if "group" in table:
        table = table[(table["section"] != EVERY) | table["group"].isna() | (table["group"] == "")]
    every = EVERY if not section and (table["section"] == EVERY).any() else section
    name = _of(panel, table, "section", every)
    own = table[table["section"].astype(str) == name]
    names = list(dict.fromkeys([*own["method_a"], *own["method_b"]]))
    _, order = ordered(matrix_of(own, measure, names))
    shown = [names[index] for index in order]
    matrix = matrix_of(own, measure, shown)

    def draw(axes: Any, ink: str, size: float) -> None:
        draw_matrix(axes, matrix, shown, BASELINES, measure, size=size, ink=ink)

    return PlotCell(panel.title or f"{name}: rank correlation of methods", draw)


def _training(panel: Panel, inputs: Inputs, section: str) -> PlotCell:
    from napari_mitoxai.figures.plots import training_curve

    path = _path(panel)
    if path.is_dir():
        path = path / _HISTORY
        panel = panel.model_copy(update={"table": path})
    history = _table(panel, inputs, {"train_loss"}, f"a run, or its {_HISTORY}")

    def draw(axes: Any, ink: str, size: float) -> None:
        training_curve(axes, history, ink, size)

    return PlotCell(panel.title or f"Training of {path.parent.name}", draw)
