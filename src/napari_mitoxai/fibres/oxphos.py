"""OXPHOS status of fibres against the fibres of controls, and what it says of each subject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.fibres.classes import FibreClass
from napari_mitoxai.fibres.regression import (
    ControlLine,
    Status,
    fit_controls,
    logged,
    mass_category,
    protein_category,
    status,
)
from napari_mitoxai.fibres.table_reading import CARRIED, FibreValues
from napari_mitoxai.imc import Role
from napari_mitoxai.imc.panel import canonical, default_role

_OXPHOS = (Role.COMPLEX_I, Role.COMPLEX_II, Role.COMPLEX_III, Role.COMPLEX_IV, Role.COMPLEX_V)
_AT_ONCE = 2**22  # fibres times resamples that are looked at together


@dataclass(frozen=True)
class Calls:
    """The calls of some fibre tables.

    Attributes
    ----------
    fibres : pandas.DataFrame
        A row a fibre: ``section, fibre, subject, group``, the mass's value, ``_z`` (from the controls' mean) and
        ``_category``, the columns `CARRIED` that a table has, and for each protein its value, ``_z``, ``_status``, ``_category``, ``_theta`` (degrees) and ``_r``.
        Values are those whose logarithm was taken.
    subjects : pandas.DataFrame
        A row a subject and protein: numbers of fibres (called; not called; not analysable), proportions deficient and over-expressed, the bootstrap interval
        of the first, and for controls the proportions when left out.
    lines : dict of str to ControlLine
        By protein.
    reference : str
        The mass channel.
    notes : list of str
        What a user should know.
    value : str
        What the logarithm was taken of, as ``mean + 1``; empty where it is not known.
    """

    fibres: pd.DataFrame
    subjects: pd.DataFrame
    lines: dict[str, ControlLine]
    reference: str
    notes: list[str]
    value: str = ""

    @property
    def proteins(self) -> list[str]:
        """Those that were called."""
        return list(self.lines)


def call_fibres(
    values: FibreValues,
    *,
    reference: str = "VDAC1",
    proteins: Sequence[str] = (),
    controls: Sequence[str] = (),
    offset: float | None = None,
    keep_all: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Calls:
    """Call every protein in every fibre, by the line of the pooled control fibres.

    Parameters
    ----------
    values : FibreValues
        As `read_fibre_tables` gives them.
    reference : str
        The channel of mitochondrial mass.
    proteins : sequence of str
        What to call; by default all OXPHOS proteins.
    controls : sequence of str
        The control subjects; by default those of the group control.
    offset : float, optional
        Added before the logarithm; by default what makes the values those of mitocyto.
    keep_all : bool
        Whether fibres count that are not analysable by their class, or next to empty. Without, their status is ``not analysable``.
    resamples : int
        Of the bootstrap; 0 leaves it out.
    seed : int
        Of the bootstrap.
    progress, cancel : callable, CancelToken
        Told, and looked at, for each protein.

    Returns
    -------
    Calls
        A fibre without a positive value of mass or protein is ``not called``, and is left out of proportions.

    Raises
    ------
    MitoxaiError
        If a channel or all controls are missing, or no line can be laid through the controls.
    Cancelled
        If `cancel` was used.
    """
    table = values.table
    mass_name, names = _chosen(values, reference, proteins)
    is_control = _controls(table, controls)
    added = values.offset if offset is None else offset
    mass = table[mass_name].to_numpy(float) + added
    apart = np.zeros(len(table), bool) if keep_all else not_analysable(table)
    x = np.where(apart, np.nan, logged(mass))
    group = np.where(is_control, "control", np.where(table["group"] == "control", "not used", table["group"]))
    columns: dict[str, object] = {key: table[key] for key in ("section", "fibre", "subject")} | {
        "group": group
    }
    columns |= {name: table[name] for name in CARRIED if name in table}
    ours = x[is_control & np.isfinite(x)]
    spread = float(ours.std(ddof=1)) if len(ours) > 1 else np.nan
    mass_z = (x - ours.mean()) / spread if spread > 0 else np.full(len(x), np.nan)
    columns |= {mass_name: mass, f"{mass_name}_z": mass_z, f"{mass_name}_category": mass_category(mass_z)}
    lines: dict[str, ControlLine] = {}
    rows: list[dict[str, object]] = []
    for done, name in enumerate(names):
        if cancel is not None:
            cancel.check()
        progress(Progress("Calling", done, len(names), name))
        protein = table[name].to_numpy(float) + added
        y = logged(protein)
        try:
            lines[name] = line = fit_controls(x[is_control], y[is_control])
        except MitoxaiError as error:
            why = (
                f" {apart.sum():,} fibres were left out as not analysable; --keep-all counts them too."
                if apart.any()
                else ""
            )
            raise MitoxaiError(f"{name} cannot be called against {mass_name}. {error}{why}") from error
        z = line.z(x, y)
        columns |= {
            name: protein,
            f"{name}_z": z,
            f"{name}_status": np.where(apart, Status.NOT_ANALYSABLE.value, status(z)),
            f"{name}_category": protein_category(z),
            f"{name}_theta": np.degrees(np.arctan2(protein, mass)),
            f"{name}_r": np.hypot(protein, mass),
        }
        rng = np.random.default_rng([seed, done])
        rows += _by_subject(table["subject"], is_control, apart, x, y, line, resamples, rng, name)
        rows += _without_fibres(values.without, table, rows[-1], controls)
    subjects = pd.DataFrame(rows).sort_values(["control", "subject"], ascending=[False, True], kind="stable")
    fibres = pd.DataFrame(columns)
    return Calls(
        fibres,
        subjects.reset_index(drop=True),
        lines,
        mass_name,
        _notes(fibres, subjects, names, controls, resamples),
        _described(values, added),
    )


def not_analysable(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which fibres are not analysable by their ``class``, or ``near_empty``; what a table does not say is no reason."""
    apart = np.zeros(len(table), bool)
    if "class" in table:
        apart |= (table["class"].notna() & (table["class"] != FibreClass.ANALYSABLE.value)).to_numpy(bool)
    if "near_empty" in table:
        apart |= table["near_empty"].isin([True, 1, "True"]).to_numpy(bool)
    return apart


