"""The parts of a report: what each kind of result says, in sentences, tables and pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import read_json, sha256
from napari_mitoxai.figures.report_page import ReportPart, ReportPicture, ReportTable, drawn, picture_of
from napari_mitoxai.tasks.report_finding import (
    ANSWERS,
    FIGURE,
    MAPS,
    PICTURE,
    RUN,
    SWEEP,
    TABLE,
    Found,
)

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.figures.spec import Panel

_WHOLE, _FIRST = 40, 12  # rows of a table that is shown whole, and of a longer one
_MOST_COLUMNS = 16
_DPI = 150
_PLOT_IN = (5.2, 3.2)


def _run(found: Found, draw_maps: bool) -> ReportPart:
    folder = found.path
    metrics, config = read_json(folder / "metrics.json"), _json(folder / "config.json")
    sentences, warnings = [], list(metrics.get("notes", []))
    if metrics.get("subject_accuracy") is not None:
        low, high = metrics["confidence_interval"]
        who = "Subjects" if metrics.get("optimistic") else "Held-out subjects"
        sentences.append(
            f"{who} called right: {metrics['subject_accuracy']:.0%} (95 % interval {low:.0%} to {high:.0%})."
        )
    if metrics.get("patch_accuracy") is not None:
        sentences.append(f"Patches called right: {metrics['patch_accuracy']:.0%}.")
    if metrics.get("optimistic"):
        warnings.insert(0, "Patches of one subject were trained on and tested: these figures are optimistic.")
    if "permutation" in metrics:
        told = metrics["permutation"]
        sentences.append(
            f"With permuted labels: p = {told['p']:.3g} (the smallest possible: {told['smallest_p']:.3g})."
        )
    calls = [
        [call["subject"], call["group"], call["call"], call["probability"], call["patches"]]
        for call in metrics.get("subject_calls", [])
    ]
    tables = []
    if calls:
        columns = ["subject", "group", "called", "probability of the last class", "patches"]
        tables.append(ReportTable(columns, calls, "What the model calls each subject that was left out"))
    split = metrics.get("split", {})
    uses = [[use, ", ".join(split[use]) or None] for use in ("train", "validation", "test") if use in split]
    if uses:
        tables.append(ReportTable(["use", "subjects"], uses, "Split"))
    if mixed := metrics.get("mixing", {}).get("channels"):
        rows = [[row["channel"], row["weight_x_sd"], row["weight"]] for row in mixed]
        tables.append(
            ReportTable(["channel", "share of the blend", "by weight alone"], rows, "Channel mixing")
        )
    files = {
        name: sha256(folder / name)
        for name in ("checkpoint.json", "config.json")
        if (folder / name).is_file()
    }
    return ReportPart(RUN, found.name, sentences, warnings, tables, _curve(folder), files, config)


def _curve(folder: Path) -> list[ReportPicture]:
    if not (folder / "history.csv").is_file():
        return []
    from napari_mitoxai.figures.spec import Panel

    return [_plot(Panel(show="plot", plot="training", table=folder), "Loss by epoch")]


def _plot(panel: "Panel", caption: str) -> ReportPicture:
    """A plot of the kind that figures have, on a page of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from napari_mitoxai.tasks.figure_inputs import Inputs
    from napari_mitoxai.tasks.figure_plots import plot_cell

    figure = Figure(figsize=_PLOT_IN, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    plot_cell(panel, Inputs()).draw(figure.add_subplot(), "black", 8)
    return drawn(figure, caption)


def _sweep(found: Found, draw_maps: bool) -> ReportPart:
    folder = found.path
    names = [name for name in ("table.csv", "runs.csv", "mixing.csv") if (folder / name).is_file()]
    tables = [_table_of(_read(folder / name), name) for name in names]
    plot = folder / "table.png"
    pictures = [picture_of(plot, "Accuracies, the best on top")] if plot.is_file() else []
    files = {name: sha256(folder / name) for name in names}
    return ReportPart(SWEEP, found.name, [], [], tables, pictures, files, _json(folder / "sweep.json"))


def _maps(found: Found, draw_maps: bool) -> ReportPart:
    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.tasks.figure_rows import verdict_line
    from napari_mitoxai.trust.recorded import FAILS, read_scores, sanity_failures

    store = open_maps(found.path)
    if "verdict" not in store.info:
        raise MitoxaiError(f"{found.name} is not finished: run the same `mitoxai explain` again, it goes on.")
    failed = sanity_failures(found.path)
    warnings = [f"{store.title(name)} {FAILS}." for name in store.methods if name in failed]
    rows = [
        [
            store.title(name),
            name,
            "for and against" if store.signed(name) else "for",
            len(store.channels(name)),
        ]
        for name in store.methods
    ]
    tables = [ReportTable(["method", "name", "tells", "planes"], rows, f"Maps of {store.explained}")]
    scores = read_scores(found.path)
    if len(scores):
        tables.append(_scores_table(scores, store))
    pictures, why = _drawn_maps(store) if draw_maps else ([], "")
    sentences = [verdict_line(store), *([why] if why else [])]
    files = {found.path.name: str(store.info["fingerprint"])}
    return ReportPart(MAPS, found.name, sentences, warnings, tables, pictures, files, store.info)


def _scores_table(scores: "pd.DataFrame", store: "MapStore") -> ReportTable:
    """A row a method, a column a score: mean and interval."""
    from napari_mitoxai.trust.recorded import in_numbers, rests_on

    names = list(dict.fromkeys(scores["score"]))
    fullest = {
        name: scores.loc[scores.loc[scores["score"] == name, "patches"].idxmax()].to_dict() for name in names
    }
    rows = []
    for method in dict.fromkeys(scores["method"]):
        own = scores[scores["method"] == method]
        cells: list[Any] = [store.title(method) if method in store.methods else method]
        for name in names:
            found = own[own["score"] == name]
            if found.empty:
                cells.append(None)
                continue
            row = found.iloc[0].to_dict()
            fewer = f"; {row['patches']} patches" if row["patches"] < fullest[name]["patches"] else ""
            cells.append(f"{in_numbers(row)}{fewer}")
        rows.append(cells)
    columns = [
        "method",
        *(f"{name} ({row['better']} is better; {rests_on(row)})" for name, row in fullest.items()),
    ]
    return ReportTable(columns, rows, "Trust scores: means over patches with 95 % intervals")


def _drawn_maps(store: "MapStore") -> tuple[list[ReportPicture], str]:
    """The maps over their section; or why they are not drawn."""
    from napari_mitoxai.figures.spec import FigureSpec
    from napari_mitoxai.tasks.figure import draw

    address = Path(store.info["section"]["path"])
    try:
        spec = FigureSpec.model_validate(
            {"rows": [{"section": address, "maps": store.path}], "dpi": _DPI, "width_mm": 200}
        )
        return [drawn(draw(spec), f"{store.info['section']['name']} and its maps")], ""
    except MitoxaiError as error:
        return [], f"The maps are not drawn: {error}"


def _figure(found: Found, draw_maps: bool) -> ReportPart:
    content = read_json(found.path)
    files = {name: str(entry.get("sha256", "")) for name, entry in content["files"].items()}
    beside = [found.path.with_name(name) for name in files if found.path.with_name(name).is_file()]
    seen = next(
        (
            path
            for kind in (".png", ".svg", ".tiff", ".tif")
            for path in beside
            if path.suffix.lower() == kind
        ),
        None,
    )
    warnings = [
        f"{path.name} was changed after it was made." for path in beside if sha256(path) != files[path.name]
    ]
    if seen is not None:
        pictures = [picture_of(seen, seen.name)]
    else:
        from napari_mitoxai.tasks.figure import draw
        from napari_mitoxai.tasks.figure_files import read_spec, unchanged

        spec = read_spec(found.path)
        unchanged(spec)
        pictures = [drawn(draw(spec.spec.model_copy(update={"dpi": _DPI})), "made again from its sidecar")]
    provenance = {key: content[key] for key in ("made", "software", "spec", "inputs") if key in content}
    return ReportPart(FIGURE, found.name, [], warnings, [], pictures, files, provenance)


def _answers(found: Found, draw_maps: bool) -> ReportPart:
    content = read_json(found.path)
    rows = [[answer["method"], answer["question"], answer["sentence"]] for answer in content["answers"]]
    said = [f"{method}: {sentence}" for method, _, sentence in rows]
    provenance = {key: value for key, value in content.items() if key != "answers"}
    title = f"{content['section']} ({found.name})"
    return ReportPart(ANSWERS, title, said, [], [], [], {found.path.name: sha256(found.path)}, provenance)


def _table(found: Found, draw_maps: bool) -> ReportPart:
    table = _read(found.path)
    pictures = _pictures_of(table, found.path)
    files = {found.path.name: sha256(found.path)}
    return ReportPart(TABLE, found.name, [], [], [_table_of(table, found.path.name)], pictures, files)


def _pictures_of(table: "pd.DataFrame", path: Path) -> list[ReportPicture]:
    """The plot that a table of a known kind is usually seen as."""
    from napari_mitoxai.figures.spec import Panel

    columns = set(map(str, table))
    pictures = []
    if {"section", "method_a", "method_b", "measure", "value"} <= columns:
        names = list(dict.fromkeys(table["section"].astype(str)))
        caption = "Rank correlation of methods over pixels: " + names[-1]
        pictures.append(_plot(Panel(show="plot", plot="agreement", table=path, of=names[-1]), caption))
    elif {"section", "compartment", "method", "channel", "enrichment"} <= columns:
        pictures.append(
            _plot(Panel(show="plot", plot="compartments", table=path), "Enrichment of positive relevance")
        )
    elif {"section", "fibre", "subject", "group"} <= columns:
        proteins = [name.removesuffix("_status") for name in map(str, table) if name.endswith("_status")]
        subjects = list(dict.fromkeys(table["subject"][table["group"] != "control"].astype(str)))
        pictures += [
            _plot(
                Panel(show="plot", plot="mito", table=path, protein=proteins[0], of=subject),
                f"{subject}, {proteins[0]}",
            )
            for subject in subjects[:4]
            if proteins
        ]
    return pictures


def _picture(found: Found, draw_maps: bool) -> ReportPart:
    try:
        picture = picture_of(found.path, found.path.name)
    except OSError as error:
        raise MitoxaiError(f"{found.name} is no picture that can be read: it is damaged.") from error
    return ReportPart(PICTURE, found.name, pictures=[picture], files={found.path.name: sha256(found.path)})


def _read(path: Path) -> "pd.DataFrame":
    from napari_mitoxai.fibres.table_reading import read_table

    return read_table(path)


def _table_of(table: "pd.DataFrame", name: str) -> ReportTable:
    """A small table whole, of a long or wide one the beginning."""
    rows = len(table) if len(table) <= _WHOLE else _FIRST
    shown = table.iloc[:rows, :_MOST_COLUMNS]
    left_out = []
    if rows < len(table):
        left_out.append(f"the first {rows} of {len(table):,} rows")
    if shown.shape[1] < table.shape[1]:
        left_out.append(f"the first {shown.shape[1]} of {table.shape[1]} columns")
    caption = name + (f": {' and '.join(left_out)}" if left_out else "")
    values: Sequence[Sequence[Any]] = shown.astype(object).where(shown.notna(), None).to_numpy().tolist()
    return ReportTable([str(column) for column in shown], values, caption)


def _json(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


MAKERS: dict[str, Callable[[Found, bool], ReportPart]] = {
    RUN: _run,
    SWEEP: _sweep,
    MAPS: _maps,
    FIGURE: _figure,
    ANSWERS: _answers,
    TABLE: _table,
    PICTURE: _picture,
}
