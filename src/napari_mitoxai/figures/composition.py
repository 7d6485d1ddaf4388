"""Composing the figure: sections one below the other, and of each the same panels side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures import drawing, plots, scales
from napari_mitoxai.figures.cells import (
    Extent,
    FibreCell,
    FigureCell,
    FigureRow,
    MapCell,
    PictureCell,
    PlotCell,
)
from napari_mitoxai.figures.layout import (
    Box,
    Cell,
    Layout,
    Line,
    arrange,
    choose_columns,
    column_width,
    line_pixels,
    pixels,
)
from napari_mitoxai.figures.spec import FigureLook

NOTE_SIZE = 0.85
_SHORTEST_BAR_MM = 25.0  # room for its two ends
_MOST_PANELS = 26  # as many letters as the alphabet has
_PLOT_ASPECT = 0.75  # of plots below the rows
_PLOTS_ABREAST = 3
_BAR_STEPS = 511  # colours of a bar; an odd number has one for 0


@dataclass(frozen=True)
class _Shown:
    """A map as it is drawn: averaged to the page's pixels, and where its colours end."""

    values: NDArray[np.float32]
    extent: Extent
    limit: float


def compose(
    rows: Sequence[FigureRow], look: FigureLook | None = None, *, below: Sequence[PlotCell] = ()
) -> Figure:
    """Draw a figure.

    The panels of a single section are laid out over as many lines as fit the page best; several sections have a line each. Every panel
    of a row shows the same field at the same size. A map's colours end at the same percentile of absolute values as drawn, symmetric
    about 0 where it is signed, and at the highest of these over all rows where limits are shared; its opacity grows with the square root
    of the absolute value, so tissue stays visible where a map says little.

    Parameters
    ----------
    rows : sequence of FigureRow
        At least one, all with the same number of panels.
    look : FigureLook, optional
        How the figure looks.
    below : sequence of PlotCell
        Plots below all rows.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot, safe to make in a worker thread. The same input gives the same pixels.

    Raises
    ------
    MitoxaiError
        If there is no panel, or too many, a map has no pixels in two dimensions, a scale bar is too long, or a font is missing.
    """
    look = look or FigureLook()
    _check(rows, below)
    drawing.refuse_font(look.font)
    figure = Figure(dpi=look.dpi, facecolor=look.background)
    FigureCanvasAgg(figure)
    notes = _notes(rows, look)
    layout = _layout(figure, rows, below, notes, look)
    # a thousandth of a pixel more, so that rounding never loses the last one
    figure.set_size_inches((layout.width + 1e-3) / look.dpi, (layout.height + 1e-3) / look.dpi)
    page = drawing.Page(figure, look, layout)
    _draw_header(page, rows)
    cells = [cell for row in rows for cell in row.cells]
    of_row = [row for row in rows for _ in row.cells]
    axes = [
        drawing.image_axes(page, place.image, row.extent) if not isinstance(cell, PlotCell) else None
        for place, row, cell in zip(layout.cells, of_row, cells, strict=False)
    ]
    maps = _limited([(cell, each) for cell, each in zip(cells, axes, strict=True)], look)
    for index, (place, row, cell, own) in enumerate(zip(layout.cells, of_row, cells, axes, strict=False)):
        _draw_title(page, place, index, cell)
        if own is None:
            _draw_plot(page, place, cell)
            continue
        _draw_image(page, own, place, row, cell, maps.get(index))
        drawing.draw_scale_bar(page, own, place.image, row.extent)
    for index, (place, plot) in enumerate(zip(layout.cells[len(cells) :], below, strict=True), len(cells)):
        _draw_title(page, place, index, plot)
        _draw_plot(page, place, plot)
    if len(rows) > 1:
        _draw_row_labels(page, rows)
    page.text(
        layout.footer.x,
        layout.footer.y,
        notes,
        room=layout.footer.width,
        lines=9,
        size=NOTE_SIZE,
        colour=_muted(look),
    )
    return figure


