"""Figures from a specification: what is drawn, where, how large, and that the sidecar makes it again."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from napari_mitoxai import simulate
from napari_mitoxai.cli import main
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.store import MapGrid, create_store
from napari_mitoxai.figures import FigureSpec, block_mean
from napari_mitoxai.imc import write_labels, write_section
from napari_mitoxai.tasks import figure
from napari_mitoxai.tasks.figure_files import read_spec, write_spec
from napari_mitoxai.tasks.figure_inputs import Inputs

SIZE, SIDE = 192, 96
DPI = 100


def maps(path, section, *, strength=1.0, seed=0):
    """A signed map of two channels and an unsigned coarse one."""
    grid = np.indices((SIDE, SIDE)).sum(0) / SIDE - 1
    noise = np.random.default_rng(seed).normal(size=(2, SIDE, SIDE)) * 0.05
    planes = {"lrp": strength * (np.stack([grid, 0 * grid]) + noise), "cam": strength * np.abs(grid)[None]}
    methods = {
        "lrp": {"channels": ["NDUFB8", "SDHA"], "signed": True, "title": "LRP"},
        "cam": {"channels": ["all channels"], "signed": False, "title": "Grad-CAM"},
    }
    info = {
        "section": {"name": section, "path": section, "subject": section, "shape": [10, SIZE, SIZE], "notes": []},
        "checkpoint": {"architecture": "resnet18", "classes": ["control", "patient"], "patch_size": SIZE},
        "target": "patient", "target_class": "patient", "use_of_subject": "test", "area": None,
        "fingerprint": f"{section} {strength}",
    }  # fmt: skip
    store = create_store(path, MapGrid((SIDE, SIDE), 2, 1.0), methods, info)
    for name, values in planes.items():
        store.write_block(name, (0, 0), values.astype(np.float32))
    store.complete({"call": "patient", "probability": {"patient": 0.8, "control": 0.2}, "patches": 1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two sections with maps, fibres and a table of these; read only."""
    place = tmp_path_factory.mktemp("spec")
    tables = []
    for name, patient, strength in (("P01", True, 1.0), ("C01", False, 0.25)):
        made = simulate.section("complex_i_loss", patient, size=SIZE, seed=1)
        write_section(place / f"{name}.ome.tiff", made.counts, made.panel, pixel_size_um=1.0)
        write_labels(place / f"{name}_fibres.tiff", made.fibres)
        maps(place / f"{name}.ome.zarr", name, strength=strength)
        ids = np.unique(made.fibres)[1:]
        rng = np.random.default_rng(len(ids))
        status = np.where(ids % 2, "deficient", "normal")
        group = "patient" if patient else "control"
        mass, protein = rng.uniform(2, 9, len(ids)), rng.uniform(1, 5, len(ids))
        tables.append(
            pd.DataFrame(
                {
                    "section": name, "fibre": ids, "subject": name, "group": group, "VDAC1": mass, "VDAC1_z": 0.0,
                    "VDAC1_category": "Norm", "NDUFB8": protein, "NDUFB8_z": 0.0, "NDUFB8_status": status,
                    "NDUFB8_category": "Pos", "area": ids * 1.0,
                }
            )
        )  # fmt: skip
    pd.concat(tables).to_csv(place / "calls.csv", index=False)
    return place


def rows(folder, *names):
    return [
        {
            "section": str(folder / f"{name}.ome.tiff"),
            "maps": str(folder / f"{name}.ome.zarr"),
            "fibres": str(folder / f"{name}_fibres.tiff"),
            "table": str(folder / "calls.csv"),
        }
        for name in names or ("P01", "C01")
    ]


def spec(folder, *names, **changes):
    return FigureSpec.model_validate({"rows": rows(folder, *names), "dpi": DPI, **changes})


def drawn(wanted, dpi=None):
    """Its pixels, and its axes."""
    made = figure.draw(wanted)
    if dpi is not None:
        made.set_dpi(dpi)
    made.canvas.draw()
    return np.asarray(made.canvas.buffer_rgba())[..., :3].astype(int), made


