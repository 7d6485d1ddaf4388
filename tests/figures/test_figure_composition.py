import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.figures import (
    ROLE_COLOURS,
    ChannelImage,
    Extent,
    FigureLook,
    FigureRow,
    MapCell,
    PictureCell,
    compose,
    composite,
    outlines,
)
from napari_mitoxai.figures.layout import Box, Line, arrange, choose_columns

SMALL = FigureLook(width_mm=120, dpi=150)


def section(height=200, width=160, *, counts=0.0, labels=None, pixel=1.0):
    channels = [ChannelImage(name, name, np.full((height, width), counts)) for name in list(ROLE_COLOURS)[:3]]
    colours = composite(channels)
    polygons = [] if labels is None else outlines(labels, pixel)
    extent = Extent.of((height, width), pixel)
    cell = PictureCell("S1: section", colours.image, colours.legend)
    return FigureRow("S1", extent, np.zeros((height, width)), extent, [cell], polygons)


def with_maps(row, maps, verdict=""):
    return replace(row, cells=[*row.cells, *maps], verdict=verdict)


def one(row, maps, *, verdict="", spec=None):
    """A figure of one section and its maps."""
    return compose([with_maps(row, maps, verdict)], spec)


def a_map(values, *, signed=True, title="LRP", pixel=1.0):
    return MapCell(title, values, Extent.of(values.shape, pixel), signed=signed)


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def panels(figure):
    """The image axes as boxes in pixels, y down, in reading order."""
    high = figure.bbox.height
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.get_xlim() not in {(0.0, 1.0)}]
    return [Box(round(box.x0), round(high - box.y1), round(box.width), round(box.height)) for box in boxes]


def inside(image, box):
    return image[box.y : box.y + box.height, box.x : box.x + box.width]


def test_the_page_is_exact_to_the_pixel():
    for width, dpi in [(180, 300), (85, 300), (180, 600), (120, 150), (90.5, 97)]:
        figure = one(section(), [a_map(np.ones((200, 160)))], spec=FigureLook(width_mm=width, dpi=dpi))
        assert pixels(figure).shape[1] == round(width / 25.4 * dpi)
        assert figure.dpi == dpi


def test_panels_have_the_aspect_of_the_section_and_one_size():
    for height, width in [(300, 100), (100, 300), (200, 200)]:
        figure = one(section(height, width), [a_map(np.ones((height, width)))] * 3, spec=SMALL)
        boxes = panels(figure)
        assert len(boxes) == 4
        assert len({(box.width, box.height) for box in boxes}) == 1
        assert boxes[0].height / boxes[0].width == pytest.approx(height / width, rel=0.01)


@pytest.mark.parametrize("aspect", [0.1, 0.4, 1.0, 1.6, 3.0, 10.0])
@pytest.mark.parametrize("count", range(2, 8))
def test_every_layout_stays_on_its_page(aspect, count):
    look = FigureLook()
    line = Line(count, count, aspect, title=2, strip=3)
    columns = choose_columns(look, line, count, 5)
    lines = [
        replace(line, cells=min(columns, count - first), columns=columns)
        for first in range(0, count, columns)
    ]
    layout = arrange(look, lines, header=3, footer=2)
    assert layout.height <= look.max_height_mm / 25.4 * look.dpi + 2
    assert len(layout.cells) == count
    for cell in layout.cells:
        assert cell.image.x + max(cell.image.width, cell.width) <= layout.width
        assert cell.image.width >= 100


def test_the_scale_bar_is_as_long_as_it_says():
    figure = one(section(400, 500, pixel=2.0), [a_map(np.zeros((400, 500)), pixel=2.0)], spec=SMALL)
    image, box = pixels(figure), panels(figure)[0]
    assert any(text.get_text() == "200 µm" for text in figure.axes[0].texts)
    white = (inside(image, box) == 255).all(axis=2)
    longest = max(
        np.diff(np.flatnonzero(np.diff(np.r_[0, row, 0]))).max(initial=0) for row in white.astype(int)
    )
    assert abs(longest - 200 / 1000 * box.width) <= 1


def test_a_given_scale_bar_is_kept():
    figure = one(section(), [a_map(np.zeros((200, 160)))], spec=SMALL.model_copy(update={"scale_bar_um": 25}))
    assert any(text.get_text() == "25 µm" for text in figure.axes[0].texts)


def test_hot_spots_appear_in_their_colours_at_their_places():
    values = np.zeros((200, 160))
    values[20:40, 30:50], values[100:120, 90:110] = 3.0, -3.0
    figure = one(section(), [a_map(values)], spec=SMALL)
    image, box = pixels(figure), panels(figure)[1]
    scale = box.width / 160
    red, green, blue = inside(image, box)[round(30 * scale), round(40 * scale)]
    assert red > green > blue
    assert red > 200
    red, green, blue = inside(image, box)[round(110 * scale), round(100 * scale)]
    assert blue > green > red
    assert blue > 200
    assert inside(image, box)[round(60 * scale), round(60 * scale)].max() == 0