def _described(values: FibreValues, added: float) -> str:
    more = 1 - values.offset + added  # other tools' values hold a 1 already
    return f"{values.statistic} + {more:g}" if more else values.statistic


def _without_fibres(
    without: pd.DataFrame, table: pd.DataFrame, like: Mapping[str, object], controls: Sequence[str]
) -> list[dict[str, object]]:
    """A row for each subject in whose sections there is no fibre."""
    missing = without[~without["subject"].isin(table["subject"])].drop_duplicates("subject")
    nothing = dict.fromkeys(like) | {
        "protein": like["protein"],
        "fibres": 0,
        "not_called": 0,
        "not_analysable": 0,
    }
    return [
        nothing
        | {"subject": row.subject, "control": row.subject in controls if controls else row.group == "control"}
        for row in missing.itertuples()
    ]


def _chosen(values: FibreValues, reference: str, proteins: Sequence[str]) -> tuple[str, list[str]]:
    known = {canonical(name): name for name in values.proteins}
    missing = [name for name in (reference, *proteins) if canonical(name) not in known]
    if missing:
        raise MitoxaiError(
            f"The tables have no {', '.join(missing)} (they share {', '.join(values.proteins) or 'no protein'}): name others, or measure sections with the full panel."
        )
    mass = known[canonical(reference)]
    names = [known[canonical(name)] for name in proteins] or sorted(
        (name for name in values.proteins if default_role(name) in _OXPHOS),
        key=lambda name: _OXPHOS.index(default_role(name)),
    )
    names = [name for name in dict.fromkeys(names) if name != mass]
    if not names:
        raise MitoxaiError(
            f"The tables have no OXPHOS protein that is known beside {mass} (they share {', '.join(values.proteins)}): name the proteins to call."
        )
    return mass, names


