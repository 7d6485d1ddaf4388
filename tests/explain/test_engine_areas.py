"""Parts of a section: where they are explained, their maps are those of the whole section."""

import numpy as np
import pytest
from small_sections import Blocks, checkpoint_of, explain_section, section_of, tissue

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import engine, fibres, polygons, rectangle
from napari_mitoxai.explain.area import Area

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (3, 320, 352)
METHODS = ["grad_cam", "input_x_gradient"]


@pytest.fixture(scope="module")
def section():
    return section_of(tissue(*SHAPE[1:]))


@pytest.fixture(scope="module")
def checkpoint():
    return checkpoint_of(patch=64, target=32)


@pytest.fixture(scope="module")
def whole(section, checkpoint, tmp_path_factory):
    return explain_section(section, checkpoint, METHODS, tmp_path_factory.mktemp("maps") / "m.ome.zarr")


def labels():
    image = np.zeros(SHAPE[1:], np.int32)
    image[10:60, 200:230], image[150:170, 20:90], image[5:9, 5:9] = 4, 7, 9
    return image


AREAS = {
    "rectangle": rectangle((37, 91), (250, 10_000), SHAPE),
    "shapes": polygons([[(10, 10), (80, 10), (10, 80)], [(200, 300), (260, 300), (260, 340)]], SHAPE),
    "fibres": fibres(labels(), [4, 7], SHAPE),
}


@pytest.mark.parametrize("kind", AREAS)
def test_inside_the_maps_are_those_of_the_whole_section_and_outside_there_is_nothing(
    section, checkpoint, whole, tmp_path, kind
):
    area = AREAS[kind]
    part = explain_section(section, checkpoint, METHODS, tmp_path / "m.ome.zarr", area=area)
    mask = np.zeros(SHAPE[1:], bool)
    y, x = area.origin
    mask[y : y + area.mask.shape[0], x : x + area.mask.shape[1]] = area.mask
    inside = mask.reshape(160, 2, 176, 2).any((1, 3))
    for name in METHODS:
        one, other = whole.read(name), part.read(name)
        np.testing.assert_allclose(other[:, inside], one[:, inside], rtol=1e-3, atol=1e-4 * np.abs(one).max())
        assert not other[:, ~inside].any()
        assert other[:, inside].any()
    assert len(part.patch_probabilities()) < len(whole.patch_probabilities())
    assert part.info["area"]["kind"] == area.kind
    assert whole.info["area"] is None


def test_two_areas_are_two_requests(section, checkpoint, tmp_path):
    described = [area.describe() for area in AREAS.values()]
    assert len({str(one) for one in described}) == 3
    other = labels()
    other[20, 210] = 0
    assert fibres(other, [4, 7], SHAPE).describe() != AREAS["fibres"].describe()


@pytest.mark.parametrize("reduction", [1, 3])
def test_an_area_on_the_grid_of_a_map(reduction):
    mask = np.random.default_rng(0).random((13, 11)) > 0.9
    area = Area("shape", (7, 4), mask)
    whole = np.zeros((60, 60), bool)
    whole[7:20, 4:15] = mask
    expected = whole.reshape(60 // reduction, reduction, 60 // reduction, reduction).any((1, 3))
    for y, x in ((slice(0, 20), slice(0, 20)), (slice(2, 9), slice(3, 4)), (slice(4, 6), slice(0, 7))):
        np.testing.assert_array_equal(area.on_grid(y, x, reduction), expected[y, x])
    assert area.touches((0, 0), 30)
    assert not area.touches((20, 15), 30)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: rectangle((400, 500), (0, 10), SHAPE), "are not on the section, which is 352 x 320 px"),
        (lambda: polygons([], SHAPE), "holds no pixel"),
        (lambda: polygons([[(900, 900), (910, 900), (910, 910)]], SHAPE), "are not on the section"),
        (lambda: fibres(labels()[:50], [4], SHAPE), "The fibres are of a picture of 352 x 50 px"),
        (lambda: fibres(labels(), [4, 5], SHAPE), "There is no fibre 5"),
        (lambda: fibres(np.zeros(SHAPE[1:], int), [], SHAPE), "hold no fibre"),
    ],
)
def test_areas_that_are_none(make, sentence):
    with pytest.raises(MitoxaiError, match=sentence):
        make()


def test_a_part_without_tissue_is_refused(checkpoint, tmp_path):
    counts = np.zeros(SHAPE, np.uint16)
    counts[:, :160] = tissue(160, SHAPE[2])
    area = rectangle((300, 320), (0, 60), SHAPE)
    with pytest.raises(MitoxaiError, match="There is no tissue in this part of S"):
        explain_section(section_of(counts), checkpoint, METHODS, tmp_path / "m.ome.zarr", area=area)
    assert list(tmp_path.iterdir()) == []


class Looking(Blocks):
    """Looks at a place, and elsewhere after some blocks."""

    def __init__(self, *places):
        super().__init__()
        self.places = list(places)

    def view(self):
        return self.places[0] if len(self.places) == 1 or len(self.regions) < 1 else self.places[-1]


def test_what_is_on_the_screen_comes_first_and_panning_moves_it(section, whole, tmp_path):
    checkpoint = checkpoint_of(patch=64, target=64)
    far = (slice(256, 320), slice(256, 352))
    near = (slice(256, 320), slice(0, 128))
    orders = {}
    for name, watcher in (("none", Blocks()), ("far", Looking(far)), ("moving", Looking(far, near))):
        store = explain_section(
            section, checkpoint, METHODS, tmp_path / f"{name}.ome.zarr", watcher=watcher, batch_size=2
        )
        orders[name] = [(y.start, x.start) for (y, x), _ in watcher.regions]
        if name == "none":
            expected = store.read("input_x_gradient")
        else:  # the order changes nothing
            np.testing.assert_allclose(
                store.read("input_x_gradient"), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
            )
    assert orders["none"][0] == (0, 0)
    assert orders["far"][0] == (256, 256)
    assert orders["moving"][0] == (256, 256)
    assert orders["moving"].index((256, 0)) < orders["far"].index((256, 0))
    assert sorted(orders["far"]) == sorted(orders["none"])


def test_something_is_seen_before_all_the_tissue_is_found(section, whole, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_LARGE", 0)
    watcher, seen = Looking((slice(100, 300), slice(100, 300))), []
    find = engine.tissue_mask

    def late(*given):
        seen.extend(watcher.previews)
        assert not watcher.regions
        return find(*given)

    monkeypatch.setattr(engine, "tissue_mask", late)
    store = explain_section(section, checkpoint, METHODS, tmp_path / "m.ome.zarr", watcher=watcher)
    assert len(watcher.stores) == 1
    assert set(seen[0][1]) == set(METHODS)
    shown = [maps["input_x_gradient"] for _, maps in seen]
    assert sum(np.count_nonzero(values.any(0)) for values in shown) == 32 * 32  # a patch, in map pixels
    for name in METHODS:
        np.testing.assert_allclose(store.read(name), whole.read(name), rtol=1e-3, atol=1e-6)


def test_nothing_is_left_where_all_the_tissue_is_not_found_after_all(
    section, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr(engine, "_LARGE", 0)
    monkeypatch.setattr(engine, "tissue_mask", lambda *_: np.zeros((20, 22), bool))
    watcher = Looking((slice(100, 300), slice(100, 300)))
    with pytest.raises(MitoxaiError, match="has no tissue"):
        explain_section(section, checkpoint, METHODS, tmp_path / "m.ome.zarr", watcher=watcher)
    assert watcher.previews
    assert list(tmp_path.iterdir()) == []
