"""One HTML page of what analyses left: nothing in it comes from elsewhere, so that it opens offline."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEMPLATE = "report.html.jinja"
_CSS_DPI = 96
_WIDEST = 1600  # pixels of a picture; the files themselves lie beside the report


@dataclass(frozen=True)
class ReportTable:
    """A table, or the first rows of one.

    Attributes
    ----------
    columns : sequence of str
    rows : sequence of sequences
        Texts and numbers; None and nan are shown as a dash.
    caption : str
        What it says, and how much was left out.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class ReportPicture:
    """A picture as a data address, what is on it, and how wide it is shown at most, in CSS pixels."""

    address: str
    caption: str = ""
    width: int = _WIDEST


@dataclass(frozen=True)
class ReportPart:
    """What one analysis left.

    Attributes
    ----------
    kind : str
        ``Training run``, ``Maps``, ...
    title : str
        Its name.
    sentences : sequence of str
        What came out.
    warnings : sequence of str
        What a reader must know before believing it.
    tables, pictures : sequence
    files : dict of str
        SHA-256, or what else identifies the content, by path.
    provenance : dict
        Parameters, versions: anything JSON can hold; folded away.
    """

    kind: str
    title: str
    sentences: Sequence[str] = ()
    warnings: Sequence[str] = ()
    tables: Sequence[ReportTable] = ()
    pictures: Sequence[ReportPicture] = ()
    files: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def report_html(title: str, parts: Sequence[ReportPart], *, made: str, software: dict[str, str]) -> str:
    """The page.

    Parameters
    ----------
    title : str
        Of the page.
    parts : sequence of ReportPart
        In order; those of one kind that follow each other stand under one heading of the contents.
    made : str
        When.
    software : dict of str
        Versions, for the foot of the page.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = shown
    environment.filters["as_json"] = lambda value: json.dumps(
        value, indent=2, ensure_ascii=False, default=str
    )
    template = files("napari_mitoxai.figures").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    page: str = environment.from_string(template).render(
        title=title, parts=parts, made=made, software=software
    )
    return page


def shown(value: Any) -> str:
    """A cell's text: four significant digits, a dash where nothing is known."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value)


def drawn(figure: "Figure", caption: str = "") -> ReportPicture:
    """A figure as a picture of the page."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi="figure", metadata={"Software": None})
    width = round(figure.get_figwidth() * _CSS_DPI)
    return ReportPicture(_address(content.getvalue(), "image/png"), caption, width)


def picture_of(path: Path, caption: str = "") -> ReportPicture:
    """An image file as a picture of the page; larger ones with fewer pixels."""
    if path.suffix.lower() == ".svg":
        return ReportPicture(_address(path.read_bytes(), "image/svg+xml"), caption)
    from PIL import Image

    with Image.open(path) as image:
        shown = image.convert("RGB")
    if shown.width > _WIDEST:
        shown = shown.resize((_WIDEST, round(shown.height * _WIDEST / shown.width)), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    shown.save(content, "PNG", optimize=True)
    return ReportPicture(_address(content.getvalue(), "image/png"), caption)


def _address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