def _controls(table: pd.DataFrame, controls: Sequence[str]) -> NDArray[np.bool_]:
    """Which fibres are those of controls."""
    subjects = table["subject"]
    unknown = [name for name in controls if name not in set(subjects)]
    if unknown:
        raise MitoxaiError(
            f"The tables have no subject {', '.join(unknown)} (they have {', '.join(dict.fromkeys(subjects))}): name controls that are there."
        )
    chosen = subjects.isin(controls) if controls else table["group"] == "control"
    if not chosen.any():
        raise MitoxaiError(
            f"None of the subjects {', '.join(dict.fromkeys(subjects))} is known as a control: add the tables of controls, or name the controls (--control)."
        )
    return np.asarray(chosen, bool)


def _by_subject(
    subject: "pd.Series[str]", is_control: NDArray[np.bool_], apart: NDArray[np.bool_],
    x: NDArray[np.float64], y: NDArray[np.float64], line: ControlLine, resamples: int, rng: np.random.Generator, protein: str,
) -> list[dict[str, object]]:  # fmt: skip
    """Proportions of each subject, with the bootstrap interval, and of each control left out."""
    good = np.isfinite(x) & np.isfinite(y)
    shares = _resampled_shares(x, y, good & is_control, subject, good, resamples, rng)
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(subject):
        own = (subject == name).to_numpy() & good
        control = bool((is_control & (subject == name).to_numpy()).any())
        calls = status(line.z(x[own], y[own]))
        low, high = shares.get(name, (None, None))
        left_out = _left_out(x, y, good & is_control, own) if control else (None, None)
        rows.append(
            {
                "subject": name,
                "control": control,
                "protein": protein,
                "fibres": int(own.sum()),
                "not_called": int(((subject == name).to_numpy() & ~good & ~apart).sum()),
                "not_analysable": int(((subject == name).to_numpy() & apart).sum()),
                "deficient": _share(calls, Status.DEFICIENT),
                "deficient_low": low,
                "deficient_high": high,
                "over_expressed": _share(calls, Status.OVER_EXPRESSED),
                "left_out_deficient": left_out[0],
                "left_out_over_expressed": left_out[1],
            }
        )
    rates = [row["left_out_deficient"] for row in rows if isinstance(row["left_out_deficient"], float)]
    for row in rows:
        row["highest_left_out_deficient"] = max(rates) if rates else None
    return rows


def _share(calls: NDArray[np.str_], wanted: Status) -> float | None:
    return float(np.mean(calls == wanted.value)) if len(calls) else None


