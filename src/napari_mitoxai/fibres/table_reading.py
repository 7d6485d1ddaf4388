"""Reading fibre tables of every tool: ours, mitocyto's, analysis2Dmito's and the published one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import parse_channel
from napari_mitoxai.imc.panel import canonical

_LOG_OR_MEDIAN = re.compile(r"^(?:LOG|MED)_")
_MITOCYTO_SHAPES = {"Area", "AspectRatio", "Perimeter", "Circularity", "xCoord", "yCoord", "Mean", "Edges"}
_PUBLISHED_FLAG = re.compile(r"_(?:down|norm|up)$")
# subjects as the field numbers them, with what follows for repeats: C03-2, C01R01, P09_b
_QUOTED = re.compile(r"^'([=+\-@])")
_SUBJECT = re.compile(r"^([CP]\d+)(?:$|[^0-9].*$)")
_CONTROL = re.compile(r"^C\d+$")
_CONTROL_WORDS = {"control", "controls", "ctrl", "healthy"}


@dataclass(frozen=True)
class FibreValues:
    """What tables say of fibres, in one form.

    Attributes
    ----------
    table : pandas.DataFrame
        A row a fibre: ``section, fibre, subject, group`` (``control`` or ``patient``), then those of `CARRIED` that a table has, then
        a column a protein.
    proteins : list of str
        Those columns, as the first table spells them.
    offset : float
        What to add before a logarithm so that values compare with mitocyto's, which are the mean of the counts + 1.
    statistic : str
        What the values are of a fibre's pixels.
    without : pandas.DataFrame
        ``section, subject, group`` of the sections in which there is no fibre.
    """

    table: pd.DataFrame
    proteins: list[str]
    offset: float
    statistic: str = "mean"
    without: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["section", "subject", "group"])
    )


def read_fibre_tables(
    paths: Sequence[Path], *, statistic: str = "mean", subjects: Path | None = None
) -> FibreValues:
    """Read fibre tables and put them below each other.

    Parameters
    ----------
    paths : sequence of Path
        CSV or Parquet: ours (wide or long), mitocyto's ``results.csv`` (``Value, ID, Channel, Folder 1, Filename``),
        analysis2Dmito's (``Value, sampleID, fibreID, sbjType, Channel``), or the published wide one (``id, patient_id``).
    statistic : str
        ``mean`` or ``median`` of a fibre's pixels, where a table has both.
    subjects : Path, optional
        A table ``section, subject, group`` that says whose each section is.

    Returns
    -------
    FibreValues
        Only the proteins that all tables have.

    Raises
    ------
    MitoxaiError
        If a table is not there, of no known form, of another kind than the first, or a fibre is in it twice.
    """
    if not paths:
        raise MitoxaiError("There is no fibre table: give at least one.")
    tables, offsets, without = [], [], [pd.DataFrame(columns=["section"])]
    places: set[str] = set()
    for path in paths:
        raw = read_table(path)
        if {"section", "fibre"} <= set(raw):
            nothing = raw["fibre"].isna()  # a line that names a section without a fibre
            without.append(
                raw.loc[nothing, [key for key in _KEYS if key in raw and key != "fibre"]].drop_duplicates()
            )
            raw = _with_whole_numbers(raw[~nothing])
            if nothing.any() and raw.empty:
                continue
        places.update(raw["measured_on"].dropna() if "measured_on" in raw else ())
        table, offset = _as_ours(raw, path, statistic)
        table.columns = [name if name in (*_KEYS, *CARRIED) else _target(name) for name in table.columns]
        tables.append(table.loc[:, ~table.columns.duplicated()])
        offsets.append(offset)
    if not tables:
        raise MitoxaiError("The tables hold no fibre: find and measure some first.")
    if len(places) > 1:
        raise MitoxaiError(
            "Some of the tables were measured inside fibres and others on their outline: call them apart, or measure all in one way."
        )
    if len(set(offsets)) > 1:
        raise MitoxaiError(
            "Some of the tables hold means of counts and others mitocyto's means of counts + 1: call them apart, or measure all in one way."
        )
    tables = _same_names(tables)
    filled = [table for table in tables if len(table)] or tables[:1]
    shared = [name for name in filled[0] if all(name in table for table in filled)]
    carried = [name for name in CARRIED if any(name in table for table in filled)]
    joined = pd.concat(
        [table[[name for name in dict.fromkeys((*shared, *carried)) if name in table]] for table in filled],
        ignore_index=True,
    )
    if joined.empty:
        raise MitoxaiError("The tables hold no fibre: find and measure some first.")
    twice = joined.duplicated(["section", "fibre"])
    if twice.any():
        first = joined[twice].iloc[0]
        raise MitoxaiError(
            f"Fibre {first['fibre']} of {first['section']} is in the tables twice: give each section once."
        )
    joined = _with_subjects(joined, subjects)
    empty = pd.concat(without, ignore_index=True).assign(fibre=0)
    return FibreValues(
        joined,
        [str(name) for name in shared if name not in (*_KEYS, *CARRIED)],
        offsets[0],
        statistic,
        _with_subjects(empty, subjects)[["section", "subject", "group"]],
    )


_KEYS = ("section", "fibre", "subject", "group")
CARRIED = ("class", "near_empty", "labels", "x_um", "y_um")
"""Columns of our tables that calls keep: whether a fibre is analysable, and which one it is."""


def _with_whole_numbers(raw: pd.DataFrame) -> pd.DataFrame:
    """Fibres as whole numbers again, where a line without one made decimal numbers of them."""
    if not pd.api.types.is_float_dtype(raw["fibre"]) or (raw["fibre"] % 1).any():
        return raw
    return raw.astype({"fibre": "int64"})


def _as_ours(raw: pd.DataFrame, path: Path, statistic: str) -> tuple[pd.DataFrame, float]:
    columns = set(raw.columns)
    if {"Value", "ID", "Channel", "Filename"} <= columns:
        return _mitocyto(raw, path, statistic), 0.0
    if {"Value", "sampleID", "fibreID", "sbjType", "Channel"} <= columns:
        return _analysis_2d_mito(raw, path), 0.0
    if {"section", "fibre", "quantity", "value"} <= columns:
        keys = [key for key in (*_KEYS, "class", "labels") if key in columns]
        return _ours(_spread(raw, path, keys, "quantity", "value"), path, statistic), 1.0
    if {"section", "fibre"} <= columns:
        return _ours(raw, path, statistic), 1.0
    if {"id", "patient_id"} <= columns:
        return _published(raw), 0.0
    raise MitoxaiError(
        f"{path.name} is no fibre table that is known here: give one of `mitoxai measure`, of mitocyto (Value, ID, Channel, Filename) or of analysis2Dmito."
    )


def read_table(path: Path) -> pd.DataFrame:
    """A table as it lies on the disk, CSV or Parquet; names stay names.

    Raises
    ------
    MitoxaiError
        If it is not there, or no table.
    """
    if not path.is_file():
        raise MitoxaiError(f"{path} is not there: check the path of the fibre table.")
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        # names such as NA or 01 are names
        text = dict.fromkeys(
            (
                "section",
                "subject",
                "group",
                "Filename",
                "Folder 1",
                "sampleID",
                "Channel",
                "patient_id",
                "quantity",
                "class",
                "class_by",
                "labels",
            ),
            str,
        )
        table = pd.read_csv(
            path,
            sep=None,
            engine="python",
            dtype=text,
            keep_default_na=False,
            na_values=["", "nan", "NaN", "NA"],
        )
    except Exception as error:  # pandas raises many kinds on a damaged table
        raise MitoxaiError(
            f"{path.name} cannot be read as a table ({type(error).__name__}): save it as CSV with a header line."
        ) from error
    # `write_table` quotes names that a spreadsheet would take for formulas
    quoted = [str(name) for name in table if str(name) in text]
    return table.assign(**{name: table[name].str.replace(_QUOTED, r"\1", regex=True) for name in quoted})


def _spread(raw: pd.DataFrame, path: Path, keys: list[str], name: str, value: str) -> pd.DataFrame:
    """From a row a fibre and quantity to a row a fibre."""
    if raw.duplicated([*keys, name]).any():
        raise MitoxaiError(f"{path.name} has a value twice for one fibre: give each section once.")
    filled = raw.assign(**{key: raw[key].fillna("") for key in keys if raw[key].dtype == object})
    wide = filled.pivot_table(index=keys, columns=name, values=value, aggfunc="first", sort=False)
    wide.columns.name = None
    return wide.reset_index()


def _ours(raw: pd.DataFrame, path: Path, statistic: str) -> pd.DataFrame:
    ending = f"_{statistic}"
    values = {name.removesuffix(ending): raw[name] for name in raw.columns if name.endswith(ending)}
    if not values:
        raise MitoxaiError(
            f"{path.name} has no column that ends in {ending}: give a table of `mitoxai measure`."
        )
    keys = {key: raw[key] for key in (*_KEYS, *CARRIED) if key in raw}
    return pd.DataFrame(keys | values)


def _mitocyto(raw: pd.DataFrame, path: Path, statistic: str) -> pd.DataFrame:
    channel = raw["Channel"].fillna("")
    if statistic == "median":
        kept = channel.str.startswith("MED_")
        channel = channel.str.removeprefix("MED_")
    else:
        kept = ~channel.str.match(_LOG_OR_MEDIAN)
    kept &= ~channel.isin(_MITOCYTO_SHAPES) & ~channel.str.contains("_MCLASS_")
    chosen = raw.assign(Channel=channel)[kept]
    chosen = chosen.assign(Value=pd.to_numeric(chosen["Value"], errors="coerce"))
    wide = _spread(chosen, path, ["Filename", "ID"], "Channel", "Value")
    return wide.rename(columns={"Filename": "section", "ID": "fibre"})


def _analysis_2d_mito(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    wide = _spread(raw, path, ["sampleID", "fibreID", "sbjType"], "Channel", "Value")
    return wide.rename(columns={"sampleID": "section", "fibreID": "fibre", "sbjType": "group"})


def _published(raw: pd.DataFrame) -> pd.DataFrame:
    left_out = {"cell_id", "id", "patient_id", "subject_group"} | _MITOCYTO_SHAPES
    proteins = [name for name in raw.columns if name not in left_out and not _PUBLISHED_FLAG.search(name)]
    keys = {"section": raw["patient_id"], "fibre": raw["id"]}
    if "subject_group" in raw:
        keys["group"] = raw["subject_group"]
    return pd.DataFrame(keys | {name: raw[name] for name in proteins})


def _target(name: str) -> str:
    return parse_channel(str(name)).target


def _same_names(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Proteins under the names of the first table: aliases are joined."""
    kept = (*_KEYS, *CARRIED)
    names = {canonical(str(name)): name for name in tables[0] if name not in kept}
    return [
        table.rename(
            columns={name: names.get(canonical(str(name)), name) for name in table if name not in kept}
        )
        for table in tables
    ]


