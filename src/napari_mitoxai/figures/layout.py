"""Where everything lies on the page, in whole pixels from its top left corner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_mitoxai.figures.spec import FigureLook

MM_PER_INCH = 25.4
PT_PER_INCH = 72.0
MARGIN_MM, GAP_MM = 1.5, 3.0
BAR_MM = 2.2
LINE = 1.3  # distance of two lines of text in font sizes


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; y points down."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Cell:
    """One panel: the column it may write in, its image, and the strip below the image."""

    width: float
    title: Box
    image: Box
    strip: Box


@dataclass(frozen=True)
class Line:
    """Panels side by side.

    Attributes
    ----------
    cells : int
        How many.
    columns : int
        Into how many columns the page is divided; no fewer than cells.
    aspect : float
        Height by width of every image.
    title : int
        Lines of text above the images.
    strip : float
        Lines of text below them.
    bar : bool
        Whether colour bars stand there, with two lines of text.
    notes : int
        Lines of text below these.
    """

    cells: int
    columns: int
    aspect: float
    title: int = 1
    strip: float = 2
    bar: bool = True
    notes: int = 0


@dataclass(frozen=True)
class Layout:
    """The page: size in pixels, cells line by line, where the header ends and the footer starts."""

    width: int
    height: int
    lines: tuple[tuple[Cell, ...], ...]
    header: Box
    footer: Box

    @property
    def cells(self) -> list[Cell]:
        """All cells in reading order."""
        return [cell for line in self.lines for cell in line]


def pixels(look: FigureLook, mm: float) -> float:
    """Millimetres in pixels."""
    return mm / MM_PER_INCH * look.dpi


def line_pixels(look: FigureLook) -> float:
    """Height of a line of text in pixels."""
    return LINE * look.font_pt / PT_PER_INCH * look.dpi


def column_width(look: FigureLook, columns: int, gutter: float = 0.0) -> float:
    """Width of a column in pixels, `gutter` pixels of the page being left free at its left."""
    room = pixels(look, look.width_mm - 2 * MARGIN_MM) - gutter
    return (room - (columns - 1) * pixels(look, GAP_MM)) / columns


def choose_columns(look: FigureLook, line: Line, panels: int, text_lines: float) -> int:
    """Into how many columns the panels of one section go.

    The widest images win that fit the page, but empty places count against a layout: readers compare along
    a row.

    Parameters
    ----------
    look : FigureLook
    line : Line
        Any of their lines.
    panels : int
        How many there are.
    text_lines : float
        Lines of text above and below all of them.
    """
    best = (-1.0, 1)
    for columns in range(1, panels + 1):
        rows = math.ceil(panels / columns)
        fixed = text_lines * line_pixels(look) + rows * _text_of(look, line) + _gaps(look, rows)
        room = (pixels(look, look.max_height_mm) - fixed) / rows
        full = column_width(look, columns)
        width = min(full, max(room, 1.0) / line.aspect)
        fill = panels / (rows * columns) * width / full
        best = max(best, (width * fill**2, columns), key=lambda entry: entry[0])
    return best[1]


def arrange(
    look: FigureLook, lines: Sequence[Line], *, header: float = 0, footer: float = 0, gutter: float = 0.0
) -> Layout:
    """Lay out lines of panels.

    Parameters
    ----------
    look : FigureLook
        Width, greatest height, font and resolution.
    lines : sequence of Line
        From top to bottom. Where they are too high, all images shrink by the same factor.
    header, footer : float
        Lines of text above and below all of them.
    gutter : float
        Pixels left of all of them.

    Returns
    -------
    Layout
        Images lie on whole pixels; the page is exactly as wide as asked for.
    """
    step, gap, margin = line_pixels(look), pixels(look, GAP_MM), pixels(look, MARGIN_MM)
    width = round(pixels(look, look.width_mm))
    fixed = (header + footer) * step + sum(_text_of(look, line) for line in lines) + _gaps(look, len(lines))
    wanted = sum(column_width(look, line.columns, gutter) * line.aspect for line in lines)
    shrink = min(1.0, max(pixels(look, look.max_height_mm) - fixed, 1.0) / wanted)
    room = column_width(look, 1)  # not rounded: lines break at the same places whatever the resolution
    head = Box(margin, margin, room, header * step)
    y = margin + head.height + (gap / 2 if header else 0)
    laid = []
    for line in lines:
        column = column_width(look, line.columns, gutter)
        wide = max(1, math.floor(column * shrink))
        high = max(1, round(wide * line.aspect))
        cells = []
        for place in range(line.cells):
            x = round(margin + gutter + place * (column + gap))
            title = Box(x, round(y), column, line.title * step)
            image = Box(x, round(title.y + title.height + 0.2 * step), wide, high)
            strip = Box(x, image.y + high + pixels(look, 1.0), column, _strip(look, line))
            cells.append(Cell(column, title, image, strip))
        laid.append(tuple(cells))
        y = cells[0].strip.y + cells[0].strip.height + gap
    foot = Box(margin, y - gap / 2, room, footer * step)
    return Layout(width, math.ceil(foot.y + foot.height + margin), tuple(laid), head, foot)


def _strip(look: FigureLook, line: Line) -> float:
    bar = pixels(look, BAR_MM) + (2.2 + line.notes) * line_pixels(look) if line.bar else 0.0
    return max(bar, line.strip * line_pixels(look))


def _text_of(look: FigureLook, line: Line) -> float:
    """Height of what is not image in a line."""
    return (line.title + 0.2) * line_pixels(look) + pixels(look, 1.0) + _strip(look, line)


def _gaps(look: FigureLook, lines: int) -> float:
    return (lines + 1) * pixels(look, GAP_MM) + 2 * pixels(look, MARGIN_MM) + 2 * lines