def _left_out(
    x: NDArray[np.float64], y: NDArray[np.float64], controls: NDArray[np.bool_], own: NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """How many fibres of a control the others' line calls deficient and over-expressed: all of them wrongly."""
    others = controls & ~own
    try:
        line = fit_controls(x[others], y[others])
    except MitoxaiError:  # nobody, or too few fibres, to compare with
        return None, None
    calls = status(line.z(x[own], y[own]))
    return _share(calls, Status.DEFICIENT), _share(calls, Status.OVER_EXPRESSED)


def _resampled_shares(
    x: NDArray[np.float64], y: NDArray[np.float64], controls: NDArray[np.bool_], subject: "pd.Series[str]",
    good: NDArray[np.bool_], resamples: int, rng: np.random.Generator,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """95 % bootstrap interval of the proportion deficient: control fibres and those of the subject are drawn again.

    Given the line, the number of deficient fibres among those drawn again from a subject is binomial. One fibre, drawn again, is
    always the same one: it has no interval.
    """
    if not resamples:
        return {}
    xc, yc = x[controls], y[controls]
    names = {name: np.flatnonzero((subject == name).to_numpy() & good) for name in dict.fromkeys(subject)}
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name, own in names.items() if len(own) > 1}
    largest = max(len(xc), *(len(own) for own in names.values()))
    step = max(_AT_ONCE // largest, 1)
    for first in range(0, resamples, step):
        number = min(step, resamples - first)
        slope, intercept, centre, spread, deviation = _resampled_lines(xc, yc, number, rng)
        reach = _student(len(xc)) * deviation
        for name in drawn:
            mass, protein = x[names[name]], y[names[name]]
            fit = intercept[:, None] + slope[:, None] * mass
            half = reach[:, None] * np.sqrt(1 + 1 / len(xc) + (mass - centre[:, None]) ** 2 / spread[:, None])
            share = (protein < fit - half).mean(1)
            drawn[name].append(rng.binomial(len(mass), share) / len(mass))
    intervals = {name: np.percentile(np.concatenate(parts), [2.5, 97.5]) for name, parts in drawn.items()}
    return {name: (float(low), float(high)) for name, (low, high) in intervals.items()}


def _student(number: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.975, number - 2))


def _resampled_lines(
    x: NDArray[np.float64], y: NDArray[np.float64], number: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], ...]:
    """Slope, intercept, centre, spread and residual deviation of lines through resampled fibres; those without a line are left out."""
    chosen = rng.integers(0, len(x), (number, len(x)))
    xs, ys = x[chosen], y[chosen]
    centre, middle = xs.mean(1), ys.mean(1)
    away = xs - centre[:, None]
    spread = (away**2).sum(1)
    some = spread > 1e-12
    xs, ys, away, centre, middle, spread = (
        xs[some],
        ys[some],
        away[some],
        centre[some],
        middle[some],
        spread[some],
    )
    slope = (away * (ys - middle[:, None])).sum(1) / spread
    intercept = middle - slope * centre
    residual = ys - intercept[:, None] - slope[:, None] * xs
    deviation = np.sqrt((residual**2).sum(1) / (len(x) - 2))
    return slope, intercept, centre, spread, deviation


def _notes(
    fibres: pd.DataFrame,
    subjects: pd.DataFrame,
    names: Sequence[str],
    controls: Sequence[str],
    resamples: int,
) -> list[str]:
    notes = []
    used = list(dict.fromkeys(fibres.loc[fibres["group"] == "control", "subject"]))
    if not controls:
        notes.append(f"Controls: {', '.join(used)}.")
    if len(used) == 1:
        notes.append(
            f"{used[0]} is the only control: how often healthy fibres are called deficient cannot be told."
        )
    unused = dict.fromkeys(fibres.loc[fibres["group"] == "not used", "subject"])
    if unused:
        notes.append(f"{', '.join(unused)} is not named as a control and is called like a patient.")
    lost = {name: int((fibres[f"{name}_status"] == Status.NOT_CALLED.value).sum()) for name in names}
    told = [f"{number} of {name}" for name, number in lost.items() if number]
    if told:
        notes.append(
            f"Not called, as the mass or the protein is not above zero: {', '.join(told)}, of {len(fibres)} fibres."
        )
    first = subjects[subjects["protein"] == names[0]]
    counts = zip(first["subject"], first["not_analysable"], strict=True)
    apart = [f"{number:,} of {name}" for name, number in counts if number]
    if apart:
        notes.append(
            f"Left out as not analysable by their class, or next to empty: {', '.join(apart)}. Keep all fibres (--keep-all) counts them too."
        )
    nothing = first.loc[first["fibres"] + first["not_called"] + first["not_analysable"] == 0, "subject"]
    if len(nothing):
        notes.append(f"There is no fibre in {', '.join(nothing)}.")
    alone = list(dict.fromkeys(subjects.loc[subjects["fibres"] == 1, "subject"])) if resamples else []
    if alone:
        notes.append(f"One fibre alone could be called of {', '.join(alone)}: no interval can be given.")
    return notes