def _with_subjects(table: pd.DataFrame, subjects: Path | None) -> pd.DataFrame:
    """Say of each fibre whose it is: by the user's table, by the fibre table, or by the section's name."""
    section = table["section"].astype(str)
    by_name = section.map(lambda name: match[1] if (match := _SUBJECT.match(name)) else name)
    subject = table["subject"].replace("", pd.NA).fillna(by_name) if "subject" in table else by_name
    group = table["group"].fillna("").astype(str) if "group" in table else pd.Series("", index=table.index)
    group = group.map(
        lambda word: (
            "control" if word.strip().lower() in _CONTROL_WORDS else ("patient" if word.strip() else "")
        )
    )
    if subjects is not None:
        given = read_table(subjects)
        if not {"section", "subject"} <= set(given.columns):
            raise MitoxaiError(
                f"{subjects.name} has no columns section and subject: give a table section, subject, group."
            )
        given = given.drop_duplicates("section").set_index("section")
        subject = section.map(given["subject"]).fillna(subject)
        if "group" in given:
            group = section.map(given["group"]).fillna(group)
    named = group.where(
        group != "", subject.map(lambda name: "control" if _CONTROL.match(str(name)) else "patient")
    )
    rest = table.drop(columns=[key for key in ("section", "subject", "group") if key in table])
    fibre = rest.pop("fibre")
    keys = pd.DataFrame({"section": section, "fibre": fibre, "subject": subject.astype(str), "group": named})
    for name in ("class", "near_empty", "labels"):
        if name in rest:
            keys[name] = rest.pop(name)
    numbers: pd.DataFrame = rest.apply(pd.to_numeric, errors="coerce").astype(float)
    return keys.join(numbers)
