"""The parts of a figure, drawn with matplotlib's objects; pyplot has global state and stays out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures import scales
from napari_mitoxai.figures.cells import Align, Extent, LegendEntry
from napari_mitoxai.figures.layout import BAR_MM, PT_PER_INCH, Box, Layout, line_pixels, pixels
from napari_mitoxai.figures.spec import FigureLook

# Against is blue, for is orange: told apart by every eye, and dark at 0 as the tissue below is, so that the
# opacity rule does not shift the hues.
SIGNED = LinearSegmentedColormap.from_list(
    "mitoxai_signed", [(0, "#b5e2ff"), (0.22, "#3f9df2"), (0.5, "#141414"), (0.78, "#f0641e"), (1, "#ffdc8c")]
)
GROUND = 0.42  # brightness of the section under a map
JET_OPACITY = 0.5
_HINTED = 1.03  # letters on whole pixels are up to this much wider than their outlines
_LINE_SHARE = 0.05  # of a fibre's width on the page, so that outlines do not fill small panels
_FINEST_PT, _WIDEST_PT = 0.05, 0.3
WARNING = "#d55e00"  # Okabe and Ito's vermilion


def unsigned() -> Colormap:
    """The perceptually even map of unsigned values."""
    import matplotlib

    return matplotlib.colormaps["inferno"]


@dataclass(frozen=True)
class Page:
    """A figure in the making."""

    figure: Figure
    look: FigureLook
    layout: Layout

    def axes(self, box: Box) -> Axes:
        """Axes on a box, with nothing drawn but what is put into them."""
        width, height = self.layout.width, self.layout.height
        axes = self.figure.add_axes(
            (box.x / width, 1 - (box.y + box.height) / height, box.width / width, box.height / height)
        )
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        room: float = np.inf,
        lines: int = 1,
        align: Align = "left",
        bold: bool = False,
        colour: str | None = None,
        size: float = 1.0,
        low: bool = False,
    ) -> None:
        """Write a text into `room` pixels, wrapped to at most `lines` lines and, if need be, cut.

        (x, y) is the top of the first of all `lines`; with `low`, a shorter text stands on the last of them.
        """
        properties = self.font(size, bold=bold)
        step = size * line_pixels(self.look)
        wrapped = wrap(self.figure, text, room, lines, properties)
        for index, shown in enumerate(wrapped, start=lines - len(wrapped) if low else 0):
            # placed by baselines: the box of a text depends on its letters
            baseline = y + (index + 0.78) * step
            self.figure.text(
                x / self.layout.width,
                1 - baseline / self.layout.height,
                shown,
                fontproperties=properties,
                ha=align,
                va="baseline",
                color=colour or ink(self.look.background),
                parse_math=False,
            )

    def font(self, size: float = 1.0, *, bold: bool = False) -> FontProperties:
        """The figure's font, `size` times as large as its text."""
        return font(self.look, size, bold=bold)


def font(look: FigureLook, size: float = 1.0, *, bold: bool = False) -> FontProperties:
    """The figure's font, `size` times as large as its text."""
    return FontProperties(family=look.font, size=look.font_pt * size, weight="bold" if bold else "normal")


def ink(background: str) -> str:
    """Black or white, whichever is read better on a background."""
    from matplotlib.colors import to_rgb

    return "black" if float(np.dot(to_rgb(background), (0.299, 0.587, 0.114))) > 0.5 else "white"


def refuse_font(name: str) -> None:
    """Raise if a font is not installed: another one in its place would give another figure.

    Raises
    ------
    MitoxaiError
        If it is not.
    """
    from matplotlib.font_manager import findfont

    try:
        findfont(name, fallback_to_default=False)
    except ValueError as error:
        raise MitoxaiError(
            f"The font {name} is not installed on this machine: choose another one, such as DejaVu Sans."
        ) from error