def test_a_coarse_map_lies_where_its_extent_says():
    values = np.zeros((6, 5))
    values[2, 3] = 1.0
    coarse = MapCell("Grad-CAM", values, Extent.of(values.shape, 32.0, (15.5, 15.5)), signed=False)
    image, box = (figure := one(section(), [coarse], spec=SMALL)) and pixels(figure), panels(figure)[1]
    bright = inside(image, box).sum(axis=2) > 300
    bright[-40:, -120:] = False  # the scale bar
    rows, columns = np.nonzero(bright)
    scale = box.width / 160
    assert (rows.min(), rows.max() + 1) == pytest.approx((64 * scale, 96 * scale), abs=1.5)
    assert (columns.min(), columns.max() + 1) == pytest.approx((96 * scale, 128 * scale), abs=1.5)


def test_outlines_lie_on_the_fibre():
    labels = np.zeros((200, 160), np.int32)
    labels[50:100, 40:90] = 1
    with_lines = one(section(labels=labels), [a_map(np.zeros((200, 160)))], spec=SMALL)
    image, box = pixels(with_lines), panels(with_lines)[0]
    drawn = inside(image, box).sum(axis=2) > 60
    drawn[-40:, -120:] = False
    rows, columns = np.nonzero(drawn)
    scale = box.width / 160
    assert (rows.min(), rows.max()) == pytest.approx((50 * scale, 100 * scale), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((40 * scale, 90 * scale), abs=2)
    without = one(
        section(labels=labels),
        [a_map(np.zeros((200, 160)))],
        spec=SMALL.model_copy(update={"outlines": False}),
    )
    assert not (inside(pixels(without), box).sum(axis=2)[: round(150 * scale)]).any()


def test_signed_bars_are_symmetric_and_tell_the_percentile():
    values = np.linspace(-4, 2, 200 * 160).reshape(200, 160)
    figure = one(
        section(), [a_map(values), a_map(values, signed=False)], spec=FigureLook(percentile=100, width_mm=100)
    )
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("−4") == 1
    assert texts.count("4") == 2
    assert any("100th percentile" in text for text in texts)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    "values",
    [np.zeros((200, 160)), np.full((200, 160), np.nan), np.full((200, 160), 5.0), np.full((200, 160), -5.0)],
)
def test_empty_and_constant_maps_are_drawn(values, signed):
    figure = one(section(), [a_map(values, signed=signed)], spec=SMALL)
    texts = [text.get_text() for text in figure.texts]
    assert ("the map is 0 everywhere" in texts) == (not np.nan_to_num(values).any())
    assert np.isfinite(pixels(figure)).all()


def test_large_maps_are_averaged_not_sampled():
    # a checkerboard of +1 and -1 is nothing on average; sampling would show stripes
    values = np.where(np.indices((4000, 3200)).sum(axis=0) % 2, 1.0, -1.0)
    values[:400, :400] = 0.5
    figure = one(section(4000, 3200), [a_map(values)], spec=SMALL)
    box = panels(figure)[1]
    shown = inside(pixels(figure), box)
    assert shown[box.height // 2, box.width // 4 : box.width // 2].max() < 40
    assert shown[5, 5].max() > 200


@pytest.mark.parametrize(("height", "width"), [(300, 120), (120, 300), (200, 200)])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_no_text_is_cut_or_overlaps(height, width, count):
    values = np.linspace(-1e-5, 1e-5, height * width).reshape(height, width)
    titles = [
        "Grad-CAM",
        "Integrated gradients (32 steps, baseline of zeros), smoothed over many noisy copies",
        "LRP",
    ]
    maps = [a_map(values, title=titles[index % 3]) for index in range(count)]
    spec = FigureLook(width_mm=180, dpi=100, title="A cohort of simulated sections")
    figure = one(section(height, width), maps, verdict="Model: P02 is called patient. " * 8, spec=spec)
    figure.canvas.draw()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    boxes = [text.get_window_extent() for text in texts]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    for index, box in enumerate(boxes):
        for other, text in zip(boxes[:index], texts[:index], strict=True):
            apart = (
                box.x0 >= other.x1 or other.x0 >= box.x1 or box.y0 >= other.y1 - 1 or other.y0 >= box.y1 - 1
            )
            assert apart, (texts[index].get_text(), text.get_text())


def test_the_same_input_gives_the_same_pixels():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(200, 160))
    first, second = (pixels(one(section(), [a_map(values)], verdict="v", spec=SMALL)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_dark_pages_have_light_text():
    figure = one(section(), [a_map(np.ones((200, 160)))], verdict="v", spec=FigureLook(background="black"))
    assert figure.texts[0].get_color() == "white"


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(MitoxaiError, match="at least one panel"):
        compose([])
    with pytest.raises(MitoxaiError, match=r"not \(Y, X\)"):
        one(section(), [a_map(np.zeros((3, 5, 5)))])
    with pytest.raises(MitoxaiError, match="too many"):
        one(section(), [a_map(np.zeros((5, 5)))] * 26)
    with pytest.raises(MitoxaiError, match="longer than the 160 µm"):
        one(section(), [], spec=FigureLook(scale_bar_um=200))
    with pytest.raises(MitoxaiError, match="font Nonesuch is not installed"):
        one(section(), [], spec=FigureLook(font="Nonesuch"))


def test_importing_the_room_does_not_import_matplotlib():
    code = (
        "import sys, napari_mitoxai.figures; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