def panel(pixels, made, number):
    """The pixels of the image with that number."""
    axes = [each for each in made.axes if each.get_xlim() != (0.0, 1.0)]
    box, high = axes[number].get_window_extent(), pixels.shape[0]
    return pixels[round(high - box.y1) : round(high - box.y0), round(box.x0) : round(box.x1)]


def typed(*arguments):
    """Type a command that ends well."""
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    assert not ended.value.code


EVERY = [
    "composite",
    {"show": "overlay", "method": "cam"},
    {"show": "map", "method": "lrp", "channel": "NDUFB8"},
    {"show": "merge", "method": "cam"},
    {"show": "fibres", "colour_by": "NDUFB8_status"},
    {"show": "fibres", "colour_by": "area"},
    {"show": "plot", "plot": "mito"},
]


def test_a_specification_and_its_sidecar_give_the_same_pixels(folder, tmp_path):
    content = {"rows": rows(folder), "panels": [*EVERY[:6], {**EVERY[6], "table": str(folder / "calls.csv")}]}
    content |= {"width_mm": 250, "dpi": DPI, "title": "Two subjects", "letters": "A"}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(content))
    typed("figure", tmp_path / "spec.yaml", "--out", tmp_path / "a.png")
    typed("figure", tmp_path / "a.json", "--out", tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as a, Image.open(tmp_path / "b.png") as b:
        assert a.width == round(250 / 25.4 * DPI)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    sidecar = json.loads((tmp_path / "a.json").read_text())
    assert sidecar["spec"]["percentile"] == 99.5  # another version may have another default
    assert len(sidecar["inputs"]) == 7  # two sections, stores and label images, and one table
    made = figure.draw(read_spec(tmp_path / "spec.yaml").spec)
    told = " ".join(text.get_text() for text in made.texts)
    for word in (
        "Two subjects",
        "calls P01 patient",
        "calls C01 patient",
        "LRP",
        "Grad-CAM",
        "N",
        "deficient (",
    ):
        assert word in told
    assert {"P01", "C01"} <= {text.get_text() for text in made.texts}  # the rows' labels
    svg = tmp_path / "c.svg"
    typed("figure", tmp_path / "spec.yaml", "--out", svg, "--title", "Another")
    assert "Another</text>" in svg.read_text()  # what is typed goes before the file


def test_rows_share_limits_or_not(folder):
    """The maps of C01 are a quarter as strong: with shared limits they are as much darker."""
    panels = [{"show": "map", "method": "cam"}]
    tissue = {}
    for shared in (True, False):
        pixels, made = drawn(spec(folder, panels=panels, shared_limits=shared, outlines=False))
        tissue[shared] = [panel(pixels, made, number).mean() for number in (0, 1)]
        ends = [text.get_text() for text in made.texts]
        assert [ends.count("0.93"), ends.count("0.23")] == ([2, 0] if shared else [1, 1])
    assert tissue[False][0] == pytest.approx(tissue[False][1], abs=0.5)
    assert tissue[True][1] < 0.5 * tissue[True][0]


def test_a_crop_shows_the_same_colours_at_the_same_place(folder):
    """Eight page pixels a section pixel, so that both figures show whole pixels."""
    width = SIZE * 4 / DPI * 25.4 + 3  # and the margins
    look = {
        "panels": ["composite"],
        "outlines": False,
        "width_mm": width,
        "max_height_mm": 900,
        "legend": False,
    }
    whole, of_whole = drawn(spec(folder, "P01", **look))
    cropped = spec(folder, "P01", **look)
    box = (48, 24, 96, 72)
    by_pixel = cropped.rows[0].model_copy(update={"crop_px": box})
    by_um = cropped.rows[0].model_copy(update={"crop_um": tuple(edge - 0.5 for edge in box)})
    first, of_first = drawn(cropped.model_copy(update={"rows": [by_pixel]}))
    second, _ = drawn(cropped.model_copy(update={"rows": [by_um]}))
    np.testing.assert_array_equal(first, second)
    large, small = panel(whole, of_whole, 0), panel(first, of_first, 0)
    assert large.shape == (SIZE * 4, SIZE * 4, 3)
    assert small.shape == large.shape
    ours = small[8::16, 8::16][:, :40]  # one look into each section pixel, left of the scale bar
    theirs = large[24 * 4 + 2 : 72 * 4 : 4, 48 * 4 + 2 : 96 * 4 : 4][:, :40]
    np.testing.assert_array_equal(ours[:40], theirs[:40])


@pytest.mark.parametrize(("crop", "told"), [((0, 0, 100, 50), "20 µm"), (None, "20 µm")])
def test_the_scale_bar_is_right_to_the_pixel(folder, crop, told):
    wanted = spec(folder, "C01", panels=["composite"], scale_bar_um=20, outlines=False, percentile=100)
    row = wanted.rows[0].model_copy(update={"crop_um": crop})
    pixels, made = drawn(wanted.model_copy(update={"rows": [row], "dpi": 300}))
    image = panel(pixels, made, 0)
    shown = crop[2] if crop else SIZE
    row_of_bar = image[-round(1.15 / 25.4 * 300)]
    white = (row_of_bar == 255).all(1)
    assert any(text.get_text() == told for axes in made.axes for text in axes.texts)
    assert abs(int(white.sum()) - 20 / shown * image.shape[1]) <= 1


def test_text_and_layout_scale_with_the_figure(folder):
    """Twice the resolution is the same figure in twice as many pixels; the preview is the figure at another one."""
    wanted = spec(folder, panels=EVERY[:3], width_mm=120)
    once, made = drawn(wanted)
    twice, finer = drawn(wanted.model_copy(update={"dpi": 2 * DPI}))
    assert abs(twice.shape[0] - 2 * once.shape[0]) <= 12  # rows start on whole pixels
    for small, large in zip(made.texts, finer.texts, strict=True):
        assert small.get_text() == large.get_text()
        ratio = large.get_window_extent().height / small.get_window_extent().height
        assert ratio == pytest.approx(2, abs=0.35)  # glyphs lie on whole pixels
    preview, _ = drawn(wanted.model_copy(update={"dpi": 2 * DPI}), dpi=DPI)
    smooth = [block_mean(image, side)[:50, :50] for image, side in ((twice, 16), (preview, 8))]
    assert np.abs(smooth[0] - smooth[1]).mean() < 4


def test_given_limits_and_colours_are_taken(folder):
    wanted = spec(folder, "P01", panels=[{"show": "composite", "channels": ["NDUFB8"]}], outlines=False)
    row = wanted.rows[0].model_copy(update={"limits": {"NDUFB8": (0.0, 1e9)}})
    dark, made = drawn(wanted.model_copy(update={"rows": [row]}))
    assert panel(dark, made, 0)[:60].max() == 0
    red, made = drawn(wanted.model_copy(update={"channel_colours": {"NDUFB8": "#ff0000"}}))
    assert panel(red, made, 0)[:60, :, 1:].max() == 0
    assert panel(red, made, 0)[:60, :, 0].max() > 200


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"panels": [{"show": "overlay", "method": "xrai"}]}, "has no map by xrai"),
        ({"panels": [{"show": "map", "method": "lrp", "channel": "MYH7"}]}, "has no channel MYH7"),
        ({"panels": [{"show": "fibres", "colour_by": "COX"}]}, "has no column COX"),
        (
            {"panels": [{"show": "plot", "plot": "mito", "table": "calls.csv", "protein": "SDHA"}]},
            "no calls of SDHA",
        ),
        (
            {"panels": [{"show": "plot", "plot": "agreement", "table": "calls.csv"}]},
            "has no column .*method_a",
        ),
        ({"panels": [{"show": "plot", "plot": "training", "table": "none.csv"}]}, "none.csv is not there"),
        ({"methods": ["smooth"]}, "has no map by smooth"),
        ({"font": "Nonesuch"}, "font Nonesuch is not installed"),
    ],
)
def test_what_is_not_there_is_named(folder, changes, sentence):
    for each in changes.get("panels", []):
        if "table" in each:
            each["table"] = str(folder / each["table"])
    with pytest.raises(MitoxaiError, match=sentence):
        figure.draw(spec(folder, "P01", **changes))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "cannot be read as YAML"),
        ("width_mm: 90", "it needs rows"),
        ("rows: []", "Rows: "),
        ("rows: [{section: a, surprise: 1}]", "Rows: "),
        ("rows: [{section: a, crop_um: [5, 0, 1, 1]}]", "right and bottom are the larger ones"),
        ("rows: [{section: a}]\npanels: [overlay]", "needs a method"),
        ("rows: [{section: a}]\nbelow: [composite]", "plots only"),
        ("rows: [{section: a}]\nbackground: nocolour", "no colour"),
    ],
)
def test_a_wrong_specification_is_told_in_a_sentence(tmp_path, text, sentence):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(MitoxaiError, match=sentence):
        figure.run(figure.FigureParameters(section=tmp_path / "s.yaml", out=tmp_path / "f.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_a_specification_is_kept_and_read_again(folder, tmp_path):
    wanted = spec(folder, panels=EVERY[:5], width_mm=85, scale_bar_um=50)
    write_spec(wanted, tmp_path / "kept.yaml")
    assert read_spec(tmp_path / "kept.yaml").spec == wanted
    assert str(tmp_path) not in (tmp_path / "kept.yaml").read_text()


def test_what_was_read_is_kept_until_the_file_changes(folder, tmp_path, monkeypatch):
    import shutil

    from napari_mitoxai.imc import Section

    place = shutil.copytree(folder, tmp_path / "copy")
    inputs, wanted = Inputs(), spec(place, "P01", panels=["composite"])
    figure.draw(wanted, inputs)
    with monkeypatch.context() as patch:
        patch.setattr(Section, "read_reduced", lambda *_, **__: pytest.fail("read again"))
        figure.draw(wanted, inputs)
    made = simulate.section("complex_i_loss", True, size=SIZE, seed=9)
    write_section(place / "P01.ome.tiff", made.counts, made.panel, pixel_size_um=1.0, overwrite=True)
    again = figure.draw(wanted, inputs)
    other = figure.draw(wanted)
    for each in (again, other):
        each.canvas.draw()
    np.testing.assert_array_equal(again.canvas.buffer_rgba(), other.canvas.buffer_rgba())


def test_maps_without_belief_are_marked_and_scores_are_written(folder, tmp_path):
    import shutil

    from napari_mitoxai.trust.recorded import FAILS, RecordedScore, record_scores

    place = shutil.copytree(folder, tmp_path / "copy")
    wanted = spec(place, "P01", panels=EVERY[1:3], scores=["deletion"])
    _, made = drawn(wanted)
    assert FAILS not in {text.get_text() for text in made.texts}
    files = figure.save_spec(wanted, [tmp_path / "a.png"])
    score = RecordedScore("deletion", 0.41, 0.35, 0.48, 12, 0, "lower")
    record_scores(place / "P01.ome.zarr", "lrp", [score], fails_sanity=True)
    _, made = drawn(wanted)
    told = [text.get_text() for text in made.texts]
    assert told.count(FAILS) == 1
    assert "deletion 0.41 (0.35 to 0.48), 12 patches" in " ".join(told)
    assert "deletion: not computed" in told
    with pytest.raises(MitoxaiError, match=r"changed since a\.json"):
        figure.run(figure.FigureParameters(section=files[-1], out=tmp_path / "b.png"))
