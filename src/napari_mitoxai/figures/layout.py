"""Where everything lies on the page, in whole pixels from its top left corner."""

import math
from dataclasses import dataclass

from napari_mitoxai.figures.spec import FigureSpec

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
class Layout:
    """The page: size in pixels, cells in reading order, where the header ends and the footer starts."""

    width: int
    height: int
    columns: int
    cells: tuple[Cell, ...]
    header: Box
    footer: Box


@dataclass(frozen=True)
class Lines:
    """How many lines of text each part needs."""

    header: int = 0
    title: int = 1
    strip: int = 2
    footer: float = 1.0


def pixels(spec: FigureSpec, mm: float) -> float:
    """Millimetres in pixels."""
    return mm / MM_PER_INCH * spec.dpi


def line_pixels(spec: FigureSpec) -> float:
    """Height of a line of text in pixels."""
    return LINE * spec.font_pt / PT_PER_INCH * spec.dpi


def column_width(spec: FigureSpec, columns: int) -> float:
    """Width of a column in pixels."""
    return (pixels(spec, spec.width_mm - 2 * MARGIN_MM) - (columns - 1) * pixels(spec, GAP_MM)) / columns


def choose_columns(spec: FigureSpec, panels: int, aspect: float, lines: Lines) -> tuple[int, float]:
    """How many columns, and how wide the images are in pixels.

    The widest images win that fit the page, but empty places count against a layout: readers compare along
    a row.
    """
    best = (-1.0, 1, 1.0)
    for columns in range(1, panels + 1):
        rows = math.ceil(panels / columns)
        room = (pixels(spec, spec.max_height_mm) - _fixed_height(spec, rows, lines)) / rows
        full = column_width(spec, columns)
        width = min(full, max(room, 1.0) / aspect)
        fill = panels / (rows * columns) * width / full
        score = width * fill**2
        if score > best[0]:
            best = (score, columns, width)
    return best[1], best[2]


def arrange(spec: FigureSpec, panels: int, aspect: float, lines: Lines) -> Layout:
    """Lay out `panels` images of one height/width `aspect`.

    Parameters
    ----------
    spec : FigureSpec
        Width, greatest height, font and resolution.
    panels : int
        How many.
    aspect : float
        Height by width of every image.
    lines : Lines
        Lines of text above, in and below the panels.

    Returns
    -------
    Layout
        Images lie on whole pixels; the page is exactly as wide as asked for.
    """
    columns, wide = choose_columns(spec, panels, aspect, lines)
    line, gap, margin = line_pixels(spec), pixels(spec, GAP_MM), pixels(spec, MARGIN_MM)
    width = round(pixels(spec, spec.width_mm))
    image_width = max(1, math.floor(wide))
    image_height = max(1, round(image_width * aspect))
    column = column_width(spec, columns)
    header = Box(margin, margin, width - 2 * margin, lines.header * line)
    top = margin + header.height + (gap / 2 if lines.header else 0)
    cells = []
    for index in range(panels):
        row, place = divmod(index, columns)
        x = round(margin + place * (column + gap))
        y = round(top + row * (_cell_text(spec, lines) + image_height + gap))
        title = Box(x, y, column, lines.title * line)
        image = Box(x, round(y + title.height + 0.2 * line), image_width, image_height)
        strip = Box(x, image.y + image_height + pixels(spec, 1.0), column, _strip_height(spec, lines))
        cells.append(Cell(column, title, image, strip))
    bottom = cells[-1].strip.y + cells[-1].strip.height
    footer = Box(margin, bottom + gap / 2, width - 2 * margin, lines.footer * line)
    height = math.ceil(footer.y + footer.height + margin)
    return Layout(width, height, columns, tuple(cells), header, footer)


def _strip_height(spec: FigureSpec, lines: Lines) -> float:
    return max(pixels(spec, BAR_MM) + 2.2 * line_pixels(spec), lines.strip * line_pixels(spec))


def _cell_text(spec: FigureSpec, lines: Lines) -> float:
    return (lines.title + 0.2) * line_pixels(spec) + pixels(spec, 1.0) + _strip_height(spec, lines)


def _fixed_height(spec: FigureSpec, rows: int, lines: Lines) -> float:
    text = (lines.header + lines.footer) * line_pixels(spec)
    return (
        text
        + rows * _cell_text(spec, lines)
        + (rows + 1) * pixels(spec, GAP_MM)
        + 2 * pixels(spec, MARGIN_MM)
        + 2 * rows
    )
