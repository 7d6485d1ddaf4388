"""Composing the figure: the section first, then its maps side by side."""

from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures import drawing, scales
from napari_mitoxai.figures.layout import (
    Cell,
    Layout,
    Lines,
    arrange,
    choose_columns,
    column_width,
    line_pixels,
    pixels,
)
from napari_mitoxai.figures.spec import FigureSpec, MapPanel, SectionPanel

NOTE_SIZE = 0.85
_SHORTEST_BAR_MM = 25.0  # room for its two ends
_MOST_MAPS = 25  # as many letters as the alphabet has, less the section's


def compose(
    section: SectionPanel, maps: Sequence[MapPanel], *, verdict: str = "", spec: FigureSpec | None = None
) -> Figure:
    """Draw a section and its maps.

    Every panel shows the same field at the same size. Each map's colours end at the same percentile of its
    own absolute values as drawn, symmetric about 0 where it is signed; its opacity grows with the square root
    of the absolute value, so tissue stays visible where a map says little.

    Parameters
    ----------
    section : SectionPanel
        The first panel, and the dim ground of the others.
    maps : sequence of MapPanel
        At least one.
    verdict : str
        A line on the model: what it calls the section, how sure it is, whether it was held out from training.
    spec : FigureSpec, optional
        How the figure looks.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot, safe to make in a worker thread. The same input gives the same pixels.

    Raises
    ------
    MitoxaiError
        If there is no map, or too many, or one has no pixels in two dimensions.
    """
    spec = spec or FigureSpec()
    _check(maps)
    figure = Figure(dpi=spec.dpi, facecolor=spec.background)
    FigureCanvasAgg(figure)
    notes = _notes(section, spec)
    layout = _layout(figure, section, maps, verdict, notes, spec)
    # a thousandth of a pixel more, so that rounding never loses the last one
    figure.set_size_inches((layout.width + 1e-3) / spec.dpi, (layout.height + 1e-3) / spec.dpi)
    page = drawing.Page(figure, spec, layout)
    _draw_header(page, verdict)
    _draw_section(page, layout.cells[0], section)
    for letter, cell, shown in zip(ascii_lowercase[1:], layout.cells[1:], maps, strict=False):
        _draw_map(page, cell, letter, section, shown)
    page.text(
        layout.footer.x,
        layout.footer.y,
        notes,
        room=layout.footer.width,
        lines=9,
        size=NOTE_SIZE,
        colour=_muted(spec),
    )
    return figure


def _check(maps: Sequence[MapPanel]) -> None:
    if not maps:
        raise MitoxaiError("A figure needs at least one map: name a method.")
    if len(maps) > _MOST_MAPS:
        raise MitoxaiError(
            f"{len(maps)} maps are too many for a figure: choose at most {_MOST_MAPS} methods."
        )
    for shown in maps:
        if shown.values.ndim != 2 or 0 in shown.values.shape:
            raise MitoxaiError(
                f"The map {shown.title} has the shape {shown.values.shape}, not (Y, X): join its channels."
            )


def _layout(
    figure: Figure,
    section: SectionPanel,
    maps: Sequence[MapPanel],
    verdict: str,
    notes: str,
    spec: FigureSpec,
) -> Layout:
    """Count the lines that the texts need, then arrange."""
    panels, aspect = len(maps) + 1, section.extent.height / section.extent.width
    room = column_width(spec, 1)
    header = bool(spec.title) + len(drawing.wrap(figure, verdict, room, 3, drawing.font(spec)))
    footer = NOTE_SIZE * len(drawing.wrap(figure, notes, room, 9, drawing.font(spec, NOTE_SIZE)))
    strip = min(len(section.legend), 3) if len(section.legend) <= 3 else -(-len(section.legend) // 2)
    lines = Lines(header=header, title=1, strip=max(strip, 2), footer=footer)
    columns, _ = choose_columns(spec, panels, aspect, lines)
    room = column_width(spec, columns) - _letter_width(spec)
    titles = [section.title, *(shown.title for shown in maps)]
    title = max(len(drawing.wrap(figure, text, room, 2, drawing.font(spec))) for text in titles)
    return arrange(
        spec, panels, aspect, Lines(header=header, title=max(title, 1), strip=lines.strip, footer=footer)
    )


def _letter_width(spec: FigureSpec) -> float:
    return 1.1 * line_pixels(spec)


def _muted(spec: FigureSpec) -> str:
    return "#444444" if drawing.ink(spec.background) == "black" else "#bbbbbb"


def _notes(section: SectionPanel, spec: FigureSpec) -> str:
    fibres = (
        f"Thin lines: outlines of {len(section.outlines)} fibres. "
        if spec.outlines and section.outlines
        else ""
    )
    return (
        f"{fibres}Colours of each map end at the {spec.percentile:g}th percentile of its |values|; "
        f"opacity grows with the square root of |value|, over {section.base_name} in grey."
    )


def _draw_header(page: drawing.Page, verdict: str) -> None:
    box, line = page.layout.header, line_pixels(page.spec)
    y = box.y
    if page.spec.title:
        page.text(box.x, y, page.spec.title, room=box.width, bold=True)
        y += line
    if verdict:
        page.text(box.x, y, verdict, room=box.width, lines=3)


def _draw_title(page: drawing.Page, cell: Cell, letter: str, title: str) -> None:
    indent, lines = _letter_width(page.spec), round(cell.title.height / line_pixels(page.spec))
    page.text(cell.title.x, cell.title.y, letter, bold=True, lines=lines, low=True)
    page.text(cell.title.x + indent, cell.title.y, title, room=cell.width - indent, lines=lines, low=True)


def _draw_section(page: drawing.Page, cell: Cell, section: SectionPanel) -> None:
    _draw_title(page, cell, "a", section.title)
    axes = drawing.image_axes(page, cell.image, section.extent)
    drawing.draw_image(axes, *drawing.shrunk(axes, section.image, section.extent))
    if page.spec.outlines:
        drawing.draw_outlines(axes, section.outlines, faint=False)
    drawing.draw_scale_bar(page, axes, cell.image, section.extent)
    drawing.draw_legend(page, cell.strip, section.legend)


def _draw_map(page: drawing.Page, cell: Cell, letter: str, section: SectionPanel, shown: MapPanel) -> None:
    _draw_title(page, cell, letter, shown.title)
    axes = drawing.image_axes(page, cell.image, section.extent)
    base, extent = drawing.shrunk(axes, section.base, section.extent)
    drawing.draw_image(axes, np.repeat(base[..., None], 3, axis=2) * drawing.GROUND, extent)
    # averaged first, then scaled and coloured: the bar tells what is drawn, and signs do not mix into grey
    values, extent = drawing.shrunk(axes, shown.values, shown.extent)
    limit = scales.map_limit(values, page.spec.percentile)
    parts = scales.relative(values, limit, signed=shown.signed)
    drawing.draw_image(axes, drawing.map_colours(parts, signed=shown.signed), extent)
    if page.spec.outlines:
        drawing.draw_outlines(axes, section.outlines, faint=True)
    drawing.draw_scale_bar(page, axes, cell.image, section.extent)
    bar = max(cell.image.width, min(cell.width, pixels(page.spec, _SHORTEST_BAR_MM)))
    drawing.draw_colour_bar(page, cell.strip, bar, limit, shown.label, signed=shown.signed)