def _check(rows: Sequence[FigureRow], below: Sequence[PlotCell]) -> None:
    if not rows or not rows[0].cells:
        raise MitoxaiError("A figure needs at least one panel: name a method, or what to show.")
    panels = sum(len(row.cells) for row in rows) + len(below)
    if panels > _MOST_PANELS:
        raise MitoxaiError(
            f"{panels} panels are too many for a figure: choose at most {_MOST_PANELS}, by fewer methods or sections."
        )
    for row in rows:
        for cell in row.cells:
            if isinstance(cell, MapCell) and (cell.values.ndim != 2 or 0 in cell.values.shape):
                raise MitoxaiError(
                    f"The map {cell.title} has the shape {cell.values.shape}, not (Y, X): join its channels."
                )


# --- layout ----------------------------------------------------------------------------------------------------------


def _layout(
    figure: Figure,
    rows: Sequence[FigureRow],
    below: Sequence[PlotCell],
    notes: str,
    look: FigureLook,
) -> Layout:
    """Count the lines that the texts need, then arrange."""
    several = len(rows) > 1
    gutter = 1.6 * line_pixels(look) if several else 0.0
    room = column_width(look, 1)
    header = bool(look.title) + sum(
        len(drawing.wrap(figure, text, room, 3, drawing.font(look))) for text in _verdicts(rows, look)
    )
    footer = NOTE_SIZE * len(drawing.wrap(figure, notes, room, 9, drawing.font(look, NOTE_SIZE)))
    lines = []
    for row in rows:
        aspect = row.extent.height / row.extent.width
        cells = row.cells
        columns = len(cells)
        if not several:
            guess = _line(figure, cells, columns, aspect, 0.0, look, titles=False)
            columns = choose_columns(look, guess, len(cells), header + footer)
        for first in range(0, len(cells), columns):
            part = cells[first : first + columns]
            lines.append(_line(figure, part, columns, aspect, gutter, look))
    abreast = max(-(-len(below) // -(-len(below) // _PLOTS_ABREAST)), 2) if below else 1
    lines += [
        _line(figure, below[first : first + abreast], abreast, _PLOT_ASPECT, gutter, look)
        for first in range(0, len(below), abreast)
    ]
    return arrange(look, lines, header=header, footer=footer, gutter=gutter)


def _line(
    figure: Figure,
    cells: Sequence[FigureCell],
    columns: int,
    aspect: float,
    gutter: float,
    look: FigureLook,
    *,
    titles: bool = True,
) -> Line:
    room = column_width(look, columns, gutter) - _letter_width(look)
    title = (
        max(len(drawing.wrap(figure, cell.title, room, 2, drawing.font(look))) for cell in cells)
        if titles
        else 1
    )
    warned = any(isinstance(cell, MapCell) and cell.warning for cell in cells)
    bar = look.colour_bars and any(
        isinstance(cell, MapCell) or (isinstance(cell, FibreCell) and cell.bar) for cell in cells
    )
    legends = [len(cell.legend) for cell in cells if isinstance(cell, PictureCell | FibreCell)]
    strip = max((drawing.legend_lines(each) for each in legends), default=0) if look.legend else 0
    told = [_bar_lines(figure, cell, column_width(look, columns, gutter), look) for cell in cells]
    return Line(
        len(cells), columns, aspect, max(title, 1) + warned, strip, bar, max(0, *map(len, told), 1) - 1
    )


def _bar_lines(figure: Figure, cell: FigureCell, room: float, look: FigureLook) -> list[str]:
    """What stands below a colour bar: what it measures, then scores."""
    if not isinstance(cell, MapCell | FibreCell):
        return []
    small = drawing.font(look, 0.9)
    note = cell.note if isinstance(cell, MapCell) else ""
    return drawing.wrap(figure, cell.label, room, 2, small) + drawing.wrap(figure, note, room, 3, small)


def _letter_width(look: FigureLook) -> float:
    return 1.25 * line_pixels(look) if look.letters != "none" else 0.0


def _muted(look: FigureLook) -> str:
    return "#444444" if drawing.ink(look.background) == "black" else "#bbbbbb"


# --- texts -----------------------------------------------------------------------------------------------------------


def _verdicts(rows: Sequence[FigureRow], look: FigureLook) -> list[str]:
    return [row.verdict for row in rows if row.verdict] if look.captions else []


def _notes(rows: Sequence[FigureRow], look: FigureLook) -> str:
    """How the colours are made, for the foot of the page."""
    if not look.captions:
        return ""
    told = []
    fibres = sum(len(row.outlines) for row in rows)
    if look.outlines and fibres:
        told.append(f"Thin lines: outlines of {fibres} fibres.")
    maps = [cell for row in rows for cell in row.cells if isinstance(cell, MapCell)]
    if any(cell.limit is None for cell in maps):
        rule = f"end at the {look.percentile:g}th percentile of its |values|"
        together = look.shared_limits and len(rows) > 1
        told.append(
            f"Colours of each method {rule}, the highest of the rows."
            if together
            else f"Colours of each map {rule}."
        )
    if any(cell.ground is None and not cell.alone for cell in maps):
        bases = ", ".join(dict.fromkeys(row.base_name for row in rows))
        opacity = "half" if look.colours == "jet" else "growing with the square root of |value|"
        told.append(f"Opacity: {opacity}, over {bases} in grey.")
    return " ".join(told)


def _draw_header(page: drawing.Page, rows: Sequence[FigureRow]) -> None:
    box, line = page.layout.header, line_pixels(page.look)
    y = box.y
    if page.look.title:
        page.text(box.x, y, page.look.title, room=box.width, bold=True)
        y += line
    for verdict in _verdicts(rows, page.look):
        page.text(box.x, y, verdict, room=box.width, lines=3)
        y += line * len(drawing.wrap(page.figure, verdict, box.width, 3, page.font()))


def _draw_title(page: drawing.Page, place: Cell, index: int, cell: FigureCell) -> None:
    look, step = page.look, line_pixels(page.look)
    indent, lines = _letter_width(look), round(place.title.height / step)
    x, y, room = place.title.x, place.title.y, place.width - indent
    if look.letters != "none":
        letter = ascii_lowercase[index]
        page.text(x, y, letter.upper() if look.letters == "A" else letter, bold=True, lines=lines, low=True)
    if isinstance(cell, MapCell) and cell.warning:
        page.text(
            x + indent, y + (lines - 1) * step, cell.warning, room=room, bold=True, colour=drawing.WARNING
        )
        lines -= 1
    page.text(x + indent, y, cell.title, room=room, lines=lines, low=True)


def _draw_row_labels(page: drawing.Page, rows: Sequence[FigureRow]) -> None:
    """The sections' names at the left, reading upwards."""
    layout = page.layout
    for row, line in zip(rows, layout.lines, strict=False):
        first = line[0].image
        room = line[0].strip.y + line[0].strip.height - line[0].title.y
        shown = drawing.wrap(page.figure, row.title, room, 1, page.font(bold=True))
        page.figure.text(
            (layout.header.x + 0.75 * line_pixels(page.look)) / layout.width,
            1 - (first.y + first.height / 2) / layout.height,
            " ".join(shown),
            fontproperties=page.font(bold=True),
            rotation=90,
            ha="center",
            va="center",
            color=drawing.ink(page.look.background),
            parse_math=False,
        )


# --- panels ----------------------------------------------------------------------------------------------------------


def _limited(cells: Sequence[tuple[FigureCell, Axes | None]], look: FigureLook) -> dict[int, _Shown]:
    """Maps by their place, averaged to the page's pixels, and then their limits: the bar tells what is drawn."""
    shown: dict[int, _Shown] = {}
    highest: dict[str, float] = {}
    for index, (cell, axes) in enumerate(cells):
        if isinstance(cell, MapCell) and axes is not None:
            values, extent = drawing.shrunk(axes, cell.values, cell.extent)
            limit = scales.map_limit(values, look.percentile) if cell.limit is None else cell.limit
            shown[index] = _Shown(values, extent, limit)
            highest[cell.key] = max(highest.get(cell.key, 0.0), limit)
    if not look.shared_limits:
        return shown
    for index, each in shown.items():
        cell = cells[index][0]
        if isinstance(cell, MapCell) and cell.key and cell.limit is None:
            shown[index] = _Shown(each.values, each.extent, highest[cell.key])
    return shown


def _draw_image(
    page: drawing.Page, axes: Axes, place: Cell, row: FigureRow, cell: FigureCell, shown: _Shown | None
) -> None:
    if isinstance(cell, MapCell) and shown is not None:
        _draw_map(page, axes, place, row, cell, shown)
    elif isinstance(cell, PictureCell):
        drawing.draw_image(axes, *drawing.shrunk(axes, cell.image, row.base_extent))
        if page.look.outlines:
            drawing.draw_outlines(axes, row.outlines, faint=False)
        if page.look.legend:
            drawing.draw_legend(page, place.strip, cell.legend)
    elif isinstance(cell, FibreCell):
        _draw_ground(axes, row)
        drawing.draw_fibres(axes, row.outlines, cell.colours)
        if cell.bar is not None and page.look.colour_bars:
            import matplotlib

            name, low, high = cell.bar
            colours = np.asarray(matplotlib.colormaps[name](np.linspace(0, 1, _BAR_STEPS)), dtype=np.float32)
            drawing.draw_colour_bar(
                page, place.strip, _bar_width(page, place), (low, high), [cell.label], colours
            )
        elif page.look.legend:
            drawing.draw_legend(page, place.strip, cell.legend)


def _draw_ground(axes: Axes, row: FigureRow) -> None:
    base, extent = drawing.shrunk(axes, row.base, row.base_extent)
    drawing.draw_image(axes, np.repeat(base[..., None], 3, axis=2) * drawing.GROUND, extent)


def _draw_map(
    page: drawing.Page, axes: Axes, place: Cell, row: FigureRow, cell: MapCell, shown: _Shown
) -> None:
    look = page.look
    # averaged first, then scaled and coloured: signs do not mix into grey
    parts = scales.relative(shown.values, shown.limit, signed=cell.signed)
    positions = np.linspace(-1 if cell.signed else 0, 1, _BAR_STEPS, dtype=np.float32)
    ends = (-shown.limit if cell.signed else 0.0, shown.limit)
    if cell.ground is not None:
        ground, extent = drawing.shrunk(axes, cell.ground, row.base_extent)
        drawing.draw_image(axes, drawing.added_in_blue(ground, extent, parts, shown.extent), extent)
        positions, ends = np.clip(np.linspace(0, 1, _BAR_STEPS), 0, 1), (0.0, shown.limit)
        colours = np.zeros((_BAR_STEPS, 4), np.float32)
        colours[:, 2], colours[:, 3] = positions, 1.0
    else:
        jet = look.colours == "jet"
        if not cell.alone:
            _draw_ground(axes, row)
        drawing.draw_image(
            axes,
            drawing.map_colours(parts, signed=cell.signed, jet=jet, alone=cell.alone),
            shown.extent,
        )
        colours = drawing.map_colours(positions, signed=cell.signed, jet=jet, alone=cell.alone or jet)
    if look.outlines:
        drawing.draw_outlines(axes, row.outlines, faint=True)
    if not look.colour_bars:
        return
    strip = place.strip
    if shown.limit <= 0:
        page.text(strip.x, strip.y, "the map is 0 everywhere", room=strip.width, lines=2, size=0.9)
        return
    labels = _bar_lines(page.figure, cell, place.width, look)
    drawing.draw_colour_bar(page, strip, _bar_width(page, place), ends, labels, colours)


def _bar_width(page: drawing.Page, place: Cell) -> float:
    return max(place.image.width, min(place.width, pixels(page.look, _SHORTEST_BAR_MM)))


def _draw_plot(page: drawing.Page, place: Cell, cell: FigureCell) -> None:
    assert isinstance(cell, PlotCell)
    image, strip = place.image, place.strip
    room = Box(image.x, image.y, place.width, strip.y + strip.height - image.y)
    plots.draw_into(page, room, cell)