def text_width(figure: Figure, text: str, properties: FontProperties) -> float:
    """Room for one line of text in pixels, by its outlines: so that lines break at the same places whatever the resolution."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, properties, ismath=False)
    return float(width) * figure.dpi / PT_PER_INCH * _HINTED


def wrap(figure: Figure, text: str, room: float, lines: int, properties: FontProperties) -> list[str]:
    """Break a text into at most `lines` lines of at most `room` pixels; the rest becomes an ellipsis."""
    result: list[str] = []
    words = text.split()
    while words:
        if len(result) == lines - 1:
            result.append(_cut(figure, " ".join(words), room, properties))
            break
        taken = 1
        while taken < len(words) and text_width(figure, " ".join(words[: taken + 1]), properties) <= room:
            taken += 1
        result.append(_cut(figure, " ".join(words[:taken]), room, properties))
        words = words[taken:]
    return result


def _cut(figure: Figure, text: str, room: float, properties: FontProperties) -> str:
    if text_width(figure, text, properties) <= room:
        return text
    while text and text_width(figure, text + "…", properties) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def image_axes(page: Page, box: Box, extent: Extent) -> Axes:
    """Axes of a panel: black, in um, y down."""
    axes = page.axes(box)
    axes.set_facecolor("black")
    axes.set_xlim(extent.left, extent.right)
    axes.set_ylim(extent.bottom, extent.top)
    return axes


def shrunk(axes: Axes, image: NDArray[np.floating], extent: Extent) -> tuple[NDArray[np.float32], Extent]:
    """Average an image down to no more pixels than its axes show, and say where the result lies.

    The last blocks may reach over the edge; the axes cut them.
    """
    left, right = axes.get_xlim()
    shown = axes.get_window_extent().width * extent.width / (right - left)
    height, width = image.shape[:2]
    factor = scales.block_factor(width, round(shown))
    small = scales.block_mean(image, factor)
    wide, high = (
        extent.width / width * factor * small.shape[1],
        extent.height / height * factor * small.shape[0],
    )
    return small, Extent(extent.left, extent.top, extent.left + wide, extent.top + high)


def draw_image(axes: Axes, image: NDArray[np.floating], extent: Extent) -> None:
    """Draw RGB or RGBA (Y, X, 3 or 4) in 0..1 where it lies, without moving the axes."""
    limits = (*axes.get_xlim(), *axes.get_ylim())
    coloured = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    place = (extent.left, extent.right, extent.bottom, extent.top)
    axes.imshow(coloured, extent=place, aspect="auto", interpolation="antialiased")
    axes.axis(limits)


def draw_fibres(axes: Axes, polygons: Sequence[NDArray[np.floating]], colours: NDArray[np.floating]) -> None:
    """Fill fibres, as vectors."""
    axes.add_collection(
        PolyCollection(list(polygons), facecolors=colours, edgecolors="white", linewidths=0.15), autolim=False
    )


def draw_outlines(axes: Axes, polygons: Sequence[NDArray[np.floating]], *, faint: bool) -> None:
    """Draw fibre outlines as vectors, finer where fibres are small on the page."""
    if not polygons:
        return
    left, right = axes.get_xlim()
    inches = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted()).width
    pt_per_um = PT_PER_INCH * inches / (right - left)
    fibre_pt = float(np.median([np.ptp(polygon, axis=0).min() for polygon in polygons])) * pt_per_um
    wide = float(np.clip(_LINE_SHARE * fibre_pt, _FINEST_PT, _WIDEST_PT))
    axes.add_collection(
        LineCollection(
            list(polygons),
            colors="white",
            linewidths=wide * (0.7 if faint else 1.0),
            alpha=0.45 if faint else 0.85,
        ),
        autolim=False,
    )


def draw_scale_bar(page: Page, axes: Axes, box: Box, extent: Extent) -> None:
    """A bar and its length in the lower right corner, on a dark plate so that it is read on any tissue."""
    look = page.look
    length = look.scale_bar_um or scales.nice_length(extent.width)
    if length > extent.width:
        raise MitoxaiError(
            f"The scale bar of {length:g} µm is longer than the {extent.width:g} µm that a panel shows: give a shorter one."
        )
    um = extent.width / box.width  # um a pixel
    thick, pad = max(2, round(pixels(look, 0.5))), round(pixels(look, 0.9))
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    small = page.font(0.9)
    text = text_width(page.figure, label, small)
    line = 0.9 * line_pixels(look)
    wide = max(round(length / um), text)
    plate = (box.width - wide - 2 * pad, box.height - line - thick - 2 * pad)
    centre = box.width - pad - wide / 2
    left = round(centre - length / um / 2)

    def um_of(x: float, y: float) -> tuple[float, float]:
        return extent.left + x * um, extent.top + y * um

    axes.add_patch(
        Rectangle(
            um_of(*plate),
            (wide + 2 * pad) * um,
            (line + thick + 2 * pad) * um,
            color="black",
            alpha=0.6,
            lw=0,
        )
    )
    axes.add_patch(Rectangle(um_of(left, box.height - pad - thick), length, thick * um, color="white", lw=0))
    axes.text(
        *um_of(centre, box.height - pad - thick - 0.15 * line),
        label,
        color="white",
        ha="center",
        va="bottom",
        fontproperties=small,
        parse_math=False,
    )


def map_colours(
    parts: NDArray[np.floating], *, signed: bool, jet: bool = False, alone: bool = False
) -> NDArray[np.float32]:
    """RGBA (Y, X, 4) of a map given in parts of its limit.

    Parameters
    ----------
    parts : ndarray
        -1..1 of a signed map, 0..1 of an unsigned one.
    signed : bool
    jet : bool
        In jet, which covers by half everywhere, as papers show Grad-CAM.
    alone : bool
        Opaque.
    """
    if jet:
        import matplotlib

        colours = matplotlib.colormaps["jet"]((parts + 1) / 2 if signed else parts)
    else:
        colours = SIGNED((parts + 1) / 2) if signed else unsigned()(parts)
    rgba = np.asarray(colours, dtype=np.float32)
    rgba[..., 3] = 1.0 if alone else JET_OPACITY if jet else scales.opacity(parts)
    return rgba


def added_in_blue(
    ground: NDArray[np.floating], extent: Extent, parts: NDArray[np.floating], of: Extent
) -> NDArray[np.float32]:
    """A map's positive parts (Y, X) as the blue of an RGB image (Y, X, 3), taken where the image's pixels lie."""
    height, width = ground.shape[:2]
    y = extent.top + (np.arange(height) + 0.5) * extent.height / height
    x = extent.left + (np.arange(width) + 0.5) * extent.width / width
    rows = np.floor((y - of.top) / of.height * parts.shape[0]).astype(int)
    columns = np.floor((x - of.left) / of.width * parts.shape[1]).astype(int)
    known = ((rows >= 0) & (rows < parts.shape[0]))[:, None] & ((columns >= 0) & (columns < parts.shape[1]))
    taken = parts[np.ix_(rows.clip(0, parts.shape[0] - 1), columns.clip(0, parts.shape[1] - 1))]
    image = np.array(ground, dtype=np.float32)
    image[..., 2] += np.where(known, np.clip(taken, 0, 1), 0)
    return np.clip(image, 0, 1, out=image)


def draw_colour_bar(
    page: Page,
    box: Box,
    width: float,
    ends: tuple[float, float],
    labels: Sequence[str],
    rgba: NDArray[np.float32],
) -> None:
    """A bar of colours (N, 4) as they are drawn, on black, with its end values and, in lines, what it measures."""
    look, line = page.look, line_pixels(page.look)
    low, high = ends
    tall = round(pixels(look, BAR_MM))
    bar = page.axes(Box(box.x, round(box.y), width, tall))
    shown = (rgba[:, :3] * rgba[:, 3:])[None]
    bar.imshow(shown, aspect="auto", extent=(0, 1, 0, 1), interpolation="nearest")
    y = box.y + tall + 0.2 * line
    ticks: list[tuple[float, float, Align]] = [(0.0, low, "left"), (1.0, high, "right")]
    longest = text_width(page.figure, scales.number(low), page.font(0.9))
    if low == -high and 2.5 * longest + line < width:
        ticks.append((0.5, 0.0, "center"))
    for place, value, align in ticks:
        page.text(box.x + place * width, y, scales.number(value), align=align, size=0.9)
    for index, label in enumerate(labels):
        page.text(box.x, y + (0.95 + 0.9 * index) * line, label, size=0.9)


def legend_lines(entries: int) -> int:
    """Lines of a legend: one below the other, beyond three in two columns."""
    return entries if entries <= 3 else -(-entries // 2)


def draw_legend(page: Page, box: Box, legend: Sequence[LegendEntry]) -> None:
    """What colours mean."""
    line = line_pixels(page.look)
    rows = legend_lines(len(legend))
    columns = -(-len(legend) // max(rows, 1))
    side = 0.62 * line
    for index, entry in enumerate(legend):
        column, row = divmod(index, rows)
        x, y = box.x + column * box.width / columns, box.y + row * line
        swatch = page.axes(Box(round(x), round(y + 0.12 * line), round(side), round(side)))
        swatch.set_facecolor(entry.colour)
        page.text(x + 1.5 * side, y + 0.05 * line, entry.name, room=box.width / columns - 2 * side, size=0.9)
